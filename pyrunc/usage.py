"""What `top` shows of a container: figures from two looks at its statistics, and their words.

The rule of this file: pure. The statistics are those of Container.stats(), where what is zero may be absent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Stats = Mapping[str, Any]

_UNLIMITED = 1 << 62  # v1 has no word for it, only a number near 2**63
_NANOSECONDS = 1e9
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
HEADER = ("ID", "STATUS", "CPU %", "MEMORY", "LIMIT", "MEM %", "PIDS", "READ/s", "WRITE/s", "PRESSURE cpu/mem/io")
_LEFT = (0, 1)  # columns of words; the others are numbers
_GAP = "  "


class Look:
    """The statistics of a container at a moment (seconds of a monotonic clock)."""

    __slots__ = ("moment", "stats")

    def __init__(self, stats: Stats, moment: float) -> None:
        self.stats = stats
        self.moment = moment

    @property
    def cpu(self) -> int:
        """Nanoseconds used."""
        return int(self.stats["cpu"]["usage"].get("total", 0))

    def moved(self, op: str) -> int:
        """Bytes read from, or written to, block devices."""
        entries = self.stats["blkio"].get("ioServiceBytesRecursive", ())
        return sum(entry.get("value", 0) for entry in entries if entry.get("op") == op)

    @property
    def memory(self) -> int:
        return int(self.stats["memory"]["usage"].get("usage", 0))

    @property
    def working_set(self) -> int:
        """Without the part of the page cache that the kernel would drop first."""
        raw = self.stats["memory"].get("raw", {})
        droppable: int = raw.get("total_inactive_file", raw.get("inactive_file", 0))
        return max(self.memory - droppable, 0)

    @property
    def memory_limit(self) -> int | None:
        limit = self.stats["memory"]["usage"].get("limit", 0)
        return limit if 0 < limit < _UNLIMITED else None

    def pressure(self, section: str) -> float | None:
        """The share of the last ten seconds, in per cent, in which some task waited."""
        psi = self.stats[section].get("psi")
        return None if psi is None else psi["some"]["avg10"]


def record(name: str, status: str, before: Look | None, now: Look) -> dict[str, Any]:
    """The figures of one container; rates are None until there is something to compare with."""
    rates = _rates(before, now)
    pids = now.stats["pids"]
    return {
        "id": name,
        "status": status,
        "cpu_percent": rates["cpu"],
        "memory": {"usage": now.memory, "working_set": now.working_set, "limit": now.memory_limit},
        "pids": {"current": pids.get("current", 0), "limit": pids.get("limit")},
        "io": {
            "read": now.moved("Read"),
            "written": now.moved("Write"),
            "read_rate": rates["read"],
            "write_rate": rates["write"],
        },
        "pressure": {kind: now.pressure(section) for kind, section in (("cpu", "cpu"), ("memory", "memory"), ("io", "blkio"))},
    }


def _rates(before: Look | None, now: Look) -> dict[str, float | None]:
    seconds = now.moment - before.moment if before else 0.0
    if before is None or seconds <= 0:
        return dict.fromkeys(("cpu", "read", "write"))
    return {
        "cpu": round(100 * (now.cpu - before.cpu) / _NANOSECONDS / seconds, 2),
        "read": round((now.moved("Read") - before.moved("Read")) / seconds),
        "write": round((now.moved("Write") - before.moved("Write")) / seconds),
    }


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A header and a line for each, the busiest first."""
    busy = sorted(records, key=lambda record: (-(record["cpu_percent"] or 0), record["id"]))
    rows = [HEADER, *map(_cells, busy)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(map(_aligned, range(len(row)), row, widths)).rstrip() for row in rows]


def _aligned(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column in _LEFT else text.rjust(width)


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    memory, pids, io = record["memory"], record["pids"], record["io"]
    share = 100 * memory["working_set"] / memory["limit"] if memory["limit"] else None
    return (
        *(record["id"], record["status"], _percent(record["cpu_percent"])),
        *(size(memory["working_set"]), size(memory["limit"]), _percent(share)),
        f"{pids['current']}/{pids['limit']}" if pids["limit"] else str(pids["current"]),
        *(size(io["read_rate"]), size(io["write_rate"])),
        "/".join(map(_percent, record["pressure"].values())),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def size(value: float | None) -> str:
    """ "12.5MiB"; "-" for nothing known."""
    if value is None:
        return "-"
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}{_UNITS[-1]}"
