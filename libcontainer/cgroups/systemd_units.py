"""Units of systemd: start and stop transient ones, change their properties. org.freedesktop.systemd1(5)

The rule of this file: what is said to systemd, not why. The system's manager, or for a rootless container the user's.
"""

from __future__ import annotations

import errno
import os
import time

from libcontainer.cgroups.systemd_bus import TIMEOUT, Bus, BusError, address
from libcontainer.cgroups.systemd_names import interface, object_path
from libcontainer.cgroups.systemd_properties import known
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.cgroups.systemd_bus import Reply
    from libcontainer.cgroups.systemd_properties import Property

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = (NAME, PATH, f"{NAME}.Manager")
DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
JOB_REMOVED = f"type='signal',sender='{NAME}',path='{PATH}',interface='{NAME}.Manager',member='JobRemoved'"
_DISCONNECTED = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ESTALE)
_ALIVE = ("active", "activating", "reloading", "refreshing")
_UNLOADING = (0.0, 0.01, 0.05, 0.2, 1.0)  # how long to wait for systemd to forget a unit that has ended


class UnitExists(Error):
    """Somebody else's unit has the name."""


class Units:
    """The service manager; connected when it is first needed, and again if the connection was dropped."""

    __slots__ = ("_bus", "_log", "_rootless", "_version")

    def __init__(self, *, rootless: bool, log: Callable[..., None]) -> None:
        self._rootless = rootless
        self._log = log
        self._bus: Bus | None = None
        self._version = 0

    # --- units ---

    def start(self, unit: str, properties: list[Property]) -> None:
        """Make a transient unit; returns when it is there. UnitExists: nothing was done."""
        job = self._start_job(unit, known(properties, self.version()))
        result = self._wait(job)
        if result == "done":
            return
        self.reset_failed(unit)
        if not result:
            raise Error(f"Timeout waiting for systemd to create {unit}")
        raise Error(f"error creating systemd unit `{unit}`: got `{result}`")

    def _start_job(self, unit: str, properties: list[Property]) -> str:
        """A failed unit of this name is left over from an earlier container; one that has ended is soon gone."""
        name, variants = ("s", unit), ("a(sv)", _variants(properties))
        for delay in _UNLOADING:
            time.sleep(delay)
            try:
                reply = self._call(MANAGER, "StartTransientUnit", name, ("s", "replace"), variants, ("a(sa(sv))", []))
                return reply.texts("o")[0]
            except BusError as error:
                if error.name != f"{NAME}.UnitExists":
                    raise
                if self.property(unit, f"{NAME}.Unit", "ActiveState") in _ALIVE:
                    raise UnitExists(str(error)) from None
                last = error
            self.reset_failed(unit)
        raise UnitExists(str(last))

    def stop(self, unit: str) -> None:
        """Stop a unit and let systemd forget it. What goes wrong is only told: the cgroup is what matters."""
        try:
            job = self._call(MANAGER, "StopUnit", ("s", unit), ("s", "replace")).texts("o")[0]
            result = self._wait(job)
        except BusError:
            result = "done"  # it was not there
        if not result:
            self._log("warning", f"Timed out while waiting for systemd to remove {unit}")
        elif result != "done":
            self._log("warning", f"error removing unit `{unit}`: got `{result}`. Continuing...")
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        """A failed unit is kept until somebody has seen it."""
        try:
            self._call(MANAGER, "ResetFailedUnit", ("s", unit))
        except BusError:
            return  # it has not failed

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Until the next boot."""
        variants = _variants(known(properties, self.version()))
        self._call(MANAGER, "SetUnitProperties", ("s", unit), ("b", True), ("a(sv)", variants))

    def attach(self, unit: str, below: str, pids: list[int]) -> None:
        """Move processes into the unit, or into a cgroup below it ("/sub")."""
        self._call(MANAGER, "AttachProcessesToUnit", ("s", unit), ("s", below), ("au", pids))

    # --- the manager ---

    def version(self) -> int:
        """252, of a "252.38-1~deb12u1" or "v252.38"."""
        if not self._version:
            text = self._get(PATH, MANAGER[2], "Version").lstrip("v")
            digits = text[: len(text) - len(text.lstrip("0123456789"))]
            if not digits:
                raise Error(f"systemd has the version {text!r}")
            self._version = int(digits)
        return self._version

    def control_group(self) -> str:
        """The cgroup that all units are below; "" for the top."""
        return self._get(PATH, MANAGER[2], "ControlGroup").rstrip("/")

    def property(self, unit: str, interface: str, name: str) -> str:
        """One property of a unit, which is text."""
        return self._get(object_path(unit), interface, name)

    def device_policy(self, unit: str) -> str:
        """The unit's DevicePolicy."""
        return self.property(unit, interface(unit), "DevicePolicy")

    def _get(self, path: str, interface: str, name: str) -> str:
        properties = (NAME, path, "org.freedesktop.DBus.Properties")
        return self._call(properties, "Get", ("s", interface), ("s", name)).variant("s")

    # --- the connection ---

    def close(self) -> None:
        """Until the next call."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _call(self, destination: tuple[str, str, str], member: str, *arguments: tuple[str, Any]) -> Reply:
        try:
            return self._connected().call(destination, member, *arguments)
        except BusError as error:
            if error.errno not in _DISCONNECTED:
                raise
        self.close()
        return self._connected().call(destination, member, *arguments)

    def _connected(self) -> Bus:
        if self._bus is None:
            self._bus = self._connect()
        return self._bus

    def _connect(self) -> Bus:
        """The message bus; without one, systemd itself, if it lets us."""
        failure: OSError | None = None
        for where, is_bus in _user_addresses() if self._rootless else _system_addresses():
            try:
                bus = Bus(where, is_bus=is_bus)
            except OSError as error:
                failure = failure or error
                continue
            if is_bus:
                bus.call(DBUS, "AddMatch", ("s", JOB_REMOVED))
            return bus
        raise Error(f"unable to connect to the {'user' if self._rootless else 'system'}'s systemd") from failure

    def _wait(self, job: str) -> str:
        """How a job ended: "done", "failed", "canceled", ...; "" if it did not in time."""
        deadline = time.monotonic() + TIMEOUT
        while signal := self._connected().signal(MANAGER[2], "JobRemoved", deadline):
            _number, path, _unit, result = signal.texts("uoss")
            if path == job:
                return result
        return ""


def _variants(properties: list[Property]) -> list[tuple[str, tuple[str, Any]]]:
    return [(name, (signature, value)) for name, signature, value in properties]


def _system_addresses() -> list[tuple[str, bool]]:
    bus = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or address("/run/dbus/system_bus_socket")
    return [(bus, True), (address("/run/systemd/private"), False)]


def _user_addresses() -> list[tuple[str, bool]]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    bus = os.environ.get("DBUS_SESSION_BUS_ADDRESS") or address(f"{runtime}/bus")
    return [(bus, True), (address(f"{runtime}/systemd/private"), False)]
