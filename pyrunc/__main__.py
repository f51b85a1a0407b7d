"""The command: from a line of arguments to an exit status, through one door.

    0 or the process's own status; 1 an error; 3 no such command; 255 a failed exec; 128+N the process died of signal N

All commands return a status or raise; only here is an error worded, logged and turned into a number.
"""

from __future__ import annotations

import os
import sys

from libcontainer import faults
from libcontainer.errors import Error, describe
from pyrunc import commands
from pyrunc.log import Log, StdoutClosed, err, out
from pyrunc.options import ArgumentCountError, Invocation, UsageError, check_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyrunc.commands import Module
    from pyrunc.options import Command

# what must work, and help with moving, on a machine that cannot run containers
_ANYWHERE = ("spec",)
_SIGINT, _SIGPIPE = 2, 13


class NoHelpTopic(Error):
    """There is no such command."""

    status = 3

    def __init__(self, name: str) -> None:
        super().__init__(f"No help topic for '{name}'")


def main(argv: list[str]) -> int:
    """Do what the command line says; the exit status."""
    _open_stdio()
    faults.arm(os.environ.get("PYRUNC_FAULT"))
    log = Log()
    try:
        return _dispatch(Invocation(argv[0], log), argv[1:])
    except StdoutClosed:
        return 128 + _SIGPIPE
    except KeyboardInterrupt:
        return 128 + _SIGINT
    except Exception as error:  # noqa: BLE001 - this is the door: nothing may pass it as a traceback
        if log.debug:
            _print_traceback()
        log.fatal(describe(error))
        return getattr(error, "status", 1)


def _dispatch(call: Invocation, tokens: list[str]) -> int:
    try:
        rest = call.take_globals(tokens)
    except UsageError as error:
        from pyrunc.help import overview

        _configure_log(call)
        _explain(error, overview())
        raise
    if call.switch("version") and not call.switch("help"):
        from pyrunc.version import text

        out(text())
        return 0
    if call.switch("help") or not rest:
        return _help([])
    return _verb(call, rest[0], rest[1:])


def _verb(call: Invocation, name: str, tokens: list[str]) -> int:
    if name in ("help", "h"):
        return _help(tokens)
    module = commands.load(name)
    if module is None:
        _configure_log(call)
        raise NoHelpTopic(name)
    try:
        call.take_command(module.COMMAND, tokens)
        if call.switch("help") or call.arguments[:1] in (["help"], ["h"]):
            return _help([name])
        _configure_log(call)
        check_count(call.program, module.COMMAND, call.arguments)
    except UsageError as error:
        _refuse(call, module.COMMAND, error)
    return _run(call, module)


def _run(call: Invocation, module: Module) -> int:
    from pyrunc import host

    if module.COMMAND.name not in _ANYWHERE:
        host.check()
    call.root = host.state_root(call)
    return module.run(call)


def _refuse(call: Invocation, command: Command, error: UsageError) -> NoReturn:
    from pyrunc.help import of

    if not isinstance(error, ArgumentCountError):
        _configure_log(call)
    _explain(error, of(command))
    raise error


def _explain(error: UsageError, text: str) -> None:
    if isinstance(error, ArgumentCountError):
        out(f"Incorrect Usage.\n\n{text}")
    else:
        err(f"Incorrect Usage: {error}\n\n")
        out(text)


def _configure_log(call: Invocation) -> None:
    call.log.configure(call.text("log"), call.text("log-format"), call.switch("debug"))


def _help(topics: list[str]) -> int:
    from pyrunc import help as texts

    if not topics or topics[0] in ("help", "h", "-h", "--help"):
        out(texts.overview())
        return 0
    module = commands.load(topics[0])
    if module is None:
        raise NoHelpTopic(topics[0])
    out(texts.of(module.COMMAND))
    return 0


def _open_stdio() -> None:
    """A caller may have closed 0, 1 or 2: the next file opened must not take that number and be written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


def _print_traceback() -> None:
    import traceback

    err(traceback.format_exc())


def leave(status: int) -> NoReturn:
    """End here and now: nothing is buffered, and taking the interpreter down would cost a millisecond."""
    os._exit(status)


def entry() -> NoReturn:
    """What the console script of a pip installation calls."""
    leave(main(sys.argv))


if __name__ == "__main__":
    entry()
