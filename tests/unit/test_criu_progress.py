"""Progress: what is reported when; and the line that draws it."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer.criu import progress
from libcontainer.criu.progress import DUMP, PRE_DUMP, RESTORE, Progress, Sample
from pyrunc import progress as drawing
from pyrunc.log import Log
from pyrunc.progress import Line


class Watcher:
    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def __call__(self, sample: Sample) -> None:
        self.samples.append(sample)

    @property
    def phases(self) -> list[str]:
        return [sample.phase for sample in self.samples]


def test_the_phases_of_a_dump() -> None:
    watcher = Watcher()
    with Progress(watcher) as found:
        found.begin(DUMP, lambda: 7, lambda: 100)
        for script in ("pre-dump", "network-lock", "query-ext-files", "post-dump", "network-unlock"):
            found.notified(script)
    assert watcher.phases == [
        "stopping processes",
        "stopping processes",
        "locking the network",
        "writing memory",
        "finishing",
        "letting processes go on",
        "done",
    ]
    assert [sample.last for sample in watcher.samples] == [False] * 6 + [True]
    assert {(sample.kind, sample.done, sample.expected) for sample in watcher.samples} == {(DUMP, 7, 100)}


def test_the_phases_of_a_restore() -> None:
    watcher = Watcher()
    with Progress(watcher) as found:
        found.begin(RESTORE, int, int)
        for script in ("pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore", "unheard-of"):
            found.notified(script)
    assert watcher.phases[1:] == [
        "creating processes",
        "setting up namespaces",
        "restoring memory",
        "resuming processes",
        "done",
    ]


def test_a_failure() -> None:
    watcher = Watcher()
    found = Progress(watcher)
    found.begin(PRE_DUMP, int, int)
    with pytest.raises(ValueError, match="x"), found:
        raise ValueError("x")
    assert watcher.phases == ["writing memory", "failed"]


def test_what_fails_before_it_begins_is_not_told() -> None:
    watcher = Watcher()
    with pytest.raises(ValueError, match="x"), Progress(watcher):
        raise ValueError("x")
    assert watcher.samples == []


def test_nobody_watches_nothing_is_measured() -> None:
    def measure() -> int:
        raise AssertionError

    with Progress() as found:
        assert not found.watched
        found.begin(DUMP, measure, measure)
        found.notified("post-dump")
        found.tick()


def test_a_look_that_takes_long_is_taken_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watcher = Watcher()

    def measure() -> int:
        now[0] += 0.1
        return 0

    found = Progress(watcher)
    found.begin(DUMP, measure, int)
    now[0] += 1.9
    found.tick()
    assert len(watcher.samples) == 1
    now[0] += 0.2
    found.tick()
    assert len(watcher.samples) == 2


def test_bytes_of_images_that_are_new(tmp_path: Path) -> None:
    (tmp_path / "pages-1.img").write_bytes(bytes(1000))
    os.utime(tmp_path / "pages-1.img", (1, 1))
    (tmp_path / "core-1.img").write_bytes(bytes(50))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        measure = progress.Images(fd, new=True)
        assert measure() == 0
        assert progress.Images(fd, new=False)() == 1000
        (tmp_path / "pages-2.img").write_bytes(bytes(300))
        (tmp_path / "pages-3.img").write_bytes(bytes(30))
        assert measure() == 330
    finally:
        os.close(fd)


def test_resident_bytes() -> None:
    keep = b"x" * (8 << 20)
    assert len(keep) < progress.resident_bytes([os.getpid(), 1 << 30]) < 4 << 30


# -- the line


class Terminal:
    """A terminal of 60 columns: `show` is what has come to it."""

    def __init__(self) -> None:
        self.master, self.fd = pty.openpty()
        tty.setraw(self.fd)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        os.set_blocking(self.master, False)

    def show(self) -> str:
        found = b""
        try:
            while chunk := os.read(self.master, 4096):
                found += chunk
        except OSError as error:
            assert error.errno in (errno.EAGAIN, errno.EIO)
        return found.decode()

    def close(self) -> None:
        for fd in (self.master, self.fd):
            os.close(fd)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


def sample(phase: str = "writing memory", done: int = 0, expected: int = 0, *, last: bool = False) -> Sample:
    return Sample(DUMP, phase, done, expected, 1.25, last=last)


def test_a_line_is_drawn_over_the_last(terminal: Terminal) -> None:
    line = Line(terminal.fd, summary=True)
    line(sample())
    assert terminal.show() == "\r\x1b[Kcheckpoint: writing memory, 1.2 s"
    line(sample(done=4096))
    assert terminal.show() == "\r\x1b[Kcheckpoint: writing memory, 4.0 KiB (1 pages), 1.2 s"


def test_a_line_is_never_wider_than_the_terminal(terminal: Terminal) -> None:
    Line(terminal.fd, summary=True)(sample(done=1 << 29, expected=1 << 30))
    shown = terminal.show().removeprefix("\r\x1b[K")
    assert shown == "checkpoint: writing memory, [##########..........], 512.0 Mi"[:59]


def test_the_end_leaves_a_summary(terminal: Terminal) -> None:
    line = Line(terminal.fd, summary=True)
    line(sample())
    terminal.show()
    line(sample("done", 8192, last=True))
    assert terminal.show() == "\r\x1b[Kcheckpoint: 8.0 KiB (2 pages) in 1.2 s\n"


@pytest.mark.parametrize(("summary", "phase"), [(True, "failed"), (False, "done")])
def test_the_end_leaves_nothing(terminal: Terminal, summary: bool, phase: str) -> None:
    line = Line(terminal.fd, summary=summary)
    line(sample())
    terminal.show()
    line(sample(phase, last=True))
    assert terminal.show() == "\r\x1b[K"


def test_a_stopped_terminal_does_not_make_us_wait(terminal: Terminal) -> None:
    termios.tcflow(terminal.fd, termios.TCOOFF)
    Line(terminal.fd, summary=True)(sample())
    termios.tcflow(terminal.fd, termios.TCOON)
    assert terminal.show() == ""


def test_a_terminal_that_is_gone(terminal: Terminal) -> None:
    line = Line(terminal.fd, summary=True)
    os.close(terminal.master)
    line(sample())
    line(sample("done", last=True))
    terminal.master = os.open(os.devnull, os.O_RDONLY)


def test_the_log_makes_room(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_watched", lambda _fd: True)
    monkeypatch.setattr("pyrunc.log._write_quietly", lambda _fd, text: os.write(terminal.fd, text[-5:].encode()))
    log = Log()
    found = drawing.on_terminal(log)
    assert found is not None
    assert log.before is not None
    line = Line(terminal.fd, summary=True)
    log.before = line.clear
    line(sample())
    terminal.show()
    log("warning", "beware")
    assert terminal.show().startswith("\r\x1b[K")
    log("warning", "beware")
    assert not terminal.show().startswith("\r\x1b[K")


@pytest.mark.parametrize(("ahead", "drawn"), [(0, True), (1, False)])
def test_in_the_background_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch, ahead: int, drawn: bool) -> None:
    """Others are on the terminal then; and stty tostop would stop us, with the container frozen."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("pyrunc.progress.os.isatty", lambda _fd: True)
    monkeypatch.setattr("pyrunc.progress.os.tcgetpgrp", lambda _fd: os.getpgrp() + ahead)
    assert (drawing.on_terminal(Log()) is not None) == drawn


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    read, write = os.pipe()
    saved = os.dup(2)
    try:
        os.dup2(write, 2)
        assert drawing.on_terminal(Log()) is None
    finally:
        os.dup2(saved, 2)
        for fd in (read, write, saved):
            os.close(fd)
