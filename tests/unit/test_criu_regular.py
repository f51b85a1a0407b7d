"""What is opened in a directory that may come from anywhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer.criu import regular
from libcontainer.errors import Error, SyscallError
from tests.root.laboratory import Snapshot


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def make(path: Path, kind: str) -> None:
    """Something that is no regular file of its own."""
    elsewhere = path.parent / "elsewhere"
    if not elsewhere.exists():
        elsewhere.write_text("precious")
    if kind == "symlink":
        path.symlink_to(elsewhere)
    elif kind == "dangling symlink":
        path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


OTHERS = ["symlink", "dangling symlink", "fifo", "directory", "socket"]


@pytest.mark.parametrize("kind", OTHERS)
def test_only_regular_files_are_opened(directory: int, tmp_path: Path, kind: str) -> None:
    make(tmp_path / "it", kind)
    before = Snapshot()
    with pytest.raises((Error, SyscallError), match="it"):
        regular.open_file(directory, "it")
    before.assert_unchanged()


def test_a_fifo_with_a_writer_is_not_read_either(directory: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "it")
    writer = os.open(tmp_path / "it", os.O_RDWR)
    try:
        with pytest.raises(Error, match="it is no regular file"):
            regular.read(directory, "it", 10)
    finally:
        os.close(writer)


def test_no_more_than_allowed_is_read(directory: int, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"0123456789")
    assert regular.read(directory, "it", 10) == b"0123456789"
    os.truncate(tmp_path / "it", 1 << 40)
    with pytest.raises(Error, match="it: larger than 10 bytes"):
        regular.read(directory, "it", 10)


@pytest.mark.parametrize("kind", OTHERS)
def test_an_image_is_a_file(directory: int, tmp_path: Path, kind: str) -> None:
    (tmp_path / "core-1.img").touch()
    make(tmp_path / "other", kind)  # no name of an image
    regular.check_images(directory)
    make(tmp_path / "pages-1.img", kind)
    with pytest.raises(Error) as caught:
        regular.check_images(directory)
    assert str(caught.value) == f"{tmp_path} is no directory of checkpoint images: no regular files: 'pages-1.img'"


def test_a_few_of_many_are_named(directory: int, tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"core-{number}.img").mkdir()
    with pytest.raises(Error, match=r"'core-0.img', .*, 'core-4.img', \.\.\.$"):
        regular.check_images(directory)


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo", "socket"])
def test_what_criu_would_write_through_goes(directory: int, tmp_path: Path, kind: str) -> None:
    make(tmp_path / "dump.log", kind)
    regular.clear(directory, "dump.log", "stats-dump")
    assert not os.path.lexists(tmp_path / "dump.log")
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_hard_link_goes_and_a_file_stays(directory: int, tmp_path: Path) -> None:
    """CRI-O makes the log beforehand, with a label."""
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "dump.log").hardlink_to(tmp_path / "elsewhere")
    (tmp_path / "stats-dump").touch()
    regular.clear(directory, "dump.log", "stats-dump")
    assert not (tmp_path / "dump.log").exists()
    assert (tmp_path / "stats-dump").exists()


def test_a_directory_in_the_way_is_an_error(directory: int, tmp_path: Path) -> None:
    (tmp_path / "dump.log").mkdir()
    with pytest.raises(SyscallError, match="dump.log"):
        regular.clear(directory, "dump.log")
