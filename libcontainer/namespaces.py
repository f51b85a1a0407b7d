"""Namespaces of a container: which to make, which to join, and in which order (namespaces(7), setns(2))."""

from __future__ import annotations

import errno
import os

from libcontainer import sysnr
from libcontainer.errors import Error, strerror
from libcontainer.remote import Batch, Channel, StepError
from libcontainer.saved_config import NAMESPACES as RUNC_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libcontainer.remote import Result

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
PR_SET_DUMPABLE = 4  # linux/prctl.h
ROOT: Mapping[str, int] = {"uid": 0, "gid": 0}

FLAGS = {
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
}
# The name below /proc/PID/ns.
PROC_NAMES = {
    "user": "user",
    "cgroup": "cgroup",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "mount": "mnt",
}


def paths_of(pid: int) -> dict[str, str]:
    """state.json's namespace_paths: every type that the kernel has."""
    return {
        RUNC_NAMES[kind]: f"/proc/{pid}/ns/{name}"
        for kind, name in PROC_NAMES.items()
        if os.path.exists(f"/proc/self/ns/{name}")
    }


def open_paths(paths: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """Open the namespace files (kind, path) to be joined, in order; the caller closes them."""
    opened: list[tuple[str, int]] = []
    try:
        for kind, path in paths:
            opened.append((kind, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
    except OSError as err:
        close_all(opened)
        raise Error(f"failed to open {paths[len(opened)][1]}: {strerror(err.errno or 0)}") from None
    return opened


def close_all(opened: Sequence[tuple[str, int]]) -> None:
    for _, fd in opened:
        os.close(fd)


def join(channel: Channel, opened: Sequence[tuple[str, int]], user: Mapping[str, int] = ROOT) -> None:
    """Let the process behind `channel` join namespaces that may have different owners. Of a user namespace it becomes the
    root, or where that is not mapped `user`.

    As nsenter(1) does: first all but the user namespace (we may own them and the user namespace may not), then the user
    namespace, becoming its root, then once more those that only that root may join. The mount namespace goes
    last of each round: after it paths and procfs are the container's.
    """
    hide = Batch()
    append_not_dumpable(hide)
    channel.run(hide)
    rest = sorted(opened, key=lambda item: item[0] == "mount")
    owner = [item for item in rest if item[0] == "user"]
    others = [item for item in rest if item[0] != "user"]
    if owner:
        others = [item for item in others if not _try_join(channel, item)]
        batch = Batch()
        append_leave_groups(batch)
        _append_join(batch, owner[0])
        append_become_root(batch, user)
        append_not_dumpable(batch)
        _run_join(channel, batch, "user")
    for item in others:
        _join_one(channel, item)


def _try_join(channel: Channel, item: tuple[str, int]) -> bool:
    try:
        _join_one(channel, item)
    except Error as err:
        cause = err.__cause__
        if isinstance(cause, StepError) and cause.errno in (errno.EPERM, errno.EINVAL):
            return False
        raise
    return True


def _join_one(channel: Channel, item: tuple[str, int]) -> None:
    batch = Batch()
    _append_join(batch, item)
    _run_join(channel, batch, item[0])


def _append_join(batch: Batch, item: tuple[str, int]) -> None:
    kind, fd = item
    batch.call("setns", sysnr.SETNS, batch.local(fd), FLAGS[kind], path=kind)


def _run_join(channel: Channel, batch: Batch, kind: str) -> None:
    try:
        channel.run(batch)
    except StepError as err:
        raise Error(f"failed to join the {kind} namespace") from err


def become_root(channel: Channel, user: Mapping[str, int]) -> None:
    """Take the root ids of the user namespace that was just entered, or else process.user's."""
    batch = Batch()
    append_become_root(batch, user)
    channel.run(batch)


def append_not_dumpable(batch: Batch) -> Result:
    """Processes that are in the namespaces already must not ptrace the one that joins (CVE-2016-9962). Again after each
    change of ids: then the kernel sets what fs.suid_dumpable says."""
    return batch.call("prctl", sysnr.PRCTL, PR_SET_DUMPABLE, 0, 0, 0, 0, path="dumpable")


def append_leave_groups(batch: Batch) -> None:
    """Before a user namespace is joined: one that denies setgroups(2) would let the process keep the supplementary groups
    that the caller, root, has on the host. Who may not leave them keeps just his own."""
    batch.tolerate(batch.call("setgroups", sysnr.SETGROUPS, 0, 0), errno.EPERM)


def append_become_root(batch: Batch, user: Mapping[str, int]) -> None:
    """The calls of become_root(). What is not mapped cannot be taken (EINVAL), and owns no files. Privileges stay: only
    who was root loses them with the last root id, and an unmapped one is nobody's (capabilities(7))."""
    ids = _append_ids(batch, 0, 0)
    became = batch.skip()
    for call in ids:
        batch.tolerate(call, errno.EINVAL, skip=batch.count_since(call))
    _append_ids(batch, user.get("uid", 0), user.get("gid", 0))
    batch.end_skip(became)


def _append_ids(batch: Batch, uid: int, gid: int) -> tuple[Result, Result]:
    return (
        batch.call("setresgid", sysnr.SETRESGID, gid, gid, gid, path="user namespace root"),
        batch.call("setresuid", sysnr.SETRESUID, uid, uid, uid, path="user namespace root"),
    )
