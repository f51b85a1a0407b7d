"""linux.resources as writes to cgroup files: which file, which text, in which order.

The rule of this file: pure. What the kernel has to be asked (does this file exist, what is the limit now) is
asked through `Look`; nothing is written here.
"""

from __future__ import annotations

import math

from libcontainer.errors import Error, InvalidSpec, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Look(Protocol):
        """Questions about the files of one cgroup directory."""

        def exists(self, file: str) -> bool: ...
        def read(self, file: str) -> str: ...

    Resources = dict[str, Any]
    Plan = Callable[[Resources, Look], "list[Write]"]

UNLIMITED = -1
CPU_PERIOD = 100000  # the kernel's default, sched-bwc.rst
THROTTLES = (
    ("throttleReadBpsDevice", "read_bps", "rbps"),
    ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)


class Write:
    """`value` into `file`, because of linux.resources.`field`.

    optional: the kernel may lack the file. late: EINVAL may only mean that a later write of the same list has
    to come first (period, quota and burst constrain each other); try again after it.
    """

    __slots__ = ("field", "file", "late", "optional", "value")

    def __init__(
        self, field: str, file: str, value: str | int, *, optional: bool = False, late: bool = False
    ) -> None:
        self.field = field
        self.file = file
        self.value = str(value)
        self.optional = optional
        self.late = late

    def __repr__(self) -> str:
        return f"Write({self.field}: {self.file} <- {self.value!r})"


class Imagined:
    """A cgroup with every file and no limit, to look at a plan that nobody is going to carry out."""

    def exists(self, _file: str) -> bool:
        return True

    def read(self, _file: str) -> str:
        return "0"


def _section(resources: Resources, name: str) -> Resources:
    section: Resources | None = resources.get(name)
    return section or {}


def _given(writes: list[Write]) -> list[Write]:
    """Without those whose value is unset: 0 and "" mean "leave as it is"."""
    return [write for write in writes if write.value not in ("", "0")]


# --- the same on both versions ---


def _pids(resources: Resources, _look: Look) -> list[Write]:
    limit = _section(resources, "pids").get("limit")
    if limit is None:
        return []
    # pids.max 0 would let nothing be forked, not even by the container's first process: the least limit is 1.
    return [Write("pids.limit", "pids.max", "max" if limit < 0 else limit or 1)]


def _cpuset(resources: Resources, _look: Look) -> list[Write]:
    """ "0" is a CPU here, not "unset"."""
    cpu = _section(resources, "cpu")
    return [Write(f"cpu.{name}", f"cpuset.{name}", cpu[name]) for name in ("cpus", "mems") if cpu.get(name)]


def _rdma(resources: Resources, _look: Look) -> list[Write]:
    return [
        Write(f"rdma.{device}", "rdma.max", f"{device} {_rdma_limits(limits)}")
        for device, limits in _section(resources, "rdma").items()
    ]


def _rdma_limits(limits: Resources) -> str:
    names = (("hca_handle", "hcaHandles"), ("hca_object", "hcaObjects"))
    return " ".join(f"{key}={limits[name]}" for key, name in names if limits.get(name) is not None)


def _hugetlb(resources: Resources, limit_file: str) -> list[Write]:
    writes = []
    for index, entry in enumerate(resources.get("hugepageLimits") or []):
        size, limit = entry.get("pageSize", ""), entry.get("limit", 0)
        field = f"hugepageLimits[{index}]"
        if not size.isalnum():
            raise InvalidSpec(f"linux.resources.{field}.pageSize", f"invalid huge page size {size!r}")
        writes.append(Write(field, f"hugetlb.{size}.{limit_file}", limit))
        # Linux >= 5.7 accounts reservations apart; without this limit mmap succeeds and the page fault is a
        # SIGBUS.
        writes.append(Write(field, f"hugetlb.{size}.rsvd.{limit_file}", limit, optional=True))
    return writes


def _device(entry: Resources) -> str:
    return f"{entry.get('major', 0)}:{entry.get('minor', 0)}"


# --- cgroup v1 ---


def _v1_memory(resources: Resources, look: Look) -> list[Write]:
    memory = _section(resources, "memory")
    if not memory:
        return []
    writes = _v1_limits(memory, look)
    writes += _given(
        [
            Write("memory.reservation", "memory.soft_limit_in_bytes", memory.get("reservation") or 0),
            Write("memory.disableOOMKiller", "memory.oom_control", int(bool(memory.get("disableOOMKiller")))),
        ]
    )
    swappiness = memory.get("swappiness")
    if swappiness in (None, UNLIMITED):
        return writes
    if not 0 <= swappiness <= 100:
        raise Error(f"invalid memory swappiness value: {swappiness} (valid range is 0-100)")
    return [*writes, Write("memory.swappiness", "memory.swappiness", swappiness)]


