"""Names for the systemd driver: linux.cgroupsPath "slice:prefix:name", units, and where systemd puts their cgroups.

The rule of this file: pure. See systemd.unit(5) and systemd.slice(5).
"""

from __future__ import annotations

from libcontainer.errors import Error, InvalidSpec

_PATH = "linux.cgroupsPath"
_SLICE = ".slice"


class Location:
    """What linux.cgroupsPath says. `parent` is the slice, "" for the default one."""

    __slots__ = ("name", "parent", "prefix")

    def __init__(self, parent: str, prefix: str, name: str) -> None:
        self.parent = parent
        self.prefix = prefix
        self.name = name

    @property
    def is_slice(self) -> bool:
        """A container may be a slice itself, into which units can be put later."""
        return self.name.endswith(_SLICE)

    @property
    def unit(self) -> str:
        return self.name if self.is_slice else f"{self.prefix}-{self.name}.scope"

    def slice(self, rootless: bool) -> str:
        return self.parent or ("user.slice" if rootless else "system.slice")

    def cgroup(self, rootless: bool) -> str:
        """The unit's cgroup, below that of the service manager."""
        if self.is_slice:
            return expand_slice(self.name)
        return f"{expand_slice(self.slice(rootless)).rstrip('/')}/{self.unit}"


def locate(cgroups_path: str, container_id: str) -> Location:
    """Where the container with this id shall be."""
    if not cgroups_path:
        return Location("", "runc", container_id)
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        text = f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{cgroups_path}" instead'
        raise InvalidSpec(_PATH, text)
    parent, prefix, name = parts
    if not name:
        raise InvalidSpec(_PATH, f'"{cgroups_path}" has an empty name')
    if "/" in cgroups_path or "\0" in cgroups_path:
        raise InvalidSpec(_PATH, f'"{cgroups_path}" has a character that no unit may have')
    location = Location(parent, prefix, name)
    location.cgroup(False)  # refuses slices that there cannot be
    return location


def expand_slice(name: str) -> str:
    """The path of a slice: a dash in the name is a level of the tree, "-.slice" its root."""
    stem = name.removesuffix(_SLICE)
    if stem == "-":
        return "/"
    components = stem.split("-")
    if stem == name or "/" in stem or not all(components):
        raise Error(f"invalid slice name: {name}")
    levels = ("-".join(components[: depth + 1]) for depth in range(len(components)))
    return "".join(f"/{level}{_SLICE}" for level in levels)


def object_path(unit: str) -> str:
    """The unit's object on the bus: bytes that a path may not have are written in hex."""
    letters = (chr(byte) if _plain(byte, index) else f"_{byte:02x}" for index, byte in enumerate(unit.encode()))
    return "/org/freedesktop/systemd1/unit/" + "".join(letters)


def _plain(byte: int, index: int) -> bool:
    letter = chr(byte)
    return letter.isascii() and (letter.isalpha() or (letter.isdigit() and index > 0))


def interface(unit: str) -> str:
    """The D-Bus interface of the unit's kind."""
    return f"org.freedesktop.systemd1.{unit.rpartition('.')[2].capitalize()}"
