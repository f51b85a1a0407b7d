"""Mounts that are in a group of the host's, and that CRIU cannot put there: done while the restored processes stand still.

Those that the container shares with the host (linux.rootfsPropagation shared: both see what the other mounts): CRIU makes them
a peer group of the container's own, since it does not look at who else was in it. And slaves of the host that cannot be
given one source (mounts_wide.py), as of file systems that are two here, or behind directories that the container's root may
not search; the images that CRIU gets do not say that they were slaves.

Each is made private and then put into the group of the mount that its source lies on (move_mount(2), MOVE_MOUNT_SET_GROUP,
Linux 5.15).
"""

from __future__ import annotations

import os

from libcontainer import child, namespaces, remote, sysnr
from libcontainer.criu import mountinfo
from libcontainer.errors import describe
from libcontainer.mount_options import MS_PRIVATE, MS_SHARED, MS_SLAVE, PROPAGATION
from libcontainer.remote import AT_FDCWD, Batch
from libcontainer.syscalls import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from libcontainer.criu.mountinfo import MountInfo
    from libcontainer.criu.mounts_image import ImageMount
    from libcontainer.criu.mounts_sources import Source
    from libcontainer.plan import Plan

_SET_GROUP = 0x4 | 0x40 | 0x100  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP


class Member:
    """A mount of the container, its source on this host, and whether it is to be a slave there or a peer."""

    __slots__ = ("mount", "slave", "where")

    def __init__(self, mount: ImageMount, where: str, *, slave: bool) -> None:
        self.mount = mount
        self.where = os.path.realpath(where) if where.startswith("/") else where
        self.slave = slave


def peers(sources: Sequence[Source], plan: Plan) -> list[Member]:
    """Those that shared a group with the other host.

    Only with that setting does a container get the host's groups; else create makes slaves of them, shared or not.
    """
    if not PROPAGATION.get(plan.linux.get("rootfsPropagation") or "", 0) & MS_SHARED:
        return []
    return [
        Member(user, source.where, slave=False)
        for source in sources
        for user in source.users
        if source.mount is not None and user.shared and not user.master
    ]


def slaves(apart: Iterable[ImageMount], sources: Sequence[Source], plan: Plan) -> list[Member]:
    """Those that CRIU does not know of any more."""
    wheres = {source.key: source.where for source in sources}
    return [
        Member(mount, plan.rootfs if mount.key is None else wheres[mount.key], slave=True) for mount in apart
    ]


def rejoin(pid: int, found: Sequence[Member], log: Callable[..., None]) -> None:
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
        for member in found:
            below = mountinfo.containing(host, member.where)
            problem = _problem(member, below)
            if below is None or problem:
                log("warning", _without_events(member, problem))
                continue
            try:
                _join(channel, member, below)
            except OSError as err:
                log("warning", _without_events(member, describe(err)))
    finally:
        channel.close()
        child.reap(helper)


def _problem(member: Member, giver: MountInfo | None) -> str:
    """Why it cannot join, if it cannot. One that gives events itself would lose those who get them."""
    if member.slave and member.mount.shared:
        return "it has peers or slaves of its own"
    if member.slave and member.mount.file:
        return "it is in another mount namespace than the container's"
    if giver is None or not (giver.shared or (member.slave and giver.master)):
        return f"{member.where} is private here"
    return ""


def _join(channel: remote.Channel, member: Member, giver: MountInfo) -> None:
    mountpoint = member.mount.mountpoint
    group = os.open(giver.mountpoint, os.O_PATH | os.O_CLOEXEC)
    try:
        batch = Batch()
        resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
        mount = batch.openat2(AT_FDCWD, mountpoint, os.O_PATH, resolve=resolve)
        batch.mount_setattr(mount, propagation=MS_PRIVATE, path=mountpoint)
        batch.call("move_mount", sysnr.MOVE_MOUNT, batch.local(group), "", mount, "", _SET_GROUP, path=mountpoint)
        if member.slave:
            batch.mount_setattr(mount, propagation=MS_SLAVE, path=mountpoint)
        batch.close(mount)
        channel.run(batch)
    finally:
        os.close(group)


def _without_events(member: Member, problem: str) -> str:
    if member.slave:
        return slave_without_events(member.mount.mountpoint, member.where, problem)
    return (
        f"{member.mount.mountpoint!r} was shared with the other host, and {problem}: what is mounted below one of "
        "them will not show below the other (--ignore-host-propagation if that is all right)"
    )


def slave_without_events(mountpoint: str, where: str, problem: str = "") -> str:
    """What a warning says of it."""
    return (
        f"{mountpoint!r} was a slave of a mount of the other host, and {problem or f'{where} is private here'}: what is "
        f"mounted or unmounted below {where} will not show in the container (mount --make-shared makes it so; "
        "--ignore-host-propagation if that is all right)"
    )
