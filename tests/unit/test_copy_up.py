"""tmpcopyup's copying, of a directory that somebody changes meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from libcontainer import copy_up
from libcontainer.remote import Batch, Channel, Reply


class Sendfile:
    """Does what init is asked for: sendfile(2)."""

    def run(self, batch: Batch) -> Reply:
        target, source = batch.fds
        return Reply((os.sendfile(target, source, None, 1 << 20), 0, 0), b"", (), [])


def copy(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, target)]
    copy_up._Copy(cast("Channel", Sendfile())).directory(*fds)
    for fd in fds:
        os.close(fd)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    return tmp_path / "source", tmp_path / "target"


def test_all_kinds(places: tuple[Path, Path]) -> None:
    source, target = places
    (source / "directory/below").mkdir(parents=True)
    (source / "directory").chmod(0o2751)
    (source / "file").write_bytes(b"content")
    (source / "file").chmod(0o640)
    (source / "link").symlink_to("nowhere/at/all")
    os.mkfifo(source / "fifo", 0o622)
    os.utime(source / "file", ns=(1, 2))
    before = len(os.listdir("/proc/self/fd"))
    copy(source, target)
    assert len(os.listdir("/proc/self/fd")) == before
    for path in source.rglob("*"):
        ours, theirs = path.lstat(), (target / path.relative_to(source)).lstat()
        assert ours.st_mode == theirs.st_mode, path
    assert (target / "file").read_bytes() == b"content"
    assert (target / "file").stat().st_mtime_ns == 2
    assert os.readlink(target / "link") == "nowhere/at/all"


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR])
def test_what_is_exchanged_after_it_was_looked_at(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """The host opens nothing but what it has looked at: opening a device can do things, and read the host's disk."""
    source, target = places
    victim = source / "victim"
    victim.mkdir() if kind == stat.S_IFDIR else victim.write_bytes(b"good")

    pending = [victim]

    def exchanging(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def wrapper(*args: Any, **options: Any) -> os.stat_result:
            found = look(*args, **options)
            if stat.S_IFMT(found.st_mode) == kind and pending:
                pending.pop().rename(source.parent / "old")
                os.mkfifo(victim)
            return found

        return wrapper

    for name in ("stat", "fstat"):
        monkeypatch.setattr(os, name, exchanging(getattr(os, name)))
    copy(source, target)
    assert stat.S_ISFIFO(victim.lstat().st_mode)
    assert (target / "victim").is_dir() if kind == stat.S_IFDIR else (target / "victim").read_bytes() == b"good"
