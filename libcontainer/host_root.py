"""A container without a mount namespace: its rootfs is bind-mounted onto itself on the host, all its mounts lie on that, and
nobody takes them down but its delete.

ROOT/ID/rootfs-mount says which mount that is, so that one of the host's own at the same place is left alone: its id, and
until it is there the id of the mount that it will cover (a create may be killed in between).
"""

from __future__ import annotations

import os

from libcontainer import smallfile, sysnr
from libcontainer.remote import Batch, spawn
from libcontainer.rootfs import MNT_DETACH, mount_id

FILE = "rootfs-mount"
UMOUNT_NOFOLLOW = 8
_OVER = b"over "


def announce(directory: str, rootfs: str) -> None:
    """Before the rootfs is mounted."""
    _write(directory, _OVER + mount_id(rootfs))


def record(directory: str, rootfs: str) -> None:
    """When it is."""
    _write(directory, mount_id(rootfs))


def _write(directory: str, content: bytes) -> None:
    fd = os.open(os.path.join(directory, FILE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def detach(directory: str, rootfs: str) -> None:
    """Take the mount down, with all that lies on it. What still uses it keeps it (umount(2), MNT_DETACH)."""
    try:
        noted = smallfile.read(os.path.join(directory, FILE))
        there = mount_id(rootfs)
    except FileNotFoundError:
        return
    ours = there != noted[len(_OVER) :] if noted.startswith(_OVER) else there == noted
    if ours:
        _unmount(rootfs)


def _unmount(path: str) -> None:
    """nsexec does it: only there is umount2(2) to be had."""
    channel, pid = spawn(())
    try:
        batch = Batch()
        batch.call("umount2", sysnr.UMOUNT2, path, MNT_DETACH | UMOUNT_NOFOLLOW, path=path)
        channel.run(batch)
    finally:
        channel.close()
        os.waitpid(pid, 0)
