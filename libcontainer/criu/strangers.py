"""Processes in the container that are not of its init's making: CRIU dumps a tree, and `exec` starts trees of its own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container

MOST = 5  # that are named


def warn(container: Container) -> None:
    """Say which processes will not be in the images."""
    found = _strangers(container.state.init_process_pid, container.cgroup.pids())
    if found:
        named = ", ".join(f"{pid} ({_command(pid)})" for pid in found[:MOST]) + (", ..." if len(found) > MOST else "")
        container.log("warning", f"not in the checkpoint, since they were started by exec: processes {named}")


def _strangers(init: int, pids: list[int]) -> list[int]:
    """Those that have no chain of parents to init."""
    parents = {pid: _parent(pid) for pid in pids}
    ours = {init}
    for pid in pids:
        chain = []
        while pid in parents and pid not in ours and pid not in chain:
            chain.append(pid)
            pid = parents[pid]
        if pid in ours:
            ours.update(chain)
    return sorted(set(pids) - ours)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"
