"""The systemd driver: the container's cgroup is that of a transient unit, a scope (or slice) that systemd makes.

The rule of this file: systemd makes and removes the cgroup and is told every limit that it has a property for, so that it
never undoes one; everything else, and every limit once more, is the business of fs1.py and fs2.py.

A scope needs a process to start with. That is the one which will clone init: systemd moves it, and what it clones is born
in the scope. Only v1's controllers that systemd does not know are left for init to enter.
"""

from __future__ import annotations

import os

from libcontainer.cgroups import Manager, clean, fs1, fs2, hierarchies, is_denied, mode, parse_own, systemd_names
from libcontainer.cgroups.files import ROOT
from libcontainer.errors import Error, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from libcontainer.cgroups.devices import Emulator
    from libcontainer.cgroups.resources import Resources
    from libcontainer.cgroups.systemd_names import Location
    from libcontainer.cgroups.systemd_properties import Property
    from libcontainer.cgroups.systemd_units import Units

_DELEGATE = "/sys/kernel/cgroup/delegate"
_DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # where the kernel does not say
_ACCOUNTING = {
    1: ("MemoryAccounting", "CPUAccounting", "BlockIOAccounting", "TasksAccounting"),
    2: ("MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"),
}


class Request:
    """What config.json says of the unit; only its creation needs it. `owner`: the host's uid that may make cgroups below."""

    __slots__ = ("annotations", "location", "owner")

    def __init__(self, location: Location, annotations: Mapping[str, str], owner: int | None) -> None:
        self.location = location
        self.annotations = annotations
        self.owner = owner


class Driver(Manager):
    """What a unit's cgroup has in common on v1 and v2. Mixed in before the back end."""

    def __init__(
        self,
        paths: dict[str, str],
        *,
        units: Units,
        rootless: bool,
        log: Callable[..., None],
        request: Request | None = None,
    ) -> None:
        super().__init__(paths, rootless=rootless)
        self._units = units
        self._log = log
        self._request = request
        self._started = False
        self._there = False
        self._resources: Resources | None = None

    @property
    def _unit(self) -> str:
        return os.path.basename(self._primary)

    def _warn(self, text: str) -> None:
        self._log("warning", text)

    # --- making it ---

    def create(self, resources: Resources | None) -> None:
        """Nothing before the unit is started: its cgroup comes with its first process."""
        self._resources = resources
        if self._started:
            super().create(resources)
            self._there = True

    def vanished(self) -> bool:
        """systemd removes the cgroup of a unit whose last process has ended."""
        return self._there and not self.exists()

    def create_for_clone(self, resources: Resources | None, pid: int = 0) -> int | None:
        self._start(resources or {}, pid)
        if self._location.is_slice:  # which nobody is in yet
            return super().create_for_clone(resources, pid)
        self.create(resources)
        return None

    def join(self, pid: int) -> None:
        if self._request and not self._started:
            self._start(self._resources or {}, pid)
            self.create(self._resources)
        super().join(pid)

    @property
    def _location(self) -> Location:
        assert self._request is not None  # of new(), not of load()
        return self._request.location

    def _start(self, resources: Resources, pid: int) -> None:
        from libcontainer.cgroups.systemd_units import UnitExists

        self._started = True
        try:
            self._units.start(self._unit, self._first_properties(resources, pid))
        except (Error, OSError) as error:
            self._started = not isinstance(error, UnitExists)  # it is not ours to stop
            raise Error(f'unable to start unit "{self._unit}"') from error

    def _first_properties(self, resources: Resources, pid: int) -> list[Property]:
        from libcontainer.cgroups import systemd_annotations, systemd_properties

        assert self._request is not None
        location = self._location
        parent = location.slice(self._rootless)
        properties: list[Property] = [("Description", "s", f"libcontainer container {location.name}")]
        if location.is_slice:  # its place is in its name
            properties.append(("Wants", "as", [parent]))
        else:
            properties += [("Slice", "s", parent), ("Delegate", "b", True), ("PIDs", "au", [pid])]
        properties += [(name, "b", True) for name in _ACCOUNTING[self.version]]
        properties.append(("DefaultDependencies", "b", False))
        properties += systemd_annotations.properties(self._request.annotations)
        return properties + (systemd_properties.oom_policy(resources) if self.version == 2 else [])

    # --- limits ---

    def set(self, resources: Resources, *, spec_devices: Collection[str] = (), devices: bool = True) -> None:
        if self.absent:
            return
        properties = self._properties(resources)
        if devices:
            properties = self._device_properties(resources, spec_devices) + properties
        try:
            self._set_properties(properties, devices=devices)
        except (Error, OSError) as error:
            raise Error("unable to set unit properties") from error
        finally:
            self._units.close()
        super().set(self._as_told(resources), spec_devices=spec_devices, devices=devices)

    def _as_told(self, resources: Resources) -> Resources:
        """What the cgroup files get, so that they say what systemd says."""
        from libcontainer.cgroups.systemd_properties import rounded

        return rounded(resources)

    def _properties(self, resources: Resources) -> list[Property]:
        raise NotImplementedError

    def _set_properties(self, properties: list[Property], *, devices: bool) -> None:
        self._units.set_properties(self._unit, properties)

    def _device_properties(self, resources: Resources, spec_devices: Collection[str]) -> list[Property]:
        from libcontainer.cgroups import devices, systemd_properties

        rules = devices.with_defaults(resources.get("devices") or [], spec_devices)
        target: Emulator = devices.evaluate(rules)
        return systemd_properties.devices(target, self._warn)

    # --- leaving ---

    def delete(self) -> None:
        self._stop()
        super().delete()

    def rollback(self) -> None:
        if self._started:
            self.delete()
            self._started = False
        super().rollback()

    def _stop(self) -> None:
        """Without systemd the cgroup can still go: it forgets units that are empty."""
        try:
            self._units.stop(self._unit)
        except (Error, OSError) as error:
            from libcontainer.errors import describe

            self._warn(f"unable to stop unit {self._unit}: {describe(error)}")
        finally:
            self._units.close()

    def describe_runc(self) -> dict[str, str]:
        return {}  # the name, the parent and the prefix follow from the config


