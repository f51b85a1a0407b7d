"""One mount of the host on the stage from which a whole group of slaves can be restored.

CRIU takes the propagation of all mounts with the same foreign master from one source, and the kernel lets it do so only if that
source's root is that of each of them or above it (MOVE_MOUNT_SET_GROUP, do_set_group() in fs/namespace.c). Binds of /a and /b,
or a bind and a rootfs, of one file system whose mount is shared are such a group, on every host with systemd. So their
sources are given to CRIU as places below one mount that has them all: a clone of the host's, of which each was a part.
"""

from __future__ import annotations

import os

from libcontainer.criu import mountinfo, mounts_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from libcontainer.criu.mountinfo import MountInfo
    from libcontainer.criu.mounts_image import ImageMount


def groups(images: Sequence[ImageMount]) -> list[list[ImageMount]]:
    """The mounts that got events from outside, by their master; one alone needs nothing."""
    found: dict[int, list[ImageMount]] = {}
    for mount in mounts_sources.far_slaves(images):
        found.setdefault(mount.master, []).append(mount)
    return [group for group in found.values() if len({mount.root for mount in group}) > 1]


def members(group: Iterable[ImageMount], paths: Mapping[str, str], root: str) -> dict[str, str]:
    """Where on the stage the sources of a group are: by key, the rootfs by the empty one."""
    keys = {mount.key for mount in group if mount.key is not None}
    found = {key: paths[key] for key in sorted(keys) if key in paths}
    if any(mount.key is None for mount in group):
        found[""] = root
    return found


def covers(mounts: Iterable[MountInfo], staged: Sequence[MountInfo]) -> list[MountInfo]:
    """Of `mounts`, those of which all staged ones can be parts: of the same file system and peer group, and not narrower.

    The narrowest first: it shows as little as possible.
    """
    kind = {(mount.device, mount.shared, mount.master) for mount in staged}
    if len(kind) != 1 or any(mount.deleted for mount in staged):
        return []
    found = [
        mount
        for mount in mounts
        if (mount.device, mount.shared, mount.master) in kind
        and all(mountinfo.below(part.root, mount.root) for part in staged)
    ]
    return sorted(found, key=lambda mount: -len(mount.root))


def inside(part: MountInfo, whole: MountInfo) -> str:
    """The path of one mount's root below another's, with a slash in front; "" for the same."""
    return "" if part.root == whole.root else "/" + part.root[len(whole.root) :].lstrip("/")


def mount_id(fd: int) -> int:
    """Of the mount that a descriptor is on (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def searchable(top: int, way: str) -> bool:
    """Whether everybody may go from a directory to what is below it."""
    while way := way.rpartition("/")[0]:
        if not os.stat(way[1:], dir_fd=top).st_mode & 0o001:
            return False
    return True
