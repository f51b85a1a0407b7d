"""pyrunc kill: send a signal to a container's process."""

from __future__ import annotations

from libcontainer.errors import ContainerNotRunning, Error
from pyrunc.options import SWITCH, Command, Flag, decimal, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from pyrunc.options import Invocation
else:
    import _signal

COMMAND = Command(
    "kill",
    "kill sends the specified signal (default: SIGTERM) to the container's init process",
    arguments="<container-id> [signal]",
    count=(1, 2),
    options_first=True,
    flags=(Flag("all", SWITCH, "obsolete; a container that does not run is no error", letter="a", hidden=True),),
    description="The signal is a number or a name, with or without SIG, in capitals or not.",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container_id, name = [*call.arguments, "SIGTERM"][:2]
    signum = number(name)
    container = Container.load(container_id, root=call.root, log=call.log)
    try:
        container.signal(signum)
    except ContainerNotRunning:
        # an engine that kills "all" after the end of init only wants to be sure that nothing runs
        if not call.switch("all"):
            raise
    return 0


def number(text: str) -> int:
    """9, KILL, SIGKILL, sigkill: 9."""
    try:
        return decimal(text)
    except ValueError:
        name = text.upper().removeprefix("SIG")
    found = getattr(_signal, f"SIG{name}", None) if name.isalnum() else None
    if found is None:
        raise Error(f"unknown signal {quote(text)}")
    return int(found)
