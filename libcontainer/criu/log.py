"""CRIU's log: which of its error lines says what went wrong.

A log begins with errors that are none (CRIU tries what it can do), and ends with those of everything that gave up
afterwards. The relevant one is the first that is not harmless and not a mere consequence.
"""

from __future__ import annotations

import os

from libcontainer.criu import regular
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HARMLESS = (
    "rlimit: Can't setup RLIMIT_NOFILE",  # no CAP_SYS_RESOURCE
    "iptables-save -V failed",
    "ip6tables-save",
    "exited, status=1",  # iptables-save, asked for its version
    "libcriu",
    "Can't open /dev/kfd",
    "Error opening file /dev/kfd",
    "Unable to detect vDSO",
)
# Errors that are not marked as such.
UNMARKED = ("Can't connect to server",)
# Somebody else's failure, told again by who had to give up.
CONSEQUENCES = (
    "Dumping FAILED",
    "Pre-dumping FAILED",
    "Restoring FAILED",
    "Dump files (fd:",
    "Dump namespaces failed",
    "dump_one_task",
    "failed with",
    "killed by signal",
    "exited, status=",
    "Can't dump core with parasite",
    "cgroupd: recv req error",
    "Unable to detach from",
)
MARK = "Error ("
LARGEST = 1 << 24  # of a log that is looked at
CONTEXT = 5  # lines before an error that are quoted with it


class Line:
    """One line of the log: "(00.012345)   1234: Error (criu/file.c:12): text"."""

    __slots__ = ("number", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text


def read(directory: int, name: str) -> list[str]:
    """The lines of a log in the work directory; none if there is none. The end of a long one."""
    try:
        fd = regular.open_file(directory, name)
    except (OSError, Error):
        return []
    with open(fd, "rb") as file:
        file.seek(max(os.fstat(fd).st_size - LARGEST, 0))
        return file.read(LARGEST).decode(errors="replace").splitlines()


def errors(lines: Iterable[str]) -> list[Line]:
    """The error lines that are not harmless."""
    return [Line(number, text) for number, text in enumerate(lines) if _is_error(text)]


def _is_error(text: str) -> bool:
    marked = MARK in text or any(words in text for words in UNMARKED)
    return marked and not any(words in text for words in HARMLESS)


def relevant(lines: Iterable[str]) -> str | None:
    """The text of the first error that is the cause of others, without time, place and process."""
    found = [message(line.text) for line in errors(lines)]
    return next((text for text in found if not any(words in text for words in CONSEQUENCES)), found[0] if found else None)


def message(text: str) -> str:
    """What follows "Error (file.c:12): ", or the time."""
    before, marked, rest = text.partition(MARK)
    return rest.partition("): ")[2].strip() if marked else before.partition(") ")[2].strip()


def quote(lines: list[str]) -> list[str]:
    """Each error line with those before it."""
    wanted: set[int] = set()
    for line in errors(lines):
        wanted.update(range(max(line.number - CONTEXT, 0), line.number + 1))
    return [lines[number] for number in sorted(wanted)]
