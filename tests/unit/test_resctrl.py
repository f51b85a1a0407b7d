"""linux.intelRdt on a stand-in for the resctrl file system: classes, monitoring groups, what is refused and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libcontainer import resctrl, resctrl_stats
from libcontainer.errors import Error, Unsupported, describe
from tests.resctrl_tree import Resctrl


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resctrl:
    return Resctrl(tmp_path / "resctrl", monkeypatch)


def group(**settings: Any) -> resctrl.Group:
    made: Any = settings
    return resctrl.Group("box", made)


def refusal(**settings: Any) -> str:
    """What is said of a class that cannot be had; on the way nothing may have been made or changed."""
    with pytest.raises(Error) as raised:
        group(**settings).make()
    return describe(raised.value)


# -- where it is


def test_the_mount_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from libcontainer.criu import mountinfo

    lines = "25 1 0:22 / /sys rw - sysfs sysfs rw\n26 25 0:23 / /sys/fs/res\\040ctrl rw,relatime - resctrl resctrl rw\n"
    monkeypatch.setattr(mountinfo, "read", lambda: mountinfo.parse(lines))
    assert resctrl.mount_point() == "/sys/fs/res ctrl"
    monkeypatch.setattr(mountinfo, "read", list)
    assert resctrl.mount_point() == ""


def test_without_resctrl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resctrl, "mount_point", lambda: "")
    assert refusal() == (
        "linux.intelRdt: Intel RDT resctrl mount point not found: where kernel and processor have it, "
        "mount -t resctrl resctrl /sys/fs/resctrl makes one"
    )


@pytest.mark.parametrize(
    ("resource", "settings", "text"),
    [
        (
            "L3",
            {"l3CacheSchema": "L3:0=f"},
            "l3CacheSchema: intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
        ),
        (
            "MB",
            {"memBwSchema": "MB:0=50"},
            "memBwSchema: intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
        ),
        (
            "L3_MON",
            {"enableMonitoring": True},
            "enableMonitoring: this kernel or processor does not monitor (no info/L3_MON)",
        ),
    ],
)
def test_what_the_processor_has_not(tree: Resctrl, resource: str, settings: dict[str, Any], text: str) -> None:
    group(**settings)
    tree.without(resource)
    assert refusal(**settings) == f"linux.intelRdt.{text}"
    assert tree.groups() == []


# -- the class


def test_a_class_of_its_own(tree: Resctrl) -> None:
    made = group(l3CacheSchema="L3:0=f", memBwSchema="MB:0=50", schemata=["L2:0=1", "L3:1=f0"])
    assert tree.groups() == []
    made.make()
    made.add(77)
    assert (made.path, made.monitor) == (f"{tree.top}/box", "")
    assert (tree.top / "box/schemata").read_text() == "L3:0=f\nMB:0=50\nL2:0=1\nL3:1=f0\n"
    assert (tree.top / "box/tasks").read_text() == "77"
    assert made.saved() == {
        "l3_cache_schema": "L3:0=f",
        "memBwSchema": "MB:0=50",
        "schemata": ["L2:0=1", "L3:1=f0"],
        "made_by_runtime": True,
    }


def test_without_schemata_none_are_written(tree: Resctrl) -> None:
    group().make()
    assert (tree.top / "box/schemata").read_text() == (tree.top / "schemata").read_text()


def test_a_class_with_a_name_is_made(tree: Resctrl) -> None:
    made = group(closID="gold", schemata=["L3:0=f"])
    made.make()
    assert tree.groups() == ["gold"]
    assert made.saved()["closID"] == "gold"


def test_a_class_with_a_name_and_without_schemata_must_be_there(tree: Resctrl) -> None:
    assert refusal(closID="gold") == (
        "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)"
        f": {tree.top}/gold: no such file or directory"
    )
    directory = tree.group("gold")
    made = group(closID="gold")
    made.make()
    made.add(5)
    assert (directory / "tasks").read_text() == "5"
    assert made.saved() == {"closID": "gold", "made_by_runtime": False}


def test_the_root_class(tree: Resctrl) -> None:
    made = group(closID="/", enableMonitoring=True)
    made.make()
    made.add(9)
    assert made.path == str(tree.top)
    assert (tree.top / "tasks").read_text() == (tree.top / "mon_groups/box/tasks").read_text() == "9"
    resctrl.remove(made.saved(), made.path, made.monitor)
    assert tree.top.exists()
    assert tree.groups() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"l3CacheSchema": "L3:0=f;1=00F0"},
        {"l3CacheSchema": "L3: 1 = f0 "},
        {"memBwSchema": "MB:0=50"},
        {"memBwSchema": "MB:0=41;1=100"},
        {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:1=100", "schemata": ["L3:0=ff"]},
    ],
)
def test_a_class_that_is_there_and_is_the_same(tree: Resctrl, settings: dict[str, Any]) -> None:
    """As the kernel shows it: other order, no leading zeros, bandwidth rounded up to the next step."""
    directory = tree.group("gold", "    MB:0= 50;1=100\n    L3:0=0000f;1=000f0\n")
    group(closID="gold", **settings).make()
    assert (directory / "schemata").read_text().endswith(f"{[*settings.get('schemata', []), *settings.values()][0]}\n")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"l3CacheSchema": "L3:0=ff"}, "l3CacheSchema: {gold} exists, and its schemata are others: L3:0=0000f;1=000f0"),
        ({"l3CacheSchema": "L3:2=f"}, "l3CacheSchema: {gold} exists, and its schemata are others: L3:0=0000f;1=000f0"),
        ({"l3CacheSchema": "L3:0=x"}, "l3CacheSchema: {gold} exists, and its schemata are others: L3:0=0000f;1=000f0"),
        ({"memBwSchema": "MB:0=40"}, "memBwSchema: {gold} exists, and its schemata are others: MB:0=50;1=100"),
        ({"memBwSchema": "MB:0=51"}, "memBwSchema: {gold} exists, and its schemata are others: MB:0=50;1=100"),
    ],
)
def test_a_class_that_is_there_is_not_changed(tree: Resctrl, settings: dict[str, Any], text: str) -> None:
    directory = tree.group("gold", before := "    MB:0= 50;1=100\n    L3:0=0000f;1=000f0\n")
    assert refusal(closID="gold", **settings) == "linux.intelRdt." + text.format(gold=directory)
    assert (directory / "schemata").read_text() == before


def test_a_class_that_has_the_containers_name(tree: Resctrl) -> None:
    """Somebody has made it for the container: it gets the shares, and stays when the container goes."""
    directory = tree.group("box")
    made = group(l3CacheSchema="L3:0=1")
    made.make()
    assert (directory / "schemata").read_text() == "L3:0=1\n"
    made.roll_back()
    resctrl.remove(made.saved(), made.path, made.monitor)
    assert tree.groups() == ["box"]


def test_too_many_classes(tree: Resctrl) -> None:
    tree.room = 0
    assert refusal() == (f"unable to make {tree.top}/box, last_cmd_status: Out of CLOSIDs: no space left on device")


def test_what_is_no_class(tree: Resctrl) -> None:
    """info is a directory in resctrl too."""
    for name in ("info", "schemata"):
        text = f"linux.intelRdt.closID: {tree.top}/{name} is no class of service: choose another name"
        assert refusal(closID=name) == text
    assert (tree.top / "info/L3").exists()


# -- monitoring


@pytest.mark.parametrize("name", ["", "gold"])
def test_a_monitoring_group(tree: Resctrl, name: str) -> None:
    if name:
        tree.group(name)
    made = group(closID=name, enableMonitoring=True)
    made.make()
    made.add(8)
    assert made.monitor == f"{tree.top}/{name or 'box'}/mon_groups/box"
    assert Path(made.monitor, "tasks").read_text() == Path(made.path, "tasks").read_text() == "8"


# -- giving up


def test_a_failed_create_leaves_nothing(tree: Resctrl) -> None:
    made = group(enableMonitoring=True)
    made.make()
    made.add(8)
    made.roll_back()
    assert tree.groups() == []
    made.roll_back()


def test_a_failed_create_leaves_a_class_with_a_name_to_those_that_are_in_it(tree: Resctrl) -> None:
    made = group(closID="gold", schemata=["L3:0=f"], enableMonitoring=True)
    made.make()
    Path(made.path, "tasks").write_text("1\n")
    made.roll_back()
    assert tree.groups() == ["gold"]
    again = group(closID="silver", schemata=["L3:0=f"])
    again.make()
    again.roll_back()
    assert tree.groups() == ["gold"]


def test_a_refused_share_is_told_with_the_kernels_reason(tree: Resctrl, monkeypatch: pytest.MonkeyPatch) -> None:
    made = group(enableMonitoring=True, schemata=["L3:0=0"])

    def refuse(_fd: int, _content: bytes) -> int:
        tree.says("Mask out of range")
        raise OSError(22, "Invalid argument")

    with monkeypatch.context() as patch:
        patch.setattr("libcontainer.resctrl.os.write", refuse)
        with pytest.raises(Error) as raised:
            made.make()
    assert describe(raised.value) == (
        f"unable to set schemata of {tree.top}/box, last_cmd_status: Mask out of range: invalid argument"
    )
    made.roll_back()
    assert tree.groups() == []


# -- later


def test_a_later_process_joins(tree: Resctrl) -> None:
    made = group(enableMonitoring=True)
    made.make()
    resctrl.join(made.path, made.monitor, 12)
    assert Path(made.monitor, "tasks").read_text() == Path(made.path, "tasks").read_text() == "12"
    resctrl._remove(made.monitor)
    resctrl.join(made.path, made.monitor, 13)
    assert Path(made.path, "tasks").read_text() == "13"


def test_a_class_that_is_gone_is_not_joined(tree: Resctrl) -> None:
    resctrl.join(f"{tree.top}/box", "", 12)
    assert tree.groups() == []


REMOVED: list[tuple[dict[str, Any], list[str]]] = [
    ({"made_by_runtime": True}, ["gold"]),
    ({"made_by_runtime": False}, ["box", "gold"]),
    ({}, ["gold"]),  # runc's: as the class has the container's id, it was made for it
    ({"closID": "gold", "made_by_runtime": True}, ["box", "gold"]),
]


@pytest.mark.parametrize(("saved", "left"), REMOVED)
def test_what_delete_removes(tree: Resctrl, saved: dict[str, Any], left: list[str]) -> None:
    tree.group("box")
    tree.group("gold")
    path = f"{tree.top}/{saved.get('closID', 'box')}"
    monitor = f"{path}/mon_groups/box"
    resctrl._make(monitor)
    resctrl.remove(saved, path, monitor)
    assert tree.groups() == left
    resctrl.remove(saved, path, monitor)


def test_update_needs_the_kernels(tree: Resctrl) -> None:
    resctrl.check({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50"})
    tree.without("MB")
    with pytest.raises(Unsupported, match="^Intel RDT/MBA: memory bandwidth schema is not enabled$"):
        resctrl.check({"memBwSchema": "MB:0=50"})
    tree.without("L3")
    with pytest.raises(Unsupported, match="^Intel RDT/CAT: l3 cache schema is not enabled$"):
        resctrl.check({"l3CacheSchema": "L3:0=f"})


# -- statistics


def test_statistics(tree: Resctrl) -> None:
    directory = tree.group("box", "    MB:0= 50;1=100\n    L3:0=0000f;1=000f0\n")
    assert resctrl_stats.collect(str(directory), "") == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 2, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=0000f;1=000f0",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 50;1=100",
        "schemata": ["MB:0= 50;1=100", "L3:0=0000f;1=000f0"],
        "mbm_stats": [{"mbm_total_bytes": 1, "mbm_local_bytes": 2}, {"mbm_total_bytes": 11, "mbm_local_bytes": 12}],
        "cmt_stats": [{}, {"llc_occupancy": 10}],
    }


def test_statistics_of_a_monitoring_group(tree: Resctrl) -> None:
    directory = tree.group("gold")
    resctrl._make(f"{directory}/mon_groups/box")
    found = resctrl_stats.collect(str(directory), f"{directory}/mon_groups/box")
    assert found["cmt_stats"] == [{"llc_occupancy": 1000}, {"llc_occupancy": 1010}]


def test_statistics_of_a_processor_with_less(tree: Resctrl) -> None:
    for resource in ("L3", "MB"):
        tree.without(resource)
    (tree.top / "info/L3_MON/mon_features").write_text("mbm_local_bytes\n")
    (tree.top / "mon_data/mon_L3_00/mbm_local_bytes").write_text("Unavailable\n")
    assert resctrl_stats.collect(str(tree.top), "") == {
        "schemata": ["MB:0=100;1=100", "L3:0=fffff;1=fffff"],
        "mbm_stats": [{}, {"mbm_local_bytes": 12}],
    }
    tree.without("L3_MON")
    assert list(resctrl_stats.collect(str(tree.top), "")) == ["schemata"]
