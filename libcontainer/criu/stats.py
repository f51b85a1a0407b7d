"""CRIU's own measurements of a dump or a restore: the files stats-dump and stats-restore in its work directory.

Read without pycriu, because `--stats` shall work wherever CRIU does: the file is two magic numbers, a length, and one
message whose only member is a message of plain integers (images/stats.proto), so a dozen lines decode it. Times are
microseconds, sizes are pages, and the names are CRIU's own; podman prints the same ones.
"""

from __future__ import annotations

import os
import stat
import struct

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DUMP, RESTORE = "dump", "restore"

_MAGIC = struct.pack("<II", 0x55105940, 0x57093306)  # IMG_SERVICE_MAGIC, STATS_MAGIC
_LARGEST = 4096
_MEMBER = {DUMP: 1, RESTORE: 2}
_FIELDS = {
    DUMP: {
        1: "freezing_time",
        2: "frozen_time",
        3: "memdump_time",
        4: "memwrite_time",
        5: "pages_scanned",
        6: "pages_skipped_parent",
        7: "pages_written",
        8: "irmap_resolve",
        9: "pages_lazy",
        10: "page_pipes",
        11: "page_pipe_bufs",
        12: "shpages_scanned",
        13: "shpages_skipped_parent",
        14: "shpages_written",
    },
    RESTORE: {1: "pages_compared", 2: "pages_skipped_cow", 3: "forking_time", 4: "restore_time", 5: "pages_restored"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types


class BadStats(Error):
    """The file is not what CRIU writes."""


def read(kind: str, directory: int) -> dict[str, int] | None:
    """What CRIU measured (`kind`: DUMP or RESTORE), from the directory of this descriptor; None if there is no file."""
    name = f"stats-{kind}"
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise BadStats(f"unable to read {name}") from err
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadStats(f"{name} is no regular file")
        return decode(kind, os.pread(fd, _LARGEST, 0))
    except ValueError as err:
        raise BadStats(f"{name} is damaged") from err
    finally:
        os.close(fd)


def decode(kind: str, data: bytes) -> dict[str, int]:
    """The integers in the content of such a file; ValueError if it is none."""
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as CRIU's statistics do")
    (length,) = struct.unpack_from("<I", data.ljust(12, b"\0"), 8)
    if 12 + length > len(data):
        raise ValueError("it is cut off")
    names = _FIELDS[kind]
    entry = dict(_fields(data[12 : 12 + length])).get(_MEMBER[kind])
    if not isinstance(entry, bytes):
        raise ValueError(f"it has no statistics of a {kind}")
    return {names[number]: value for number, value in _fields(entry) if number in names and isinstance(value, int)}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        if key & 7 == _VARINT:
            value, at = _varint(data, at)
        else:
            length, at = _length(key & 7, data, at)
            value, at = data[at : at + length], at + length
        if at > len(data):
            raise ValueError("it is cut off")
        yield key >> 3, value


def _length(wire_type: int, data: bytes, at: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _varint(data, at)
    if wire_type in (_FIXED32, _FIXED64):
        return 4 if wire_type == _FIXED32 else 8, at
    raise ValueError(f"wire type {wire_type}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at == len(data):
            raise ValueError("it is cut off")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise ValueError("a number is too long")
