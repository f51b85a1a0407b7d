"""Statistics from the files of a cgroup, as kernels of both versions write them."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from libcontainer import stats as container_stats
from libcontainer.cgroups import stats, stats1, stats2
from libcontainer.errors import SyscallError

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
NOTHING: Any = {
    "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
    "cpuset": {"cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
               "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0},
    "memory": {name: {"limit": 0, "failcnt": 0} for name in ("usage", "swap", "kernel", "kernelTCP")},
    "pids": {},
    "blkio": {},
    "hugetlb": {},
    "intel_rdt": {},
    "network_interfaces": None,
}  # fmt: skip
PRESSURE = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
PSI = {
    "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 42},
    "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 7},
}


class Files:
    """A tree of cgroup files, in memory; an integer is the errno of reading."""

    def __init__(self, files: dict[str, str | int]) -> None:
        self.files = files

    def read(self, path: str) -> str:
        found = self.files.get(path, errno.ENOENT)
        if isinstance(found, int):
            raise SyscallError("read", found, path)
        return found

    def pids(self, _path: str, recursive: bool) -> list[int]:
        return [1, 2] if recursive else []


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "huge_page_sizes", lambda: ["2MB", "1GB"])


def v1(files: dict[str, str | int]) -> Any:
    """The statistics of files named "controller/file"."""
    controllers = {name.partition("/")[0] for name in files}
    tree: Any = Files({f"/c/{name}": text for name, text in files.items()})
    return stats1.collect(tree, {"" if name == "unified" else name: f"/c/{name}" for name in controllers})


def v2(files: dict[str, str | int]) -> Any:
    tree: Any = Files({f"/c/{name}": text for name, text in files.items()})
    return stats2.collect(tree, "/c")


def test_nothing_to_read() -> None:
    assert v1({}) == NOTHING
    assert v2({}) == {**NOTHING, "pids": {"current": 2}}


# -- v1


def test_v1_cpu() -> None:
    found = v1(
        {
            "cpuacct/cpuacct.usage": "90\n",
            "cpuacct/cpuacct.usage_percpu": "60 30 \n",
            "cpuacct/cpuacct.usage_all": "cpu user system\n0 1 2\n1 3 4\n",
            "cpuacct/cpuacct.stat": "user 5\nsystem 6\n",
            "cpu/cpu.stat": "nr_periods 7\nnr_throttled 8\nthrottled_time 9\nnr_bursts 0\nburst_time 0\n",
        }
    )
    assert found["cpu"] == {
        "usage": {
            "total": 90,
            "percpu": [60, 30],
            "percpu_kernel": [2, 4],
            "percpu_user": [1, 3],
            "kernel": 6 * TICK,
            "user": 5 * TICK,
        },
        "throttling": {"periods": 7, "throttledPeriods": 8, "throttledTime": 9},
    }


def test_v1_cpuset() -> None:
    found = v1(
        {
            "cpuset/cpuset.cpus": "0-2,7\n",
            "cpuset/cpuset.mems": "0\n",
            "cpuset/cpuset.sched_load_balance": "1\n",
            "cpuset/cpuset.sched_relax_domain_level": "-1\n",
        }
    )
    flags = {"sched_load_balance": 1, "sched_relax_domain_level": -1}
    assert found["cpuset"] == {**NOTHING["cpuset"], **flags, "cpus": [0, 1, 2, 7], "mems": [0]}


def test_v1_memory() -> None:
    found = v1(
        {
            "memory/memory.stat": "cache 5\nrss 6\n",
            "memory/memory.limit_in_bytes": "100\n",
            "memory/memory.usage_in_bytes": "10\n",
            "memory/memory.max_usage_in_bytes": "50\n",
            "memory/memory.failcnt": "3\n",
            "memory/memory.kmem.limit_in_bytes": "9223372036854771712\n",
        }
    )["memory"]
    assert found["cache"] == 5
    assert found["raw"] == {"cache": 5, "rss": 6}
    assert found["usage"] == {"limit": 100, "usage": 10, "max": 50, "failcnt": 3}
    assert found["swap"] == {"limit": 0, "failcnt": 0}
    assert found["kernel"] == {"limit": 9223372036854771712, "failcnt": 0}


@pytest.mark.parametrize(("text", "limit"), [("max\n", {}), ("20\n", {"limit": 20})])
def test_pids(text: str, limit: dict[str, int]) -> None:
    for found in (v1({"pids/pids.current": "3\n", "pids/pids.max": text}), v2({"pids.current": "3\n", "pids.max": text})):
        assert found["pids"] == {"current": 3, **limit}


SERVICED = "8:0 Read 1\n8:0 Write 2\nTotal 3\n"
BYTES = "8:0 Read 512\n8:0 Write 0\nTotal 512\n"
TABLES = {
    "ioServicedRecursive": [
        {"major": 8, "op": "Read", "value": 1},
        {"major": 8, "op": "Write", "value": 2},
    ],
    "ioServiceBytesRecursive": [
        {"major": 8, "op": "Read", "value": 512},
        {"major": 8, "op": "Write"},
    ],
}


@pytest.mark.parametrize(
    "name", ["blkio.bfq.{}_recursive", "blkio.{}_recursive", "blkio.throttle.{}_recursive", "blkio.throttle.{}"]
)
def test_v1_blkio_wherever_it_is_counted(name: str) -> None:
    found = v1({f"blkio/{name.format('io_serviced')}": SERVICED, f"blkio/{name.format('io_service_bytes')}": BYTES})
    assert found["blkio"] == TABLES


def test_v1_blkio_of_a_scheduler_that_is_not_in_use() -> None:
    """BFQ's files are there, and say nothing, when the device has another scheduler."""
    empty = {"blkio/blkio.bfq.io_serviced_recursive": "Total 0\n", "blkio/blkio.bfq.io_service_bytes_recursive": "Total 0\n"}
    full = {
        "blkio/blkio.throttle.io_serviced_recursive": SERVICED,
        "blkio/blkio.throttle.io_service_bytes_recursive": BYTES,
    }
    assert v1({**empty, **full})["blkio"] == TABLES


