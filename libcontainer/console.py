"""The console socket and the pidfd socket: one message with one descriptor, to a socket that the engine listens on.

Both are connected before the container is made, so that a wrong path costs nothing. conmon and containerd's shim want
1 to 4095 bytes of data and exactly one descriptor (go-runc's console.go, conmon's ctrl.c).
"""

from __future__ import annotations

import _socket
import os
import struct

from libcontainer.errors import Error, InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_NAME = 4095
SUN_PATH = 108  # sizeof(struct sockaddr_un.sun_path), with its NUL


def connect(path: str) -> _socket.socket:
    """Connect to the AF_UNIX stream socket at `path`."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connect_to(sock, path)
    except OSError as err:
        sock.close()
        # Its own text: Python's "AF_UNIX path too long" cannot happen here, and the path belongs before "connect".
        raise Error(f"dial unix {path}: connect") from OSError(err.errno, err.strerror)
    return sock


def connect_to(sock: _socket.socket, path: str) -> None:
    """Connect an AF_UNIX socket: `path` may have any length, and begin with @ for an abstract address (unix(7))."""
    name = os.fsencode(path)
    if len(name) < SUN_PATH:
        sock.connect(b"\0" + name[1:] if name.startswith(b"@") else name)
        return
    inode = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{inode}")
    finally:
        os.close(inode)


def send_master(target: str | _socket.socket, master: int, name: str) -> None:
    """Hand the pty `master`, whose path in the container is `name`, to the console socket."""
    data = os.fsencode(name)[:MAX_NAME] or b"/"
    if isinstance(target, str):
        sock = connect(target)
        try:
            send_descriptor(sock, master, data)
        finally:
            sock.close()
    else:
        send_descriptor(target, master, data)


def send_pidfd(sock: _socket.socket, pidfd: int, kind: bytes) -> None:
    """Hand the `pidfd` of an init (kind b"standard") or of an exec'd process (b"setns") to the pidfd socket."""
    send_descriptor(sock, pidfd, kind)


def send_descriptor(sock: _socket.socket, fd: int, data: bytes) -> None:
    """One sendmsg(2): `data` and, as SCM_RIGHTS, `fd`. A peer that is gone is an error, not a SIGPIPE."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
    sock.sendmsg([data], rights, _socket.MSG_NOSIGNAL)


def winsize(size: dict[str, Any] | None) -> bytes | None:
    """The struct winsize of TIOCSWINSZ for process.consoleSize; None unless both sides are given and not 0."""
    height, width = (size.get("height", 0), size.get("width", 0)) if size else (0, 0)
    if not (height and width):
        return None
    for name, value in (("height", height), ("width", width)):
        if not 0 < value <= 0xFFFF:
            raise InvalidSpec(f"process.consoleSize.{name}", f"{value} is not a terminal size (1 to 65535)")
    return struct.pack("HHHH", height, width, 0, 0)
