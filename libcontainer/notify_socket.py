"""NOTIFY_SOCKET: the container's "I am ready" (sd_notify(3)) forwarded to the service manager that started us.

The container gets a socket of its own, in a directory bound to /run/notify; of what it says, only a datagram that
begins with READY= goes on, with the MAINPID that the service manager is to watch. All else stays here: the container
must not speak for the service (STATUS=, WATCHDOG=, FDSTORE= ...).
"""

from __future__ import annotations

import _socket
import os
import select

from libcontainer.console import connect_to, send_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOUNTPOINT = "/run/notify"
SOCKET = "notify.sock"
ENVIRONMENT = f"NOTIFY_SOCKET={MOUNTPOINT}/{SOCKET}"
LIVENESS_MS = 100  # how often a silent container is looked at
BARRIER_MS = 30_000
MAX_DATAGRAM = 4096
LEFT_BEHIND = 1024  # datagrams that are still read once the container is gone


class NotifySocket:
    """The socket of one container. `host_path` is our own $NOTIFY_SOCKET ("@name" is an abstract address)."""

    __slots__ = ("directory", "host_path", "sock")

    def __init__(self, state_dir: str, host_path: str) -> None:
        self.directory = os.path.join(state_dir, "notify")
        self.host_path = host_path
        self.sock: _socket.socket | None = None

    def make_directory(self) -> None:
        os.mkdir(self.directory)
        os.chmod(self.directory, 0o755)  # whatever the umask

    def mount(self) -> dict[str, Any]:
        """The mount to append to the config's."""
        return {
            "destination": MOUNTPOINT,
            "type": "bind",
            "source": self.directory,
            "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
        }

    def bind(self) -> None:
        """Make the socket, writable for every user of the container; one that an earlier start left is replaced."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _unlink(directory)
            # The real path may be longer than an address can be.
            sock.bind(f"/proc/self/fd/{directory}/{SOCKET}")
            _open_to_all(directory)
        except OSError:
            sock.close()
            raise
        finally:
            os.close(directory)
        self.sock = sock

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def forward(self, pid: int, alive: Callable[[], bool]) -> bool:
        """Wait until the container is ready or no longer `alive`, and tell the service manager that `pid` is the main one.

        True if that was confirmed (or there was nothing to tell); False if the barrier timed out. The service
        manager being unreachable is an OSError.
        """
        assert self.sock is not None, "bind() comes first"
        ready = _wait_ready(self.sock, alive)
        if not ready:
            return True
        return _tell(self.host_path, ready, pid)


def _unlink(directory: int) -> None:
    try:
        os.unlink(SOCKET, dir_fd=directory)
    except FileNotFoundError:
        pass


def _open_to_all(directory: int) -> None:
    """What is there, never what a symlink leads to: a container that may mount can write to the directory too."""
    pinned = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{pinned}", 0o777)
    finally:
        os.close(pinned)


def _wait_ready(sock: _socket.socket, alive: Callable[[], bool]) -> bytes:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    while alive():
        if poller.poll(LIVENESS_MS):
            ready = ready_line(sock.recv(MAX_DATAGRAM))
            if ready:
                return ready
    return _last_words(sock)


def _last_words(sock: _socket.socket) -> bytes:
    """READY= of a container that ended right after; bounded, for others in its pid namespace may go on sending."""
    for _ in range(LEFT_BEHIND):
        try:
            ready = ready_line(sock.recv(MAX_DATAGRAM, _socket.MSG_DONTWAIT))
        except BlockingIOError:
            break
        if ready:
            return ready
    return b""


def ready_line(datagram: bytes) -> bytes:
    """The first line of a datagram that begins with READY=, else b""."""
    return datagram.partition(b"\n")[0] if datagram.startswith(b"READY=") else b""


def _tell(host_path: str, ready: bytes, pid: int) -> bool:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        connect_to(sock, host_path)
        for message in (b"%s\n" % ready, b"MAINPID=%d\n" % pid):
            sock.send(message, _socket.MSG_NOSIGNAL)
        return _barrier(sock)
    finally:
        sock.close()


def _barrier(sock: _socket.socket) -> bool:
    """sd_notify_barrier(3): the service manager closes its copy of a pipe when it has seen all that was sent before."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        send_descriptor(sock, writer, b"BARRIER=1")
        os.close(writer)
        writer = -1
        poller = select.poll()
        poller.register(reader, 0)  # POLLHUP needs no asking
        return bool(poller.poll(BARRIER_MS))
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
