"""The figures and words of `top`."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc import usage
from pyrunc.usage import Look

MIB = 1 << 20


def stats(total: int = 0, read: int = 0, **memory: Any) -> Any:
    entries = [{"major": 8, "op": "Read", "value": read}, {"major": 8, "op": "Write"}, {"major": 9, "op": "Read", "value": 1}]
    return {
        "cpu": {"usage": {"total": total, "kernel": 0, "user": 0}},
        "memory": {"usage": {"limit": 0, **memory}},
        "pids": {"current": 3},
        "blkio": {"ioServiceBytesRecursive": entries},
    }


def test_rates_need_two_looks() -> None:
    record = usage.record("c", "running", None, Look(stats(5), 1.0))
    assert (record["cpu_percent"], record["io"]["read_rate"], record["io"]["write_rate"]) == (None, None, None)


def test_rates() -> None:
    before, now = Look(stats(1_000_000_000, 100), 10.0), Look(stats(4_000_000_000, 2100), 12.0)
    record = usage.record("c", "running", before, now)
    assert record["cpu_percent"] == 150.0
    assert record["io"] == {"read": 2101, "written": 0, "read_rate": 1000, "write_rate": 0}


@pytest.mark.parametrize(
    ("raw", "found"), [({}, 100), ({"inactive_file": 30}, 70), ({"inactive_file": 1, "total_inactive_file": 40}, 60)]
)
def test_the_working_set(raw: Any, found: int) -> None:
    look = stats(usage=100)
    look["memory"]["raw"] = raw
    assert Look(look, 0).working_set == found


@pytest.mark.parametrize(("limit", "found"), [(0, None), (5, 5), ((1 << 64) - 1, None), (9223372036854771712, None)])
def test_no_limit_is_none(limit: int, found: int | None) -> None:
    assert Look(stats(limit=limit), 0).memory_limit == found


def test_pressure() -> None:
    look = stats()
    look["memory"]["psi"] = {"some": {"avg10": 2.5}, "full": {"avg10": 1}}
    assert usage.record("c", "running", None, Look(look, 0))["pressure"] == {"cpu": None, "memory": 2.5, "io": None}


def test_the_table_has_the_busiest_first() -> None:
    idle = usage.record("idle", "running", None, Look(stats(), 0))
    busy = usage.record("busy", "running", Look(stats(), 0), Look(stats(10**9, 2048 - 1, usage=MIB, limit=4 * MIB), 1))
    header, first, second = usage.table([idle, busy])
    assert header.split()[:3] == ["ID", "STATUS", "CPU"]
    assert first.split() == ["busy", "running", "100.0", "1.0MiB", "4.0MiB", "25.0", "3", "2.0KiB", "0B", "-/-/-"]
    assert second.split() == ["idle", "running", "-", "0B", "-", "-", "3", "-", "-", "-/-/-"]


def test_the_limit_of_pids_is_shown() -> None:
    look = stats()
    look["pids"]["limit"] = 20
    assert "3/20" in usage.table([usage.record("c", "running", None, Look(look, 0))])[1].split()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0B"), (1023, "1023B"), (1024, "1.0KiB"), (1536 * MIB, "1.5GiB"), (1 << 63, "8.0EiB")],
)
def test_size(value: int | None, text: str) -> None:
    assert usage.size(value) == text
