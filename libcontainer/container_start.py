"""start: the handshake over exec.fifo, then poststart hooks, then readiness for the service manager.

init opens exec.fifo for writing, which blocks until we open it for reading, and writes one byte. The file's existence
is what makes a container "created".
"""

from __future__ import annotations

import os
import select

from libcontainer import faults
from libcontainer.errors import ContainerRunning, Error, describe
from libcontainer.status import FIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container
    from libcontainer.notify_socket import NotifySocket

POLL_MS = 100
ALREADY_RUNNING = "cannot start an already running container"


def start(container: Container, notify_socket: str | None, notify_pid: int | None) -> None:
    """Start a created container; raises Error in any other state."""
    status = container.status()
    if status == "stopped":
        raise Error("cannot start a container that has stopped")
    if status == "running":
        raise ContainerRunning(ALREADY_RUNNING)
    if status != "created":
        raise Error(f"cannot start a container in the {status} state")
    notify = _bind_notify(container, notify_socket)
    try:
        _release(container)
        _poststart(container)
        if notify is not None:
            _forward(container, notify, notify_pid or container.state.init_process_pid)
    finally:
        if notify is not None:
            notify.close()


def _forward(container: Container, notify: NotifySocket, pid: int) -> None:
    """The container runs whether or not the service manager hears of it."""
    try:
        if not notify.forward(pid, container.state.is_alive):
            container.log("warning", "timeout waiting for the barrier of the notify socket")
    except OSError as err:
        container.log("warning", f"unable to notify the service manager: {describe(err)}")


def _bind_notify(container: Container, host_path: str | None) -> NotifySocket | None:
    if not host_path or not os.path.isdir(os.path.join(container.directory, "notify")):
        return None
    from libcontainer.notify_socket import NotifySocket

    socket = NotifySocket(container.directory, host_path)
    socket.bind()
    return socket


def _release(container: Container) -> None:
    path = os.path.join(container.directory, FIFO)
    try:
        fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:  # another one has started it meanwhile
        raise ContainerRunning(ALREADY_RUNNING) from None
    try:
        faults.point("start.open")
        _wait_for_byte(container, fifo, path)
        faults.point("start.signalled")
        os.unlink(path)
        faults.point("start.fifo-removed")
        if container.saved.hooks.get("poststart"):
            _wait_for_exec(container, fifo)
    finally:
        os.close(fifo)


def _wait_for_exec(container: Container, fifo: int) -> None:
    """poststart comes after the program was executed (runtime-spec, "Lifecycle"), so after the startContainer hooks:
    then nobody has the fifo open for writing any more."""
    poller = select.poll()
    poller.register(fifo, 0)  # POLLHUP
    while not poller.poll(POLL_MS) and container.state.is_alive():
        pass


def _wait_for_byte(container: Container, fifo: int, path: str) -> None:
    try:
        pidfd = os.pidfd_open(container.state.init_process_pid)
    except ProcessLookupError:
        pidfd = -1
    poller = select.poll()
    poller.register(fifo, select.POLLIN)
    if pidfd >= 0:
        poller.register(pidfd, select.POLLIN)
    try:
        while True:
            events = dict(poller.poll(POLL_MS))
            gone = not container.state.is_alive()
            if _read(fifo):  # asked after its death: it may have written just before
                return
            # Another one that starts it was faster: the file is gone, or init has written and closed it.
            if not os.path.exists(path):
                raise ContainerRunning(ALREADY_RUNNING)
            if gone or events.get(fifo, 0) & select.POLLHUP:
                raise Error(
                    "exec fifo is empty: container init did not signal execve readiness (it has exited or was killed)"
                )
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _read(fifo: int) -> bytes:
    try:
        return os.read(fifo, 1)
    except BlockingIOError:
        return b""


def _poststart(container: Container) -> None:
    hooks = container.saved.hooks.get("poststart")
    if not hooks:
        return
    from libcontainer import hooks as runner

    state = container.hook_state("running", container.state.init_process_pid)
    try:
        runner.run("poststart", hooks, state, inherit_env=True)
    except Error:
        container.signal(9, all=True)
        raise
    faults.point("start.poststart")