class Systemd2(Driver, fs2.Manager2):
    """A unit on v2."""

    def create(self, resources: Resources | None) -> None:
        super().create(resources)
        if self._started and self._request and self._request.owner is not None:
            self._delegate(self._request.owner)

    def _delegate(self, owner: int) -> None:
        """The container's user may make cgroups below: cgroup-v2.rst, "Delegation"."""
        directory = self._primary
        os.chown(directory, owner, -1)
        for name in _delegated_files():
            try:
                os.chown(f"{directory}/{name}", owner, -1)
            except FileNotFoundError:
                continue

    def _properties(self, resources: Resources) -> list[Property]:
        from libcontainer.cgroups import Files
        from libcontainer.cgroups.resources import check_memory_usage
        from libcontainer.cgroups.systemd_properties import for_v2

        # Before systemd lowers the limit, or it is too late to refuse it.
        check_memory_usage(resources.get("memory") or {}, Files(self._tree, self._primary))
        return for_v2(resources, self._warn)

    def _as_told(self, resources: Resources) -> Resources:
        from libcontainer.cgroups.systemd_properties import without_idle_weight

        return without_idle_weight(super()._as_told(resources))

    def join_dirs(self, pid: int, directories: list[str]) -> None:
        """A user may not move processes across cgroups that are root's; systemd may, for one of its units."""
        try:
            super().join_dirs(pid, directories)
        except OSError as error:
            if not is_denied(error):
                raise
            self._attach_by_systemd(pid, directories, error)

    def _attach_by_systemd(self, pid: int, directories: list[str], denied: OSError) -> None:
        from libcontainer.cgroups.systemd_bus import BusError

        try:
            for directory in directories:
                self._units.attach(self._unit, directory.removeprefix(self._primary), [pid])
        except BusError:
            raise denied from None
        finally:
            self._units.close()


class Systemd1(Driver, fs1.Manager1):
    """A unit on v1 or hybrid."""

    def _properties(self, resources: Resources) -> list[Property]:
        from libcontainer.cgroups.systemd_properties import for_v1

        return for_v1(resources)

    def _set_properties(self, properties: list[Property], *, devices: bool) -> None:
        """systemd denies every device for a moment while it writes the rules anew: no process may notice."""
        if "freezer" not in self.paths or self.frozen() or not (devices or self._has_device_rules()):
            return super()._set_properties(properties, devices=devices)
        self.freeze()
        try:
            super()._set_properties(properties, devices=devices)
        finally:
            self.thaw()

    def _has_device_rules(self) -> bool:
        return self._units.device_policy(self._unit) != "auto"


def new(
    cgroups_path: str,
    container_id: str,
    *,
    rootless: bool,
    annotations: Mapping[str, str],
    owner: int | None,
    log: Callable[..., None],
) -> Driver:
    """The unit of a container that is about to be made."""
    units = _open(rootless, log)
    location = systemd_names.locate(cgroups_path, container_id)
    request = Request(location, annotations, owner)
    if mode() == "v2":
        path = ROOT + clean(f"{units.control_group()}/{location.cgroup(rootless)}")
        return Systemd2({"": path}, units=units, rootless=rootless, log=log, request=request)
    paths = {name: clean(f"{top}/{location.cgroup(rootless)}") for name, top in _tops().items()}
    if "devices" not in paths:
        raise Unsupported("the devices cgroup controller is not mounted")
    return Systemd1(paths, units=units, rootless=rootless, log=log, request=request)


def load(paths: dict[str, str], *, rootless: bool, log: Callable[..., None]) -> Driver:
    """The unit of an existing container."""
    units = _open(rootless, log)
    if list(paths) != [""]:
        return Systemd1(paths, units=units, rootless=rootless, log=log)
    manager = Systemd2(paths, units=units, rootless=rootless, log=log)
    manager.absent = rootless and not manager.exists()
    return manager


def _open(rootless: bool, log: Callable[..., None]) -> Units:
    """Not connected yet: most verbs need the cgroup files alone."""
    if not os.path.isdir("/run/systemd/system"):
        raise Unsupported("systemd not running on this host, cannot use systemd cgroups manager")
    if rootless and mode() != "v2":
        raise Unsupported("cannot use rootless systemd cgroups manager on cgroup v1")
    from libcontainer.cgroups.systemd_units import Units

    return Units(rootless=rootless, log=log)


def _tops() -> dict[str, str]:
    """Controller -> what systemd's units are below in its hierarchy: where systemd is, but for the scope it lives in."""
    with open("/proc/1/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        mounts = hierarchies.find_mounts(parse_own(file.read()))
    return {name: clean(f"{top}/{own}").removesuffix("/init.scope") for name, (top, own) in mounts.items()}


def _delegated_files() -> list[str]:
    try:
        with open(_DELEGATE, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return list(_DELEGATED)
