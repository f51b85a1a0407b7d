"""Device rules on cgroup v2: a BPF_PROG_TYPE_CGROUP_DEVICE program, compiled from a devices.Emulator and
attached.

The rule of this file: `assemble` is pure; `attach` is the only caller of bpf(2).
"""

from __future__ import annotations

import errno
import os
import struct

from libcontainer import syscalls
from libcontainer.cgroups.devices import ALL, ANY
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.devices import Emulator, Node

# linux/bpf.h
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_LOAD = 5
BPF_PROG_QUERY = 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
DEVICE_TYPE = {"b": 1, "c": 2}
LICENSE = b"Apache\0"

# Opcodes: 32-bit ALU and jumps, so that no immediate is sign-extended. K: with a constant, X: with a
# register.
AND_K = 0x54
EXIT = 0x95
JEQ_K = 0x16
JNE_K = 0x56
LDX_W = 0x61
MOV_K = 0xB4
MOV_X = 0xBC
RSH_K = 0x74
RESULT, SCRATCH, TYPE, ACCESS, MAJOR, MINOR = 0, 1, 2, 3, 4, 5


def _insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhI", opcode, src << 4 | dst, offset, constant & 0xFFFFFFFF)


def _return(value: int) -> list[bytes]:
    return [_insn(MOV_K, RESULT, constant=value), _insn(EXIT)]


def assemble(state: Emulator) -> bytes:
    """r1 is struct bpf_cgroup_dev_ctx {u32 access_type (access << 16 | type), major, minor}; 1 allows, 0
    refuses."""
    code = [
        _insn(LDX_W, TYPE, SCRATCH, 0),
        _insn(LDX_W, MAJOR, SCRATCH, 4),
        _insn(LDX_W, MINOR, SCRATCH, 8),
        _insn(MOV_X, ACCESS, TYPE),
        _insn(RSH_K, ACCESS, constant=16),
        _insn(AND_K, TYPE, constant=0xFFFF),
    ]
    for node, access in state.exceptions.items():
        code += _exception(node, access, not state.default_allow)
    return b"".join(code + _return(int(state.default_allow)))


def _exception(node: Node, access: int, allow: bool) -> list[bytes]:
    """Decide if the device is `node` and the access the exception's; else fall through to the next one."""
    kind, major, minor = node
    tests: list[tuple[int, int, int]] = [(JNE_K, TYPE, DEVICE_TYPE[kind])]
    if major != ANY:
        tests.append((JNE_K, MAJOR, major))
    if minor != ANY:
        tests.append((JNE_K, MINOR, minor))
    if access == ALL:
        return _guarded(tests, [], allow)
    # To allow, the exception must hold every bit that is asked for; to refuse, one of them is enough.
    bits = ALL & ~access if allow else access
    tests.append((JNE_K if allow else JEQ_K, SCRATCH, 0))
    return _guarded(tests, [_insn(MOV_X, SCRATCH, ACCESS), _insn(AND_K, SCRATCH, constant=bits)], allow)


def _guarded(tests: list[tuple[int, int, int]], before_last: list[bytes], allow: bool) -> list[bytes]:
    size = len(tests) + len(before_last) + 2
    code: list[bytes] = []
    for opcode, register, constant in tests:
        if register == SCRATCH:
            code += before_last
        code.append(_insn(opcode, register, offset=size - len(code) - 1, constant=constant))
    return code + _return(int(allow))


def attach(cgroup: int, program: bytes, *, fresh: bool = False) -> None:
    """Make `program` the only one of ours on the cgroup behind descriptor `cgroup`; `fresh`: it has none yet.

    Programs of parents still apply (BPF_F_ALLOW_MULTI: all must agree). A single old one is replaced
    atomically; of several, the new one comes first and the old ones go after it, so that at no moment there
    is none.
    """
    new = _load(program)
    old = [] if fresh else _attached(cgroup)
    try:
        if len(old) == 1 and _replaced(cgroup, new, old[0]):
            return
        _attach(cgroup, new, BPF_F_ALLOW_MULTI)
        for fd in old:
            syscalls.bpf(BPF_PROG_DETACH, _attachment(cgroup, fd, 0))
    finally:
        for fd in (new, *old):
            os.close(fd)


def _replaced(cgroup: int, new: int, old: int) -> bool:
    """BPF_F_REPLACE needs Linux 5.6, and an old program that was attached with ALLOW_MULTI."""
    try:
        _attach(cgroup, new, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, old)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.EPERM):
            return False
        raise
    return True


def _attachment(cgroup: int, program: int, flags: int, replaced: int = 0) -> bytes:
    return struct.pack("=IIIII", cgroup, program, BPF_CGROUP_DEVICE, flags, replaced)


def _attach(cgroup: int, program: int, flags: int, replaced: int = 0) -> None:
    syscalls.bpf(BPF_PROG_ATTACH, _attachment(cgroup, program, flags, replaced))


def _load(program: bytes) -> int:
    """Without CAP_BPF accounting by memcg (Linux < 5.11) locked memory is limited: raise the limit and try
    again."""
    try:
        return _load_once(program)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise Error("unable to load the device program") from error
    _raise_memlock()
    try:
        return _load_once(program)
    except OSError as error:
        raise Error("unable to load the device program") from error


def _load_once(program: bytes) -> int:
    size, name = len(program) // 8, b"devices"
    head = struct.pack("=IIQQ", BPF_PROG_TYPE_CGROUP_DEVICE, size, syscalls.address(program), syscalls.address(LICENSE))
    attr = head + struct.pack("=IIQII16s", 0, 0, 0, 0, 0, name)
    return syscalls.bpf(BPF_PROG_LOAD, attr)


def _raise_memlock() -> None:
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return  # not ours to raise; the second attempt says what is wrong


def _attached(cgroup: int) -> list[int]:
    """Descriptors of the device programs on this very cgroup; those that may not be opened are skipped."""
    programs = []
    for number in _attached_ids(cgroup):
        try:
            programs.append(syscalls.bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0)))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT):
                raise
    return programs


def _attached_ids(cgroup: int) -> list[int]:
    size = 64
    while True:
        ids = bytearray(4 * size)
        attr = bytearray(struct.pack("=IIIIQI4x", cgroup, BPF_CGROUP_DEVICE, 0, 0, syscalls.address(ids), size))
        try:
            syscalls.bpf(BPF_PROG_QUERY, attr)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise Error("unable to query the device programs") from error
            size *= 2
            continue
        count: int = struct.unpack_from("=I", attr, 24)[0]
        return list(struct.unpack_from(f"={count}I", ids))
