"""The console and pidfd sockets, against a receiver that is as strict as conmon and containerd's shim."""

from __future__ import annotations

import _socket
import array
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer import console
from libcontainer.errors import Error, InvalidSpec, describe
from tests.root.conftest import LIMIT
from tests.root.laboratory import Snapshot

OPEN: list[_socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test left open."""
    yield
    while OPEN:
        OPEN.pop().close()


class Receiver:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        OPEN.append(self.listener)
        directory = os.open(path.parent, os.O_PATH)
        self.listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self.listener.listen()
        self.listener.settimeout(LIMIT)

    def receive(self) -> tuple[bytes, list[int]]:
        """One message of one connection, after which the sender has closed it."""
        sock = self.listener.accept()[0]
        data, ancillary, flags, _ = sock.recvmsg(4096, socket.CMSG_SPACE(64))
        assert not flags & socket.MSG_CTRUNC
        sock.settimeout(LIMIT)
        assert sock.recv(1) == b""
        sock.close()
        fds = array.array("i")
        for level, kind, payload in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(payload)
        return data, list(fds)


@pytest.fixture
def pty() -> tuple[int, int]:
    return os.openpty()


def same_file(one: int, other: int) -> bool:
    return os.path.samestat(os.fstat(one), os.fstat(other))


def test_master_by_path(tmp_path: Path, pty: tuple[int, int]) -> None:
    receiver = Receiver(tmp_path / "console.sock")
    console.send_master(receiver.path, pty[0], "/dev/pts/0")
    data, fds = receiver.receive()
    assert data == b"/dev/pts/0"
    assert len(fds) == 1
    assert os.ttyname(pty[1]) == f"/dev/pts/{struct.unpack('i', _ptn(fds[0]))[0]}"


def _ptn(master: int) -> bytes:
    import fcntl

    return fcntl.ioctl(master, 0x80045430, bytes(4))  # TIOCGPTN


def test_master_by_a_socket_connected_before(tmp_path: Path, pty: tuple[int, int]) -> None:
    receiver = Receiver(tmp_path / "console.sock")
    sock = console.connect(receiver.path)
    OPEN.append(sock)
    assert not os.get_inheritable(sock.fileno())
    console.send_master(sock, pty[0], "/dev/pts/7")
    sock.close()
    assert receiver.receive()[0] == b"/dev/pts/7"


@pytest.mark.parametrize(("name", "length"), [("", 1), ("/" + "x" * 9000, 4095)], ids=["empty", "long"])
def test_data_is_what_receivers_accept(tmp_path: Path, pty: tuple[int, int], name: str, length: int) -> None:
    receiver = Receiver(tmp_path / "s")
    console.send_master(receiver.path, pty[0], name)
    assert len(receiver.receive()[0]) == length


@pytest.mark.parametrize("kind", [b"standard", b"setns"])
def test_pidfd(tmp_path: Path, kind: bytes) -> None:
    receiver = Receiver(tmp_path / "pidfd.sock")
    pidfd = os.pidfd_open(os.getpid())
    sock = console.connect(receiver.path)
    OPEN.append(sock)
    console.send_pidfd(sock, pidfd, kind)
    sock.close()
    data, fds = receiver.receive()
    assert data == kind
    assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{fds[0]}").read_text()


def test_a_path_longer_than_an_address(tmp_path: Path, pty: tuple[int, int]) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    receiver = Receiver(deep / "console.sock")
    console.send_master(receiver.path, pty[0], "/dev/pts/1")
    data, fds = receiver.receive()
    assert data == b"/dev/pts/1"
    assert same_file(fds[0], pty[0])


@pytest.mark.parametrize("name", ["missing", "m" * 120])
def test_nobody_there(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    before = Snapshot()
    with pytest.raises(Error) as caught:
        console.connect(path)
    assert describe(caught.value) == f"dial unix {path}: connect: no such file or directory"
    before.assert_unchanged()


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Error) as caught:
        console.connect(str(tmp_path / "file"))
    assert describe(caught.value).endswith(": connect: connection refused")


def test_a_receiver_that_went_away_is_an_error(pty: tuple[int, int]) -> None:
    ours, theirs = socket.socketpair()
    OPEN.append(ours)
    theirs.close()
    with pytest.raises(BrokenPipeError):
        console.send_master(ours, pty[0], "/dev/pts/0")


def test_winsize() -> None:
    assert console.winsize({"height": 24, "width": 80}) == struct.pack("HHHH", 24, 80, 0, 0)


@pytest.mark.parametrize(
    "size", [None, {}, {"height": 0, "width": 80}, {"height": 24, "width": 0}, {"width": 80}]
)
def test_no_winsize(size: dict[str, int] | None) -> None:
    assert console.winsize(size) is None


@pytest.mark.parametrize("size", [{"height": 65536, "width": 1}, {"height": -1, "width": 1}])
def test_impossible_winsize(size: dict[str, int]) -> None:
    with pytest.raises(InvalidSpec, match=r"^process\.consoleSize\.height: "):
        console.winsize(size)
