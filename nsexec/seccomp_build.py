"""Build of nsexec._seccomp: libseccomp's compiler as Python calls it, and two questions to the kernel.

A module of its own, so that only what compiles a filter needs libseccomp on the host.
`python nsexec/seccomp_build.py` builds in place. setuptools uses `ffibuilder`.
"""

from __future__ import annotations

import os
import sys

import cffi

# cffi's glue has parameters that it does not use.
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
HERE = os.path.dirname(os.path.abspath(__file__))

ffibuilder = cffi.FFI()
ffibuilder.cdef(
    """
    static const int SCMP_FLTATR_CTL_OPTIMIZE;
    struct scmp_version { unsigned int major; unsigned int minor; unsigned int micro; };
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; };

    const struct scmp_version *seccomp_version(void);
    unsigned int seccomp_api_get(void);
    uint32_t seccomp_arch_native(void);
    uint32_t seccomp_arch_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch, const char *name);

    void *seccomp_init(uint32_t action);
    void seccomp_release(void *ctx);
    int seccomp_arch_add(void *ctx, uint32_t arch);
    int seccomp_attr_set(void *ctx, int attr, uint32_t value);
    int seccomp_rule_add_array(void *ctx, uint32_t action, int syscall, unsigned int count,
                               const struct scmp_arg_cmp *conditions);
    int seccomp_export_bpf(void *ctx, int fd);

    int nsexec_seccomp_flags_known(unsigned int flags);
    int nsexec_seccomp_action_known(uint32_t action);
    const char *nsexec_seccomp_library(void);
    """
)
ffibuilder.set_source(
    "nsexec._seccomp",
    '#include "nsexec_seccomp.h"',
    include_dirs=[os.path.relpath(os.path.join(HERE, "src"))],
    libraries=["seccomp"],
    extra_compile_args=[*WARNINGS, "-std=gnu17", "-O2", "-D_GNU_SOURCE"],
    py_limited_api=True,
)

if __name__ == "__main__":
    os.chdir(os.path.dirname(HERE))
    ffibuilder.compile(verbose="-v" in sys.argv)
