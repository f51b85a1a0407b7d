"""Whole small files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from libcontainer import smallfile
from tests.root.laboratory import Snapshot


def test_all_of_a_file_however_large(tmp_path: Path) -> None:
    for size in (0, 1, 65536, 200_001):
        content = os.urandom(size)
        (tmp_path / "file").write_bytes(content)
        assert smallfile.read(str(tmp_path / "file")) == content


def test_a_file_of_procfs() -> None:
    assert smallfile.text("/proc/self/comm") == Path("/proc/self/comm").read_text()
    assert smallfile.text("/proc/self/mountinfo") == Path("/proc/self/mountinfo").read_text()


def test_bytes_that_are_no_text_come_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"caf\xe9")
    assert os.fsencode(smallfile.text(str(tmp_path / "file"))) == b"caf\xe9"


@pytest.mark.parametrize(("name", "error"), [("missing", errno.ENOENT), (".", errno.EISDIR)])
def test_errors_name_the_file(tmp_path: Path, name: str, error: int) -> None:
    path = str(tmp_path / name)
    before = Snapshot()
    with pytest.raises(OSError, match=name) as caught:
        smallfile.read(path)
    assert (caught.value.errno, caught.value.filename) == (error, path)
    before.assert_unchanged()
