"""How a new process gets into its cgroups without waiting.

Writing a pid to cgroup.procs waits for an RCU grace period, 7 to 16 ms on an idle machine (cgroup_threadgroup_rwsem,
kernel/cgroup/cgroup.c). Being born in a cgroup (CLONE_INTO_CGROUP, Linux 5.7) and, on v1, a single-threaded process
writing "0" to `tasks` itself do not. Where neither is allowed (rootless, a cgroup that init has left) the pid is written.
"""

from __future__ import annotations

import os

from libcontainer import namespaces, sysnr
from libcontainer.errors import Error
from libcontainer.remote import OP_CLONE, Batch, Channel, StepError
from libcontainer.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Entry:
    """One process on its way in. `directory` (an O_PATH descriptor or None) and `tasks` are owned by this object."""

    __slots__ = ("_join", "_place", "_tasks", "pid")

    def __init__(self, join: Callable[[int], None]) -> None:
        self._join = join
        self._place: int | None = None
        self._tasks: list[int] = []
        self.pid = 0

    def send_clone(self, channel: Channel, flags: int, place: int | None, how: int = 0) -> tuple[Batch, int]:
        """Send the clone3 with `flags` into the cgroup `place`; receive_clone() has its outcome. `how` is 0 or CONTINUE."""
        self._place = place
        batch = Batch()
        if place is None:
            cloned = batch.op(OP_CLONE, 0, (flags,), "clone3", "namespaces")
        else:
            into = flags | namespaces.CLONE_INTO_CGROUP
            cloned = batch.op(OP_CLONE, 0, (into, batch.local(place)), "clone3", "namespaces")
        channel.send(batch, how)
        return batch, cloned

    def cancelled(self, channel: Channel, sent: tuple[Batch, int]) -> None:
        """Take note that a clone which was sent with CONTINUE was not executed."""
        try:
            channel.receive(sent[0])
        except StepError:
            return
        raise Error("init went on after a failure")

    def receive_clone(self, channel: Channel, flags: int, sent: tuple[Batch, int]) -> int:
        """The pid of the clone; without the cgroup if the kernel does not let it be born there."""
        batch, cloned = sent
        try:
            self.pid = channel.receive(batch)[cloned]
        except StepError:
            if self._place is None:
                raise
            self._close_place()
            batch, cloned = self.send_clone(channel, flags, None)
            self.pid = channel.receive(batch)[cloned]
            self._enter_by_pid()
        return self.pid

    def step(self, open_tasks: Callable[[], list[int]]) -> Step:
        """The step in which the process enters the v1 hierarchies itself."""
        try:
            self._tasks = open_tasks()
        except OSError:
            self._enter_by_pid()
        return Step("unable to apply cgroup configuration", self._emit, repair=self._repair)

    def close(self) -> None:
        """Close what is still open."""
        self._close_place()
        for fd in self._tasks:
            os.close(fd)
        self._tasks = []

    def _emit(self, batch: Batch) -> None:
        for fd in self._tasks:
            batch.call("write", sysnr.WRITE, batch.local(fd), b"0", 1, path="tasks")

    def _repair(self, _channel: Channel, _err: StepError) -> bool:
        if not self._tasks:
            return False
        self._enter_by_pid()
        return True

    def _enter_by_pid(self) -> None:
        self.close()
        try:
            self._join(self.pid)
        except OSError as err:
            raise Error("unable to apply cgroup configuration") from err

    def _close_place(self) -> None:
        if self._place is not None:
            os.close(self._place)
            self._place = None
