"""Mounts that the container shares with the host (linux.rootfsPropagation shared): both see what the other mounts, also after
a restore.

CRIU makes what was shared a peer group of the container's own, since it does not look at who else was in it. While the
restored processes stand still each such mount is made private and then put into the group of the mount that its source lies on
(move_mount(2), MOVE_MOUNT_SET_GROUP, Linux 5.15).
"""

from __future__ import annotations

import os

from libcontainer import child, namespaces, remote, sysnr
from libcontainer.criu import mountinfo
from libcontainer.errors import describe
from libcontainer.mount_options import MS_PRIVATE, MS_SHARED, PROPAGATION
from libcontainer.remote import AT_FDCWD, Batch
from libcontainer.syscalls import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from libcontainer.criu.mountinfo import MountInfo
    from libcontainer.criu.mounts_image import ImageMount
    from libcontainer.criu.mounts_sources import Source
    from libcontainer.plan import Plan

_SET_GROUP = 0x4 | 0x40 | 0x100  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP


def peers(sources: Sequence[Source], plan: Plan) -> list[tuple[ImageMount, str]]:
    """(mount of the container, its source on this host) for those that shared a group with the other host.

    Only with that setting does a container get the host's groups; else create makes slaves of them, shared or not.
    """
    if not PROPAGATION.get(plan.linux.get("rootfsPropagation") or "", 0) & MS_SHARED:
        return []
    return [
        (user, os.path.realpath(source.where))
        for source in sources
        for user in source.users
        if source.mount is not None and user.shared and not user.master
    ]


def rejoin(pid: int, found: Sequence[tuple[ImageMount, str]], log: Callable[..., None]) -> None:
    """Put the mounts of the restored init `pid` into the groups of their sources; a warning for each that cannot be."""
    if not found:
        return
    host = mountinfo.read()
    channel, helper = remote.spawn(())
    try:
        opened = namespaces.open_paths([("mount", f"/proc/{pid}/ns/mnt")])
        try:
            namespaces.join(channel, opened)
        finally:
            namespaces.close_all(opened)
        for mount, where in found:
            below = mountinfo.containing(host, where)
            if below is None or not below.shared:
                log("warning", _no_events(mount.mountpoint, where))
                continue
            try:
                _join(channel, mount.mountpoint, below)
            except OSError as err:
                log("warning", f"{_no_events(mount.mountpoint, where)} ({describe(err)})")
    finally:
        channel.close()
        child.reap(helper)


def _join(channel: remote.Channel, mountpoint: str, giver: MountInfo) -> None:
    group = os.open(giver.mountpoint, os.O_PATH | os.O_CLOEXEC)
    try:
        batch = Batch()
        resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
        mount = batch.openat2(AT_FDCWD, mountpoint, os.O_PATH, resolve=resolve)
        batch.mount_setattr(mount, propagation=MS_PRIVATE, path=mountpoint)
        batch.call("move_mount", sysnr.MOVE_MOUNT, batch.local(group), "", mount, "", _SET_GROUP, path=mountpoint)
        batch.close(mount)
        channel.run(batch)
    finally:
        os.close(group)


def _no_events(mountpoint: str, where: str) -> str:
    return (
        f"{mountpoint!r} was shared with the other host, and {where} is private here: what is mounted below one of "
        "them will not show below the other (--ignore-host-propagation if that is all right)"
    )
