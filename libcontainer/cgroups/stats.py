"""What a container has used: the `data` of runc's "stats" events, from the files of its cgroups.

The rule of this file: what both versions share; stats1.py and stats2.py read. As in Go's encoding, members that are
empty or zero are left out unless runc's structure always has them.
"""

from __future__ import annotations

import errno
import os

from libcontainer.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from libcontainer.cgroups.files import Tree

    Stats = dict[str, Any]

NO_LIMIT = (1 << 64) - 1
PRESSURES = {"cpu": "cpu.pressure", "memory": "memory.pressure", "blkio": "io.pressure"}
_GONE = (errno.ENOENT, errno.ENODEV)
_HUGE_PAGES = "/sys/kernel/mm/hugepages"
_CPUSET = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab"),
    *("memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)


class Directory:
    """The files of one cgroup; one that is missing reads as "" ("" for the path: no such cgroup)."""

    __slots__ = ("_path", "_tree")

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree = tree
        self._path = path

    def text(self, file: str) -> str:
        """The kernel says EOPNOTSUPP for the pressure of a group that does not account it (cgroup.pressure)."""
        if not self._path:
            return ""
        try:
            return self._tree.read(f"{self._path}/{file}")
        except SyscallError as error:
            if error.errno in (*_GONE, errno.EOPNOTSUPP):
                return ""
            raise

    def number(self, file: str) -> int | None:
        """A single number; "max" is NO_LIMIT, None: no such file."""
        text = self.text(file).strip()
        if not text:
            return None
        return NO_LIMIT if text == "max" else int(text)

    def pairs(self, file: str) -> dict[str, int]:
        """A flat keyed file ("name number" a line)."""
        return {name: int(value) for name, value in map(str.split, self.text(file).splitlines())}

    def lines(self, file: str) -> list[str]:
        return self.text(file).splitlines()


def sparse(members: Stats, *always: str) -> Stats:
    """Without the members that are empty, but for those of `always`."""
    return {name: value for name, value in members.items() if value or name in always}


def empty() -> Stats:
    """The whole of what an event holds, of a container that nothing is known of."""
    return {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": dict.fromkeys(_CPUSET, 0),
        "memory": {name: {"limit": 0, "failcnt": 0} for name in ("usage", "swap", "kernel", "kernelTCP")},
        "pids": {},
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def pids(directory: Directory) -> Stats:
    """`limit` is left out if there is none."""
    limit = directory.number("pids.max")
    return sparse({"current": directory.number("pids.current"), "limit": 0 if limit == NO_LIMIT else limit})


def pressure(directory: Directory) -> dict[str, Stats]:
    """Section of the stats -> its `psi`, where the kernel has it (Documentation/accounting/psi.rst)."""
    found = {}
    for section, file in PRESSURES.items():
        lines = dict(line.split(" ", 1) for line in directory.lines(file))
        if "some" in lines:
            found[section] = {kind: _pressure(lines.get(kind, "")) for kind in ("some", "full")}
    return found


def _pressure(text: str) -> Stats:
    """ "avg10=0.00 avg60=0.00 avg300=0.00 total=0"; older kernels have no "full" for the CPU."""
    values = dict(part.split("=") for part in text.split())
    averages = {name: float(values.get(name, 0)) for name in ("avg10", "avg60", "avg300")}
    return {**averages, "total": int(values.get("total", 0))}


def huge_page_sizes() -> list[str]:
    """As hugetlb's files name them: "2MB", "1GB", "64KB"."""
    try:
        names = os.listdir(_HUGE_PAGES)
    except FileNotFoundError:
        return []
    return [_size_name(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in sorted(names)]


def hugetlb(entry: Callable[[str], Stats]) -> dict[str, Stats]:
    """`entry` of each size that is counted: where reservations are counted (.rsvd) they are what limits, else pages in use."""
    return {size: found for size in huge_page_sizes() if (found := entry(f"hugetlb.{size}.rsvd") or entry(f"hugetlb.{size}"))}


def _size_name(kibibytes: int) -> str:
    for unit, divisor in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kibibytes >= divisor:
            return f"{kibibytes // divisor}{unit}"
    return f"{kibibytes}KB"


def rdma(directory: Directory) -> Stats:
    """Per device, what is used and what may be: an extension, runc keeps these to itself."""
    files = {"current": "rdma.current", "limit": "rdma.max"}
    return sparse({name: dict(_rdma_lines(directory.lines(file))) for name, file in files.items()})


def _rdma_lines(lines: list[str]) -> Iterator[tuple[str, dict[str, int]]]:
    """ "mlx4_0 hca_handle=2 hca_object=max"."""
    for line in lines:
        device, *values = line.split()
        pairs = (value.split("=") for value in values)
        yield device, {f"{name}s": NO_LIMIT if text == "max" else int(text) for name, text in pairs}


def blkio_entry(device: str, op: str, value: int) -> Stats:
    major, _, minor = device.partition(":")
    return sparse({"major": int(major), "minor": int(minor), "op": op, "value": value})
