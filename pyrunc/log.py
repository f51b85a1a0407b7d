"""What pyrunc says: the records of --log, and plain text on stdout and stderr.

Consumers read the log by machine: podman wants exactly one JSON object in it, containerd the last record of level
"error" with an RFC 3339 time. So nothing is logged but what the caller must know, unless --debug asks for more.
A log that cannot be written never makes a command fail.
"""

from __future__ import annotations

import os
import sys
import time

from libcontainer.errors import SyscallError
from pyrunc.options import quote, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Renderer = Callable[[str, str, dict[str, object]], str]

_COLOURS = {"debug": 37, "info": 36, "warning": 33, "error": 31}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")


class StdoutClosed(Exception):
    """Nobody reads our output any more."""


class Log:
    """Callable with a level, a message and fields; that is also the interface that libcontainer logs through."""

    __slots__ = ("_fd", "_named", "_render", "_started", "before", "debug")

    def __init__(self) -> None:
        self.debug = False
        # makes room on a terminal on which something is drawn
        self.before: Callable[[], None] | None = None
        self._fd = 2
        self._named = False
        self._started = time.monotonic()
        self._render: Renderer = self._plain_renderer()

    def configure(self, path: str, layout: str, debug: bool) -> None:
        """Follow --log, --log-format and --debug. Raises ValueError or OSError; then records go where they went."""
        self.debug = debug
        if layout not in ("", "text", "json"):
            raise ValueError(f"invalid log-format: {layout}")
        if path:
            self._fd = _open(path)
            self._named = True
        self._render = _json if layout == "json" else self._plain_renderer()

    def __call__(self, level: str, message: str, **fields: object) -> None:
        if level == "debug" and not self.debug:
            return
        if self.debug:
            fields.update(_caller())
        if self.before is not None:
            self.before()
        _write_quietly(self._fd, self._render(level, message, fields) + "\n")

    def fatal(self, message: str) -> None:
        """The error that ends the command; on stderr too, where conmon and containerd look when the log fails them."""
        self("error", message)
        if self._named:
            err((visible(message, keep="\n\t") if os.isatty(2) else message) + "\n")

    def _plain_renderer(self) -> Renderer:
        return self._terminal if os.isatty(self._fd) else _text

    def _terminal(self, level: str, message: str, fields: dict[str, object]) -> str:
        colour, name = _COLOURS.get(level, 31), level[:4].upper()
        seconds = int(time.monotonic() - self._started)
        text = visible(message, keep="\n\t")  # a container has chosen names in it
        return f"\x1b[{colour}m{name}\x1b[0m[{seconds:04d}] {text:<44} {_extras(fields).lstrip()}".rstrip()


def out(text: str) -> None:
    """Print to stdout."""
    try:
        write(1, text)
    except BrokenPipeError:
        raise StdoutClosed from None
    except OSError as error:
        error.filename = "/dev/stdout"
        raise


def err(text: str) -> None:
    """Print to stderr, if that is possible."""
    _write_quietly(2, text)


def write(fd: int, text: str) -> None:
    """Write all of the text, to a non-blocking descriptor too."""
    data = memoryview(_encoded(text))
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            _wait_writable(fd)


def _encoded(text: str) -> bytes:
    """Bytes that are not UTF-8 as they were; what came from JSON may have worse."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SyscallError("open", error.errno or 0, path) from None


def _wait_writable(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()


def _write_quietly(fd: int, text: str) -> None:
    try:
        write(fd, text)
    except OSError:
        pass  # a full disk or a closed stderr must not hide the exit status


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json(level: str, message: str, fields: dict[str, object]) -> str:
    from libcontainer import jsonfast

    extras = {name: _jsonable(fields[name]) for name in sorted(fields)}
    return jsonfast.dumps({"level": level, "msg": message, "time": _now(), **extras})


def _jsonable(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _text(level: str, message: str, fields: dict[str, object]) -> str:
    return f"time={quote(_now())} level={level} msg={_word(message)}{_extras(fields)}"


def _extras(fields: dict[str, object]) -> str:
    return "".join(f" {name}={_word(str(fields[name]))}" for name in sorted(fields))


def _word(text: str) -> str:
    return text if text and _PLAIN.issuperset(text) else quote(text)


def _caller() -> dict[str, object]:
    """Who logs: the frame above Log.__call__, or above fatal()."""
    frame = sys._getframe(2)
    if frame.f_code.co_name == "fatal" and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    return {"func": f"{frame.f_globals.get('__name__')}.{code.co_name}", "file": f"{code.co_filename}:{frame.f_lineno}"}
