"""linux.resources -> writes to cgroup files."""

from __future__ import annotations

from typing import Any

import pytest

from libcontainer.cgroups.resources import V1, V2, Imagined, cpu_weight, io_weight, swap_max
from libcontainer.errors import Error, InvalidSpec, Unsupported


class Directory:
    """A cgroup that has just these files."""

    def __init__(self, **files: str) -> None:
        self.files = {name.replace("__", "."): text for name, text in files.items()}

    def exists(self, file: str) -> bool:
        return file in self.files

    def read(self, file: str) -> str:
        return self.files[file]


def planned(version: int, resources: dict[str, Any], look: Any = None) -> list[tuple[str, str]]:
    plans = V1 if version == 1 else V2
    look = look or Directory()
    return [(w.file, w.value) for _name, plan in plans if plan for w in plan(resources, look)]


def by_file(version: int, resources: dict[str, Any], look: Any = None) -> dict[str, Any]:
    plans = V1 if version == 1 else V2
    return {w.file: w for _name, plan in plans if plan for w in plan(resources, look or Directory())}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"memory": None, "cpu": None, "pids": None, "blockIO": None, "network": None, "rdma": None},
        {"memory": {"disableOOMKiller": False}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}},  # Docker's
        {
            "memory": {"limit": 0, "swap": 0},
            "cpu": {"quota": 0, "period": 0, "cpus": "", "mems": ""},
            "pids": {},
        },
        {"hugepageLimits": [], "unified": {}, "memory": {"swappiness": None}},
    ],
)
def test_nothing_asked_nothing_written(version: int, resources: dict[str, Any]) -> None:
    assert planned(version, resources) == []


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("limit", "text"), [(-1, "max"), (-7, "max"), (0, "1"), (1, "1"), (2048, "2048")])
def test_pids(version: int, limit: int, text: str) -> None:
    assert planned(version, {"pids": {"limit": limit}}) == [("pids.max", text)]


@pytest.mark.parametrize(
    ("memory", "limit_now", "expected"),
    [
        ({"limit": 100}, 10, ["limit 100"]),
        ({"swap": 100}, 10, ["memsw 100"]),
        ({"limit": 100, "swap": 200}, 1000, ["limit 100", "memsw 200"]),
        ({"limit": 100, "swap": 200}, 200, ["limit 100", "memsw 200"]),
        ({"limit": 100, "swap": 200}, 199, ["memsw 200", "limit 100"]),
        ({"limit": 100, "swap": -1}, 1000, ["memsw -1", "limit 100"]),
        ({"limit": -1}, 1000, ["memsw -1", "limit -1"]),
    ],
)
def test_v1_memory_and_swap_order(memory: dict[str, int], limit_now: int, expected: list[str]) -> None:
    look = Directory(memory__limit_in_bytes=f"{limit_now}\n", memory__memsw__limit_in_bytes="")
    names = {"memory.limit_in_bytes": "limit", "memory.memsw.limit_in_bytes": "memsw"}
    assert [f"{names[f]} {v}" for f, v in planned(1, {"memory": memory}, look)] == expected


def test_v1_unlimited_memory_without_swap_accounting() -> None:
    assert planned(1, {"memory": {"limit": -1}}) == [("memory.limit_in_bytes", "-1")]


def test_v1_memory_rest() -> None:
    resources = {"memory": {"reservation": 7, "disableOOMKiller": True, "swappiness": 0, "kernel": 5}}
    assert planned(1, resources) == [
        ("memory.soft_limit_in_bytes", "7"),
        ("memory.oom_control", "1"),
        ("memory.swappiness", "0"),
    ]


@pytest.mark.parametrize("value", [101, -2])
def test_v1_swappiness_range(value: int) -> None:
    text = rf"^invalid memory swappiness value: {value} \(valid range is 0-100\)$"
    with pytest.raises(Error, match=text):
        planned(1, {"memory": {"swappiness": value}})
    assert planned(2, {"memory": {"swappiness": value}}) == []


def test_v1_cpu_order_and_retries() -> None:
    cpu = {"shares": 512, "quota": 50000, "period": 100000, "burst": 0, "idle": 0}
    files = by_file(1, {"cpu": cpu})
    assert list(files) == [
        "cpu.idle",
        "cpu.shares",
        "cpu.cfs_period_us",
        "cpu.cfs_burst_us",
        "cpu.cfs_quota_us",
    ]
    assert files["cpu.cfs_period_us"].late
    assert files["cpu.cfs_burst_us"].late
    assert files["cpu.cfs_burst_us"].optional
    assert not files["cpu.cfs_quota_us"].late


