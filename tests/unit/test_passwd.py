"""HOME from an /etc/passwd that may be anything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from libcontainer import passwd
from libcontainer.errors import Error

Home = Callable[[bytes, int], "str | None"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    def home_in(content: bytes, uid: int) -> str | None:
        path = tmp_path / "passwd"
        path.write_bytes(content)
        return home_at(path, uid)

    return home_in


def home_at(path: Path, uid: int) -> str | None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return passwd.home_of(fd, uid)
    finally:
        os.close(fd)


ORDINARY = (
    b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nu:x:1000:1000::/home/u:"
)


@pytest.mark.parametrize(
    ("uid", "expected"), [(0, "/root"), (65534, "/nonexistent"), (1000, "/home/u"), (1, None), (100, None)]
)
def test_ordinary(home: Home, uid: int, expected: str | None) -> None:
    assert home(ORDINARY, uid) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", None),
        (b"\n\n:::\nroot\nroot:x:0\nroot:x:0:0:root\n", None),
        (b"a:x:zero:0::/a:\nb:x::0::/b:\nc:x: 0:0::/c:\nd:x:-0:0::/d:\ne:x:0_0:0::/e:\nf:x:0:0::/f:\n", "/f"),
        (b"#a:x:0:0::/commented:\nb:x:0:0::/b:\n", "/b"),
        (b"a:x:000:0::/a:/bin/sh", "/a"),
        (b"a:x:0:0::/first:\nb:x:0:0::/second:\n", "/first"),
        (b"a:x:0:0:::/bin/sh\n", None),
        (b"a:x:0:0::/with\0nul:\nb:x:0:0::/b:\n", "/b"),
        (b"a:x:0:0::/latin\xe9:\n", "/latin\udce9"),
        (b"a:x:0:0::/no-shell\n", "/no-shell"),
        (b"a:x:" + b"9" * 10000 + b":0::/a:\nb:x:0:0::/b:\n", "/b"),
    ],
)
def test_odd_lines(home: Home, content: bytes, expected: str | None) -> None:
    assert home(content, 0) == expected


def test_lines_across_reads(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (1, 2, 7, 30):
        monkeypatch.setattr(passwd, "PIECE", piece)
        assert home(ORDINARY, 1000) == "/home/u"


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(Error, match="^/etc/passwd is not a regular file$"):
            home_at(path, 0)


def test_a_masked_file_has_no_entries() -> None:
    assert home_at(Path("/dev/null"), 0) is None


def test_a_gigabyte_of_lines_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwd, "MAX_SIZE", 1 << 20)
    path = tmp_path / "passwd"
    path.write_bytes(b"a:x:1:1::/a:\n" * (1 << 17))
    os.truncate(path, 1 << 30)
    began = time.monotonic()
    with pytest.raises(Error, match="^/etc/passwd is larger than 1 MiB$"):
        home_at(path, 0)
    assert time.monotonic() - began < 10


def test_a_gigabyte_without_lines(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.touch()
    os.truncate(path, 1 << 30)
    with pytest.raises(Error, match="line longer than 64 KiB"):
        home_at(path, 0)


def test_an_early_entry_of_a_large_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(ORDINARY)
    os.truncate(path, 1 << 30)
    assert home_at(path, 0) == "/root"
