"""The one door to the kernel for the host side: functions named after their system call, raising SyscallError.

What Python's own os module wraps is used from there. What happens inside a container goes through remote.py.
"""

from __future__ import annotations

import errno
import os

from libcontainer import smallfile
from libcontainer.errors import Error, SyscallError
from nsexec._nsexec import ffi, lib

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# asm-generic/signal-defs.h
SIG_BLOCK = 0
SIG_UNBLOCK = 1
SIG_SETMASK = 2

_program = -1


def _checked(call: str, result: int, filename: str | None = None) -> int:
    if result < 0:
        raise SyscallError(call, -result, filename)
    return result


def spawn(fds: tuple[int, ...], control: int) -> int:
    """Start the sealed init (vfork + execveat) with `fds` as its 0..n-1 and `control` as its n; the pid.

    The file is made once a process: nobody can change what later containers run.
    """
    global _program
    if _program < 0:
        _program = _make_program()
    return _checked("execveat", lib.nsexec_spawn(_program, list(fds), len(fds), control))


def _make_program() -> int:
    try:
        return _checked("memfd_create", lib.nsexec_program())
    except SyscallError as err:
        if err.errno not in (errno.EPERM, errno.EACCES) or smallfile.read("/proc/sys/vm/memfd_noexec").strip() != b"2":
            raise
        raise Error("vm.memfd_noexec is 2, and only root can do without executable memory files: set it to 1") from err


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), always with O_CLOEXEC."""
    name = os.fsencode(path)
    return _checked("openat2", lib.nsexec_openat2(dirfd, name, flags | os.O_CLOEXEC, mode, resolve), path)


def address(buffer: bytes | bytearray) -> int:
    """Where `buffer` is in memory, for a pointer in a bpf_attr; the caller keeps it alive."""
    return lib.nsexec_address(ffi.from_buffer(buffer))


def bpf(command: int, attr: bytes | bytearray) -> int:
    """bpf(2); `attr` is a union bpf_attr, written back when it is a bytearray."""
    return _checked("bpf", lib.nsexec_bpf(command, ffi.from_buffer(attr), len(attr)))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2)."""
    return _checked("prctl", lib.nsexec_prctl(option, a, b, c, d))


def signal_mask(signals: set[int] | frozenset[int]) -> int:
    """The kernel's sigset as an integer."""
    mask = 0
    for signum in signals:
        mask |= 1 << (signum - 1)
    return mask


def signalfd(signals: set[int] | frozenset[int]) -> int:
    """Block `signals` in this thread and return a non-blocking signalfd(2) that reads them."""
    mask = signal_mask(signals)
    _checked("sigprocmask", lib.nsexec_sigprocmask(SIG_BLOCK, mask))
    return _checked("signalfd", lib.nsexec_signalfd(-1, mask))


def sigprocmask(how: int, signals: set[int] | frozenset[int]) -> None:
    """pthread_sigmask(3)."""
    _checked("sigprocmask", lib.nsexec_sigprocmask(how, signal_mask(signals)))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a duplicate of descriptor `fd` of the process behind `pidfd`."""
    return _checked("pidfd_getfd", lib.nsexec_pidfd_getfd(pidfd, fd))


def prlimit(pid: int, limit: int, soft: int, hard: int) -> None:
    """prlimit(2): set a limit of a process; the values as unsigned 64-bit numbers, all ones for no limit."""
    _checked("prlimit", lib.nsexec_prlimit(pid, limit, soft, hard))


def getrlimit(limit: int) -> tuple[int, int]:
    """getrlimit(2): our own soft and hard limit, in the form that prlimit() takes."""
    values = bytearray(16)
    _checked("getrlimit", lib.nsexec_getrlimit(limit, ffi.from_buffer(values)))
    return int.from_bytes(values[:8], "little"), int.from_bytes(values[8:], "little")


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2)."""
    _checked("close_range", lib.nsexec_close_range(first, last, flags))
