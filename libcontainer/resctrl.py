"""linux.intelRdt: shares of the L3 cache and of memory bandwidth (Documentation/filesystems/resctrl.rst).

A class of service is a directory of the resctrl file system: `schemata` has its shares, `tasks` who is in it. A monitoring
group is a directory in the class's mon_groups, with `tasks` of its own.
"""

from __future__ import annotations

import os

from libcontainer import smallfile
from libcontainer.errors import Error, InvalidSpec, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from libcontainer.oci import IntelRdt

# Member of linux.intelRdt -> its directory in info/, its name in state.json, runc's words for a kernel without it.
RESOURCES = {
    "l3CacheSchema": ("L3", "l3_cache_schema", "Intel RDT/CAT", "Intel RDT/CAT: l3 cache schema is not enabled"),
    "memBwSchema": ("MB", "memBwSchema", "Intel RDT/MBA", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
}
MONITORING = "L3_MON"
# In state.json's config.intel_rdt, where runc ignores it: without it nobody could tell whose directory it is.
MADE = "made_by_runtime"
_NOT_MOUNTED = (
    "Intel RDT resctrl mount point not found: where kernel and processor have it, "
    "mount -t resctrl resctrl /sys/fs/resctrl makes one"
)
_NOT_THERE = "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)"


def mount_point() -> str:
    """Where resctrl is mounted, "" if it is not."""
    from libcontainer.criu import mountinfo

    return next((mount.mountpoint for mount in mountinfo.read() if mount.fstype == "resctrl"), "")


def has(top: str, resource: str) -> bool:
    """Does the kernel have what is called so in info/?"""
    return bool(top) and os.path.isdir(f"{top}/info/{resource}")


# -- a new container's


class Group:
    """The class of a container that is made, and the monitoring group that it may have."""

    __slots__ = ("_made", "_settings", "_top", "made", "monitor", "path")

    def __init__(self, container_id: str, settings: IntelRdt) -> None:
        """Raise an Error unless it can be had; nothing is made yet."""
        self._settings = settings
        self._made: list[str] = []
        self._top = mount_point()
        self._check_kernel()
        name = settings.get("closID") or container_id
        self.path = self._top if name == "/" else f"{self._top}/{name}"
        self.monitor = f"{self.path}/mon_groups/{container_id}" if settings.get("enableMonitoring") else ""
        self.made = not os.path.lexists(self.path)
        if self.made and self._named and not self._lines():
            raise Error(_NOT_THERE) from FileNotFoundError(2, os.strerror(2), self.path)
        if not self.made and not os.path.exists(f"{self.path}/tasks"):  # info, and the files of the root class
            raise InvalidSpec("linux.intelRdt.closID", f"{self.path} is no class of service: choose another name")

    @property
    def _named(self) -> bool:
        """A class with a name is one that containers may share."""
        return bool(self._settings.get("closID"))

    def _check_kernel(self) -> None:
        if not self._top:
            raise InvalidSpec("linux.intelRdt", _NOT_MOUNTED)
        for member, (resource, _name, feature, _refusal) in RESOURCES.items():
            if self._settings.get(member) and not has(self._top, resource):
                reason = f"intelRdt.{member} is specified in config, but {feature} is not enabled"
                raise InvalidSpec(f"linux.intelRdt.{member}", reason)
        if self._settings.get("enableMonitoring") and not has(self._top, MONITORING):
            raise InvalidSpec("linux.intelRdt.enableMonitoring", "this kernel or processor does not monitor (no info/L3_MON)")

    def _lines(self) -> list[str]:
        """What is to be written, the general member last."""
        settings = self._settings
        lines = [settings.get("l3CacheSchema", ""), settings.get("memBwSchema", ""), *settings.get("schemata", ())]
        return [line for line in lines if line]

    def saved(self) -> dict[str, Any]:
        """config.intel_rdt of state.json."""
        names = {"schemata": "schemata", "closID": "closID", "enableMonitoring": "enableMonitoring"}
        names.update({member: name for member, (_resource, name, *_rest) in RESOURCES.items()})
        settings: Mapping[str, Any] = self._settings
        return {**{names[member]: value for member, value in settings.items()}, MADE: self.made}

    def make(self) -> None:
        """The directories, and the shares."""
        self.made = self._make(self.path)
        if not self.made and self._named:
            self._compare([member for member in RESOURCES if self._settings.get(member)])
        if self._lines():
            write(self.path, self._lines())
        if self.monitor:
            self._make(self.monitor)

    def _make(self, directory: str) -> bool:
        made = _make(directory)
        if made:
            self._made.append(directory)
        return made

    def _compare(self, members: list[str]) -> None:
        """A class that others may be in is not to be changed by these two (runtime-spec, "IntelRdt")."""
        settings: Mapping[str, Any] = self._settings
        now = dict(map(_parsed, smallfile.text(f"{self.path}/schemata").splitlines()))
        step = int(smallfile.text(f"{self._top}/info/MB/bandwidth_gran")) if "memBwSchema" in members else 1
        for member in members:
            resource, wanted = _parsed(settings[member])
            have = now.get(resource, {})
            if not all(_same(resource, value, have.get(domain, ""), step) for domain, value in wanted.items()):
                raise InvalidSpec(
                    f"linux.intelRdt.{member}", f"{self.path} exists, and its schemata are others: {resource}:{_text(have)}"
                )

    def add(self, pid: int) -> None:
        """Put a process in; its children follow."""
        add(self.path, self.monitor, pid)

    def roll_back(self) -> None:
        """Give up what was made. A class with a name may be somebody else's too by now."""
        while self._made:
            directory = self._made.pop()
            if not (directory == self.path and self._named and smallfile.read(f"{directory}/tasks").strip()):
                _remove(directory)


def _parsed(line: str) -> tuple[str, dict[str, str]]:
    """ "L3:0=f;1=f0" as its resource and the value for each cache."""
    resource, _, values = line.partition(":")
    pairs = (value.partition("=") for value in values.split(";") if value.strip())
    return resource.strip(), {domain.strip(): value.strip() for domain, _, value in pairs}


def _text(values: Mapping[str, str]) -> str:
    return ";".join(f"{domain}={value}" for domain, value in values.items())


def _same(resource: str, wanted: str, have: str, step: int) -> bool:
    """Masks are hexadecimal; bandwidth is rounded up to the next step."""
    try:
        if resource != "MB":
            return int(wanted, 16) == int(have, 16)
        return int(have) in (int(wanted), -(-int(wanted) // step) * step)
    except ValueError:
        return wanted == have


# -- any container's


def add(group: str, monitor: str, pid: int) -> None:
    """Put a process into a class, and into a monitoring group in it if there is one."""
    for directory in filter(None, (group, monitor)):
        _write(f"{directory}/tasks", str(pid), f"unable to put process {pid} into {directory}")


def join(group: str, monitor: str, pid: int) -> None:
    """The same for one that is added later: a class that is gone is none of its concern."""
    if os.path.isdir(group):
        add(group, monitor if os.path.isdir(monitor) else "", pid)


def check(wanted: Mapping[str, str]) -> None:
    """Raise Unsupported unless the kernel can do what `wanted` names."""
    top = mount_point()
    for member in wanted:
        resource, _name, _feature, refusal = RESOURCES[member]
        if not has(top, resource):
            raise Unsupported(refusal)


def write(group: str, lines: list[str]) -> None:
    """Set shares of a class."""
    _write(f"{group}/schemata", "".join(f"{line}\n" for line in lines), f"unable to set schemata of {group}")


def remove(saved: Mapping[str, Any], group: str, monitor: str) -> None:
    """Remove what is the container's own. `saved` is config.intel_rdt of its state; runc does not note who has made a class."""
    if monitor:
        _remove(monitor)
    if group and not saved.get("closID") and saved.get(MADE, True):
        _remove(group)


# -- the file system


def _make(directory: str) -> bool:
    """Make a group; False if it is there."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise Error(f"unable to make {directory}{_reason(directory)}") from error
    return True


def _remove(directory: str) -> None:
    """The files of a group go with it."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Error(f"unable to remove {directory}{_reason(directory)}") from error


def _write(path: str, content: str, what: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, content.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Error(f"{what}{_reason(path)}") from error


def _reason(path: str) -> str:
    """The kernel's own words for its last refusal, which are in the info/ above `path`."""
    while (path := os.path.dirname(path)) not in ("/", ""):
        try:
            return f", last_cmd_status: {smallfile.text(f'{path}/info/last_cmd_status').strip()}"
        except OSError:
            continue
    return ""
