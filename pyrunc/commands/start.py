"""pyrunc start: let the process of a created container run."""

from __future__ import annotations

from pyrunc import host
from pyrunc.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "start",
    "executes the user defined process in a created container",
    arguments="<container-id>",
    count=(1, 1),
    description="The start command executes the process that config.json defines in a container made by create.",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    container.start(notify_socket=host.notify_socket())
    return 0