def _v1_limits(memory: Resources, look: Look) -> list[Write]:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit == UNLIMITED and not swap and look.exists("memory.memsw.limit_in_bytes"):
        swap = UNLIMITED
    writes = [
        Write("memory.limit", "memory.limit_in_bytes", limit),
        Write("memory.swap", "memory.memsw.limit_in_bytes", swap),
    ]
    # The kernel wants limit <= limit+swap at every moment: growing starts with the sum, shrinking ends with
    # it.
    if limit and swap and (swap == UNLIMITED or int(look.read("memory.limit_in_bytes")) < swap):
        writes.reverse()
    return _given(writes)


def _v1_cpu(resources: Resources, look: Look) -> list[Write]:
    cpu = _section(resources, "cpu")
    if not cpu:
        return []
    quota, burst, idle = cpu.get("quota") or 0, cpu.get("burst"), cpu.get("idle")
    writes = [] if idle is None else [Write("cpu.idle", "cpu.idle", idle)]
    writes += _given(
        [
            Write("cpu.shares", "cpu.shares", cpu.get("shares") or 0),
            Write("cpu.period", "cpu.cfs_period_us", cpu.get("period") or 0, late=bool(quota)),
        ]
    )
    if burst is not None:
        writes.append(Write("cpu.burst", "cpu.cfs_burst_us", burst, optional=True, late=bool(quota)))
    writes += _given([Write("cpu.quota", "cpu.cfs_quota_us", quota)])
    return writes + v1_realtime(resources, look)


