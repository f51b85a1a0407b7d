"""A container's life with each cgroup driver, for root and for a user: every verb that works on cgroups, every limit there is.

What is asked is compared with the cgroup files, and with what systemd says of the unit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.root.conftest import Sandbox, wait_until
from tests.root.drivers import KINDS, V2, Driver, made

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

MIB = 1 << 20


class Shown:
    """How one limit is shown: the unit's property, the file of v1 (with its controller) and of v2."""

    __slots__ = ("properties", "v1", "v2")

    def __init__(self, v2: tuple[str, str], v1: tuple[str, str, str] | None = None, **properties: str) -> None:
        self.v1 = v1
        self.v2 = v2
        self.properties = properties


CREATED: Any = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
    "cpu": {"shares": 512, "quota": 5001, "period": 50000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 20},
}
AFTER_CREATE = (
    Shown(("memory.max", str(64 * MIB)), ("memory", "memory.limit_in_bytes", str(64 * MIB)), MemoryMax=str(64 * MIB)),
    Shown(("memory.low", str(32 * MIB)), ("memory", "memory.soft_limit_in_bytes", str(32 * MIB)), MemoryLow=str(32 * MIB)),
    Shown(
        ("memory.swap.max", str(32 * MIB)),
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        MemorySwapMax=str(32 * MIB),
    ),
    Shown(("cpu.weight", "59"), ("cpu", "cpu.shares", "512"), CPUWeight="59"),
    Shown(("cpuset.cpus", "0"), ("cpuset", "cpuset.cpus", "0"), AllowedCPUs="0"),
    Shown(("cpuset.mems", "0"), ("cpuset", "cpuset.mems", "0"), AllowedMemoryNodes="0"),
    Shown(("pids.max", "20"), ("pids", "pids.max", "20"), TasksMax="20"),
)
QUOTA = {
    # systemd keeps per cents of a CPU, and rounds up
    True: Shown(("cpu.max", "5500 50000"), CPUQuotaPerSecUSec="110ms", CPUQuotaPeriodUSec="50ms"),
    False: Shown(("cpu.max", "5001 50000"), ("cpu", "cpu.cfs_quota_us", "5001")),
}
FLAGS = (
    *("--memory", "80M", "--memory-swap", "80M", "--memory-reservation", "16M", "--pids-limit", "30", "--cpu-share", "1024"),
    *("--cpu-quota", "20000", "--cpu-period", "100000", "--cpu-burst", "1000", "--cpuset-cpus", "0", "--cpuset-mems", "0"),
)
AFTER_FLAGS = (
    Shown(("memory.max", str(80 * MIB)), ("memory", "memory.limit_in_bytes", str(80 * MIB)), MemoryMax=str(80 * MIB)),
    Shown(("memory.low", str(16 * MIB)), ("memory", "memory.soft_limit_in_bytes", str(16 * MIB)), MemoryLow=str(16 * MIB)),
    Shown(("memory.swap.max", "0"), ("memory", "memory.memsw.limit_in_bytes", str(80 * MIB)), MemorySwapMax="0"),
    Shown(("cpu.weight", "100"), ("cpu", "cpu.shares", "1024"), CPUWeight="100"),
    Shown(("cpu.max", "20000 100000"), ("cpu", "cpu.cfs_quota_us", "20000"), CPUQuotaPerSecUSec="200ms"),
    Shown(("cpu.max.burst", "1000"), ("cpu", "cpu.cfs_burst_us", "1000")),
    Shown(("pids.max", "30"), ("pids", "pids.max", "30"), TasksMax="30"),
)
AFTER_FILE = (
    Shown(("memory.max", "max"), ("memory", "memory.limit_in_bytes", "9223372036854771712"), MemoryMax="infinity"),
    Shown(("cpu.idle", "1"), ("cpu", "cpu.idle", "1"), CPUWeight="idle"),
    Shown(("cpu.max", "max 100000"), ("cpu", "cpu.cfs_quota_us", "-1"), CPUQuotaPerSecUSec="infinity"),
    Shown(("pids.max", "max"), ("pids", "pids.max", "max"), TasksMax="infinity"),
)


@pytest.fixture(params=KINDS)
def driver(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Driver]:
    with made(sandbox, request.param) as driver:
        yield driver


def assert_shown(driver: Driver, limits: tuple[Shown, ...]) -> None:
    for limit in limits:
        if V2:
            assert (driver.cgroup("") / limit.v2[0]).read_text().strip() == limit.v2[1], limit.v2
        elif limit.v1:
            controller, file, text = limit.v1
            assert (driver.cgroup(controller) / file).read_text().strip() == text, limit.v1
    if driver.systemd:
        wanted = {name: text for limit in limits for name, text in limit.properties.items()}
        assert driver.shown(*wanted) == wanted


