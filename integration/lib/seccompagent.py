"""A seccomp agent: takes the notify descriptor that a runtime sends and answers the filtered calls.

usage: seccompagent.py SOCKET FILE ANSWER

Writes the container process state (the JSON that came along) to FILE, then answers every call: ANSWER is
`continue` (the kernel runs it), or an errno to fail it with, or `value:N` to let it return N. Ends when the
filtered process has gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import sys

RECV = 0xC0502100
SEND = 0xC0182101
CONTINUE = 1


def receive(path: str) -> tuple[bytes, int]:
    """One connection with one message and one descriptor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path + ".new")
        listener.listen()
        os.rename(path + ".new", path)  # who sees it can connect
        with listener.accept()[0] as peer:
            data, fds, _flags, _address = socket.recv_fds(peer, 65536, 4)
            while not complete(data):  # not until the end: the peer may keep its connection
                data += peer.recv(65536)
    return data, fds[0]


def complete(data: bytes) -> bool:
    """Whether this is a whole JSON document."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def answer(fd: int, request_id: int, how: str) -> None:
    """One response; a process that was killed meanwhile is no error."""
    if how == "continue":
        response = struct.pack("=QqiI", request_id, 0, 0, CONTINUE)
    elif how.startswith("value:"):
        response = struct.pack("=QqiI", request_id, int(how[6:]), 0, 0)
    else:
        response = struct.pack("=QqiI", request_id, 0, -int(how), 0)
    try:
        fcntl.ioctl(fd, SEND, bytearray(response))
    except FileNotFoundError:
        pass


def serve(fd: int, how: str) -> None:
    """Answer until the last process under the filter has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        if any(event & select.POLLHUP for _fd, event in poll.poll()):
            return
        request = bytearray(80)
        try:
            fcntl.ioctl(fd, RECV, request)
        except FileNotFoundError:
            continue
        answer(fd, struct.unpack_from("=Q", request)[0], how)


def main() -> None:
    path, target, how = sys.argv[1:]
    data, fd = receive(path)
    with open(target + ".new", "wb") as file:
        file.write(data)
    os.rename(target + ".new", target)
    serve(fd, how)


main()