def v1_realtime(resources: Resources, _look: Look) -> list[Write]:
    """Also needed before a process joins: one that is SCHED_RR may not enter a group without real-time
    bandwidth."""
    cpu = _section(resources, "cpu")
    runtime = cpu.get("realtimeRuntime") or 0
    return _given(
        [
            Write(
                "cpu.realtimePeriod", "cpu.rt_period_us", cpu.get("realtimePeriod") or 0, late=bool(runtime)
            ),
            Write("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime),
        ]
    )


def _v1_blkio(resources: Resources, look: Look) -> list[Write]:
    block = _section(resources, "blockIO")
    writes = _given([Write("blockIO.leafWeight", "blkio.leaf_weight", block.get("leafWeight") or 0)])
    devices = block.get("weightDevice") or []
    if block.get("weight") or devices:
        bfq = "bfq." if look.exists("blkio.bfq.weight") else ""
        weight = Write("blockIO.weight", f"blkio.{bfq}weight", block.get("weight") or 0)
        writes = _given([weight]) + writes + _v1_device_weights(devices, f"blkio.{bfq}weight_device")
    for name, file, _key in THROTTLES:
        writes += [
            Write(f"blockIO.{name}", f"blkio.throttle.{file}_device", f"{_device(entry)} {entry.get('rate', 0)}")
            for entry in block.get(name) or []
        ]
    return writes


def _v1_device_weights(devices: list[Resources], weight_file: str) -> list[Write]:
    files = (("weight", weight_file), ("leafWeight", "blkio.leaf_weight_device"))
    return [
        Write("blockIO.weightDevice", file, f"{_device(entry)} {entry[key]}")
        for entry in devices
        for key, file in files
        if entry.get(key)
    ]


def _v1_hugetlb(resources: Resources, _look: Look) -> list[Write]:
    return _hugetlb(resources, "limit_in_bytes")


def _v1_net_cls(resources: Resources, _look: Look) -> list[Write]:
    return _given(
        [Write("network.classID", "net_cls.classid", _section(resources, "network").get("classID") or 0)]
    )


def _v1_net_prio(resources: Resources, _look: Look) -> list[Write]:
    return [
        Write("network.priorities", "net_prio.ifpriomap", f"{entry.get('name', '')} {entry.get('priority', 0)}")
        for entry in _section(resources, "network").get("priorities") or []
    ]


# "devices" has no plan here (devices.py), only its place in the order.
V1: tuple[tuple[str, Plan | None], ...] = (
    ("cpuset", _cpuset),
    ("devices", None),
    ("memory", _v1_memory),
    ("cpu", _v1_cpu),
    ("pids", _pids),
    ("blkio", _v1_blkio),
    ("hugetlb", _v1_hugetlb),
    ("net_cls", _v1_net_cls),
    ("net_prio", _v1_net_prio),
    ("rdma", _rdma),
)


# --- cgroup v2 ---


def _limit(value: int | None) -> str:
    """Memory files: 0 leaves the limit alone, -1 lifts it."""
    if not value:
        return ""
    return "max" if value == UNLIMITED else str(value)


def swap_max(limit: int, swap: int) -> int:
    """config.json's swap is memory+swap, as on v1; v2 limits swap alone. 0 of a swap > 0 means none."""
    if limit == UNLIMITED and not swap:
        return UNLIMITED
    if swap in (0, UNLIMITED) or limit == UNLIMITED:
        return swap
    if limit == 0:
        raise Error("unable to set swap limit without memory limit")
    if limit < 0:
        raise Error(f"invalid memory value: {limit}")
    if swap < limit:
        raise Error("memory+swap limit should be >= memory limit")
    return swap - limit


def _v2_memory(resources: Resources, look: Look) -> list[Write]:
    memory = _section(resources, "memory")
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    check_memory_usage(memory, look)
    alone = swap_max(limit, swap)
    swap_text = "0" if alone == 0 and swap > 0 else _limit(alone)
    writes = []
    if swap_text:
        # Without swap in the kernel nothing can be swapped: "unlimited" and "none" are both kept.
        writes.append(Write("memory.swap", "memory.swap.max", swap_text, optional=swap_text in ("0", "max")))
    return writes + _given(
        [
            Write("memory.limit", "memory.max", _limit(limit)),
            Write("memory.reservation", "memory.low", _limit(memory.get("reservation"))),
        ]
    )


def check_memory_usage(memory: Resources, look: Look) -> None:
    """checkBeforeUpdate: refuse a limit that would have the container killed at once."""
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if not memory.get("checkBeforeUpdate") or (limit <= 0 and swap <= 0) or not look.exists("memory.current"):
        return
    usage = int(look.read("memory.current"))
    if 0 < swap <= usage:
        raise Error(f"rejecting memory+swap limit {swap} <= usage {usage}")
    if 0 < limit <= usage:
        raise Error(f"rejecting memory limit {limit} <= usage {usage}")


def cpu_weight(shares: int) -> int:
    """cpu.shares (2..262144, default 1024) as cpu.weight (1..10000, default 100): exact at these three."""
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def _v2_cpu(resources: Resources, _look: Look) -> list[Write]:
    cpu = _section(resources, "cpu")
    if not cpu:
        return []
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    burst, idle = cpu.get("burst"), cpu.get("idle")
    writes = [] if idle is None else [Write("cpu.idle", "cpu.idle", idle)]
    writes += _given([Write("cpu.shares", "cpu.weight", cpu_weight(cpu.get("shares") or 0))])
    if burst is not None:
        writes.append(Write("cpu.burst", "cpu.max.burst", burst, late=bool(quota)))
    if quota or period:
        text = f"{quota if quota > 0 else 'max'} {period or CPU_PERIOD}"
        writes.append(Write("cpu.quota" if quota else "cpu.period", "cpu.max", text))
    return writes


def io_weight(weight: int) -> int:
    """blockIO.weight (10..1000) as io.weight (1..10000)."""
    return 1 + (weight - 10) * 9999 // 990 if weight else 0


def _v2_io(resources: Resources, look: Look) -> list[Write]:
    block = _section(resources, "blockIO")
    writes = []
    weight = block.get("weight")
    if weight:
        bfq = look.exists("io.bfq.weight")
        file, value = ("io.bfq.weight", weight) if bfq else ("io.weight", io_weight(weight))
        writes.append(Write("blockIO.weight", file, value))
    weighted = [entry for entry in block.get("weightDevice") or [] if entry.get("weight")]
    if weighted:
        writes += _v2_device_weights(weighted, look)
    for name, _file, key in THROTTLES:
        writes += [
            Write(f"blockIO.{name}", "io.max", f"{_device(entry)} {key}={entry.get('rate') or 'max'}")
            for entry in block.get(name) or []
        ]
    return writes


def _v2_device_weights(entries: list[Resources], look: Look) -> list[Write]:
    """BFQ's file if this kernel's takes devices (it then names the default), else io.cost's."""
    field = "blockIO.weightDevice"
    if look.exists("io.bfq.weight") and look.read("io.bfq.weight").startswith("default"):
        return [Write(field, "io.bfq.weight", f"{_device(entry)} {entry['weight']}") for entry in entries]
    if look.exists("io.weight"):
        return [
            Write(field, "io.weight", f"{_device(entry)} {io_weight(entry['weight'])}") for entry in entries
        ]
    raise Unsupported(f"linux.resources.{field}: this kernel has no weight per block device")


def _v2_hugetlb(resources: Resources, _look: Look) -> list[Write]:
    return _hugetlb(resources, "max")


def _v2_unified(resources: Resources, _look: Look) -> list[Write]:
    """One file a key, one write a line. After all others, so it has the last word."""
    writes = []
    for file, text in _section(resources, "unified").items():
        if "/" in file:
            raise Error(f'unified resource "{file}" must be a file name (no slashes)')
        writes += [Write("unified", file, line) for line in text.split("\n") if line]
    return writes


V2: tuple[tuple[str, Plan | None], ...] = (
    ("pids", _pids),
    ("memory", _v2_memory),
    ("io", _v2_io),
    ("cpu", _v2_cpu),
    ("devices", None),
    ("cpuset", _cpuset),
    ("hugetlb", _v2_hugetlb),
    ("rdma", _rdma),
    ("unified", _v2_unified),
)
