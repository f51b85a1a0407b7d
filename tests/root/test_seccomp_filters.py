"""Compiled filters in the kernel: a child installs each, makes system calls and reports their errnos."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from libcontainer import seccomp, syscalls
from tests import bpf

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: filters are installed without no_new_privs"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers below are those of x86_64"),
]

SYS_SECCOMP = 317
SET_MODE_FILTER = 1
GETPID, MKDIR, RMDIR, CHMOD, PERSONALITY, REBOOT, CLONE3 = 39, 83, 84, 90, 135, 169, 435
NOTIFY_RECEIVE, NOTIFY_SEND = 0xC0502100, 0xC0182101  # linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, _SEND
# What a child needs after the filter is in place: to report and to leave, and what Python does in between.
HOUSEKEEPING = (
    "write exit_group futex mmap munmap brk mremap madvise rt_sigaction rt_sigprocmask rt_sigreturn".split()
)

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def compiled(profile: dict[str, Any]) -> seccomp.Filter:
    result = seccomp.load(profile, None)
    assert result is not None
    return result


def install(compiled_filter: seccomp.Filter) -> int:
    """seccomp(2): the listener's descriptor, or 0."""
    program = Program(len(compiled_filter.program) // 8, compiled_filter.program)
    result = libc.syscall(SYS_SECCOMP, SET_MODE_FILTER, compiled_filter.flags, ctypes.byref(program))
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(result)


def errno_of(number: int, *arguments: int) -> int:
    """The errno of a system call, 0 if it succeeds. Arguments are whole 64-bit words."""
    words = [ctypes.c_uint64(argument) for argument in arguments]
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) == -1 else 0