def test_no_retry_without_a_quota() -> None:
    assert not by_file(1, {"cpu": {"period": 1000}})["cpu.cfs_period_us"].late
    assert not by_file(2, {"cpu": {"burst": 10}})["cpu.max.burst"].late
    assert not by_file(2, {"cpu": {"burst": 10}})["cpu.max.burst"].optional


def test_v1_realtime() -> None:
    files = by_file(1, {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 950000}})
    assert {name: w.value for name, w in files.items()} == {
        "cpu.rt_period_us": "1000000",
        "cpu.rt_runtime_us": "950000",
    }
    assert files["cpu.rt_period_us"].late
    assert planned(2, {"cpu": {"realtimePeriod": 1, "realtimeRuntime": 1}}) == []


@pytest.mark.parametrize("version", [1, 2])
def test_cpuset(version: int) -> None:
    resources = {"cpu": {"cpus": "0-1", "mems": "0"}}
    assert planned(version, resources) == [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]
    assert planned(version, {"cpu": {"cpus": "0"}}) == [("cpuset.cpus", "0")]


BLOCK = {
    "weight": 500,
    "leafWeight": 20,
    "weightDevice": [{"major": 8, "minor": 0, "weight": 300, "leafWeight": 40}, {"major": 8, "minor": 16}],
    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
    "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 2}],
    "throttleReadIOPSDevice": [{"major": 8, "minor": 2, "rate": 3}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 3, "rate": 0}],
}


@pytest.mark.parametrize("bfq", ["", "bfq."])
def test_v1_blkio(bfq: str) -> None:
    look = Directory(blkio__bfq__weight="") if bfq else Directory()
    assert planned(1, {"blockIO": BLOCK}, look) == [
        (f"blkio.{bfq}weight", "500"),
        ("blkio.leaf_weight", "20"),
        (f"blkio.{bfq}weight_device", "8:0 300"),
        ("blkio.leaf_weight_device", "8:0 40"),
        ("blkio.throttle.read_bps_device", "8:0 1"),
        ("blkio.throttle.write_bps_device", "8:1 2"),
        ("blkio.throttle.read_iops_device", "8:2 3"),
        ("blkio.throttle.write_iops_device", "8:3 0"),
    ]


IO_MAX = [
    ("io.max", "8:0 rbps=1"),
    ("io.max", "8:1 wbps=2"),
    ("io.max", "8:2 riops=3"),
    ("io.max", "8:3 wiops=max"),
]


def test_v2_io_with_bfq() -> None:
    look = Directory(io__bfq__weight="default 100\n", io__weight="")
    expected = [("io.bfq.weight", "500"), ("io.bfq.weight", "8:0 300"), *IO_MAX]
    assert planned(2, {"blockIO": BLOCK}, look) == expected


@pytest.mark.parametrize("bfq", [{}, {"io__bfq__weight": "100\n"}])
def test_v2_io_per_device_without_bfq_support(bfq: dict[str, str]) -> None:
    look = Directory(io__weight="default 100\n", **bfq)
    device = ("io.weight", f"8:0 {io_weight(300)}")
    first = ("io.bfq.weight", "500") if bfq else ("io.weight", str(io_weight(500)))
    assert planned(2, {"blockIO": BLOCK}, look) == [first, device, *IO_MAX]


def test_v2_io_per_device_impossible() -> None:
    with pytest.raises(Unsupported, match=r"linux.resources.blockIO.weightDevice"):
        planned(2, {"blockIO": {"weightDevice": BLOCK["weightDevice"]}})


@pytest.mark.parametrize(("version", "file"), [(1, "limit_in_bytes"), (2, "max")])
def test_hugetlb(version: int, file: str) -> None:
    files = by_file(version, {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})
    assert {name: w.value for name, w in files.items()} == {
        f"hugetlb.2MB.{file}": "0",
        f"hugetlb.2MB.rsvd.{file}": "0",
    }
    assert files[f"hugetlb.2MB.rsvd.{file}"].optional
    assert not files[f"hugetlb.2MB.{file}"].optional


@pytest.mark.parametrize("size", ["../2MB", "", "2MB/", "2MB.x"])
def test_hugetlb_page_size_is_no_path(size: str) -> None:
    with pytest.raises(InvalidSpec, match=r"linux\.resources\.hugepageLimits\[0\]\.pageSize"):
        planned(1, {"hugepageLimits": [{"pageSize": size, "limit": 0}]})


def test_network_is_v1_only() -> None:
    resources = {"network": {"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 5}]}}
    assert planned(1, resources) == [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 5")]
    assert planned(2, resources) == []


@pytest.mark.parametrize("version", [1, 2])
def test_rdma(version: int) -> None:
    resources = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}, "mlx4_0": {"hcaObjects": 0}}}
    assert planned(version, resources) == [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"),
        ("rdma.max", "mlx4_0 hca_object=0"),
    ]


