"""A process that we started: what is done to it from outside, by its pid, its pidfd or its channel."""

from __future__ import annotations

import errno
import os
import stat

from libcontainer import namespaces, remote, sysnr
from libcontainer.errors import Error
from libcontainer.remote import Batch, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from libcontainer.remote import Reply
else:
    import _signal

NULL_DEVICE = os.makedev(1, 3)
F_DUPFD_CLOEXEC = 1030


def reset_affinity(pid: int) -> None:
    """All CPUs: the runtime's own affinity is none of the container's business."""
    cpus = os.sysconf("SC_NPROCESSORS_CONF")
    if len(os.sched_getaffinity(0)) == cpus:
        return
    try:
        os.sched_setaffinity(pid, range(max(cpus, 1024)))
    except OSError:
        pass  # not permitted rootless in a cpuset: then it stays what it was


def write_oom_score(pid: int, score: int) -> None:
    """process.oomScoreAdj (proc_pid_oom_score_adj(5)), of stage 0, whose clone inherits it: it must still be dumpable, or
    only root could."""
    write(f"/proc/{pid}/oom_score_adj", str(score), "failed to set process.oomScoreAdj")


def write(path: str, content: str, what: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, content.encode())
        finally:
            os.close(fd)
    except OSError as err:
        err.filename = err.filename or path
        raise Error(what) from err


def own_stdio(fds: tuple[int, ...], uid: int) -> None:
    """fchown stdio to `uid`; what cannot be owned (read-only, not ours) stays as it is."""
    for fd in fds:
        info = os.fstat(fd)
        if info.st_uid == uid or is_null(fd):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOSYS):
                raise Error("unable to change the owner of stdio") from err


def check_open(fds: tuple[int, ...]) -> None:
    """What is passed must be there before we open anything: it could get the number of one that is missing."""
    for number, fd in enumerate(fds):
        try:
            os.fstat(fd)
        except OSError as err:
            raise Error(f"descriptor {fd}, to be number {number} of the process") from err


def is_null(fd: int) -> bool:
    info = os.fstat(fd)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == NULL_DEVICE


def fetch(channel: Channel, number: int) -> int:
    """Our duplicate of a descriptor of the process behind `channel`."""
    batch = Batch()
    batch.send_back(batch.call("fcntl", sysnr.FCNTL, number, F_DUPFD_CLOEXEC, 0))
    return channel.run(batch).fds[0]


def run_in(kind: str, path: str, batch: Batch) -> Reply:
    """Run a batch in a process of its own that has joined the namespace at `path`."""
    opened = namespaces.open_paths([(kind, path)])
    try:
        channel, helper = remote.spawn(())
        try:
            namespaces.join(channel, opened)
            return channel.run(batch)
        finally:
            channel.close()
            reap(helper)
    finally:
        namespaces.close_all(opened)


def give(channel: Channel, fd: int, number: int) -> None:
    """Make our `fd` the descriptor `number` of the process behind `channel`."""
    batch = Batch()
    batch.call("dup3", sysnr.DUP3, batch.local(fd), number, os.O_CLOEXEC)
    channel.run(batch)


def limit_resources(pid: int, wanted: list[dict[str, Any]], *, passed: int) -> None:
    """process.rlimits (prlimit(2)); what is not in it is as ours."""
    if not wanted and not remote.is_cramped(passed):
        return
    from libcontainer import rlimits

    if remote.is_cramped(passed):
        rlimits.give_back(pid)
    rlimits.apply(pid, rlimits.parse(wanted))


def abort(channel: Channel | None, pidfd: int, *pids: int) -> None:
    """Kill what was started, as far as it was (no channel, -1, 0), and reap it."""
    if channel is not None:
        channel.close()
    if pidfd >= 0:
        kill(pidfd)
    for pid in pids:
        if pid:
            reap(pid)


def kill(pidfd: int) -> None:
    try:
        _signal.pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        pass


def reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # the calling program ignores SIGCHLD

