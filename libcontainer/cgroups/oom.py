"""Notice when the kernel runs out of memory for a container, and when the container has no process any more.

    v1     an eventfd that cgroup.event_control ties to memory.oom_control (cgroup-v1/memory.rst, "OOM Control"); it
           is signalled when memory runs out, also if nothing may be killed, and when the cgroup is removed
    v2     memory.events and cgroup.events tell poll(2) of each change by POLLPRI (cgroup-v2.rst, "[Un]populated
           Notification"); what counts is that oom_kill has grown
"""

from __future__ import annotations

import errno
import os
import select
import time

from libcontainer.cgroups.files import read_all
from libcontainer.errors import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.cgroups.files import Tree

_GONE = (errno.ENOENT, errno.ENODEV)
# How long the end of a container may stay unnoticed on a machine that does not tell (v1 without a unified hierarchy).
_LOOK = 1.0
_LONGEST = 86400.0  # that poll(2) is asked to wait: it counts milliseconds, in an int


class Watch:
    """The events of one container, from now on. `pids` lists its processes."""

    __slots__ = ("_fds", "_pids", "_poll", "_told")

    def __init__(self, tree: Tree, populated: str, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self._poll = select.poll()
        self._fds: list[int] = []
        self._told = self._add_file(tree, populated, "cgroup.events")

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def _add(self, fd: int, mask: int) -> int:
        self._fds.append(fd)
        self._poll.register(fd, mask)
        return fd

    def _add_file(self, tree: Tree, directory: str, file: str) -> int:
        """Its descriptor, -1 if there is no such file."""
        if not directory:
            return -1
        try:
            return self._add(tree.open(f"{directory}/{file}", os.O_RDONLY), select.POLLPRI)
        except SyscallError as error:
            if error.errno not in _GONE:
                raise
            return -1

    def wait(self, seconds: float) -> int:
        """Until something happens or the time is up; how often memory ran out."""
        end = time.monotonic() + seconds
        while True:
            rest = max(end - time.monotonic(), 0.0)
            woken = self._poll.poll(1000 * min(rest, _LONGEST if self._told >= 0 else _LOOK))
            _read(self._told)  # kernfs tells once a read
            count = self._count({fd for fd, _ in woken})
            if count or self.ended() or time.monotonic() >= end:
                return count

    def ended(self) -> bool:
        """Whether no process is left."""
        return not self._pids()

    def _count(self, woken: set[int]) -> int:
        raise NotImplementedError


class Watch1(Watch):
    """On v1; `memory` is "" where the controller is not mounted, `unified` on machines that are not hybrid."""

    __slots__ = ("_event", "_memory", "_tree")

    def __init__(self, tree: Tree, memory: str, unified: str, pids: Callable[[], list[int]]) -> None:
        super().__init__(tree, unified, pids)
        self._tree = tree
        self._memory = memory
        self._event = self._register(tree, memory) if memory else -1

    def _register(self, tree: Tree, memory: str) -> int:
        event = self._add(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), select.POLLIN)
        control = tree.open(f"{memory}/memory.oom_control", os.O_RDONLY)
        try:
            tree.write(f"{memory}/cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
        return event

    def _count(self, woken: set[int]) -> int:
        if self._event not in woken:
            return 0
        count = os.eventfd_read(self._event)
        return count if self._tree.exists(self._memory) else count - 1  # its removal was told too


class Watch2(Watch):
    """On v2; a cgroup without the memory controller never runs out."""

    __slots__ = ("_events", "_kills")

    def __init__(self, tree: Tree, path: str, pids: Callable[[], list[int]]) -> None:
        super().__init__(tree, path, pids)
        self._events = self._add_file(tree, path, "memory.events")
        self._kills = _oom_kills(self._events)

    def _count(self, woken: set[int]) -> int:
        before, self._kills = self._kills, max(_oom_kills(self._events), self._kills)
        return self._kills - before


def _oom_kills(fd: int) -> int:
    return next((int(line.split()[1]) for line in _read(fd).splitlines() if line.startswith("oom_kill ")), 0)


def _read(fd: int) -> str:
    """The file from its beginning, "" if it is not there (any more)."""
    if fd < 0:
        return ""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return read_all(fd)
    except OSError as error:
        if error.errno in _GONE:
            return ""
        raise
