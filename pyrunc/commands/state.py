"""pyrunc state: what a container is and does, as JSON."""

from __future__ import annotations

from libcontainer import jsonfast
from pyrunc.log import out
from pyrunc.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.options import Invocation

COMMAND = Command(
    "state",
    "output the state of a container",
    arguments="<container-id>",
    count=(1, 1),
    description="The state command outputs current state information for the instance of a container.",
)
_KEYS = ("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner")


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    out(jsonfast.dumps(record(container.to_state(), owner=""), indent=2))
    return 0


def record(state: dict[str, Any], owner: str) -> dict[str, Any]:
    """The members that callers decode, in runc's order; annotations only if there are any."""
    known = {**state, "owner": owner}
    return {key: known[key] for key in _KEYS if key != "annotations" or known.get(key)}
