"""The other end of a console socket: takes one terminal, feeds it, and keeps what it prints.

usage: recvtty.py SOCKET PREFIX [INPUT]

Writes the message that came with the descriptor to PREFIX.name, the number of descriptors to PREFIX.fds, and all
that the terminal prints to PREFIX.out; INPUT is typed after the first output. Ends when the terminal hangs up.
"""

from __future__ import annotations

import os
import socket
import sys


def receive(path: str) -> tuple[bytes, list[int]]:
    """One message with its descriptors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path + ".new")
        listener.listen()
        os.rename(path + ".new", path)  # who sees it can connect
        with listener.accept()[0] as peer:
            data, fds, _flags, _address = socket.recv_fds(peer, 4096, 8)
    return data, list(fds)


def save(path: str, data: bytes) -> None:
    """The whole content at once."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def main() -> None:
    path, prefix, *text = sys.argv[1:]
    data, fds = receive(path)
    save(prefix + ".fds", str(len(fds)).encode())
    with open(prefix + ".out", "wb", buffering=0) as out:
        save(prefix + ".name", data)
        try:
            while chunk := os.read(fds[0], 4096):
                out.write(chunk)
                while text:
                    os.write(fds[0], text.pop().encode())
        except OSError:  # EIO: the last process with the terminal has gone
            pass


main()
