"""Signals that end a command which must clean up: they become an exception, raised wherever the command is.

A checkpoint that is killed without this would leave CRIU behind, which holds the container's processes.
"""

from __future__ import annotations

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)


class Interrupted(Error):
    """One of the signals has come."""


def arm() -> None:
    """From now on they raise Interrupted; one that the caller has ignored (nohup) stays so."""
    for signum in ENDING:
        if _signal.getsignal(signum) != _signal.SIG_IGN:
            _signal.signal(signum, _raise)


def _raise(signum: int, _frame: object) -> None:
    for ending in ENDING:  # cleaning up is not interrupted again
        _signal.signal(ending, _signal.SIG_IGN)
    from libcontainer.program import signal_text

    raise Interrupted(f"interrupted by a signal: {signal_text(signum)}")
