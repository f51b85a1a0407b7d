"""A full-screen view on the caller's terminal, which is left as it was found however the view ends.

Signals are blocked and read from a signalfd(2) together with the keys: none can come between two steps of drawing.
The sequences are those of ECMA-48 and xterm's alternate screen, which every terminal of the last decades has.
"""

from __future__ import annotations

import os
import select
import termios

from libcontainer import syscalls
from pyrunc.log import out
from pyrunc.signals import SIGINFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import Any
else:
    import _signal

_ENTER = "\x1b[?1049h\x1b[?25l"  # the alternate screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_LFLAG = 3  # index in what tcgetattr returns
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)
_QUIT_KEYS = b"qQ"
_PATIENCE = 4096
_LONGEST = 86400.0  # that poll(2) is asked to wait: it counts milliseconds, in an int


def usable() -> bool:
    """Whether stdout is a terminal that can be drawn on."""
    return os.isatty(1) and os.environ.get("TERM", "") not in ("", "dumb")


class Screen:
    """The terminal from enter() to leave()."""

    __slots__ = ("_poll", "_saved", "_signals", "_stdin")

    def __init__(self) -> None:
        self._signals = syscalls.signalfd(frozenset({*_ENDING, _signal.SIGWINCH, _signal.SIGTSTP}))
        self._stdin = os.isatty(0)
        self._saved: list[Any] | None = None
        self._poll = select.poll()
        self._poll.register(self._signals, select.POLLIN)
        if self._stdin:
            self._poll.register(0, select.POLLIN)

    def enter(self) -> None:
        """Keys come one by one and unseen; ^C and ^Z still are signals."""
        if self._stdin:
            self._saved = termios.tcgetattr(0)
            attributes = termios.tcgetattr(0)
            attributes[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(0, termios.TCSANOW, attributes)
        out(_ENTER)

    def leave(self) -> None:
        """Give the terminal back; a terminal that has gone needs nothing."""
        try:
            if self._saved is not None:
                termios.tcsetattr(0, termios.TCSANOW, self._saved)
            out(_LEAVE)
        except (OSError, termios.error):
            pass

    def draw(self, lines: Sequence[str]) -> None:
        """What does not fit is cut."""
        columns, rows = os.get_terminal_size(1)
        shown = [line[:columns] + _END_OF_LINE for line in lines[:rows]]
        out(_HOME + "\r\n".join(shown) + _REST)

    def wait(self, seconds: float) -> int | None:
        """Until something has to be drawn: None. Else the user has had enough: the number of the signal, 0 for a key."""
        ready = {fd for fd, _ in self._poll.poll(1000 * min(seconds, _LONGEST))}
        if 0 in ready and self._quits():
            return 0
        return self._signalled() if self._signals in ready else None

    def _quits(self) -> bool:
        keys = os.read(0, _PATIENCE)
        if not keys:  # hung up, or ^D of a terminal that somebody else has reset
            self._poll.unregister(0)
        return any(key in _QUIT_KEYS for key in keys)

    def _signalled(self) -> int | None:
        data = os.read(self._signals, 32 * SIGINFO)
        for offset in range(0, len(data), SIGINFO):
            signum = int.from_bytes(data[offset : offset + 4], "little")
            if signum in _ENDING:
                return signum
            if signum == _signal.SIGTSTP:
                self._stop()
        return None

    def _stop(self) -> None:
        """^Z: the shell gets its terminal, and we ours when it wakes us."""
        self.leave()
        os.kill(os.getpid(), _signal.SIGSTOP)
        self.enter()
