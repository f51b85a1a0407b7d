"""A user's home directory, read from the image's /etc/passwd: a file that whoever made the image controls.

So it is read by our own few lines (no NSS), from a descriptor, in pieces, and not without end.
"""

from __future__ import annotations

import os
import stat

from libcontainer.child import is_null
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 16 << 20
MAX_LINE = 64 << 10
PIECE = 64 << 10


def home_of(fd: int, uid: int) -> str | None:
    """The home directory of the first entry with `uid`; None if there is none or it is empty.

    `fd` is open for reading, with O_NONBLOCK, for it may turn out to be a FIFO. Lines that are no entries are skipped.
    """
    if is_null(fd):  # linux.maskedPaths
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise Error("/etc/passwd is not a regular file")
    wanted = b"%d" % uid
    for line in _lines(fd):
        fields = line.split(b":")
        if len(fields) >= 6 and _number(fields[2]) == wanted and _plausible(line):
            return os.fsdecode(fields[5]) or None
    return None


def _number(field: bytes) -> bytes:
    """Decimal digits without leading zeros; not int(), which takes signs, blanks, underscores and long times."""
    return field.lstrip(b"0") or field[:1]


def _plausible(line: bytes) -> bool:
    return not line.startswith(b"#") and b"\0" not in line


def _lines(fd: int) -> Iterator[bytes]:
    size, rest = 0, b""
    while piece := os.read(fd, PIECE):
        size += len(piece)
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        yield from lines
        if size > MAX_SIZE:
            raise Error(f"/etc/passwd is larger than {MAX_SIZE >> 20} MiB")
        if len(rest) > MAX_LINE:
            raise Error(f"/etc/passwd has a line longer than {MAX_LINE >> 10} KiB")
    yield rest
