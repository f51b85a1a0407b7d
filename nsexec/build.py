"""Build of nsexec._nsexec: compiles the static init, embeds it, and wraps the host side with cffi.

`python nsexec/build.py` builds in place. setuptools uses `ffibuilder` (see pyproject.toml).
"""

from __future__ import annotations

import os
import subprocess
import sys

import cffi

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "src")
WARNINGS = ["-std=gnu17", "-Wall", "-Wextra", "-Werror"]
# Freestanding: no libc, no start files, no stack protector (it needs thread-local storage that nobody sets up).
FREESTANDING = [
    *["-Os", "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fPIE"],
    *["-static-pie", "-nostdlib", "-Wl,-z,noexecstack", "-Wl,-z,relro", "-Wl,--build-id=none", "-s"],
]


def source(name: str) -> str:
    return os.path.join(SOURCES, name)


def build_init() -> None:
    """Compile init.c and write it as a C array for host.c."""
    compiler = os.environ.get("CC", "cc").split()
    binary = source("init")
    subprocess.run(
        [*compiler, *WARNINGS, "-Wconversion", *FREESTANDING, "-o", binary, source("init.c")], check=True
    )
    refuse_relocations(binary)
    with open(binary, "rb") as f:
        data = f.read()
    with open(source("init_blob.h"), "w", encoding="ascii") as f:
        f.write("static const unsigned char init_blob[] = {")
        f.write(",".join(map(str, data)))
        f.write("};\n")


def refuse_relocations(binary: str) -> None:
    """The init runs without a dynamic linker: a relocation would stay unapplied."""
    listing = subprocess.run(["readelf", "-rW", binary], check=True, capture_output=True, text=True).stdout
    if "R_" in listing:
        raise SystemExit(f"{binary} needs relocations, which nobody would apply:\n{listing}")


def cdef() -> str:
    """The declarations of host.h, without preprocessor lines."""
    with open(source("host.h"), encoding="ascii") as f:
        return "".join(line for line in f if not line.startswith("#"))


build_init()
ffibuilder = cffi.FFI()
ffibuilder.cdef(cdef())
ffibuilder.set_source(
    "nsexec._nsexec",
    '#include "host.h"',
    sources=[os.path.relpath(source("host.c"))],
    include_dirs=[os.path.relpath(SOURCES)],
    extra_compile_args=[*WARNINGS, "-Wno-unused-parameter", "-O2"],
    py_limited_api=True,
)

if __name__ == "__main__":
    os.chdir(os.path.dirname(HERE))
    ffibuilder.compile(verbose="-v" in sys.argv)
