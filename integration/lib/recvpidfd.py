"""The other end of a pidfd socket: takes one pidfd, says whose it is, and sends a signal through it.

usage: recvpidfd.py SOCKET FILE [SIGNAL]

Writes "PAYLOAD PID" to FILE; with SIGNAL waits for FILE.go, then sends that signal by the descriptor.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time


def pid_of(fd: int) -> str:
    """The Pid line of the descriptor's fdinfo (proc(5))."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return next(line.split()[1] for line in file if line.startswith("Pid:"))


def main() -> None:
    path, target, *signals = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path + ".new")
        listener.listen()
        os.rename(path + ".new", path)  # who sees it can connect
        with listener.accept()[0] as peer:
            data, fds, _flags, _address = socket.recv_fds(peer, 4096, 4)
    (fd,) = fds
    with open(target + ".new", "w") as file:
        file.write(f"{data.decode()} {pid_of(fd)}")
    os.rename(target + ".new", target)
    for number in signals:
        while not os.path.exists(target + ".go"):
            time.sleep(0.02)
        signal.pidfd_send_signal(fd, int(number))


main()
