"""pyrunc events: statistics and out-of-memory events of a container, one JSON object a line."""

from __future__ import annotations

from libcontainer import jsonfast
from libcontainer.errors import Error
from pyrunc.log import out
from pyrunc.options import DURATION, SWITCH, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.options import Invocation

COMMAND = Command(
    "events",
    "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    arguments="<container-id>",
    count=(1, 1),
    flags=(
        Flag("interval", DURATION, "set the stats collection interval (default: 5s)", default=5.0),
        Flag("stats", SWITCH, "display the container's stats then exit"),
    ),
    description="""\
The statistics come once an interval, the first after one; an object {"type": "oom"} whenever memory runs out. The
command ends when the container has no process any more. `top` shows the same to people.""",
)


def run(call: Invocation) -> int:
    from libcontainer import events
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    interval = call.seconds("interval")
    if interval <= 0:
        raise Error("duration interval must be greater than 0")
    if call.switch("stats"):
        events.check_running(container)
        _print(events.stats_event(container))
        return 0
    for event in container.events(interval):
        _print(event)
    return 0


def _print(event: dict[str, Any]) -> None:
    out(jsonfast.dumps(event) + "\n")
