"""What --stats prints after a checkpoint or a restore: CRIU's measurements, and how long all of it took."""

from __future__ import annotations

import os
import time

from libcontainer import jsonfast
from libcontainer.criu import stats
from libcontainer.errors import Error, describe
from pyrunc.log import out
from pyrunc.options import SWITCH, TEXT, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyrunc.options import Invocation

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


STATS = Flag("stats", SWITCH, "print what CRIU has measured: times and pages")
FORMAT = Flag("format", TEXT, "how to print it, one of: text or json", default="text")


class Stopwatch:
    """Runs from the beginning of a command; a wrong --format ends it before anything is done."""

    __slots__ = ("_call", "_format", "_started")

    def __init__(self, call: Invocation) -> None:
        self._call = call
        self._format = checked_format(call)
        self._started = time.monotonic()

    def show(self, kind: str, directory: str) -> None:
        """Print the statistics of a dump or restore, if they are asked for, from CRIU's work directory."""
        if not self._call.switch("stats"):
            return
        seconds = time.monotonic() - self._started
        try:
            measured = _read(kind, directory)
        except (Error, OSError) as err:  # it has been done nevertheless
            self._call.log("warning", f"unable to read CRIU's statistics: {describe(err)}")
            measured = {}
        out(_text(self._format, self._call.arguments[0], measured, seconds))


def checked_format(call: Invocation) -> str:
    """The value of --format."""
    layout = call.text("format")
    if layout not in _FORMATS:
        raise Error("invalid format option")
    return layout


def _read(kind: str, directory: str) -> dict[str, int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return stats.read(kind, fd) or {}
    finally:
        os.close(fd)


def _text(layout: str, container_id: str, measured: dict[str, int], seconds: float) -> str:
    duration = round(seconds * 1e6)
    if layout == "json":
        return jsonfast.dumps({"id": container_id, "duration": duration, "criu": measured}) + "\n"
    rows = [("total", milliseconds(duration)), *lines(measured)]
    return "".join(f"{name:<22} {value}\n" for name, value in rows)


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
