"""A process in a container that is our child."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Self
else:
    import _signal

WALL = 0x40000000  # __WALL, sys/wait.h


def exit_code(status: int) -> int:
    """Of a wait status: 128+N if signal N was the end."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class Process:
    """pid of the host, and a pidfd that cannot come to mean another process."""

    __slots__ = ("_status", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int = -1) -> None:
        self.pid = pid
        self.pidfd = -1
        self.pidfd = pidfd if pidfd >= 0 else os.pidfd_open(pid)
        self._status: int | None = None

    def wait(self) -> int:
        """Wait for its end: the exit code, 128+N if signal N ended it."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, WALL)
        return exit_code(self._status)

    def signal(self, signum: int) -> None:
        """Send a signal; ProcessLookupError if it has ended."""
        _signal.pidfd_send_signal(self.pidfd, signum)

    def close(self) -> None:
        """Give up the pidfd."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    __del__ = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