@pytest.mark.parametrize(
    ("limit", "swap", "expected"),
    [
        (0, 0, 0),
        (100, 0, 0),
        (100, 100, 0),
        (100, 150, 50),
        (100, -1, -1),
        (-1, 0, -1),
        (-1, -1, -1),
        (-1, 70, 70),
    ],
)
def test_swap_max(limit: int, swap: int, expected: int) -> None:
    assert swap_max(limit, swap) == expected


@pytest.mark.parametrize(
    ("limit", "swap", "text"),
    [
        (0, 5, "unable to set swap limit without memory limit"),
        (-5, 5, "invalid memory value: -5"),
        (10, 5, r"memory\+swap limit should be >= memory limit"),
    ],
)
def test_swap_max_refusals(limit: int, swap: int, text: str) -> None:
    with pytest.raises(Error, match=f"^{text}$"):
        swap_max(limit, swap)


@pytest.mark.parametrize(
    ("memory", "expected", "optional"),
    [
        ({"limit": 100}, [("memory.max", "100")], None),
        ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")], True),
        ({"limit": 100, "swap": 100}, [("memory.swap.max", "0"), ("memory.max", "100")], True),
        ({"limit": 100, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", "100")], True),
        ({"limit": 100, "swap": 130}, [("memory.swap.max", "30"), ("memory.max", "100")], False),
        ({"reservation": 9}, [("memory.low", "9")], None),
    ],
)
def test_v2_memory(memory: dict[str, int], expected: list[tuple[str, str]], optional: bool | None) -> None:
    assert planned(2, {"memory": memory}) == expected
    if optional is not None:
        assert by_file(2, {"memory": memory})["memory.swap.max"].optional is optional


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        ({"limit": 100}, "rejecting memory limit 100 <= usage 100"),
        ({"limit": 200, "swap": 200}, None),
        ({"limit": 50, "swap": 60}, "rejecting memory\\+swap limit 60 <= usage 100"),
        ({"limit": -1}, None),
    ],
)
def test_v2_check_before_update(memory: dict[str, Any], text: str | None) -> None:
    look = Directory(memory__current="100\n")
    resources = {"memory": {**memory, "checkBeforeUpdate": True}}
    if text is None:
        assert planned(2, resources, look)
        return
    with pytest.raises(Error, match=f"^{text}$"):
        planned(2, resources, look)
    assert planned(2, {"memory": memory}, look), "without the flag the kernel decides"


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"quota": 50000}, "50000 100000"),
        ({"quota": 50000, "period": 20000}, "50000 20000"),
        ({"quota": -1, "period": 20000}, "max 20000"),
        ({"period": 20000}, "max 20000"),
    ],
)
def test_v2_cpu_max(cpu: dict[str, int], expected: str) -> None:
    assert planned(2, {"cpu": cpu}) == [("cpu.max", expected)]


def test_v2_cpu_order() -> None:
    files = by_file(2, {"cpu": {"idle": 1, "shares": 1024, "burst": 5, "quota": 10}})
    assert list(files) == ["cpu.idle", "cpu.weight", "cpu.max.burst", "cpu.max"]
    assert files["cpu.weight"].value == "100"
    assert files["cpu.max.burst"].late


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 0), (1, 1), (2, 1), (1024, 100), (262144, 10000), (10**9, 10000), (512, 59), (2048, 174)],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@pytest.mark.parametrize(("weight", "expected"), [(0, 0), (10, 1), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert io_weight(weight) == expected


def test_unified_comes_last_line_by_line() -> None:
    resources = {"unified": {"pids.max": "7", "io.max": "8:0 rbps=1\n8:1 wbps=2\n"}, "pids": {"limit": 5}}
    assert planned(2, resources) == [
        ("pids.max", "5"),
        ("pids.max", "7"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:1 wbps=2"),
    ]


def test_unified_is_no_path() -> None:
    with pytest.raises(Error, match=r'^unified resource "\.\./x" must be a file name \(no slashes\)$'):
        planned(2, {"unified": {"../x": "1"}})


def test_order_of_controllers() -> None:
    v1 = ["cpuset", "devices", "memory", "cpu", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"]
    assert [name for name, _ in V1] == v1
    v2 = ["pids", "memory", "io", "cpu", "devices", "cpuset", "hugetlb", "rdma", "unified"]
    assert [name for name, _ in V2] == v2


def test_imagined_directory_serves_every_plan() -> None:
    everything = {
        "memory": {"limit": 5, "swap": 6, "checkBeforeUpdate": True},
        "blockIO": BLOCK,
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    }
    assert planned(1, everything, Imagined())
    assert planned(2, everything, Imagined())