def test_v1_blkio_with_all_that_bfq_counts() -> None:
    sectors = "8:16 6792\nTotal 6792\n"
    found = v1({"blkio/blkio.bfq.io_serviced_recursive": SERVICED, "blkio/blkio.bfq.sectors_recursive": sectors})
    assert found["blkio"]["sectorsRecursive"] == [{"major": 8, "minor": 16, "value": 6792}]


def test_v1_hugetlb() -> None:
    found = v1(
        {
            "hugetlb/hugetlb.2MB.usage_in_bytes": "1\n",
            "hugetlb/hugetlb.2MB.rsvd.usage_in_bytes": "2\n",
            "hugetlb/hugetlb.2MB.rsvd.max_usage_in_bytes": "3\n",
            "hugetlb/hugetlb.2MB.rsvd.failcnt": "4\n",
            "hugetlb/hugetlb.1GB.usage_in_bytes": "0\n",
        }
    )
    assert found["hugetlb"] == {"2MB": {"usage": 2, "max": 3, "failcnt": 4}, "1GB": {"failcnt": 0}}


def test_hybrid_pressure() -> None:
    found = v1({"unified/memory.pressure": PRESSURE, "memory/memory.stat": "cache 1\n"})
    assert found["memory"]["psi"] == PSI
    assert "psi" not in found["cpu"]


# -- v2


def test_v2_cpu() -> None:
    text = (
        "usage_usec 3\nuser_usec 1\nsystem_usec 2\nnice_usec 0\nnr_periods 4\nnr_throttled 5\nthrottled_usec 6\n"
        "nr_bursts 0\nburst_usec 0\n"
    )
    assert v2({"cpu.stat": text})["cpu"] == {
        "usage": {"total": 3000, "kernel": 2000, "user": 1000},
        "throttling": {"periods": 4, "throttledPeriods": 5, "throttledTime": 6000},
    }


