"""A service manager for tests: org.freedesktop.systemd1 on a message bus of its own, for machines without systemd.

It speaks D-Bus by jeepney, so that sd-bus is not its own witness. What it is told it remembers; with `cgroups` it makes the
units' cgroups and moves processes into them, as systemd does.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

jeepney = pytest.importorskip("jeepney")
open_dbus_connection = pytest.importorskip("jeepney.io.blocking").open_dbus_connection

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"""
Properties = list[tuple[str, tuple[str, Any]]]


class Refusal(Exception):
    """The error that a method shall answer with."""


class ServiceManager:
    """A test sets `results` of jobs, `version`, `units` (name -> ActiveState) that there are; it reads `calls`."""

    def __init__(self, address: str, cgroups: Callable[[str, int], list[str]] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.units: dict[str, str] = {}
        self.version = "252.38-1~deb12u1"
        self.results = {"StartTransientUnit": "done", "StopUnit": "done"}
        self.silent = False
        self.cgroups = cgroups
        self.made: dict[str, list[str]] = {}
        self._connection = open_dbus_connection(bus=address)
        proxy = jeepney.DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        request = jeepney.new_method_call(proxy, "RequestName", "su", (NAME, 0))
        assert self._connection.send_and_get_reply(request).body == (1,)
        self._stop, self._stopping = os.pipe()
        self._jobs = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stopping, b"0")
        self._thread.join()
        self._connection.close()
        os.close(self._stop)
        os.close(self._stopping)

    def of(self, member: str) -> list[tuple[Any, ...]]:
        """The arguments of the calls of one method."""
        return [call[1:] for call in self.calls if call[0] == member]

    def _serve(self) -> None:
        while self._stop not in select.select([self._stop, self._connection.sock], [], [])[0]:
            for message in self._received():
                if message.header.message_type == jeepney.MessageType.method_call:
                    self._answer(message)

    def _received(self) -> Iterator[Any]:
        """All that has come: one read may bring several messages, of which select(2) tells nothing afterwards."""
        with suppress(TimeoutError):
            while True:
                yield self._connection.receive(timeout=0)

    def _answer(self, message: Any) -> None:
        member = message.header.fields[jeepney.HeaderFields.member]
        self.calls.append((member, *message.body))
        try:
            signature, body, job = getattr(self, f"_{member}")(message.header.fields, *message.body)
        except Refusal as refusal:
            self._connection.send(jeepney.new_error(message, f"{NAME}.{refusal}", "s", (f"{refusal} it is",)))
            return
        if job and not self.silent:  # before the reply, as it may happen
            self._connection.send(job)
        self._connection.send(jeepney.new_method_return(message, signature, body))

    def _job(self, method: str, unit: str) -> tuple[str, tuple[str], Any]:
        self._jobs += 1
        path = f"{PATH}/job/{self._jobs}"
        emitter = jeepney.DBusAddress(PATH, interface=f"{NAME}.Manager")
        body = (self._jobs, path, unit, self.results[method])
        return "o", (path,), jeepney.new_signal(emitter, "JobRemoved", "uoss", body)

    def _StartTransientUnit(self, _fields: Any, unit: str, mode: str, properties: Properties, _auxiliary: Any) -> Any:
        assert mode == "replace"
        if unit in self.units:
            raise Refusal("UnitExists")
        self.units[unit] = "active"
        if self.cgroups:
            pids: list[int] = next((value for name, (_, value) in properties if name == "PIDs"), [])
            self.made[unit] = [directory for pid in pids for directory in self.cgroups(unit, pid)]
        return self._job("StartTransientUnit", unit)

    def _StopUnit(self, _fields: Any, unit: str, _mode: str) -> Any:
        if self.units.get(unit) is None:
            raise Refusal("NoSuchUnit")
        del self.units[unit]
        for directory in self.made.pop(unit, []):
            os.rmdir(directory)
        return self._job("StopUnit", unit)

    def _ResetFailedUnit(self, _fields: Any, unit: str) -> Any:
        if self.units.get(unit) == "failed":
            del self.units[unit]
        elif unit not in self.units:
            raise Refusal("NoSuchUnit")
        return "", (), None

    def _SetUnitProperties(self, _fields: Any, unit: str, _runtime: bool, _properties: Properties) -> Any:
        if unit not in self.units:
            raise Refusal("NoSuchUnit")
        return "", (), None

    def _AttachProcessesToUnit(self, _fields: Any, _unit: str, _below: str, _pids: list[int]) -> Any:
        return "", (), None

    def _Get(self, fields: Any, _interface: str, name: str) -> Any:
        unit = fields[jeepney.HeaderFields.path].rpartition("/")[2]
        for plain, text in (("_2e", "."), ("_2d", "-")):
            unit = unit.replace(plain, text)
        values = {"Version": self.version, "ControlGroup": "", "DevicePolicy": "auto"}
        return "v", (("s", values.get(name) or self.units.get(unit, "inactive" if name == "ActiveState" else "")),), None


@contextmanager
def message_bus(directory: Path) -> Iterator[str]:
    """The address of a bus that ends with the block."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("dbus-daemon is not installed")
    path = directory / "bus"
    (directory / "bus.conf").write_text(CONFIG.format(path=path))
    command = [daemon, f"--config-file={directory}/bus.conf", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield f"unix:path={path}"
        finally:
            process.terminate()
