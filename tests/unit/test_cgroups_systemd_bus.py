"""The driver's side of D-Bus, against a service manager that speaks it by another library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer.cgroups import systemd_bus, systemd_units
from libcontainer.cgroups.systemd_bus import Bus, address
from libcontainer.cgroups.systemd_units import UnitExists, Units
from libcontainer.errors import Error, Unsupported, describe
from tests.root.laboratory import Snapshot
from tests.service_manager import ServiceManager, message_bus


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with message_bus(tmp_path) as where:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", where)
        monkeypatch.setattr(systemd_units, "_UNLOADING", (0.0, 0.0, 0.01))
        manager = ServiceManager(where)
        yield manager
        manager.close()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def units(systemd: ServiceManager, told: list[str]) -> Iterator[Units]:
    units = Units(rootless=False, log=lambda level, text: told.append(f"{level}: {text}"))
    yield units
    units.close()


def test_a_unit_is_started(units: Units, systemd: ServiceManager) -> None:
    properties: list[tuple[str, str, Any]] = [
        ("Description", "s", "a container"),
        ("Delegate", "b", True),
        ("PIDs", "au", [1, 2**32 - 1]),
        ("MemoryMax", "t", 2**64 - 1),
        ("AllowedCPUs", "ay", b"\x03\x01"),
        ("DeviceAllow", "a(ss)", [("char-*", "m"), ("/dev/char/1:3", "rwm")]),
        ("DeviceAllow", "a(ss)", []),
        ("IOReadBandwidthMax", "a(st)", [("/dev/block/8:0", 5)]),
        ("Wants", "as", ["a.service"]),
    ]
    units.start("runc-x.scope", properties)
    (call,) = systemd.of("StartTransientUnit")
    assert call == ("runc-x.scope", "replace", [(n, (s, v)) for n, s, v in properties], [])


def test_values_of_every_type_arrive(units: Units, systemd: ServiceManager) -> None:
    values: list[tuple[str, str, Any]] = [
        ("Y", "y", 255),
        ("N", "n", -5),
        ("Q", "q", 65535),
        ("I", "i", -(2**31)),
        ("X", "x", -(2**63)),
        ("D", "d", 1.5),
        ("O", "o", "/a/b"),
        ("G", "g", "a{sv}"),
        ("V", "v", ("s", "inner")),
        ("R", "(sa(bu))", ("x", [(True, 1), (False, 2)])),
        ("E", "a{sv}", {"k": ("t", 3)}),
        ("A", "aas", [["ü"], []]),
    ]
    units.start("a.scope", values)
    assert systemd.of("StartTransientUnit")[0][2] == [(n, (s, v)) for n, s, v in values]


@pytest.mark.parametrize(("signature", "value"), [("t", -1), ("y", 256), ("s", "a\0b")])
def test_a_value_that_does_not_fit_is_refused(units: Units, signature: str, value: Any) -> None:
    with pytest.raises((OverflowError, Error)):
        units.start("a.scope", [("X", signature, value)])


def test_properties_that_this_systemd_lacks_are_left_out(units: Units, systemd: ServiceManager) -> None:
    systemd.version = "v243"
    units.start("a.scope", [("AllowedCPUs", "ay", b"\1"), ("CPUWeight", "t", 0), ("TasksMax", "t", 1)])
    assert systemd.of("StartTransientUnit")[0][2] == [("TasksMax", ("t", 1))]


def test_a_job_that_fails(units: Units, systemd: ServiceManager) -> None:
    systemd.results["StartTransientUnit"] = "failed"
    with pytest.raises(Error) as caught:
        units.start("a.scope", [])
    assert str(caught.value) == "error creating systemd unit `a.scope`: got `failed`"
    assert systemd.of("ResetFailedUnit") == [("a.scope",)]


def test_a_job_that_never_ends(units: Units, systemd: ServiceManager, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.silent = True
    monkeypatch.setattr(systemd_units, "TIMEOUT", 0.2)
    start = time.monotonic()
    with pytest.raises(Error) as caught:
        units.start("a.scope", [])
    assert str(caught.value) == "Timeout waiting for systemd to create a.scope"
    assert 0.2 <= time.monotonic() - start < 25  # not the 30 s that are usual


def test_a_unit_that_an_earlier_container_left_failed(units: Units, systemd: ServiceManager) -> None:
    systemd.units["a.scope"] = "failed"
    units.start("a.scope", [])
    assert [call[0] for call in systemd.calls if call[0] != "Get"] == [
        "StartTransientUnit",
        "ResetFailedUnit",
        "StartTransientUnit",
    ]


def test_a_unit_that_is_alive_is_left_alone(units: Units, systemd: ServiceManager) -> None:
    systemd.units["a.scope"] = "active"
    with pytest.raises(UnitExists):
        units.start("a.scope", [])
    assert not systemd.of("ResetFailedUnit")


def test_a_unit_that_is_going_away_is_waited_for(
    units: Units, systemd: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.units["a.scope"] = "deactivating"
    with pytest.raises(UnitExists):
        units.start("a.scope", [])
    assert len(systemd.of("StartTransientUnit")) == 3

    def unload(delay: float) -> None:
        if delay:
            systemd.units.clear()

    monkeypatch.setattr(time, "sleep", unload)
    units.start("a.scope", [])


def test_stop(units: Units, systemd: ServiceManager, told: list[str]) -> None:
    units.start("a.scope", [])
    units.stop("a.scope")
    assert systemd.of("StopUnit") == [("a.scope", "replace")]
    assert systemd.of("ResetFailedUnit") == [("a.scope",)]
    units.stop("a.scope")  # again: it is not there
    assert told == []


def test_a_stop_that_goes_wrong_is_told(units: Units, systemd: ServiceManager, told: list[str]) -> None:
    units.start("a.scope", [])
    systemd.results["StopUnit"] = "canceled"
    units.stop("a.scope")
    assert told == ["warning: error removing unit `a.scope`: got `canceled`. Continuing..."]


def test_a_stop_that_takes_too_long_is_told(
    units: Units, systemd: ServiceManager, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    units.start("a.scope", [])
    systemd.silent = True
    monkeypatch.setattr(systemd_units, "TIMEOUT", 0.1)
    units.stop("a.scope")
    assert told == ["warning: Timed out while waiting for systemd to remove a.scope"]


def test_set_properties_until_the_next_boot(units: Units, systemd: ServiceManager) -> None:
    units.start("a.scope", [])
    units.set_properties("a.scope", [("TasksMax", "t", 7)])
    assert systemd.of("SetUnitProperties") == [("a.scope", True, [("TasksMax", ("t", 7))])]
    with pytest.raises(Error, match="NoSuchUnit it is"):
        units.set_properties("b.scope", [])


def test_attach(units: Units, systemd: ServiceManager) -> None:
    units.attach("a.scope", "/sub", [5])
    assert systemd.of("AttachProcessesToUnit") == [("a.scope", "/sub", [5])]


def test_the_manager_is_asked(units: Units, systemd: ServiceManager) -> None:
    assert units.version() == 252
    assert units.control_group() == ""
    units.start("a-b.scope", [])
    assert units.property("a-b.scope", "org.freedesktop.systemd1.Unit", "ActiveState") == "active"


def test_a_dropped_connection_is_made_anew(units: Units, systemd: ServiceManager) -> None:
    units.version()
    dropped = units._bus
    for entry in os.scandir("/proc/self/fd"):
        _shut_down(int(entry.name), systemd)
    units.start("a.scope", [])
    assert units._bus is not dropped


def _shut_down(fd: int, systemd: ServiceManager) -> None:
    """Every connection to the bus but the service manager's own."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            if copy.family == socket.AF_UNIX and fd != systemd._connection.sock.fileno() and "/bus" in copy.getpeername():
                copy.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def test_no_descriptor_is_left(units: Units) -> None:
    before = Snapshot()
    for _ in range(3):
        units.start("a.scope", [])
        units.stop("a.scope")
        units.close()
    before.assert_unchanged()


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address(f"{tmp_path}/bus"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Error) as caught:
        Units(rootless=True, log=print).start("a.scope", [])
    assert describe(caught.value) == (
        f"unable to connect to the user's systemd: connect unix:path={tmp_path}/bus: no such file or directory"
    )


def test_the_users_bus_is_in_the_runtime_directory(
    systemd: ServiceManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    units = Units(rootless=True, log=print)
    units.start("a.scope", [])
    units.close()
    assert "a.scope" in systemd.units


def test_addresses_are_escaped() -> None:
    assert address("/run/a b,c;d=é") == "unix:path=/run/a%20b%2cc%3bd%3d%c3%a9"


def test_a_crowded_bus_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN, as connect(2) gives it when the socket's queue is full."""
    delays: list[float] = []
    monkeypatch.setattr(time, "sleep", delays.append)
    ffi, library = systemd_bus._library()

    class Crowded:
        def __getattr__(self, name: str) -> Any:
            return (lambda _bus: -11) if name == "sd_bus_start" else getattr(library, name)

    monkeypatch.setattr(systemd_bus, "_library", lambda: (ffi, Crowded()))
    with pytest.raises(OSError, match="unavailable"):
        Bus(address("/nowhere"), is_bus=True)
    assert delays == [0.1 * 2**n for n in range(7)]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_bus, "_LIBRARY", "libsystemd-that-is-not.so.0")
    with pytest.raises(Unsupported, match=r"needs libsystemd-that-is-not\.so\.0"):
        Bus(address("/nowhere"), is_bus=True)
