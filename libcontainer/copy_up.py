"""tmpcopyup: a tmpfs that starts with what the image has at its place.

Python copies from one descriptor to another; both come from init, so no path of the image is resolved on the host.
Only the content of files is copied by init: its memory is then the container's, under the container's limit.
"""

from __future__ import annotations

import os
import stat

from libcontainer import inroot, sysnr
from libcontainer.errors import Error
from libcontainer.mounts import Mount, attach, detached_tmpfs, labelled, make_target, target_mode
from libcontainer.remote import Batch, Channel
from libcontainer.syscalls import RESOLVE_IN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.plan import Plan

_CHUNK = 1 << 30


def mount(channel: Channel, plan: Plan, entry: Mount) -> None:
    """Make the tmpfs, copy the target's content into it, and cover the target."""
    if inroot.stat_at(channel, plan.slots.root, entry.target) is None:
        make_target(channel, plan, entry)
    mode = target_mode(channel, plan, entry)
    batch = Batch()
    batch.send_back(detached_tmpfs(batch, entry, [*mode, *labelled(plan, entry)]))
    flags = os.O_RDONLY | os.O_DIRECTORY
    batch.send_back(batch.openat2(plan.slots.root, entry.target, flags, resolve=RESOLVE_IN_ROOT))
    detached, source = channel.run(batch).fds
    try:
        _Copy(channel).directory(source, detached)
        batch = Batch()
        attach(batch, plan, entry, batch.local(detached))
        channel.run(batch)
    except RecursionError:
        raise Error("directories are nested too deeply to be copied") from None
    finally:
        os.close(detached)
        os.close(source)


class _Copy:
    """Copies what lies below one directory into another."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def directory(self, source: int, target: int) -> None:
        for name in os.listdir(source):
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            try:
                self._entry(entry, target, name)
            finally:
                os.close(entry)

    def _entry(self, entry: int, target: int, name: str) -> None:
        """`entry` pins what is copied. By its name another container that shares the volume could exchange it in between, and
        have us open a device of the host, which the container's own device rules deny."""
        info = os.fstat(entry)
        mode = info.st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink("", dir_fd=entry), name, dir_fd=target)
        elif stat.S_ISDIR(mode):
            os.mkdir(name, 0o700, dir_fd=target)
            _below(entry, target, name, os.O_RDONLY | os.O_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY, self.directory)
        elif stat.S_ISREG(mode):
            _below(entry, target, name, os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._content)
        else:
            os.mknod(name, mode, info.st_rdev, dir_fd=target)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, stat.S_IMODE(mode), dir_fd=target)
            os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target)

    def _content(self, source: int, target: int) -> None:
        while self._send(source, target):
            pass

    def _send(self, source: int, target: int) -> int:
        """One sendfile(2) of init: how much it copied."""
        batch = Batch()
        to, origin = batch.local(target), batch.local(source)
        sent = batch.call("sendfile", sysnr.SENDFILE, to, origin, 0, _CHUNK)
        for fd in (to, origin):
            batch.close(fd)
        return self._channel.run(batch)[sent]


def _below(entry: int, target: int, name: str, read: int, write: int, copy: Callable[[int, int], None]) -> None:
    """Open what `entry` pins, and `name` in the target, and copy."""
    from_fd = os.open(f"/proc/self/fd/{entry}", read | os.O_CLOEXEC)
    try:
        to_fd = os.open(name, write | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            copy(from_fd, to_fd)
            for attribute in os.listxattr(from_fd):
                os.setxattr(to_fd, attribute, os.getxattr(from_fd, attribute))
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)
