"""Container: what a program does with containers. Each verb's work is in the module named after it.

    container = Container.create("web", bundle="/srv/web", root="/run/user/0/mine")
    container.start()
    container.exec({"args": ["id"], "cwd": "/", ...}).wait()
    container.signal(15)
    container.wait()
    container.delete()

Status is derived from the kernel (pid, start time, cgroup, exec.fifo) each time, never stored.
"""

from __future__ import annotations

import os

from libcontainer import cgroups
from libcontainer.errors import ContainerNotExist, ContainerNotPaused, ContainerNotRunning, Error, describe
from libcontainer.saved_config import SavedConfig
from libcontainer.state import State, check_id, process_start_time
from libcontainer.status import CREATED, OCI_VERSION, PAUSED, RUNNING, document_of, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.criu.options import CheckpointOptions
    from libcontainer.criu.progress import Progress
    from libcontainer.criu.restore_options import RestoreOptions
    from libcontainer.oci import Resources
    from libcontainer.process import Process
else:
    import _signal

DEFAULT_ROOT = "/run/runc"
SIGKILL = 9


def quiet(level: str, message: str, **fields: object) -> None:
    """The default log: nowhere."""


class Container:
    """One container of a state root. Not to be used from two threads at once; different containers may be."""

    __slots__ = ("_exit_code", "cgroup", "directory", "id", "log", "root", "saved", "state")

    def __init__(
        self, container_id: str, root: str, state: State, *, log: Callable[..., None] | None = None
    ) -> None:
        self.id = container_id
        self.root = root
        self.directory = os.path.join(root, container_id)
        self.state = state
        self.saved = SavedConfig(state.config)
        self.log = log or quiet
        self._exit_code: int | None = None
        self.cgroup: Manager = cgroups.load(
            state.cgroup_paths, rootless=self.saved.rootless_cgroups, systemd=self.saved.systemd, log=self.log
        )

    # -- making and finding

    @classmethod
    def create(
        cls,
        container_id: str,
        *,
        root: str = DEFAULT_ROOT,
        bundle: str = ".",
        spec: dict[str, Any] | None = None,
        stdio: tuple[int, int, int] = (0, 1, 2),
        extra_fds: Sequence[int] = (),
        listen_fds: int = 0,
        console_socket: str | None = None,
        console: Callable[[int, str], None] | None = None,
        pidfd_socket: str | None = None,
        notify_socket: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        rootless_euid: bool | None = None,
        rootless_cgroups: bool | None = None,
        systemd_cgroup: bool = False,
        log: Callable[..., None] | None = None,
    ) -> Container:
        """Make a container that waits for start().

        `spec` is the decoded config.json; without it `bundle`/config.json is read. `stdio` and
        `extra_fds` become descriptors 0, 1, 2, 3, ... of the process; the first `listen_fds` of the extra ones are announced
        as LISTEN_FDS. A process with a terminal needs a `console_socket` to send the master to, or a `console`
        function that gets it and the terminal's name. Raises Error; nothing half-made stays.
        """
        from libcontainer import container_create

        options = container_create.Options(
            stdio=(*stdio, *extra_fds),
            listen_fds=listen_fds,
            console_socket=console_socket,
            console=console,
            pidfd_socket=pidfd_socket,
            notify_socket=notify_socket,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            rootless_euid=rootless_euid,
            rootless_cgroups=rootless_cgroups,
            systemd_cgroup=systemd_cgroup,
            log=log or quiet,
        )
        return container_create.create(container_id, root, bundle, spec, options)

    @classmethod
    def load(
        cls, container_id: str, *, root: str = DEFAULT_ROOT, log: Callable[..., None] | None = None
    ) -> Container:
        """The container with this id; ContainerNotExist if there is none."""
        check_id(container_id)
        root = os.path.abspath(root)
        state = State.load(os.path.join(root, container_id))
        return cls(container_id, root, state, log=log)

    @classmethod
    def list(cls, *, root: str = DEFAULT_ROOT) -> list[Container]:
        """All containers of a state root that can be loaded, by name."""
        found = []
        for container_id in list_ids(root):
            try:
                found.append(cls.load(container_id, root=root))
            except Error:
                continue  # deleted meanwhile, or not ours
        return found

    # -- looking

    def status(self) -> str:
        """created, running, paused or stopped."""
        return status_of(self.directory, self.state, self.cgroup.frozen())

    @property
    def pid(self) -> int:
        """The host's pid of init, 0 if it has ended."""
        return self.state.init_process_pid if self.state.is_alive() else 0

    @property
    def bundle(self) -> str:
        return self.saved.bundle or ""

    @property
    def annotations(self) -> dict[str, str]:
        return self.saved.annotations

    def processes(self) -> Sequence[int]:
        """The host's pids of all processes of the container, those in its sub-cgroups too."""
        return self.cgroup.pids()

    def stats(self) -> dict[str, Any]:
        """What it uses and has used, in the form of the `data` of runc's "stats" events (its types package)."""
        from libcontainer import stats

        return stats.collect(self)

    def events(self, interval: float = 5.0) -> Iterator[dict[str, Any]]:
        """{"type": "stats", "id": ..., "data": ...} every `interval` seconds, {"type": "oom", ...} when memory runs out; until
        the container has no process any more."""
        from libcontainer import events

        return events.stream(self, interval)

    def to_state(self) -> dict[str, Any]:
        """The document that `state` prints."""
        return document_of(self.id, self.status(), self.state, self.saved)

    def hook_state(self, status: str, pid: int | None) -> dict[str, Any]:
        """The state object of the runtime specification, for hooks and seccomp agents."""
        from libcontainer.hooks import state_document

        return state_document(self.id, status, pid, self.bundle, self.annotations, OCI_VERSION)

    # -- acting

    def start(self, *, notify_socket: str | None = None, notify_pid: int | None = None) -> None:
        """Let a created container run its program."""
        from libcontainer import container_start

        container_start.start(self, notify_socket, notify_pid)

    @classmethod
    def restore(
        cls,
        container_id: str,
        options: RestoreOptions,
        *,
        root: str = DEFAULT_ROOT,
        bundle: str = ".",
        spec: dict[str, Any] | None = None,
        stdio: tuple[int, int, int] = (0, 1, 2),
        console_socket: str | None = None,
        console: Callable[[int, str], None] | None = None,
        notify_socket: str | None = None,
        no_pivot: bool = False,
        rootless_euid: bool | None = None,
        rootless_cgroups: bool | None = None,
        systemd_cgroup: bool = False,
        log: Callable[..., None] | None = None,
        progress: Progress | None = None,
    ) -> Container:
        """Make a container of a bundle whose processes go on where those of a checkpoint were stopped.

        `options` names the images. What was a pipe among descriptors 0 to 2 of the checkpoint is then that of `stdio`.
        Init is our child. Raises Error; nothing half-made stays.
        """
        from libcontainer import container_create, container_restore

        making = container_create.Options(
            stdio=stdio,
            listen_fds=0,
            console_socket=console_socket,
            console=console,
            pidfd_socket=None,
            notify_socket=notify_socket,
            no_pivot=no_pivot,
            no_new_keyring=False,
            rootless_euid=rootless_euid,
            rootless_cgroups=rootless_cgroups,
            systemd_cgroup=systemd_cgroup,
            log=log or quiet,
        )
        return container_restore.restore_container(container_id, root, bundle, spec, making, options, progress)

    def exec(
        self,
        process: dict[str, Any],
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        extra_fds: Sequence[int] = (),
        console_socket: str | None = None,
        console: Callable[[int, str], None] | None = None,
        pidfd_socket: str | None = None,
        cgroup: Sequence[str] = (),
        ignore_paused: bool = False,
        wait_fifo: str | None = None,
    ) -> Process:
        """Run one more process (an OCI `process` object) in the container; it is our child. Its program waits until somebody
        opens `wait_fifo` for reading; the process's user must be allowed to write there."""
        from libcontainer import container_exec

        return container_exec.execute(
            self,
            process,
            stdio=(*stdio, *extra_fds),
            console_socket=console_socket,
            console=console,
            pidfd_socket=pidfd_socket,
            cgroup=list(cgroup),
            ignore_paused=ignore_paused,
            wait_fifo=wait_fifo,
        )

    def signal(self, signum: int, *, all: bool = False) -> None:
        """Signal init. SIGKILL of a container without a pid namespace of its own reaches every process.

        Raises ContainerNotRunning if it has ended; with `all` that is success.
        """
        shared = self.saved.namespace_path("pid") != ""
        if signum == SIGKILL and shared and self._kill_all():
            return
        if not self.state.is_alive():
            if all:
                return
            if shared and not self.cgroup.exists():
                raise ContainerNotRunning("unable to kill all processes: container not running")
            raise ContainerNotRunning
        self._signal_init(signum)
        if signum == SIGKILL:
            self._release()

    def _release(self) -> None:
        """The signal is sent: that somebody cannot be thawed does not undo it."""
        try:
            if self.cgroup.frozen():
                self._kill_frozen()
            self.cgroup.release()
        except OSError as err:
            self.log("warning", f"unable to thaw the killed processes: {describe(err)}")

    def _kill_frozen(self) -> None:
        """An exec that waits in a paused container would run when it is thawed, before the end of init reaches it. Only
        those of init's pid namespace: others may have come to share the cgroup."""
        try:
            namespace = os.readlink(f"/proc/{self.state.init_process_pid}/ns/pid")
        except OSError:  # init is gone, and all with it
            return
        for pid in self.cgroup.pids():
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    os.kill(pid, SIGKILL)
            except OSError:
                continue

    def pause(self) -> None:
        """Freeze a running (or created) container; returns when every process stands."""
        if self.status() not in (RUNNING, CREATED):
            raise ContainerNotRunning
        self.cgroup.freeze()

    def resume(self) -> None:
        """Let a paused container go on."""
        if self.status() != PAUSED:
            raise ContainerNotPaused
        self.cgroup.thaw()

    def update(self, resources: Resources, *, rdt: dict[str, str] | None = None) -> None:
        """Change the limits of a container that lives; `resources` is a (partial) linux.resources of the specification.

        `rdt` may have l3CacheSchema and memBwSchema, for a container that has a class in resctrl. Device rules, swappiness,
        huge pages, network and rdma limits are not changed.
        """
        from libcontainer import container_update

        container_update.update(self, resources, rdt or {})

    def _kill_all(self) -> bool:
        """Kill every process of the cgroup; False if there is none to kill."""
        try:
            if not self.cgroup.exists():
                return self._only_init("there is no cgroup")
            found = bool(self.cgroup.pids())
            self.cgroup.kill()
        except (OSError, Error) as err:
            if not self.saved.rootless_cgroups:
                raise Error("unable to kill all processes") from err
            return self._only_init(describe(err))
        return found

    def _only_init(self, why: str) -> bool:
        if self.saved.rootless_cgroups and self.state.is_alive():
            hint = "possibly due to lack of cgroup (Hint: enable cgroup v2 delegation)"
            self.log("warning", f"failed to kill all processes, {hint}", error=why)
        return False

    def _signal_init(self, signum: int) -> None:
        pid = self.state.init_process_pid
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise ContainerNotRunning from None
        try:
            # Checked again with the pidfd held: the number may have been taken over by another process.
            if not self.state.is_alive():
                raise ContainerNotRunning
            _signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError:
            raise ContainerNotRunning from None
        except OSError as err:
            raise Error("unable to signal init") from err
        finally:
            os.close(pidfd)

    def wait(self) -> int:
        """Wait for init, which must be our child (the creator's); its exit code, 128+N if signal N ended it."""
        from libcontainer.process import Process

        if self._exit_code is None:
            with Process(self.state.init_process_pid) as init:
                self._exit_code = init.wait()
        return self._exit_code

    def reap(self) -> None:
        """Take note of the end of an init that is our child: it shall not stay as a zombie."""
        pid = self.state.init_process_pid
        if self._exit_code is not None or process_start_time(pid) != self.state.init_process_start:
            return
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return
        if ended:
            from libcontainer.process import exit_code

            self._exit_code = exit_code(status)

    def delete(self, *, force: bool = False) -> None:
        """Remove the container and all that belongs to it; a running one only with `force`."""
        from libcontainer import container_delete

        container_delete.delete(self, force=force)

    def checkpoint(self, options: CheckpointOptions, progress: Progress | None = None) -> None:
        """Dump the processes into images with CRIU; the container is deleted unless it shall go on running.

        `progress` (libcontainer.criu.progress) is told how far it has come.
        """
        from libcontainer import container_checkpoint

        container_checkpoint.checkpoint(self, options, progress)

    def save(self) -> None:
        """Write state.json."""
        self.state.save(self.directory)


def list_ids(root: str) -> list[str]:
    """The names of the containers' directories of a state root, sorted."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False) and _is_id(entry.name))


def _is_id(name: str) -> bool:
    try:
        check_id(name)
    except Error:
        return False
    return True


def base_process(container: Container) -> dict[str, Any]:
    """`process` of the bundle's config.json as it is now: what `exec` starts from."""
    from libcontainer import spec

    if not container.bundle:
        raise Error("bundle not found in labels")
    process = spec.load(os.path.join(container.bundle, "config.json")).get("process")
    if not process:
        raise Error("process property must not be empty")
    return dict(process)


__all__ = ["Container", "ContainerNotExist", "base_process", "list_ids"]
