"""pyrunc resume: let the processes of a paused container go on."""

from __future__ import annotations

from pyrunc.options import Command
from pyrunc.rights import CgroupRights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "resume",
    "resumes all processes that have been previously paused",
    arguments="<container-id>",
    count=(1, 1),
    description="The container is again what it was before it was paused: running, or created.",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    with CgroupRights(call, "resume"):
        container.resume()
    return 0
