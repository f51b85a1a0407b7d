"""Limits of a living container, by the library: what update() makes the kernel show, on v1 and v2; and that they hold.

One container serves for many limits, so that this is quick where each process is dear (an emulated machine).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer import Container, Error
from libcontainer.cgroups import mode
from libcontainer.errors import ContainerNotPaused, ContainerNotRunning, describe
from tests.root.conftest import LIMIT, Share, wait_until
from tests.root.laboratory import Laboratory

pytestmark = pytest.mark.root

V2 = mode() == "v2"
MIB = 1 << 20
NO_LIMIT = "9223372036854771712"

# what is asked; on v1: controller, file, text; on v2: file, text
SHOWN: list[tuple[Any, tuple[str, str, str], tuple[str, str]]] = [
    ({"memory": {"limit": 64 * MIB}}, ("memory", "memory.limit_in_bytes", str(64 * MIB)), ("memory.max", str(64 * MIB))),
    (
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
    ),
    (
        {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}},
        ("memory", "memory.memsw.limit_in_bytes", str(32 * MIB)),
        ("memory.swap.max", "0"),
    ),
    ({"memory": {"swap": -1}}, ("memory", "memory.memsw.limit_in_bytes", NO_LIMIT), ("memory.swap.max", "max")),
    ({"memory": {"limit": -1}}, ("memory", "memory.limit_in_bytes", NO_LIMIT), ("memory.max", "max")),
    (
        {"memory": {"reservation": 16 * MIB}},
        ("memory", "memory.soft_limit_in_bytes", str(16 * MIB)),
        ("memory.low", str(16 * MIB)),
    ),
    ({"cpu": {"shares": 512}}, ("cpu", "cpu.shares", "512"), ("cpu.weight", "59")),
    ({"cpu": {"shares": 1024}}, ("cpu", "cpu.shares", "1024"), ("cpu.weight", "100")),
    ({"cpu": {"idle": 1}}, ("cpu", "cpu.idle", "1"), ("cpu.idle", "1")),
    ({"cpu": {"idle": 0, "shares": 2}}, ("cpu", "cpu.shares", "2"), ("cpu.weight", "1")),
    ({"cpu": {"quota": 20000, "period": 50000}}, ("cpu", "cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")),
    ({"cpu": {"quota": 30000}}, ("cpu", "cpu.cfs_period_us", "50000"), ("cpu.max", "30000 50000")),
    ({"cpu": {"period": 60000}}, ("cpu", "cpu.cfs_period_us", "60000"), ("cpu.max", "30000 60000")),
    ({"cpu": {"quota": 30000, "burst": 5000}}, ("cpu", "cpu.cfs_burst_us", "5000"), ("cpu.max.burst", "5000")),
    ({"cpu": {"quota": -1, "burst": 0}}, ("cpu", "cpu.cfs_quota_us", "-1"), ("cpu.max", "max 60000")),
    ({"cpu": {"cpus": "0"}}, ("cpuset", "cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ({"cpu": {"mems": "0"}}, ("cpuset", "cpuset.mems", "0"), ("cpuset.mems", "0")),
    ({"pids": {"limit": 77}}, ("pids", "pids.max", "77"), ("pids.max", "77")),
    ({"pids": {"limit": -1}}, ("pids", "pids.max", "max"), ("pids.max", "max")),
    ({"pids": {"limit": 0}}, ("pids", "pids.max", "1"), ("pids.max", "1")),
]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Iterator[Laboratory]:
    laboratory = Laboratory(tmp_path_factory.mktemp("limits"), busybox_rootfs)
    yield laboratory
    laboratory.clean_up()
    assert not laboratory.left_behind()


def started(laboratory: Laboratory, script: str = "exec sleep 1000", **resources: Any) -> Container:
    spec = laboratory.spec(script)
    spec["linux"]["resources"].update(resources)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        container = laboratory.make(spec, stdio=(null, null, null))
    finally:
        os.close(null)
    container.start()
    return container


@pytest.fixture
def container(laboratory: Laboratory) -> Iterator[Container]:
    container = started(laboratory)
    yield container
    container.delete(force=True)


@pytest.fixture(scope="module")
def updated(laboratory: Laboratory) -> Iterator[Container]:
    """One that is updated again and again."""
    container = started(laboratory)
    yield container
    container.delete(force=True)


def path_of(container: Container, v1: str, v2: str) -> Path:
    """A file of the container: "controller/file" on v1."""
    if V2:
        return Path(container.cgroup.paths[""], v2)
    controller, _, name = v1.partition("/")
    return Path(container.cgroup.paths[controller], name)


def shown(container: Container, v1: str, v2: str) -> str:
    return path_of(container, v1, v2).read_text().strip()


@pytest.mark.parametrize(("resources", "v1", "v2"), SHOWN, ids=[json.dumps(row[0]) for row in SHOWN])
def test_what_the_kernel_shows(updated: Container, resources: Any, v1: tuple[str, str, str], v2: tuple[str, str]) -> None:
    """In this order: periods and bursts stay from one to the next."""
    path = path_of(updated, f"{v1[0]}/{v1[1]}", v2[0])
    updated.update(resources)
    if not path.exists():
        pytest.skip(f"this kernel has no {path.name}")
    assert path.read_text().strip() == (v2[1] if V2 else v1[2])


def test_state_json_has_what_is_managed(container: Container) -> None:
    container.update({"memory": {"limit": 50 * MIB}, "pids": {"limit": 40}, "cpu": {"shares": 100}})
    again = Container.load(container.id, root=container.root)
    saved = again.saved.cgroup
    assert (saved["memory"], saved["pids_limit"], saved["cpu_shares"], saved["cpu_weight"]) == (50 * MIB, 40, 100, 17)
    again.update({})
    assert "pids_limit" not in again.saved.cgroup
    assert shown(again, "pids/pids.max", "pids.max") == "40"
    container.state = again.state
    container.saved = again.saved


def test_a_refused_update_changes_nothing(container: Container) -> None:
    files = (("memory/memory.limit_in_bytes", "memory.max"), ("pids/pids.max", "pids.max"), ("cpu/cpu.shares", "cpu.weight"))
    container.update({"memory": {"limit": 50 * MIB, "swap": -1}})
    before = [shown(container, *pair) for pair in files]
    text = (Path(container.directory) / "state.json").read_text()
    with pytest.raises(Error) as caught:
        container.update(
            {"memory": {"limit": 70 * MIB}, "pids": {"limit": 9}, "cpu": {"shares": 300, "quota": 100, "period": 1}}
        )
    assert "linux.resources.cpu" in describe(caught.value)
    assert [shown(container, *pair) for pair in files] == before
    assert (Path(container.directory) / "state.json").read_text() == text


def test_swap_below_memory_is_refused_beforehand(container: Container) -> None:
    container.update({"memory": {"limit": 50 * MIB, "swap": -1}})
    before = shown(container, "memory/memory.limit_in_bytes", "memory.max")
    with pytest.raises(Error):
        container.update({"memory": {"limit": 60 * MIB, "swap": 30 * MIB}})
    assert shown(container, "memory/memory.limit_in_bytes", "memory.max") == before


@pytest.mark.skipif(not V2, reason="cgroup v2")
def test_check_before_update(container: Container) -> None:
    container.update({"memory": {"limit": 50 * MIB, "swap": -1}})
    with pytest.raises(Error, match=r"^rejecting memory limit 4096 <= usage \d+$"):
        container.update({"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    with pytest.raises(Error, match=r"^rejecting memory\+swap limit 8192 <= usage \d+$"):
        container.update({"memory": {"limit": 50 * MIB, "swap": 8192, "checkBeforeUpdate": True}})
    assert shown(container, "", "memory.max") == str(50 * MIB)
    assert container.status() == "running"


@pytest.mark.skipif(not V2, reason="cgroup v2")
def test_unified(container: Container) -> None:
    container.update({"unified": {"memory.high": str(40 * MIB), "memory.oom.group": "1", "cpu.weight": "7"}})
    for file, text in (("memory.high", str(40 * MIB)), ("memory.oom.group", "1"), ("cpu.weight", "7")):
        assert shown(container, "", file) == text
    with pytest.raises(Error, match='^unable to set unified resource "memory.max"'):
        container.update({"unified": {"memory.max": "nonsense"}})
    with pytest.raises(Error, match="^unified resource \"nothing.max\" can't be set: controller \"nothing\" not available"):
        container.update({"unified": {"nothing.max": "1"}})
    container.update({"unified": {"memory.high": "max", "memory.oom.group": "0"}})


def test_a_paused_container_is_updated_and_stays_paused(container: Container) -> None:
    container.pause()
    try:
        container.update({"memory": {"limit": 80 * MIB, "swap": -1}, "pids": {"limit": 50}, "cpu": {"shares": 200}})
        assert shown(container, "memory/memory.limit_in_bytes", "memory.max") == str(80 * MIB)
        assert container.status() == "paused"
        with pytest.raises(ContainerNotRunning):
            container.pause()
    finally:
        container.resume()
    assert container.status() == "running"
    with pytest.raises(ContainerNotPaused):
        container.resume()


def test_statistics(container: Container) -> None:
    container.update({"memory": {"limit": 80 * MIB, "swap": -1}, "pids": {"limit": 50}})
    found = container.stats()
    assert found["pids"] == {"current": 1, "limit": 50}
    assert found["memory"]["usage"]["limit"] == 80 * MIB
    assert 0 < found["memory"]["usage"]["usage"] < 80 * MIB
    assert found["cpu"]["usage"]["total"] > 0
    assert list(container.processes()) == [container.pid]


def test_a_stopped_container(laboratory: Laboratory) -> None:
    container = started(laboratory, "true")
    assert container.wait() == 0
    for verb in (lambda: container.update({}), container.pause, lambda: next(container.events())):
        with pytest.raises(ContainerNotRunning):
            verb()
    assert list(container.processes()) == []
    container.delete()


def test_out_of_memory_is_an_event(laboratory: Laboratory) -> None:
    greedy = "busybox dd if=/dev/zero of=/dev/null bs=100M count=1"  # one process: test_real_limits.py says why
    script = f"until [ -e /go ]; do sleep 0.1; done; {greedy}; exec sleep 1000"
    container = started(laboratory, script, memory={"limit": 20 * MIB, "swap": 20 * MIB})
    events = container.events(interval=0.2)
    assert next(events)["type"] == "stats"  # it watches now
    (laboratory.rootfs / "go").touch()
    end = time.monotonic() + LIMIT
    told = next(event for event in events if event["type"] != "stats" or time.monotonic() > end)
    assert told == {"type": "oom", "id": container.id}
    assert container.status() == "running"
    container.signal(9)
    assert {event["type"] for event in events} <= {"oom", "stats"}  # it ends with the container
    container.delete(force=True)


def test_a_quota_holds(laboratory: Laboratory) -> None:
    container = started(laboratory, "while :; do :; done", cpu={"quota": 20000, "period": 100000})

    def used() -> float:
        return float(container.stats()["cpu"]["usage"]["total"]) / 1e9

    wait_until(lambda: used() > 0.1)  # it is at work
    share = Share(used, 3)
    container.delete(force=True)
    assert share.is_about(0.2), (share.least, share.most, share.idle)


def test_a_fork_bomb_is_stopped(laboratory: Laboratory) -> None:
    container = started(laboratory, "bomb() { bomb | bomb & }; bomb; exec sleep 1000", pids={"limit": 12})
    time.sleep(1)
    assert len(container.processes()) <= 12
    container.delete(force=True)
