"""pyrunc delete: remove what is left of a container, with --force the container too."""

from __future__ import annotations

import os

from libcontainer.errors import ContainerNotExist
from pyrunc.log import err
from pyrunc.options import SWITCH, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "delete",
    "delete any resources held by the container often used with detached container",
    arguments="<container-id>",
    count=(1, 1),
    flags=(Flag("force", SWITCH, "kill the container if it still runs; one that does not exist is no error", letter="f"),),
    description="A container that still runs is deleted only with --force; then SIGKILL ends it first.",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container_id = call.arguments[0]
    force = call.switch("force")
    try:
        container = Container.load(container_id, root=call.root, log=call.log)
    except ContainerNotExist:
        _remove_leftovers(call.root, container_id)
        if force:  # engines delete once more, to be sure
            return 0
        raise
    container.delete(force=force)
    return 0


def _remove_leftovers(root: str, container_id: str) -> None:
    """A create that was killed early leaves a directory without a state; the id was checked by load."""
    directory = os.path.join(root, container_id)
    if not os.path.lexists(directory):
        return
    from libcontainer.container_delete import remove_directory

    try:
        remove_directory(root, container_id)
    except OSError as error:
        err(f"remove {directory}: {error.strerror}\n")
