"""NOTIFY_SOCKET: what of a container's messages reaches the service manager."""

from __future__ import annotations

import array
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from libcontainer import notify_socket
from libcontainer.notify_socket import NotifySocket, ready_line
from tests.root.conftest import LIMIT
from tests.root.laboratory import Snapshot

OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test left open."""
    yield
    while OPEN:
        OPEN.pop().close()


class Manager:
    """A service manager: keeps what it is told, and closes the descriptors it gets (unless it is `slow`)."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        OPEN.append(self.sock)
        self.sock.bind(address)
        self.sock.settimeout(LIMIT)

    def told(self, *, close: bool = True) -> bytes:
        data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(64))
        for _, _, payload in ancillary:
            for fd in array.array("i", payload):
                data += b" + fd"
                if close:
                    os.close(fd)
        return data


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(str(tmp_path / "host.sock"))


@pytest.fixture
def notify(tmp_path: Path, manager: Manager) -> Iterator[NotifySocket]:
    notify = NotifySocket(str(tmp_path), str(tmp_path / "host.sock"))
    notify.make_directory()
    notify.bind()
    yield notify
    notify.close()


def say(tmp_path: Path, *messages: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(tmp_path / "notify" / "notify.sock"))
        for message in messages:
            sock.send(message)


def test_a_symlink_in_place_of_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with CAP_SYS_ADMIN can make the directory writable, and exchange the socket as soon as it is there."""
    victim = tmp_path / "victim"
    victim.touch(0o600)

    class Exchanged(socket.socket):
        def bind(self, address: object) -> None:
            (tmp_path / "notify/notify.sock").symlink_to(victim)

    names = {name: getattr(socket, name) for name in ("AF_UNIX", "SOCK_DGRAM", "SOCK_CLOEXEC")}
    monkeypatch.setattr(notify_socket, "_socket", SimpleNamespace(socket=Exchanged, **names))
    notify = NotifySocket(str(tmp_path), str(tmp_path / "host.sock"))
    notify.make_directory()
    with pytest.raises(OSError, match="not supported"):
        notify.bind()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def forward(notify: NotifySocket, manager: Manager) -> list[bytes]:
    """What the manager is told while the container lives."""
    thread = threading.Thread(target=notify.forward, args=(321, lambda: True))
    thread.start()
    told = [manager.told(), manager.told(), manager.told()]
    thread.join(LIMIT)
    assert not thread.is_alive()
    return told


READY = [b"READY=1\n", b"MAINPID=321\n", b"BARRIER=1 + fd"]


def test_ready_goes_on(tmp_path: Path, notify: NotifySocket, manager: Manager) -> None:
    say(tmp_path, b"READY=1")
    assert forward(notify, manager) == READY


def test_all_else_stays(tmp_path: Path, notify: NotifySocket, manager: Manager) -> None:
    say(tmp_path, b"STATUS=up", b"WATCHDOG=1", b"STATUS=x\nREADY=1", b"", b"READY=1\nSTATUS=evil\nMAINPID=1")
    assert forward(notify, manager) == READY


def test_ready_of_a_container_that_is_gone(tmp_path: Path, notify: NotifySocket, manager: Manager) -> None:
    say(tmp_path, b"STATUS=bye", b"READY=1")
    thread = threading.Thread(target=notify.forward, args=(321, lambda: False))
    thread.start()
    assert [manager.told() for _ in range(3)] == READY
    thread.join(LIMIT)


def test_silence_ends_with_the_container(notify: NotifySocket, manager: Manager) -> None:
    lives = iter([True, True, False])
    began = time.monotonic()
    assert notify.forward(321, lambda: next(lives))
    assert 0.1 < time.monotonic() - began < LIMIT
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.told()


def test_a_flood_after_the_end_is_bounded(tmp_path: Path, notify: NotifySocket) -> None:
    stop = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(tmp_path / "notify" / "notify.sock"))
            sock.setblocking(False)
            while not stop.is_set():
                try:
                    sock.send(b"STATUS=spam")
                except BlockingIOError:
                    pass

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        assert notify.forward(321, lambda: False)
    finally:
        stop.set()
        flooder.join()


def test_abstract_address(tmp_path: Path) -> None:
    name = f"pyrunc-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    notify = NotifySocket(str(tmp_path), f"@{name}")
    notify.make_directory()
    notify.bind()
    say(tmp_path, b"READY=1")
    assert forward(notify, manager) == READY
    notify.close()


def test_barrier_that_nobody_closes(
    tmp_path: Path, notify: NotifySocket, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_socket, "BARRIER_MS", 50)
    say(tmp_path, b"READY=1")
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(notify.forward(321, lambda: True)))
    thread.start()
    assert [manager.told(close=False) for _ in range(3)] == READY
    thread.join(LIMIT)
    assert answers == [False]


def test_no_manager(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path), str(tmp_path / "missing"))
    notify.make_directory()
    notify.bind()
    say(tmp_path, b"READY=1")
    before = Snapshot()
    with pytest.raises(FileNotFoundError):
        notify.forward(321, lambda: True)
    before.assert_unchanged()
    notify.close()


def test_modes_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        notify = NotifySocket(str(tmp_path), "/x")
        notify.make_directory()
        notify.bind()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "notify").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "notify" / "notify.sock").stat().st_mode) == 0o777
    notify.close()


def test_bound_again_and_below_a_long_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 150)
    deep.mkdir()
    notify = NotifySocket(str(deep), "/x")
    notify.make_directory()
    notify.bind()
    notify.close()
    notify.bind()
    assert stat.S_ISSOCK((deep / "notify" / "notify.sock").stat().st_mode)
    notify.close()
    notify.close()


def test_mount_and_environment(tmp_path: Path) -> None:
    assert NotifySocket("/run/x/c1", "/h").mount() == {
        "destination": "/run/notify",
        "type": "bind",
        "source": "/run/x/c1/notify",
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    assert notify_socket.ENVIRONMENT == "NOTIFY_SOCKET=/run/notify/notify.sock"


@pytest.mark.parametrize(
    ("datagram", "line"),
    [
        (b"READY=1", b"READY=1"),
        (b"READY=0\nX=1\n", b"READY=0"),
        (b" READY=1", b""),
        (b"X\nREADY=1", b""),
        (b"READY", b""),
    ],
)
def test_ready_line(datagram: bytes, line: bytes) -> None:
    assert ready_line(datagram) == line
