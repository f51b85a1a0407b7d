"""The rules by which an update is merged into the limits that are saved."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from libcontainer import container_update, saved_resources
from libcontainer.errors import ContainerNotRunning, Error, Unsupported
from tests.resctrl_tree import Resctrl

OLD: Any = {
    "memory": {"limit": 100, "reservation": 50, "swap": 200, "swappiness": 10, "disableOOMKiller": True,
               "checkBeforeUpdate": True},
    "cpu": {"shares": 7, "quota": 1, "period": 2, "burst": 3, "idle": 0, "cpus": "0", "mems": "0", "realtimePeriod": 4,
            "realtimeRuntime": 5},
    "pids": {"limit": 9},
    "blockIO": {"weight": 11, "leafWeight": 12, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "network": {"classID": 1},
    "rdma": {"mlx": {"hcaHandles": 1}},
    "unified": {"memory.high": "1"},
}  # fmt: skip


def merged(given: Any, old: Any = OLD) -> Any:
    return container_update.merged(old, given)


def test_nothing_given() -> None:
    assert merged({}) == {
        "memory": {"limit": 100, "reservation": 50, "swap": 200, "swappiness": 10, "disableOOMKiller": True},
        "cpu": {"shares": 7, "realtimePeriod": 4, "realtimeRuntime": 5},
        "blockIO": OLD["blockIO"],
        "hugepageLimits": OLD["hugepageLimits"],
        "network": OLD["network"],
        "rdma": OLD["rdma"],
    }


def test_the_arguments_stay_as_they_are() -> None:
    before = repr(OLD)
    merged({"memory": {"limit": 1}, "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}]}})
    assert repr(OLD) == before


def test_what_is_given_replaces() -> None:
    given: Any = {
        "memory": {"limit": 1, "reservation": 2, "swap": 3, "checkBeforeUpdate": True},
        "cpu": {"shares": 4, "burst": 0, "idle": 0, "cpus": "1", "mems": "1", "realtimePeriod": 5, "realtimeRuntime": 6},
        "pids": {"limit": -1},
        "blockIO": {"weight": 13},
        "unified": {"cpu.weight": "5"},
    }
    new = merged(given)
    assert new["memory"] == {**given["memory"], "swappiness": 10, "disableOOMKiller": True}
    assert new["cpu"] == given["cpu"]
    assert (new["pids"], new["blockIO"]["weight"], new["unified"]) == ({"limit": -1}, 13, {"cpu.weight": "5"})


@pytest.mark.parametrize(
    ("given", "quota", "period"),
    [({}, None, None), ({"quota": 3}, 3, 2), ({"period": 4}, 1, 4), ({"quota": 3, "period": 4}, 3, 4)],
)
def test_quota_and_period(given: Any, quota: int | None, period: int | None) -> None:
    cpu = merged({"cpu": given})["cpu"]
    assert (cpu.get("quota"), cpu.get("period")) == (quota, period)


def test_unlimited_memory_takes_the_swap_limit_with_it() -> None:
    assert "swap" not in merged({"memory": {"limit": -1}})["memory"]
    assert merged({"memory": {"limit": -1, "swap": 5}})["memory"]["swap"] == 5


def test_an_idle_group_has_no_shares() -> None:
    assert "shares" not in merged({"cpu": {"idle": 1}})["cpu"]
    assert merged({"cpu": {"idle": 0}})["cpu"]["shares"] == 7
    assert merged({"cpu": {"idle": 1, "shares": 8}})["cpu"]["shares"] == 8


def test_device_entries_are_replaced_by_number() -> None:
    new = {"major": 8, "minor": 0, "rate": 2}
    other = {"major": 8, "minor": 16, "rate": 3}
    given = {"throttleReadBpsDevice": [other, {**new, "rate": 1}, new], "throttleWriteIOPSDevice": [other]}
    block = merged({"blockIO": given})["blockIO"]
    assert sorted(block["throttleReadBpsDevice"], key=str) == sorted([new, other], key=str)
    assert block["throttleWriteIOPSDevice"] == [other]


def test_what_cannot_be_updated_is_not() -> None:
    given = {
        "devices": [{"allow": True, "access": "rwm"}],
        "memory": {"swappiness": 99, "disableOOMKiller": False},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 2}],
        "network": {"classID": 2},
        "rdma": {"other": {"hcaHandles": 2}},
        "blockIO": {"leafWeight": 99},
    }
    assert merged(given) == merged({})


# -- the form in state.json


def test_zeros_of_runc_mean_nothing_set() -> None:
    cgroup: dict[str, Any] = {name: 0 for _, _, name in saved_resources.MEMBERS}
    found = saved_resources.from_saved({**cgroup, "hugetlb_limit": None, "rdma": None, "unified": None, "cpuset_cpus": ""})
    assert found == {"memory": {"swappiness": 0}, "cpu": {"burst": 0, "idle": 0}}


def test_replaced_keeps_other_members() -> None:
    kept = {"name": "c", "path": "/c", "devices": [1], "freezer": ""}
    saved = {**kept, "memory": 1, "cpu_weight": 5, "cpu_shares": 9, "unified": {}}
    found = saved_resources.replaced(saved, {"cpu": {"shares": 1024}})
    assert found == {**kept, "cpu_shares": 1024, "cpu_weight": 100}


# -- the sequence


class Cgroup:
    """A manager that notes what is set, and refuses what it is told to."""

    absent = False
    paths = {"": "/c"}  # noqa: RUF012

    def __init__(self, refuse: int = -1) -> None:
        self.refuse = refuse
        self.seen: list[Any] = []

    def values(self, resources: Any) -> Any:
        self.seen.append("values")
        return [("/c/file", "before")]

    def put_back(self, values: Any) -> None:
        self.seen.append(values)

    def set(self, resources: Any, *, devices: bool) -> None:
        assert not devices
        self.seen.append(resources)
        if self.refuse == len(self.seen) - 1:
            raise Error("no")


class Saved:
    def __init__(self) -> None:
        self.raw: dict[str, Any] = {}
        self.cgroup = saved_resources.to_saved(OLD)


class State:
    def __init__(self, saved: Saved) -> None:
        self.config: dict[str, Any] = {"cgroups": saved.cgroup}
        self.intel_rdt_path = ""


class Fake:
    """What update needs of a Container."""

    def __init__(self, status: str = "running", refuse: int = -1) -> None:
        self.saved = Saved()
        self.state = State(self.saved)
        self.cgroup = Cgroup(refuse)
        self.writes = 0
        self._status = status

    def status(self) -> str:
        return self._status

    def save(self) -> None:
        self.writes += 1

    def log(self, *_args: object) -> None:
        raise AssertionError("nothing to say")


def update(container: Any, resources: Any, rdt: dict[str, str] | None = None) -> None:
    container_update.update(container, resources, rdt or {})


@pytest.mark.parametrize("status", ["created", "running", "paused"])
def test_it_sets_and_saves(status: str) -> None:
    container = Fake(status)
    update(container, {"memory": {"limit": 300}})
    assert container.cgroup.seen[1]["memory"]["limit"] == 300
    assert container.state.config["cgroups"]["memory"] == 300
    assert container.writes == 1


def test_a_stopped_container() -> None:
    container = Fake("stopped")
    with pytest.raises(ContainerNotRunning, match="^container not running$"):
        update(container, {})
    assert not container.cgroup.seen


def test_refused_limits_are_put_back() -> None:
    container = Fake(refuse=1)
    with pytest.raises(Error, match="^no$"):
        update(container, {"memory": {"limit": 300}})
    first, new, old, last = container.cgroup.seen
    assert (first, new["memory"]["limit"], old["memory"]["limit"], last) == ("values", 300, 100, [("/c/file", "before")])
    assert not old["memory"]["checkBeforeUpdate"]
    assert container.writes == 0


def test_limits_that_cannot_be_saved_are_put_back() -> None:
    """Else state.json would not say what holds, and the next update, or a checkpoint, would go by what it says."""
    container = Fake()
    before = container.state.config["cgroups"]

    def full() -> None:
        raise OSError(errno.ENOSPC, "")

    container.save = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match=str(errno.ENOSPC)):
        update(container, {"memory": {"limit": 300}})
    assert container.cgroup.seen[-1] == [("/c/file", "before")]
    assert container.state.config["cgroups"] == before


def test_without_a_cgroup_nothing_can_be_limited() -> None:
    container = Fake()
    container.cgroup.absent = True
    with pytest.raises(Unsupported, match="^cannot set limits: the container has no cgroup"):
        update(container, {"pids": {"limit": 1}})


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resctrl:
    return Resctrl(tmp_path / "resctrl", monkeypatch)


def with_class(tree: Resctrl, container: Fake, settings: dict[str, Any]) -> Path:
    container.saved.raw["intel_rdt"] = settings
    container.state.intel_rdt_path = str(tree.group("class"))
    return tree.top / "class/schemata"


def test_intel_rdt(tree: Resctrl) -> None:
    container = Fake()
    with pytest.raises(Unsupported, match="^updating a non-existent Intel RDT configuration is not supported$"):
        update(container, {}, {"l3CacheSchema": "L3:0=f"})
    schemata = with_class(tree, container, {})
    update(container, {}, {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50"})
    assert schemata.read_text() == "L3:0=f\nMB:0=50\n"
    assert container.saved.raw["intel_rdt"] == {"l3_cache_schema": "L3:0=f", "memBwSchema": "MB:0=50"}


def test_intel_rdt_that_the_kernel_has_not(tree: Resctrl) -> None:
    tree.without("L3")
    with pytest.raises(Unsupported, match="^Intel RDT/CAT: l3 cache schema is not enabled$"):
        update(Fake(), {}, {"l3CacheSchema": "L3:0=f"})


def test_shares_that_are_refused_undo_the_limits(tree: Resctrl) -> None:
    """And nothing is saved; the reason is the kernel's."""
    container = Fake()
    with_class(tree, container, saved := {"l3_cache_schema": "old"}).unlink()
    tree.says("mask out of range")
    with pytest.raises(Error, match=r"unable to set schemata of .*/class, last_cmd_status: mask out of range$"):
        update(container, {"memory": {"limit": 300}}, {"l3CacheSchema": "L3:0=0"})
    assert container.cgroup.seen[-1] == [("/c/file", "before")]
    assert saved == {"l3_cache_schema": "old"}
    assert container.writes == 0
