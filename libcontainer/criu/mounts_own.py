"""Mounts that are the container's alone, and that CRIU does not make again, or not rightly.

Those of config.json restore mounts anew, if nothing is lost by that. Others nobody could give back: a dump would end in images
that cannot be restored. An overlay is the worst of them. It names directories as the container sees them, and CRIU, which
believes that it can mount it, looks for them on the host: a container that may mount could see all of the host that way.
"""

from __future__ import annotations

import os

from libcontainer import syscalls
from libcontainer.criu import mountinfo
from libcontainer.criu.mounts import DUMPABLE, is_cgroup
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from libcontainer.criu.mountinfo import MountInfo
    from libcontainer.criu.mounts import Facts

OVERLAY = "overlay"
# What is in these ends with the last mount.
VANISHING = frozenset({"ramfs", "hugetlbfs", "bpf"})
BORN_WITH = frozenset({"maps.debug", "progs.debug"})  # files that the kernel puts into each bpf file system


def is_strange(fstype: str) -> bool:
    """A kind that CRIU does not mount, and that is not of a namespace either: mounted on the host it would be the host's."""
    return fstype not in DUMPABLE and fstype not in ("cgroup", "cgroup2")


def refuse(pid: int, mounts: Sequence[MountInfo], keys: Mapping[str, str], facts: Facts, found: Collection[str]) -> None:
    """Raise Error if a mount of the container could not be given back. `keys`: those that are external; `found`: the keys for
    which there is something, be it on the host or by the word of the caller."""
    bad = []
    for mount in mounts:
        if mount.mountpoint not in keys or keys[mount.mountpoint] in found or _is_given(mount, facts):
            continue
        if not (mount.whole and facts.file_systems.get(mount.mountpoint) == mount.fstype and is_strange(mount.fstype)):
            bad.append(f"{mount.mountpoint!r}: nobody but the container has this {mount.fstype}, and CRIU cannot mount it")
        elif mount.fstype in VANISHING and not _is_empty(pid, mount.mountpoint):
            bad.append(f"{mount.mountpoint!r}: what is in a {mount.fstype} is not kept")
    if bad:
        raise Error(
            f"cannot checkpoint mounts: {'; '.join(bad)}: empty or unmount them, or name what takes their place, "
            "--ext-mount PATH=KEY"
        )


def _is_given(mount: MountInfo, facts: Facts) -> bool:
    """Restore has it from the config, and knows what it is."""
    return mount.mountpoint in facts.binds or is_cgroup(mount) or (mount.mountpoint == "/dev" and facts.nodes_in_dev)


def _is_empty(pid: int, mountpoint: str) -> bool:
    """Of a directory in a container whose processes stand still."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
        found = syscalls.openat2(root, mountpoint.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=resolve)
    finally:
        os.close(root)
    try:
        with os.scandir(found) as entries:
            return all(entry.name in BORN_WITH for entry in entries)
    finally:
        os.close(found)


def refuse_nested(init: int, pids: Iterable[int], mounts: Sequence[MountInfo]) -> None:
    """Raise Error for an overlay in another mount namespace of the container, where external keys are of no use.

    `mounts`: those of init's.
    """
    known = {mount.device for mount in mounts}
    seen = {_namespace(init), None}
    for pid in pids:
        namespace = _namespace(pid)
        if namespace in seen:
            continue
        seen.add(namespace)
        for mount in mountinfo.read(pid):
            if mount.fstype == OVERLAY and mount.device not in known:
                raise Error(
                    f"cannot checkpoint mounts: {mount.mountpoint!r}, in a mount namespace that process {pid} has made: CRIU "
                    "would look for the directories of this overlay on the host: unmount it"
                )


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it has ended, or is a zombie
        return None
