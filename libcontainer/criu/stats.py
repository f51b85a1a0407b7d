"""CRIU's own measurements of a dump or a restore: the files stats-dump and stats-restore in its work directory.

Read without pycriu, because `--stats` shall work wherever CRIU does: the file is two magic numbers, a length, and one
message whose only member is a message of plain integers (images/stats.proto), so a dozen lines decode it. Times are
microseconds, sizes are pages, and the names are CRIU's own; podman prints the same ones.
"""

from __future__ import annotations

import struct
from errno import ENOENT

from libcontainer.criu import regular, wire
from libcontainer.errors import Error, SyscallError

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


def read(kind: str, directory: int) -> dict[str, int] | None:
    """What CRIU measured (`kind`: DUMP or RESTORE), from the directory of this descriptor; None if there is no file."""
    name = f"stats-{kind}"
    try:
        data = regular.read(directory, name, _LARGEST)
    except SyscallError as err:
        if err.errno != ENOENT:
            raise
        return None
    try:
        return decode(kind, data)
    except ValueError as err:
        raise Error(f"{name} is damaged") from err


def decode(kind: str, data: bytes) -> dict[str, int]:
    """The integers in the content of such a file; ValueError if it is none."""
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as CRIU's statistics do")
    (length,) = struct.unpack_from("<I", data.ljust(12, b"\0"), 8)
    if 12 + length > len(data):
        raise ValueError("it is cut off")
    names = _FIELDS[kind]
    entry = dict(wire.fields(data[12 : 12 + length])).get(_MEMBER[kind])
    if not isinstance(entry, bytes):
        raise ValueError(f"it has no statistics of a {kind}")
    return {names[number]: value for number, value in wire.fields(entry) if number in names and isinstance(value, int)}
