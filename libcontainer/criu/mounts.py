"""Which mounts of a container CRIU cannot dump by itself, and the names ("external keys") that they get in the images.

Computed from the frozen container's real mounts, not from config.json alone: a mount that somebody added after the start
counts too. CRIU's own rules are those of validate_mounts() and resolve_shared_mounts() in its criu/mount.c. The keys are
runc's (a bind mount's destination, /dev/null for a masked file, a device's path), so that it restores our images. The rule of
this file: pure but for facts_of().

    mnt[/data]:/data        on dump: the mount at /data is external, its name is /data
    mnt[/data]:/srv/data    on restore: what has the name /data is found at /srv/data (mounts_sources.py)
"""

from __future__ import annotations

import os

from libcontainer.criu import mountinfo
from libcontainer.criu.mountinfo import MountInfo, below
from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from libcontainer.saved_config import SavedConfig

NULL = "/dev/null"
# criu/filesystems.c: what it mounts again, given the type; the content of the first ones is dumped too. It does so with
# overlay, too, but looks on the host for the directories that the container has named (mounts_own.py).
WITH_CONTENT = frozenset({"tmpfs", "devpts", "autofs", "simfs"})
# One for the whole kernel, and not to be mounted in a user namespace.
SINGLETONS = frozenset({"devtmpfs", "binfmt_misc", "pstore", "securityfs", "fusectl", "debugfs", "tracefs"})
# Those of a namespace: which one has to be the container's own for it to be mounted in a user namespace.
OF_NAMESPACE = {"proc": "pid", "sysfs": "network", "mqueue": "ipc"}
DUMPABLE = WITH_CONTENT | SINGLETONS | OF_NAMESPACE.keys()


class Facts:
    """What is known of the container beside its mounts.

    `binds`: mountpoints that config.json fills with bind mounts; `file_systems`: those that it fills with others, and their
    kind; `masked`: its masked paths. `namespaces`: the kinds that the container does not share with the host. `host`: the
    host's mounts. `nodes_in_dev`: /dev is a tmpfs that was filled from outside its user namespace.
    """

    __slots__ = ("binds", "file_systems", "host_devices", "masked", "namespaces", "nodes_in_dev")

    def __init__(
        self,
        *,
        binds: Collection[str] = (),
        file_systems: Mapping[str, str] | None = None,
        masked: Collection[str] = (),
        namespaces: Collection[str] = (),
        host: Iterable[MountInfo] = (),
        nodes_in_dev: bool = False,
    ) -> None:
        self.binds = binds
        self.file_systems = file_systems or {}
        self.masked = masked
        self.namespaces = namespaces
        self.host_devices = {mount.device for mount in host}
        self.nodes_in_dev = nodes_in_dev


def strings(keys: Mapping[str, str]) -> list[str]:
    """mountpoint -> key as CRIU wants it told."""
    return [f"mnt[{mountpoint}]:{key}" for mountpoint, key in keys.items()]


def external(mounts: Sequence[MountInfo], facts: Facts, overrides: Mapping[str, str]) -> dict[str, str]:
    """mountpoint -> key, for a dump. `overrides`: mountpoint -> key (--ext-mount). Raises Error, naming all mounts that no key
    can be given."""
    top = {mount.mountpoint: mount for mount in mounts}  # what is mounted last hides the others
    missing = [path for path in overrides if path not in top]
    if missing:
        raise Error(f"--ext-mount: nothing is mounted in the container at {', '.join(map(repr, missing))}")
    chosen = _choose(mounts, facts, overrides)
    keys = {mount.mountpoint: overrides.get(mount.mountpoint) or _key(mount, facts) for mount in chosen}
    _refuse(top, chosen, keys)
    return keys


def _choose(mounts: Sequence[MountInfo], facts: Facts, overrides: Mapping[str, str]) -> list[MountInfo]:
    root = mountinfo.root_of(mounts)
    others = [mount for mount in mounts if mount is not root]
    own = _Parts(lambda m: (m.device, m.super_options, m.fstype, m.source))
    own.add([root] if root else [])
    named = {*overrides, *facts.binds}
    chosen = [m for m in others if m.mountpoint in named or (_foreign(m, facts) and not own.covers(m))]
    outside = _Parts(lambda m: (m.device, m.super_options))
    outside.add(chosen)
    ids = {mount.id for mount in chosen}
    own.add(m for m in others if m.whole and m.id not in ids)
    parts = [m for m in others if not (m.id in ids or m.whole or own.covers(m) or outside.covers(m) or is_cgroup(m))]
    ids.update(mount.id for mount in parts)
    ids.update(_far_slaves(mounts, [m for m in others if m.id in ids or m is root]))
    return [m for m in others if m.id in ids]


class _Parts:
    """File systems, and which of their directories there are mounts of. `key` says when two mounts show the same one
    (mounts_sb_equal() in criu/mount.c)."""

    __slots__ = ("_key", "_roots")

    def __init__(self, key: Callable[[MountInfo], object]) -> None:
        self._key = key
        self._roots: dict[object, set[str]] = {}

    def add(self, mounts: Iterable[MountInfo]) -> None:
        for mount in mounts:
            self._roots.setdefault(self._key(mount), set()).add(mount.root)

    def covers(self, mount: MountInfo) -> bool:
        """Whether CRIU can make this mount, a part of a file system, from one of these."""
        roots = self._roots.get(self._key(mount), ())
        return bool(roots) and any(path in roots for path in _upwards(mount.root))


