"""One line at the foot of a terminal that tells how far a checkpoint or a restore has come.

It is drawn on stderr, only if that is a terminal on which we are in the foreground; in a pipe there is not one byte of it.
The line is cleared before anything else is written, and at the end gives way to a summary.
"""

from __future__ import annotations

import os
import select

from libcontainer.criu.progress import PRE_DUMP, RESTORE, Progress
from pyrunc import log
from pyrunc.checkpoint_stats import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.criu.progress import Sample

_CLEAR = "\r\x1b[K"
_NARROWEST = 20
_WIDTH = 80  # where the terminal does not say
_BAR = 20


class Line:
    """Draws Samples on the terminal `fd`; with `summary` the last one leaves a line there."""

    __slots__ = ("_drawn", "_fd", "_summary")

    def __init__(self, fd: int, *, summary: bool) -> None:
        self._fd = fd
        self._summary = summary
        self._drawn = False

    def __call__(self, sample: Sample) -> None:
        if sample.last:
            self.clear()
            if self._summary and sample.phase == "done":
                self._write(_summary(sample) + "\n")
            return
        self._write(_CLEAR + _line(sample)[: self._width() - 1])
        self._drawn = True

    def clear(self) -> None:
        """Make room for other output."""
        if self._drawn:
            self._write(_CLEAR)
            self._drawn = False

    def _width(self) -> int:
        try:
            return max(os.get_terminal_size(self._fd).columns or _WIDTH, _NARROWEST)
        except OSError:
            return _WIDTH

    def _write(self, text: str) -> None:
        """Unless it would make us wait, or cannot be done: the container is frozen meanwhile."""
        try:
            if _writable(self._fd):
                log.write(self._fd, text)
        except OSError:  # a terminal that has gone
            pass


def on_terminal(records: log.Log, *, summary: bool = True) -> Progress | None:
    """A Progress that draws, if somebody watches; the log's records make room for themselves."""
    if not _watched(2):
        return None
    line = Line(2, summary=summary)
    records.before = line.clear
    return Progress(line)


def _writable(fd: int) -> bool:
    """Not while its output is stopped (Ctrl-S)."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


def _watched(fd: int) -> bool:
    if not os.isatty(fd) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # not our controlling terminal: nobody can put us into its background
        return True


def _line(sample: Sample) -> str:
    words = [f"{sample.kind}: {sample.phase}"]
    if sample.expected:
        words.append(_bar(sample.done, sample.expected))
    if sample.done:
        words.append(_amount(sample) + (f" of about {size(sample.expected)}" if sample.expected > sample.done else ""))
    return ", ".join([*words, f"{sample.seconds:.1f} s"])


def _bar(done: int, expected: int) -> str:
    filled = min(done * _BAR // expected, _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}]"


def _amount(sample: Sample) -> str:
    pages = sample.done // os.sysconf("SC_PAGESIZE")
    return f"{size(sample.done)} ({pages} pages)"


def _summary(sample: Sample) -> str:
    name = {PRE_DUMP: "pre-dump", RESTORE: "restored"}.get(sample.kind, "checkpoint")
    amount = f"{_amount(sample)} in " if sample.done else ""
    return f"{name}: {amount}{sample.seconds:.1f} s"
