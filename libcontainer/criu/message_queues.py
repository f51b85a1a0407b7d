"""The owner of restored POSIX message queue file systems.

CRIU makes the ipc namespace before it has become the user that the container's root is: the directory belongs to a user whom
the container's user namespace does not have, and its root can make no queue (mq_overview(7)).
"""

from __future__ import annotations

import os

from libcontainer import syscalls
from libcontainer.criu import mountinfo
from libcontainer.errors import SyscallError


def give(pid: int, uid: int, gid: int) -> None:
    """Let the root of the restored container, whose processes stand still, own its mqueue mounts."""
    points = [mount.mountpoint for mount in mountinfo.read(pid) if mount.fstype == "mqueue" and mount.whole]
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for point in points:
            _give(root, point, uid, gid)
    finally:
        os.close(root)


def _give(root: int, point: str, uid: int, gid: int) -> None:
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
    try:
        fd = syscalls.openat2(root, point.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY, resolve=resolve)
    except SyscallError:
        return  # hidden by another mount
    try:
        if os.fstat(fd).st_uid == 0:
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)
