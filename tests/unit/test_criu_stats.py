"""CRIU's statistics, decoded by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcontainer.criu import stats
from libcontainer.errors import Error
from tests.images import STATS, Maker

# written by CRIU 4.2.1
DUMP = bytes.fromhex("4059105506330957270000000a25089d0610ddb00a1881b40220b4cb01288160300038d05c4000480050285828600068007000")
MAGIC = DUMP[:8]


def message(entry: bytes, member: int = 1) -> bytes:
    body = bytes([member << 3 | 2, len(entry)]) + entry
    return MAGIC + len(body).to_bytes(4, "little") + body


def test_what_criu_has_written() -> None:
    assert stats.decode(stats.DUMP, DUMP) == {
        "freezing_time": 797,
        "frozen_time": 170_077,
        "memdump_time": 39_425,
        "memwrite_time": 26_036,
        "pages_scanned": 12_289,
        "pages_skipped_parent": 0,
        "pages_written": 11_856,
        "irmap_resolve": 0,
        "pages_lazy": 0,
        "page_pipes": 40,
        "page_pipe_bufs": 40,
        "shpages_scanned": 0,
        "shpages_skipped_parent": 0,
        "shpages_written": 0,
    }


def test_a_restore() -> None:
    entry = b"\x08\x01\x10\x02\x18\xac\x02\x20\x04\x28\x05"
    assert stats.decode(stats.RESTORE, message(entry, member=2)) == {
        "pages_compared": 1,
        "pages_skipped_cow": 2,
        "forking_time": 300,
        "restore_time": 4,
        "pages_restored": 5,
    }


def test_fields_of_a_later_criu_are_passed_over() -> None:
    entry = b"\x08\x07" + b"\xa2\x06\x03abc" + b"\xa5\x06\0\0\0\0" + b"\xa9\x06" + bytes(8) + b"\x10\x08"
    assert stats.decode(stats.DUMP, message(entry)) == {"freezing_time": 7, "frozen_time": 8}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin"),
        (b"x" * 20, "does not begin"),
        (MAGIC, "cut off"),
        (MAGIC + bytes(4), "no statistics of a dump"),
        (DUMP[:-1], "cut off"),
        (message(b"\x08"), "cut off"),
        (message(b"\x0a\x05a"), "cut off"),
        (message(b"\x08" + b"\xff" * 10 + b"\x01"), "too long"),
        (message(b"\x0b"), "wire type 3"),
        (message(b"\x08\x01", member=2), "no statistics of a dump"),
    ],
)
def test_what_is_none(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        stats.decode(stats.DUMP, data)


@given(st.binary(max_size=64))
def test_any_content_is_decoded_or_refused(data: bytes) -> None:
    for content in (data, MAGIC + data, message(data)):
        try:
            found = stats.decode(stats.DUMP, content)
        except ValueError:
            continue
        assert all(0 <= value < 1 << 70 for value in found.values())


# -- files


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_the_file_of_a_dump(directory: int, tmp_path: Path) -> None:
    (tmp_path / "stats-dump").write_bytes(DUMP)
    found = stats.read(stats.DUMP, directory)
    assert found is not None
    assert found["pages_written"] == 11_856


def test_no_file(directory: int) -> None:
    assert stats.read(stats.RESTORE, directory) is None


def test_a_link_is_not_followed(directory: int, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(DUMP)
    (tmp_path / "stats-dump").symlink_to("other")
    with pytest.raises(OSError, match="stats-dump"):
        stats.read(stats.DUMP, directory)


def test_a_fifo(directory: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stats-dump")
    with pytest.raises(Error, match="no regular file"):
        stats.read(stats.DUMP, directory)


def test_a_damaged_file(directory: int, tmp_path: Path) -> None:
    (tmp_path / "stats-dump").write_bytes(DUMP[:20])
    with pytest.raises(Error, match="damaged"):
        stats.read(stats.DUMP, directory)


def test_pycriu_agrees(directory: int, tmp_path: Path) -> None:
    Maker(tmp_path).stats()
    found = stats.read(stats.DUMP, directory)
    assert found is not None
    assert found.items() >= STATS.items()