def block_device() -> str:
    return next(Path("/sys/block").glob("*/dev")).read_text().strip()


def throttled() -> tuple[dict[str, Any], Shown]:
    """Rates of a block device, and how they are shown."""
    device = block_device()
    major, minor = map(int, device.split(":"))
    rates = {
        "throttleReadBpsDevice": 1 << 20,
        "throttleWriteBpsDevice": 2 << 20,
        "throttleReadIOPSDevice": 100,
        "throttleWriteIOPSDevice": 200,
    }
    asked = {name: [{"major": major, "minor": minor, "rate": rate}] for name, rate in rates.items()}
    node = f"/dev/block/{device}"
    return asked, Shown(
        ("io.max", f"{device} rbps=1048576 wbps=2097152 riops=100 wiops=200"),
        ("blkio", "blkio.throttle.read_bps_device", f"{device} 1048576"),
        IOReadBandwidthMax=f"{node} 1048576",
        IOWriteBandwidthMax=f"{node} 2097152",
        IOReadIOPSMax=f"{node} 100",
        IOWriteIOPSMax=f"{node} 200",
    )


def test_a_life(driver: Driver) -> None:
    rates, shown_rates = throttled()
    driver.limit({**CREATED, "blockIO": rates}, "sleep", "1000")
    runtime, name = driver.runtime, driver.name
    runtime.ok(*driver.flags, "create", "--bundle", str(driver.bundle.path), name)
    assert_shown(driver, (*AFTER_CREATE, QUOTA[driver.systemd], shown_rates))
    runtime.ok("start", name)
    pid = runtime.state(name)["pid"]
    directory = driver.cgroup("pids")
    assert (directory / "cgroup.procs").read_text().split() == [str(pid)]

    runtime.ok("update", *FLAGS, name)
    assert_shown(driver, AFTER_FLAGS)

    runtime.ok("pause", name)
    assert runtime.status(name) == "paused"
    assert "cannot exec in a paused container" in runtime.run("exec", name, "true")[1]
    resources = driver.runtime.scratch / "resources.json"
    resources.write_text(json.dumps({"memory": {"limit": -1}, "cpu": {"idle": 1, "quota": -1}, "pids": {"limit": -1}}))
    resources.chmod(0o644)
    runtime.ok("update", "--resources", str(resources), name)
    assert_shown(driver, AFTER_FILE)
    assert runtime.status(name) == "paused"
    runtime.ok("resume", name)

    assert json.loads(runtime.ok("ps", "--format", "json", name)) == [pid]
    header, line = runtime.ok("ps", name, "-o", "pid,args").splitlines()
    assert (header.split(), line.split()) == (["PID", "COMMAND"], [str(pid), "sleep", "1000"])
    event = json.loads(runtime.ok("events", "--stats", name))
    assert (event["type"], event["id"], event["data"]["pids"]) == ("stats", name, {"current": 1})
    assert event["data"]["memory"]["usage"]["usage"] > 0
    (top,) = json.loads(runtime.ok("top", "--interval", "100ms", "--format", "json", name))
    assert (top["status"], top["pids"]) == ("running", {"current": 1, "limit": None})

    exec_pid = driver.runtime.scratch / "exec.pid"
    runtime.ok("exec", "--detach", "--pid-file", str(exec_pid), name, "sleep", "1000")
    assert (directory / "cgroup.procs").read_text().split() == [str(pid), exec_pid.read_text()]
    status = runtime.run("delete", name)
    assert (status[0], "that is not stopped: running" in status[1]) == (1, True)
    runtime.ok("delete", "--force", name)
    assert not directory.exists()
    wait_until(driver.forgotten)


def test_what_ends_by_itself_leaves_nothing(driver: Driver) -> None:
    driver.limit({}, "sh", "-c", "exit 7")
    assert driver.run()[0] == 7
    assert not driver.cgroup("pids").exists()
    wait_until(driver.forgotten)


def test_a_create_that_fails_leaves_nothing(driver: Driver) -> None:
    driver.limit({"cpu": {"cpus": "4000"}}, "true")
    assert driver.run()[0] == 1
    wait_until(lambda: not driver.cgroup("cpuset").exists())
    assert not os.path.exists(driver.runtime.root / driver.name)
    wait_until(driver.forgotten)
