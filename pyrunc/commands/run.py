"""pyrunc run: create and start a container; in the foreground stay with it until its process ends, then delete it."""

from __future__ import annotations

import os

from libcontainer.errors import Error, describe
from pyrunc import host
from pyrunc.options import CREATE, DETACH, SWITCH, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container
    from pyrunc.foreground import Relay
    from pyrunc.launch import Launch
    from pyrunc.options import Invocation
    from pyrunc.signals import Signals

COMMAND = Command(
    "run",
    "create and run a container",
    arguments="<container-id>",
    count=(1, 1),
    flags=(
        *CREATE,
        DETACH,
        Flag("keep", SWITCH, "do not delete the container after it exits"),
        Flag("no-subreaper", SWITCH, "do not become the parent of what the container's processes leave behind"),
    ),
    description="""\
The run command makes an instance of a container for a bundle: a directory with a specification file named
"config.json" and a root filesystem. Then it starts the container's process and, unless detached, stays until that
ends; the exit status is that of the process.""",
)


def run(call: Invocation) -> int:
    from libcontainer.syscalls import PR_SET_CHILD_SUBREAPER, prctl
    from pyrunc.launch import Launch

    try:
        if not call.switch("no-subreaper"):
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        if call.switch("detach"):
            return _detached(Launch(call, detached=True))
        return _foreground(call, Launch(call, detached=False))
    except Exception as error:
        raise Error("runc run failed") from error


def _detached(launch: Launch) -> int:
    container = launch.create()
    try:
        container.start(notify_socket=host.notify_socket())
    except BaseException:
        container.delete(force=True)
        raise
    return 0


def _foreground(call: Invocation, launch: Launch) -> int:
    from pyrunc.foreground import relay
    from pyrunc.signals import Signals

    between = relay(launch.terminal, *launch.owner)
    signals = Signals()  # before the child exists: one that ends at once must be noticed
    try:
        container = launch.create(between.stdio, between.receive)
        try:
            status = _stay(container, signals, between)
        except BaseException:
            container.delete(force=True)
            raise
        if not call.switch("keep"):
            _delete(container, call)
    finally:
        between.restore()
    return status


def _stay(container: Container, signals: Signals, between: Relay) -> int:
    from pyrunc.foreground import attend

    between.started()
    # to a service manager the main process is us, as long as we stay
    container.start(notify_socket=host.notify_socket(), notify_pid=os.getpid())
    return attend(container.state.init_process_pid, signals, between)


def _delete(container: Container, call: Invocation) -> None:
    """The process has ended and its status counts: what cannot be cleaned up is only worth a warning."""
    try:
        container.delete(force=True)
    except (Error, OSError) as error:
        call.log("warning", describe(error))
