"""exec's ways into a cgroup when the kernel lets nobody be born there."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from libcontainer import container_exec
from libcontainer.cgroups import fs2
from libcontainer.errors import ContainerNotRunning, Error, SyscallError

HERE, INIT = "/sys/fs/cgroup/c", "/sys/fs/cgroup/c/init"


class Busy:
    """A cgroup with controllers enabled below it, which takes no processes."""

    version = 2

    def __init__(self) -> None:
        self.joined: list[tuple[int, str]] = []

    def join_dirs(self, pid: int, directories: list[str]) -> None:
        (directory,) = directories
        if directory == HERE:
            raise SyscallError("write", errno.EBUSY, f"{directory}/cgroup.procs")
        self.joined.append((pid, directory))


def joined(monkeypatch: pytest.MonkeyPatch, sub: list[str], *, alive: bool = True, rootless: bool = False) -> list[Any]:
    """Where the clone 77 gets to, before exec itself knows its number."""
    monkeypatch.setattr(fs2, "current_directory", lambda pid: {5: INIT}[pid])
    manager = Busy()
    state = SimpleNamespace(init_process_pid=5, is_alive=lambda: alive)
    run: Any = object.__new__(container_exec._Exec)
    run.container = SimpleNamespace(cgroup=manager, state=state)
    run.saved = SimpleNamespace(rootless_cgroups=rootless)
    run.cgroup, run.targets, run.pid = sub, [HERE], 0
    run._join_by_pid(77)
    return manager.joined


def test_it_goes_where_init_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined(monkeypatch, []) == [(77, INIT)]


def test_not_if_another_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Error, match="error adding pid 77 to cgroups"):
        joined(monkeypatch, ["/"])
    assert joined(monkeypatch, ["/"], rootless=True) == []


def test_not_where_somebody_else_is_who_has_init_s_number_now(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContainerNotRunning):
        joined(monkeypatch, [], alive=False)
