"""pyrunc create: make a container whose process waits for `start`."""

from __future__ import annotations

from libcontainer.errors import Error
from pyrunc.options import CREATE, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "create",
    "create a container",
    arguments="<container-id>",
    count=(1, 1),
    flags=CREATE,
    description="""\
The create command makes an instance of a container for a bundle: a directory with a specification file named
"config.json" and a root filesystem. The container's process is not started: "start" does that.""",
)


def run(call: Invocation) -> int:
    from libcontainer.syscalls import PR_SET_CHILD_SUBREAPER, prctl
    from pyrunc.launch import Launch

    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        Launch(call, detached=True).create()
    except Exception as error:
        raise Error("runc create failed") from error
    return 0
