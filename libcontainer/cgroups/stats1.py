"""Statistics from cgroup v1: Documentation/admin-guide/cgroup-v1/{cpuacct,cpusets,memory,blkio-controller,hugetlb}.rst.

On a hybrid machine the pressures come from the unified hierarchy, which runc does not look at.
"""

from __future__ import annotations

import os

from libcontainer import cpuset_list
from libcontainer.cgroups import stats
from libcontainer.cgroups.stats import Directory, sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.files import Tree
    from libcontainer.cgroups.stats import Stats

_NANOSECONDS = 1_000_000_000
_CPUSET_FLAGS = (
    *("cpu_exclusive", "mem_exclusive", "mem_hardwall", "memory_migrate", "memory_pressure", "memory_spread_page"),
    *("memory_spread_slab", "sched_load_balance", "sched_relax_domain_level"),
)
_MEMORY = {"usage": "memory", "swap": "memory.memsw", "kernel": "memory.kmem", "kernelTCP": "memory.kmem.tcp"}
_HUGETLB = {"max": "max_usage_in_bytes", "failcnt": "failcnt"}
_BLKIO = {
    "sectorsRecursive": "sectors_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioTimeRecursive": "time_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
}
_COUNTS = ("ioServicedRecursive", "ioServiceBytesRecursive")
# From the scheduler that knows most to what every kernel counts; the first that has counted anything is taken.
_BLKIO_SOURCES = (
    {name: f"blkio.bfq.{file}" for name, file in _BLKIO.items()},
    {name: f"blkio.{file}" for name, file in _BLKIO.items()},
    {name: f"blkio.throttle.{_BLKIO[name]}" for name in _COUNTS},
    {name: f"blkio.throttle.{_BLKIO[name].removesuffix('_recursive')}" for name in _COUNTS},
)


def collect(tree: Tree, paths: dict[str, str]) -> Stats:
    """The statistics of the container with these cgroups."""

    def directory(controller: str) -> Directory:
        return Directory(tree, paths.get(controller, ""))

    found = stats.empty()
    huge = directory("hugetlb")
    found["cpu"] = {"usage": _usage(directory("cpuacct")), "throttling": _throttling(directory("cpu"))}
    found["cpuset"].update(_cpuset(directory("cpuset")))
    found["memory"].update(_memory(directory("memory")))
    found["pids"] = stats.pids(directory("pids"))
    found["blkio"] = _blkio(directory("blkio"))
    found["hugetlb"] = stats.hugetlb(lambda prefix: _hugetlb(huge, prefix))
    for section, psi in stats.pressure(directory("")).items():
        found[section]["psi"] = psi
    return {**found, **sparse({"rdma": stats.rdma(directory("rdma"))})}


def _usage(directory: Directory) -> Stats:
    ticks = directory.pairs("cpuacct.stat")
    nanoseconds = _NANOSECONDS // os.sysconf("SC_CLK_TCK")
    user, kernel = _per_cpu(directory.lines("cpuacct.usage_all"))
    members = {
        "total": directory.number("cpuacct.usage"),
        "percpu": [int(text) for text in directory.text("cpuacct.usage_percpu").split()],
        "percpu_kernel": kernel,
        "percpu_user": user,
        "kernel": ticks.get("system", 0) * nanoseconds,
        "user": ticks.get("user", 0) * nanoseconds,
    }
    return sparse(members, "kernel", "user")


def _per_cpu(lines: list[str]) -> tuple[list[int], list[int]]:
    """ "cpu user system", then a line a CPU."""
    rows = [line.split() for line in lines[1:]]
    return [int(user) for _, user, _ in rows], [int(system) for _, _, system in rows]


def _throttling(directory: Directory) -> Stats:
    values = directory.pairs("cpu.stat")
    names = {"periods": "nr_periods", "throttledPeriods": "nr_throttled", "throttledTime": "throttled_time"}
    return sparse({name: values.get(key) for name, key in names.items()})


def _cpuset(directory: Directory) -> Stats:
    flags = {name: directory.number(f"cpuset.{name}") or 0 for name in _CPUSET_FLAGS}
    lists = {name: sorted(cpuset_list.parse(directory.text(f"cpuset.{name}").strip())) for name in ("cpus", "mems")}
    return {**flags, **sparse(lists)}


def _memory(directory: Directory) -> Stats:
    raw = directory.pairs("memory.stat")
    entries = {name: _memory_entry(directory, prefix) for name, prefix in _MEMORY.items()}
    return sparse({"cache": raw.get("cache"), **entries, "raw": raw})


def _memory_entry(directory: Directory, prefix: str) -> Stats:
    files = {"limit": "limit_in_bytes", "usage": "usage_in_bytes", "max": "max_usage_in_bytes", "failcnt": "failcnt"}
    return sparse({name: directory.number(f"{prefix}.{file}") or 0 for name, file in files.items()}, "limit", "failcnt")


def _blkio(directory: Directory) -> Stats:
    for source in _BLKIO_SOURCES:
        tables = {name: _blkio_table(directory.lines(file)) for name, file in source.items()}
        if tables["ioServicedRecursive"]:
            return sparse(tables)
    return {}


def _blkio_table(lines: list[str]) -> list[Stats]:
    """ "8:0 Read 124" or "8:0 6792"; the last line is a total without a device."""
    rows = [line.split() for line in lines]
    return [stats.blkio_entry(row[0], row[1] if len(row) == 3 else "", int(row[-1])) for row in rows if ":" in row[0]]


def _hugetlb(directory: Directory, prefix: str) -> Stats:
    usage = directory.number(f"{prefix}.usage_in_bytes")
    if usage is None:
        return {}
    counts = {name: directory.number(f"{prefix}.{file}") or 0 for name, file in _HUGETLB.items()}
    return sparse({"usage": usage, **counts}, "failcnt")
