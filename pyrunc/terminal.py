"""The terminal of a foreground container: the caller's terminal in raw mode, and the master of the container's pty."""

from __future__ import annotations

import errno
import fcntl
import os
import termios

from libcontainer.errors import SyscallError
from pyrunc.foreground import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OFLAG = 1  # index in what tcgetattr returns
_WINSIZE = bytes(8)  # struct winsize


class Terminal:
    """`receive` is the console receiver of Container.create and Container.exec."""

    __slots__ = ("_host", "_master", "_saved", "stdio")

    def __init__(self) -> None:
        self.stdio = (0, 1, 2)
        self._host = _host_terminal()
        self._master = -1
        self._saved: list[Any] | None = None

    def receive(self, master: int, _name: str) -> None:
        """Keep the master side (the caller closes its own); from now on the keys typed are the container's."""
        self._master = master = os.dup(master)
        os.set_blocking(master, False)
        self.resize()
        attributes = termios.tcgetattr(master)
        attributes[_OFLAG] &= ~termios.ONLCR  # the caller's terminal adds the carriage returns
        termios.tcsetattr(master, termios.TCSANOW, attributes)
        self._saved = termios.tcgetattr(self._host)
        _make_raw(self._host)

    def streams(self) -> list[Stream]:
        # poll(2) by number: each direction needs a descriptor of its own
        return [Stream(0, os.dup(self._master)), Stream(self._master, 1)]

    def started(self) -> None:
        """There is nothing of the child's to close."""

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's."""
        size = fcntl.ioctl(self._host, termios.TIOCGWINSZ, _WINSIZE)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    @property
    def interactive(self) -> bool:
        """In raw mode Ctrl-C is a byte; a SIGINT then comes from outside, and asks us to let go of the terminal."""
        return self._saved is not None

    def restore(self) -> None:
        """Give the caller's terminal back as it was."""
        if self._saved is not None:
            termios.tcsetattr(self._host, termios.TCSANOW, self._saved)
            self._saved = None


def _host_terminal() -> int:
    """One of our own streams, or if all are redirected the controlling terminal."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise SyscallError("open", error.errno or errno.ENXIO, "/dev/tty") from None


def _make_raw(fd: int) -> None:
    """cfmakeraw(3), but output is still processed: this terminal adds the carriage returns."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, special = termios.tcgetattr(fd)
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    oflag |= termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    special[termios.VMIN], special[termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, special])