def _upwards(path: str) -> Iterator[str]:
    """The path and those above it."""
    while path not in ("/", ""):
        yield path
        path = path.rpartition("/")[0]
    yield "/"


def is_cgroup(mount: MountInfo) -> bool:
    return mount.fstype in ("cgroup", "cgroup2")


def _foreign(mount: MountInfo, facts: Facts) -> bool:
    """Nothing that can be mounted again by its type, nor a part of what can."""
    kind = mount.fstype.partition(".")[0]
    if is_cgroup(mount):
        # In a namespace of its own the container sees its cgroup as the top, though we see it below; CRIU knows that.
        return "cgroup" not in facts.namespaces and ("user" in facts.namespaces or not mount.whole)
    if not mount.whole:
        return False
    if kind in WITH_CONTENT:
        return mount.device in facts.host_devices or (mount.mountpoint == "/dev" and facts.nodes_in_dev)
    if "user" in facts.namespaces and (kind in SINGLETONS or OF_NAMESPACE.get(kind, "user") not in facts.namespaces):
        return True
    return kind not in DUMPABLE


def _far_slaves(mounts: Sequence[MountInfo], givers: Iterable[MountInfo]) -> list[int]:
    """The ids of those that get events from a group outside, without being a part of what is external or of the root."""
    near = {mount.shared for mount in mounts}
    groups = _Parts(lambda m: (m.master, m.device))
    groups.add(givers)
    return [m.id for m in mounts if m.master and m.master not in near and not groups.covers(m)]


def _key(mount: MountInfo, facts: Facts) -> str:
    """Masked files of all containers are one thing, which the other host has too."""
    masked = mount.mountpoint in facts.masked and os.path.basename(mount.root) == "null"
    return NULL if masked else mount.mountpoint


def _refuse(top: Mapping[str, MountInfo], chosen: Sequence[MountInfo], keys: Mapping[str, str]) -> None:
    """Keys go by mountpoint, in one string "mnt[PATH]:KEY": say which mounts that cannot name."""
    bad = []
    ids = {mount.id for mount in chosen}
    for mountpoint in keys:
        if top[mountpoint].id not in ids:
            bad.append(f"{mountpoint!r}: a mount from the host is hidden there by one of the container's own; unmount one")
        elif not (is_name(mountpoint) and is_name(keys[mountpoint])):
            bad.append(f"{mountpoint!r}: CRIU cannot take such a name; mount it elsewhere")
    if bad:
        raise Error("cannot checkpoint mounts: " + "; ".join(bad))


def is_name(text: str) -> bool:
    """Whether "mnt[PATH]:KEY" can hold it: as UTF-8 (protobuf), and so that CRIU finds its end."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text) and "]:" not in text


# -- a living container


def facts_of(pid: int, saved: SavedConfig, mounts: Sequence[MountInfo]) -> Facts:
    """What state.json and /proc say of it."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        binds, file_systems = configured(saved, lambda path: resolve(root, path))
    finally:
        os.close(root)
    own = own_namespaces(pid)
    bound = any(mount.mountpoint == NULL for mount in mounts)
    return Facts(
        binds=binds,
        file_systems=file_systems,
        masked={_clean(path) for path in saved.raw.get("mask_paths") or ()},
        namespaces=own,
        host=mountinfo.read(),
        nodes_in_dev="user" in own and not bound,
    )


def configured(saved: SavedConfig, resolved: Callable[[str], str]) -> tuple[set[str], dict[str, str]]:
    """Where config.json's bind mounts are, symlinks followed; and where its other mounts, with their kind."""
    entries: list[dict[str, Any]] = saved.raw.get("mounts") or []
    placed = [(resolved(entry["destination"]), str(entry.get("device"))) for entry in entries]
    return {point for point, kind in placed if kind == "bind"}, {point: kind for point, kind in placed if kind != "bind"}


def resolve(root: int, path: str) -> str:
    """Where a path inside the root behind this descriptor leads to; itself where there is nothing."""
    from libcontainer import syscalls

    relative = _clean(path).lstrip("/")
    try:
        found = syscalls.openat2(root, relative or ".", os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT)
    except SyscallError:
        return _clean(path)
    try:
        inside, outside = os.readlink(f"/proc/self/fd/{found}"), os.readlink(f"/proc/self/fd/{root}")
    finally:
        os.close(found)
    return "/" + mountinfo.relative(inside, outside) if below(inside, outside) else _clean(path)


def _clean(path: str) -> str:
    from libcontainer.inroot import clean

    return "/" + clean(path)


def own_namespaces(pid: int) -> set[str]:
    """The kinds that this process does not share with us."""
    from libcontainer.namespaces import PROC_NAMES

    def link(of: int | str, name: str) -> str:
        try:
            return os.readlink(f"/proc/{of}/ns/{name}")
        except FileNotFoundError:
            return ""

    return {kind for kind, name in PROC_NAMES.items() if link(pid, name) != link("self", name)}