def test_v2_memory_has_the_sums_of_v1() -> None:
    found = v2(
        {
            "memory.stat": "anon 7\nfile 8\n",
            "memory.current": "10\n",
            "memory.max": "100\n",
            "memory.peak": "60\n",
            "memory.swap.current": "5\n",
            "memory.swap.max": "20\n",
            "memory.swap.peak": "9\n",
        }
    )["memory"]
    assert found["cache"] == 8
    assert found["usage"] == {"limit": 100, "usage": 10, "max": 60, "failcnt": 0}
    assert found["swap"] == {"limit": 120, "usage": 15, "failcnt": 0}


def test_v2_memory_without_limits() -> None:
    found = v2({"memory.stat": "file 8\n", "memory.max": "max\n", "memory.swap.max": "max\n"})["memory"]
    assert found["usage"]["limit"] == found["swap"]["limit"] == (1 << 64) - 1
    limited = v2({"memory.stat": "file 8\n", "memory.max": "max\n", "memory.swap.max": "5\n"})["memory"]
    assert limited["swap"]["limit"] == (1 << 64) - 1


def test_v2_io() -> None:
    found = v2({"io.stat": "8:0 rbytes=512 wbytes=0 rios=1 wios=2 dbytes=9 dios=9\n253:1 \n"})
    assert found["blkio"] == TABLES


def test_v2_hugetlb() -> None:
    found = v2({"hugetlb.2MB.current": "1\n", "hugetlb.2MB.rsvd.current": "2\n", "hugetlb.2MB.events": "max 3\n"})
    assert found["hugetlb"] == {"2MB": {"usage": 2, "failcnt": 3}}


def test_v2_pressure() -> None:
    found = v2({f"{name}.pressure": PRESSURE for name in ("cpu", "memory", "io")})
    assert found["cpu"]["psi"] == found["memory"]["psi"] == found["blkio"]["psi"] == PSI


def test_pressure_of_older_kernels_and_of_groups_that_do_not_account_it() -> None:
    some = PRESSURE.splitlines()[0]
    found = v2({"cpu.pressure": f"{some}\n", "memory.pressure": errno.EOPNOTSUPP})
    assert found["cpu"]["psi"] == {"some": PSI["some"], "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}}
    assert "psi" not in found["memory"]


def test_rdma() -> None:
    found = v2({"rdma.current": "mlx4_0 hca_handle=1 hca_object=2\n", "rdma.max": "mlx4_0 hca_handle=max hca_object=3\n"})
    assert found["rdma"] == {
        "current": {"mlx4_0": {"hca_handles": 1, "hca_objects": 2}},
        "limit": {"mlx4_0": {"hca_handles": (1 << 64) - 1, "hca_objects": 3}},
    }


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(SyscallError):
        v2({"cpu.stat": errno.EACCES})


# -- interfaces


def test_interfaces_of_veth_pairs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "veth0/statistics"
    directory.mkdir(parents=True)
    counters = ("bytes", "packets", "errors", "dropped")
    for number, name in enumerate(f"{way}_{what}" for way in ("rx", "tx") for what in counters):
        (directory / name).write_text(f"{number}\n")
    monkeypatch.setattr(container_stats, "_INTERFACES", str(tmp_path))
    networks = [{"type": "loopback"}, {"type": "veth", "host_interface_name": "veth0"}]
    assert container_stats._interfaces(networks) == [
        {"Name": "veth0", "RxBytes": 4, "RxPackets": 5, "RxErrors": 6, "RxDropped": 7, "TxBytes": 0, "TxPackets": 1,
         "TxErrors": 2, "TxDropped": 3}
    ]  # fmt: skip


@pytest.mark.parametrize(("kibibytes", "name"), [(64, "64KB"), (2048, "2MB"), (1 << 20, "1GB")])
def test_names_of_huge_pages(kibibytes: int, name: str) -> None:
    assert stats._size_name(kibibytes) == name
