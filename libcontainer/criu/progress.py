"""How far a pre-dump, dump or restore has come: its phase, from CRIU's notifications, and the bytes of memory moved.

Nothing here makes CRIU wait: a look is taken when it notifies anyway, and at the ticks of whoever waits for it; a look
that is expensive (thousands of files or processes) is taken more rarely. Without a Progress not even that happens.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

PRE_DUMP, DUMP, RESTORE = "pre-dump", "checkpoint", "restore"

# what CRIU does from a notification on (criu.org/RPC)
_PHASES = {
    DUMP: {
        "pre-dump": "stopping processes",
        "network-lock": "locking the network",
        "query-ext-files": "writing memory",
        "post-dump": "finishing",
        "status-ready": "serving memory to the other host",
        "network-unlock": "letting processes go on",
    },
    RESTORE: {
        "pre-restore": "creating processes",
        "setup-namespaces": "setting up namespaces",
        "post-setup-namespaces": "restoring memory",
        "post-restore": "resuming processes",
    },
}
_PHASES[PRE_DUMP] = _PHASES[DUMP]
_FIRST = {PRE_DUMP: "writing memory", DUMP: "stopping processes", RESTORE: "reading images"}
_SHARE = 20  # of the time, one part for looking
_COARSE = 0.05  # seconds that the clock of a file system may be behind


class Sample:
    """One look. `expected` is a guess, 0 if there is none; `last` says that no other follows."""

    __slots__ = ("done", "expected", "kind", "last", "phase", "seconds")

    def __init__(self, kind: str, phase: str, done: int, expected: int, seconds: float, *, last: bool) -> None:
        self.kind = kind
        self.phase = phase
        self.done = done
        self.expected = expected
        self.seconds = seconds
        self.last = last


class Progress:
    """Reports Samples of one operation; without a `report` it does nothing. As a context it ends with the block."""

    __slots__ = ("_done", "_expected", "_kind", "_measure", "_next", "_phase", "_report", "_started")

    def __init__(self, report: Callable[[Sample], None] | None = None) -> None:
        self._report = report
        self._measure: Callable[[], int] = int
        self._done = self._expected = 0
        self._next = 0.0
        self._kind = self._phase = ""
        self._started = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.end(succeeded=error is None)

    @property
    def watched(self) -> bool:
        """Whether there is anybody to report to."""
        return self._report is not None

    def begin(self, kind: str, measure: Callable[[], int], expected: Callable[[], int]) -> None:
        """The operation begins (PRE_DUMP, DUMP or RESTORE). Both tell bytes: those done, and how many there may be."""
        if not self.watched:
            return
        self._kind, self._phase = kind, _FIRST[kind]
        self._measure, self._expected = measure, expected()
        self._started = time.monotonic()
        self._tell(last=False)

    def notified(self, script: str) -> None:
        """CRIU has sent this notification."""
        phase = _PHASES[self._kind].get(script) if self._kind else None
        if phase is not None:
            self._phase = phase
            self._tell(last=False)

    def tick(self) -> None:
        """Time has passed."""
        if self._kind and time.monotonic() >= self._next:
            self._tell(last=False)

    def end(self, *, succeeded: bool) -> None:
        """It is over; nothing more is reported."""
        if self._kind:
            self._phase = "done" if succeeded else "failed"
            self._next = 0.0
            self._tell(last=True)
        self._kind = ""

    def _tell(self, *, last: bool) -> None:
        before = time.monotonic()
        if before >= self._next:
            self._done = self._measure()
            now = time.monotonic()
            self._next = now + (now - before) * _SHARE
        if self._report is not None:
            seconds = before - self._started
            self._report(Sample(self._kind, self._phase, self._done, self._expected, seconds, last=last))


class Images:
    """The bytes of memory in the images of a directory: all, or those that are written from now on."""

    __slots__ = ("_directory", "_since")

    def __init__(self, directory: int, *, new: bool) -> None:
        self._directory = directory
        self._since = time.time() - _COARSE if new else 0.0

    def __call__(self) -> int:
        with os.scandir(self._directory) as entries:
            return sum(self._size(entry) for entry in entries if entry.name.startswith("pages-"))

    def _size(self, entry: os.DirEntry[str]) -> int:
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return 0
        return found.st_size if found.st_mtime >= self._since else 0


def resident_bytes(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have, without what they map from files: about what a dump has to write."""
    page = os.sysconf("SC_PAGESIZE")
    return sum(_private_pages(pid) for pid in pids) * page


def _private_pages(pid: int) -> int:
    """proc(5): the second field of statm is what is resident, the third what of it is of files or shared."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
    except OSError:  # it has ended
        return 0
    return max(int(fields[1]) - int(fields[2]), 0)
