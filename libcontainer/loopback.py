"""The loopback interface of a new network namespace: the one thing in it that the runtime sets up (netdevice(7))."""

from __future__ import annotations

import os

from libcontainer import child, sysnr
from libcontainer.remote import Batch

SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def up(batch: Batch) -> None:
    """Set IFF_UP on lo, in the network namespace of whoever executes the batch."""
    socket = batch.call("socket", sysnr.SOCKET, 2, 2 | os.O_CLOEXEC, 0, path="loopback")  # AF_INET, SOCK_DGRAM
    request = batch.put(b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22))
    batch.call("ioctl", sysnr.IOCTL, socket, SIOCSIFFLAGS, request, path="loopback")
    batch.close(socket)


def up_in(pid: int) -> None:
    """The same in the network namespace of a process."""
    batch = Batch()
    up(batch)
    child.run_in("network", f"/proc/{pid}/ns/net", batch)
