"""pyrunc pause: freeze every process of a container."""

from __future__ import annotations

from pyrunc.options import Command
from pyrunc.rights import CgroupRights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "pause",
    "pause suspends all processes inside the container",
    arguments="<container-id>",
    count=(1, 1),
    description="The processes stand still, and keep their memory, until resume lets them go on. Use list to see the state.",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    with CgroupRights(call, "pause"):
        container.pause()
    return 0
