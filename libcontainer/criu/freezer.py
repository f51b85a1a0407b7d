"""The freezer that CRIU stops the container with, and what it must not leave behind."""

from __future__ import annotations

from libcontainer.criu.features import CGROUP2_FREEZER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups import Manager


def directory(cgroup: Manager, version: int) -> str | None:
    """The cgroup that CRIU may freeze as a whole; without one it stops process by process with ptrace(2)."""
    if "" in cgroup.paths and len(cgroup.paths) == 1:
        return cgroup.paths[""] if version >= CGROUP2_FREEZER and cgroup.exists() else None
    return cgroup.paths.get("freezer")


def release(cgroup: Manager, *, was_frozen: bool) -> None:
    """After a failure: a CRIU that has been killed cannot thaw what it has frozen."""
    if not was_frozen and cgroup.frozen():
        cgroup.thaw()
