"""Points at which a test may kill the runtime: PYRUNC_FAULT=<point> in the environment of the command sends SIGKILL
to it there.

A killed create, start, exec, restore or delete must leave nothing that `delete --force` cannot remove; the tests walk through
all POINTS.
"""

from __future__ import annotations

import os

POINTS = {
    "create": (
        *("create.state-dir", "create.first-state", "create.spawned", "create.cgroup", "create.cloned", "create.mapped"),
        "create.placed",
        *("create.mounted", "create.hooks", "create.configured", "create.state", "create.limited"),
        "create.detached",
    ),
    "create, on the host's mounts": ("create.root-announced", "create.root-mounted", "create.root-recorded"),
    "start": ("start.open", "start.signalled", "start.fifo-removed", "start.poststart"),
    "exec": ("exec.spawned", "exec.joined", "exec.cloned", "exec.cgroup", "exec.configured", "exec.detached"),
    "restore": ("restore.cgroup", "restore.hooks", "restore.saved"),
    "delete": ("delete.killed", "delete.cgroup", "delete.state", "delete.poststop"),
}


_armed: str | None = None


def arm(name: str | None) -> None:
    """Choose the point; the command passes $PYRUNC_FAULT."""
    global _armed
    _armed = name


def point(name: str) -> None:
    """Die here if this point was chosen."""
    if name == _armed:
        os.kill(os.getpid(), 9)
