"""What --stats prints after a checkpoint or a restore: CRIU's measurements, and how long all of it took."""

from __future__ import annotations

from libcontainer import jsonfast
from pyrunc.log import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_FORMATS = ("", "text", "json")
_TIMES = {  # microseconds
    "freezing_time": "freezing",
    "frozen_time": "frozen",
    "memdump_time": "collecting memory",
    "memwrite_time": "writing memory",
    "forking_time": "forking",
    "restore_time": "restoring",
}
_PAGES = {
    "pages_scanned": "pages scanned",
    "pages_skipped_parent": "pages skipped",
    "pages_written": "pages written",
    "pages_lazy": "pages lazy",
    "shpages_scanned": "shared pages scanned",
    "shpages_skipped_parent": "shared pages skipped",
    "shpages_written": "shared pages written",
    "pages_compared": "pages compared",
    "pages_skipped_cow": "pages shared with the parent process",
    "pages_restored": "pages restored",
}


def check_format(layout: str) -> None:
    """Before anything is done: a checkpoint must not fail over how it would have been told."""
    if layout not in _FORMATS:
        raise ValueError("invalid format option")


def show(layout: str, container_id: str, values: Mapping[str, int] | None, seconds: float) -> None:
    """Print the statistics; `values` are those of libcontainer.criu.stats.read(), `seconds` the whole command's."""
    measured = dict(values or {})
    if layout == "json":
        record = {"id": container_id, "duration": round(seconds * 1e6), "criu": measured}
        out(jsonfast.dumps(record) + "\n")
    else:
        rows = [("total", milliseconds(round(seconds * 1e6))), *lines(measured)]
        out("".join(f"{name:<22} {value}\n" for name, value in rows))


def lines(values: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Name and value, in words."""
    for key, name in _TIMES.items():
        if key in values:
            yield name, milliseconds(values[key])
    for key, name in _PAGES.items():
        if key in values:
            yield name, str(values[key])


def milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.1f} ms"


def size(amount: int) -> str:
    """Bytes in words."""
    if amount < 1024:
        return f"{amount} B"
    power = min((amount.bit_length() - 1) // 10, len(_UNITS))
    return f"{amount / 1024**power:.1f} {_UNITS[power - 1]}"
