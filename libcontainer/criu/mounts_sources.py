"""Restore: from the keys in a checkpoint to what each of them is on this host.

config.json says it (it is the administrator's, the images are not): bind mounts by their destination, devices by their path,
cgroups by their place; --ext-mount says the rest. The rule of this file: pure; mounts_stage.py opens what is named here.
"""

from __future__ import annotations

from libcontainer.criu.mountinfo import below, join, relative
from libcontainer.criu.mounts import NULL, is_name
from libcontainer.criu.mounts_image import OVERLAY
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from libcontainer.criu.mounts_image import ImageMount
    from libcontainer.criu.mounts_sidecar import Sidecar
    from libcontainer.mounts import Mount

DEV = "/dev"
# Options of an overlay that name directories (Documentation/filesystems/overlayfs.rst).
_DIRECTORIES = frozenset({"lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"})
CGROUPS = ("cgroup", "cgroup2")


class Source:
    """What a key stands for here.

    One of: `path` (of the host; `real`: without symlinks, and it must still be), `mount` (a bind mount of mounts[]) with `rest`
    below its source, `new` (a file system of mounts[], made anew), `dev` (a new /dev with the config's nodes). `users` are the
    container's mounts that are made from it.
    """

    __slots__ = ("dev", "key", "mount", "new", "path", "real", "rest", "users")

    def __init__(
        self,
        key: str,
        *,
        path: str = "",
        real: bool = False,
        mount: Mount | None = None,
        rest: str = "",
        new: Mount | None = None,
        dev: bool = False,
    ) -> None:
        self.key = key
        self.path = path
        self.real = real
        self.mount = mount
        self.rest = rest
        self.new = new
        self.dev = dev
        self.users: list[ImageMount] = []

    @property
    def where(self) -> str:
        """The host's path, for messages."""
        if self.dev:
            return "a new /dev"
        if self.new is not None:
            return f"a new {self.new.fstype}"
        return join(self.mount.source, self.rest) if self.mount is not None else self.path


class Host:
    """What may be taken for a key. `binds`: destination, symlinks followed -> bind mount of the config; `file_systems`: the
    same of those that CRIU does not know; `devices`: paths of its device nodes; `cgroups`: mountpoint -> directory of the host;
    `fill_dev`: /dev must be made from outside the container's user namespace."""

    __slots__ = ("binds", "cgroups", "devices", "file_systems", "fill_dev")

    def __init__(
        self,
        *,
        binds: Mapping[str, Mount],
        file_systems: Mapping[str, Mount] | None = None,
        devices: Iterable[str] = (),
        cgroups: Mapping[str, str] | None = None,
        fill_dev: bool = False,
    ) -> None:
        self.binds = binds
        self.file_systems = file_systems or {}
        self.devices = {NULL, *devices}
        self.cgroups = cgroups or {}
        self.fill_dev = fill_dev


def sources(
    mounts: Sequence[ImageMount], host: Host, overrides: Mapping[str, str], noted: Sidecar
) -> list[Source]:
    """A source for each key in the images; Error names all for which there is none."""
    found: dict[str, Source] = {}
    unknown: dict[str, str] = {}
    _refuse_names(mounts)
    _refuse_overlays(mounts, host)
    for mount in mounts:
        if mount.key is None:
            continue
        source = found.get(mount.key) or _source(mount.key, host, overrides) or _noted(mount.key, noted)
        if source is None:
            unknown[mount.key] = mount.mountpoint
        else:
            found[mount.key] = source
            source.users.append(mount)
    _refuse(unknown, noted.sources)
    _refuse_unused([key for key in overrides if key not in found])
    return list(found.values())


def _source(key: str, host: Host, overrides: Mapping[str, str]) -> Source | None:
    if key in overrides:
        return Source(key, path=overrides[key])
    if key in host.binds:
        return Source(key, mount=host.binds[key])
    if key in host.cgroups:
        return Source(key, path=host.cgroups[key])
    if key == DEV and host.fill_dev:
        return Source(key, dev=True)
    if key in host.devices:
        return Source(key, path=key)
    if key in host.file_systems:
        return Source(key, new=host.file_systems[key])
    return _below_bind(key, host)


def _noted(key: str, noted: Sidecar) -> Source | None:
    if noted.trusted and key in noted.sources:
        return Source(key, path=noted.sources[key], real=True)
    return None


def _below_bind(key: str, host: Host) -> Source | None:
    """What was mounted on the host below a source that is bound with all that is mounted there."""
    above = [point for point, mount in host.binds.items() if mount.recursive and below(key, point)]
    if not above or not key.startswith("/"):
        return None
    nearest = max(above, key=len)
    return Source(key, mount=host.binds[nearest], rest=relative(key, nearest))


def _refuse_names(mounts: Sequence[ImageMount]) -> None:
    """A key must not end early, and go on as another's path."""
    bad = [mount for mount in mounts if mount.key is not None and not is_name(mount.key)]
    if bad:
        words = "; ".join(f"{mount.mountpoint!r}: CRIU cannot take the name {mount.key!r}" for mount in bad)
        raise Error(f"external mounts of the checkpoint: {words}")


def _refuse_overlays(mounts: Sequence[ImageMount], host: Host) -> None:
    """CRIU mounts an overlay of the directories of the host that the images name. Ours have none but external ones; runc's may
    have those of the config, with the same directories."""
    ids = {mount.id for mount in mounts}
    given = {mount.device for mount in mounts if mount.key is not None or mount.parent not in ids}
    bad = [m for m in mounts if m.fstype == OVERLAY and m.device not in given and not _as_configured(m, host)]
    if bad:
        words = ", ".join(repr(mount.mountpoint) for mount in bad)
        raise Error(f"the checkpoint asks for overlays of directories that config.json does not name: refused for {words}")


def _as_configured(mount: ImageMount, host: Host) -> bool:
    own = host.file_systems.get(mount.mountpoint)
    if own is None or own.fstype != "overlay":
        return False
    return _directories(mount.options.split(",")) == _directories(",".join(own.options.data).split(","))


def _directories(words: Iterable[str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in words)
    return {key: path for key, _, path in pairs if key in _DIRECTORIES}


def _refuse(unknown: Mapping[str, str], hints: Mapping[str, str]) -> None:
    if unknown:
        words = [
            f"{point!r}: config.json has no bind mount for it, use --ext-mount {key}={hints.get(key) or 'PATH'}"
            for key, point in unknown.items()
        ]
        raise Error("external mounts of the checkpoint: " + "; ".join(words))


def _refuse_unused(keys: Sequence[str]) -> None:
    if keys:
        raise Error(f"--ext-mount: the checkpoint has no external mount named {', '.join(map(repr, keys))}")


def far_slaves(mounts: Sequence[ImageMount]) -> list[ImageMount]:
    """The mounts that got events from a group outside of the container."""
    near = {mount.shared for mount in mounts if mount.shared}
    return [mount for mount in mounts if mount.master and mount.master not in near]


def overrides(texts: Sequence[str]) -> dict[str, str]:
    """--ext-mount KEY=PATH of restore."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, _, path) in zip(texts, pairs, strict=True):
        if not (key and path.startswith("/")):
            raise Error(f"invalid --ext-mount argument {text!r}: it is KEY=PATH with an absolute path of this host")
    return {key: path for key, _, path in pairs}
