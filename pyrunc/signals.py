"""The signals of a foreground run or exec: all are read from one signalfd(2), none is lost before the child exists.

They are blocked, not handled: a blocked signal waits in the descriptor until the poll loop comes to it, and the init of
a container starts with a clean mask whatever ours is.
"""

from __future__ import annotations

import os
import struct

from libcontainer.syscalls import signalfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator
else:
    import _signal

SIGINFO = 128  # sizeof(struct signalfd_siginfo)
_HEAD = struct.Struct("=IiiI")  # ssi_signo, ssi_errno, ssi_code, ssi_pid
# KILL and STOP cannot be blocked; 32 and 33 belong to the C library's threads (nptl(7))
_UNBLOCKABLE = frozenset({_signal.SIGKILL, _signal.SIGSTOP, 32, 33})
_OURS = frozenset({_signal.SIGCHLD, _signal.SIGWINCH, _signal.SIGURG})


class Signals:
    """Every signal that reaches this process from now on."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = signalfd(frozenset(range(1, 65)) - _UNBLOCKABLE)

    def read(self) -> Iterator[int]:
        """The numbers of the signals that have come."""
        try:
            data = os.read(self.fd, 32 * SIGINFO)
        except BlockingIOError:
            return
        for offset in range(0, len(data), SIGINFO):
            signum, _, _, sender = _HEAD.unpack_from(data, offset)
            # a pipe that broke under our own writing is our affair; one sent to us is the container's
            if signum != _signal.SIGPIPE or sender != os.getpid():
                yield signum


def is_forwarded(signum: int) -> bool:
    """Whether the container's process gets it: not what only concerns our children, our window, our sockets."""
    return signum not in _OURS
