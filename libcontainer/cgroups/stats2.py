"""Statistics from cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), in the form they have on v1.

That form is what readers of events know: swap is memory and swap together, io.stat becomes blkio's tables.
"""

from __future__ import annotations

from libcontainer.cgroups import stats
from libcontainer.cgroups.stats import NO_LIMIT, Directory, sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.files import Tree
    from libcontainer.cgroups.stats import Stats

_MICROSECOND = 1000  # nanoseconds
_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def collect(tree: Tree, path: str) -> Stats:
    """The statistics of the container with this cgroup."""
    directory = Directory(tree, path)
    found = stats.empty()
    found["cpu"] = _cpu(directory)
    found["memory"].update(_memory(directory))
    found["pids"] = stats.pids(directory) or sparse({"current": len(tree.pids(path, recursive=True))})
    found["blkio"] = _io(directory)
    found["hugetlb"] = stats.hugetlb(lambda prefix: _hugetlb(directory, prefix))
    for section, psi in stats.pressure(directory).items():
        found[section]["psi"] = psi
    return {**found, **sparse({"rdma": stats.rdma(directory)})}


def _cpu(directory: Directory) -> Stats:
    values = directory.pairs("cpu.stat")

    def nanoseconds(name: str) -> int:
        return values.get(name, 0) * _MICROSECOND

    usage = {"total": nanoseconds("usage_usec"), "kernel": nanoseconds("system_usec"), "user": nanoseconds("user_usec")}
    throttling = {
        "periods": values.get("nr_periods"),
        "throttledPeriods": values.get("nr_throttled"),
        "throttledTime": nanoseconds("throttled_usec"),
    }
    return {"usage": sparse(usage, "kernel", "user"), "throttling": sparse(throttling)}


def _memory(directory: Directory) -> Stats:
    raw = directory.pairs("memory.stat")
    if not raw:
        return {}
    usage, swap = _memory_entry(directory, "memory"), _memory_entry(directory, "memory.swap")
    if swap["limit"] != NO_LIMIT:
        swap["limit"] = min(swap["limit"] + usage["limit"], NO_LIMIT)
    # The greatest sum is not known, only each one's greatest.
    swap = {**swap, "usage": swap["usage"] + usage["usage"], "max": 0}
    entries = {name: sparse(entry, "limit", "failcnt") for name, entry in (("usage", usage), ("swap", swap))}
    return sparse({"cache": raw.get("file"), **entries, "raw": raw})


def _memory_entry(directory: Directory, prefix: str) -> dict[str, int]:
    files = {"limit": "max", "usage": "current", "max": "peak"}
    return {"failcnt": 0, **{name: directory.number(f"{prefix}.{file}") or 0 for name, file in files.items()}}


def _io(directory: Directory) -> Stats:
    """ "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6"; discards have no place on v1."""
    tables: Stats = {}
    for line in directory.lines("io.stat"):
        device, *values = line.split()
        for name, _, value in (text.partition("=") for text in values):
            if name in _IO:
                table, op = _IO[name]
                tables.setdefault(table, []).append(stats.blkio_entry(device, op, int(value)))
    return tables


def _hugetlb(directory: Directory, prefix: str) -> Stats:
    usage = directory.number(f"{prefix}.current")
    if usage is None:
        return {}
    failures = directory.pairs(f"{prefix.removesuffix('.rsvd')}.events").get("max", 0)
    return sparse({"usage": usage, "failcnt": failures}, "failcnt")
