"""delete: kill what is left, remove the cgroup and the state, run the poststop hooks."""

from __future__ import annotations

import os
import stat
import time

from libcontainer import faults
from libcontainer.errors import ContainerNotRunning, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container

TRIES = 100
PAUSE = 0.1
SIGKILL = 9


def delete(container: Container, *, force: bool) -> None:
    """Delete in the contract's order; a hook that fails is reported when everything is gone."""
    status = container.status()
    if not force and status not in ("stopped", "created"):
        raise Error(f"cannot delete container {container.id} that is not stopped: {status}")
    if force or status == "created":
        _kill(container)
    destroy(container)


def _kill(container: Container) -> None:
    try:
        container.signal(SIGKILL)
    except ContainerNotRunning:
        return
    deadline = TRIES
    delay = 0.001
    while container.state.is_alive():
        if deadline == 0:
            raise Error("container init still running")
        time.sleep(delay)
        if delay >= PAUSE:
            deadline -= 1
        delay = min(delay * 2, PAUSE)


def destroy(container: Container) -> None:
    """Remove a container whose init has ended (or never was)."""
    faults.point("delete.killed")
    container.reap()
    _kill_leftovers(container)
    container.cgroup.delete()
    faults.point("delete.cgroup")
    _remove_rdt(container)
    unmount(container)
    remove_directory(container.root, container.id)
    faults.point("delete.state")
    poststop(container)
    faults.point("delete.poststop")


def _kill_leftovers(container: Container) -> None:
    """Processes that outlived init: those of a shared pid namespace, and a killed create's."""
    try:
        if container.cgroup.exists() and container.cgroup.pids():
            container.cgroup.kill()
    except (OSError, Error):
        if not container.saved.rootless_cgroups:  # then what cannot be killed cannot be removed either, and says so
            raise


def _remove_rdt(container: Container) -> None:
    saved = container.saved.raw.get("intel_rdt")
    if saved is not None:
        from libcontainer import resctrl

        resctrl.remove(saved, container.state.intel_rdt_path, container.state.intel_rdt_mon_path)


def unmount(container: Container) -> None:
    """Mounts go with their mount namespace; without one they are the host's."""
    if container.saved.has_namespace("mount"):
        return
    from libcontainer import host_root

    host_root.detach(container.directory, container.saved.rootfs)


def poststop(container: Container) -> None:
    hooks = container.saved.hooks.get("poststop")
    if hooks:
        from libcontainer import hooks as runner

        runner.run("poststop", hooks, container.hook_state("stopped", None), inherit_env=True)


def remove_directory(root: str, name: str) -> None:
    """Remove ROOT/NAME and all below it, without following a symlink; missing is success."""
    try:
        parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove(parent, name)
    finally:
        os.close(parent)


def _remove(parent: int, name: str) -> None:
    try:
        mode = os.lstat(name, dir_fd=parent).st_mode
        if not stat.S_ISDIR(mode):
            os.unlink(name, dir_fd=parent)
            return
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            for entry in os.listdir(directory):
                _remove(directory, entry)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # somebody else deletes it too
