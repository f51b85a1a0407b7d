"""A service manager's notify socket: keeps each message on a line, and answers barriers.

usage: notifyd.py SOCKET FILE

Newlines inside a message are written as blanks. Descriptors that come along (BARRIER=1) are closed at once, which is
what the sender waits for. Runs until it is killed.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> None:
    path, target = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, open(target, "a", buffering=1) as out:
        sock.bind(path)
        while True:
            data, fds, _flags, _address = socket.recv_fds(sock, 4096, 4)
            out.write(data.decode().replace("\n", " ").strip() + "\n")
            for fd in fds:
                os.close(fd)


main()
