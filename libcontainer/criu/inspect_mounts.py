"""The mounts of a checkpoint, of each mount namespace in it."""

from __future__ import annotations

from libcontainer.criu.images import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.criu.images import Images, Message

# include/uapi/linux/mount.h
_FLAGS = (
    (1 << 1, "nosuid"),
    (1 << 2, "nodev"),
    (1 << 3, "noexec"),
    (1 << 4, "sync"),
    (1 << 8, "nosymfollow"),
    (1 << 10, "noatime"),
    (1 << 11, "nodiratime"),
    (1 << 21, "relatime"),
)
_RDONLY = 1
_NO_KIND = ("", "unsupported", "auto")  # fsname has it, if it is known


def mounts(images: Images) -> list[dict[str, Any]]:
    """Namespace by namespace, ordered as they lie upon each other."""
    found = []
    for namespace in images.numbers("mountpoints"):
        entries = list(images.entries(f"mountpoints-{namespace}.img", "MNTS"))
        entries.sort(key=lambda entry: text(entry.mountpoint))
        found += [_mount(images, namespace, entry) for entry in entries]
    return found


def _mount(images: Images, namespace: int, entry: Message) -> dict[str, Any]:
    kind = images.file_system(int(entry.fstype))
    found: dict[str, Any] = {
        "namespace": namespace,
        "destination": text(entry.mountpoint),
        "type": text(entry.fsname) if kind in _NO_KIND else kind,
        "source": text(entry.source),
        "root": text(entry.root),
        "options": _options(entry),
        "data": text(entry.options),
    }
    if entry.ext_mount or entry.HasField("ext_key"):
        found["external"] = text(entry.ext_key) or text(entry.source)
    return found


def _options(entry: Message) -> list[str]:
    flags = int(entry.flags)
    options = ["ro" if flags & _RDONLY else "rw"]
    options += [name for flag, name in _FLAGS if flags & flag]
    options += [f"shared:{entry.shared_id}"] if entry.shared_id else []
    options += [f"master:{entry.master_id}"] if entry.master_id else []
    return options