def in_child(body: Callable[[], Iterable[int]]) -> tuple[list[int], int]:
    """The numbers that `body` gives in a forked child, and its wait status."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, array.array("i", body()).tobytes())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as f:
        data = f.read()
    _, status = os.waitpid(pid, 0)
    return array.array("i", data).tolist(), status


def errnos_under(profile: dict[str, Any], *calls: tuple[int, ...]) -> list[int]:
    compiled_filter = compiled(profile)

    def body() -> list[int]:
        install(compiled_filter)
        return [errno_of(*call) for call in calls]

    results, status = in_child(body)
    assert status == 0
    return results


def test_denying_profile_with_enosys_above_its_last_call() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": [*HOUSEKEEPING, "getpid"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 123},
        ],
    }
    calls = ((GETPID,), (CHMOD, 0, 0), (MKDIR, 0, 0), (CLONE3, 0, 0), (9999,), (0x40000000 | GETPID,))
    assert errnos_under(profile, *calls) == [0, 123, errno.EPERM, errno.ENOSYS, errno.ENOSYS, errno.ENOSYS]


def test_default_errno() -> None:
    names = [*HOUSEKEEPING, "clone3"]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 99,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    assert errnos_under(profile, (GETPID,), (CLONE3 + 1,)) == [99, errno.ENOSYS]


def test_arguments_are_compared_as_64_bit_words() -> None:
    high = 1 << 32
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 0xFFFFFFFF, "op": "SCMP_CMP_EQ"}],
            },
            {
                "names": ["chmod"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 77,
                "args": [
                    {"index": 0, "value": high, "op": "SCMP_CMP_GT"},
                    {"index": 1, "value": 0o4000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ"},
                ],
            },
        ],
    }
    calls = (
        *((PERSONALITY, 0xFFFFFFFF), (PERSONALITY, high | 0xFFFFFFFF)),
        *((CHMOD, high + 1, 0o4755), (CHMOD, high + 1, 0o755), (CHMOD, 1, 0o4755)),
    )
    assert errnos_under(profile, *calls) == [errno.EPERM, 0, 77, errno.EFAULT, errno.EFAULT]


def test_repeated_index_means_any() -> None:
    values = (5, 7)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["rmdir"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 88,
                "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in values],
            }
        ],
    }
    assert errnos_under(profile, (RMDIR, 5), (RMDIR, 6), (RMDIR, 7)) == [88, errno.EFAULT, 88]


def test_a_large_profile_is_a_tree_and_every_call_has_its_own_errno() -> None:
    names = (
        "mkdir rmdir chmod fchmod chown lchown link unlink symlink rename truncate mknod mount umount2 "
        "pivot_root chroot reboot sethostname setdomainname init_module delete_module quotactl acct "
        "settimeofday swapon swapoff ioperm iopl kexec_load setns unshare bpf ptrace personality add_key "
        "keyctl request_key userfaultfd perf_event_open fanotify_init"
    ).split()
    rules = [{"names": [n], "action": "SCMP_ACT_ERRNO", "errnoRet": 200 + i} for i, n in enumerate(names)]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    program = compiled(profile).program
    numbers = [n for n in range(460) if bpf.run(program, bpf.X86_64, n) != bpf.ALLOW]
    assert len(numbers) == len(names) > 32
    wanted = [bpf.run(program, bpf.X86_64, n) & 0xFFFF for n in numbers]
    assert sorted(wanted) == list(range(200, 200 + len(names)))
    assert errnos_under(profile, *[(n, 0, 0, 0, 0) for n in numbers]) == wanted


@pytest.mark.parametrize(
    "action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
)
def test_deadly_actions(action: str) -> None:
    compiled_filter = compiled(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["rmdir"], "action": action}]}
    )

    def body() -> list[int]:
        install(compiled_filter)
        return [errno_of(RMDIR, 0)]

    results, status = in_child(body)
    assert results == []
    assert os.WTERMSIG(status) == signal.SIGSYS


@pytest.mark.parametrize(
    "flags",
    [None, [], ["SECCOMP_FILTER_FLAG_LOG"], ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]],
)
def test_the_kernel_takes_the_flags(flags: list[str] | None) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55}],
        "flags": flags,
    }
    assert errnos_under(profile, (RMDIR, 0)) == [55]


@pytest.mark.parametrize("flags", [[], ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_an_agent_answers_for_the_kernel(tmp_path: Path, flags: list[str]) -> None:
    """The whole way of a listener: installed in one process, taken from it, handed to an agent, and used."""
    path = str(tmp_path / "agent")
    compiled_filter = compiled(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["rmdir"], "action": "SCMP_ACT_NOTIFY"}],
            "flags": flags,
            "listenerPath": path,
            "listenerMetadata": "meta",
        }
    )
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, struct.pack("i", install(compiled_filter)))
            os._exit(errno_of(RMDIR, 0xABC))
        finally:
            os._exit(255)
    os.close(writing)
    (number,) = struct.unpack("i", os.read(reading, 4))
    os.close(reading)
    listener = taken_from(pid, number)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        state = {"ociVersion": "1.3.0", "id": "c", "status": "creating", "pid": pid, "bundle": "/"}
        seccomp.send_listener(
            compiled_filter.listener_path, listener, state, pid, compiled_filter.listener_metadata
        )
        os.close(listener)
        answer_one(server, pid, -57)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 57


def taken_from(pid: int, number: int) -> int:
    process = os.pidfd_open(pid)
    try:
        return syscalls.pidfd_getfd(process, number)
    finally:
        os.close(process)


def answer_one(server: socket.socket, pid: int, error: int) -> None:
    """An agent: take the descriptor, read one notification, answer it with an error."""
    connection, _ = server.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
    (listener,) = array.array("i", ancillary[0][2])
    try:
        notification = ctypes.create_string_buffer(80)
        assert libc.ioctl(listener, ctypes.c_ulong(NOTIFY_RECEIVE), notification) == 0
        ident, caller, _, call, _, _, first = struct.unpack_from("=QIIiIQQ", notification)
        assert (caller, call, first) == (pid, RMDIR, 0xABC)
        answer = ctypes.create_string_buffer(struct.pack("=QqiI", ident, 0, error, 0), 24)
        assert libc.ioctl(listener, ctypes.c_ulong(NOTIFY_SEND), answer) == 0
    finally:
        os.close(listener)
