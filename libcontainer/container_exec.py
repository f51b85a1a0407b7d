"""exec: one more process in a running container.

nsexec joins the namespaces of init by its pidfd, clones (so that the pid namespace takes effect) into the container's
cgroup, and the clone becomes the process: the same batches as for init, without mounts and fifo.
"""

from __future__ import annotations

import errno
import os
import stat

from libcontainer import (
    child,
    faults,
    namespaces,
    process_setup,
    remote,
    seccomp,
    sysnr,
)
from libcontainer.cgroup_entry import Entry
from libcontainer.ending import Ending, wait_for_reader
from libcontainer.errors import ContainerNotRunning, Error
from libcontainer.plan import Slots
from libcontainer.process import Process
from libcontainer.remote import AT_FDCWD, CONTINUE, Batch, Channel, StepError
from libcontainer.steps import Step, Talk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from libcontainer.container import Container


def execute(
    container: Container,
    process: dict[str, Any],
    *,
    stdio: tuple[int, ...],
    console_socket: str | None,
    console: Callable[[int, str], None] | None,
    pidfd_socket: str | None,
    cgroup: list[str],
    ignore_paused: bool,
    wait_fifo: str | None,
) -> Process:
    """Start `process` in the container; it is our child, and runs when this returns."""
    child.check_open(stdio)
    _check(container, process, ignore_paused)
    run = _Exec(container, process, stdio, cgroup)
    try:
        run.connect(console_socket, console, pidfd_socket)
        run.fifo = _open_fifo(wait_fifo) if wait_fifo else -1
        return run.run()
    except BaseException:
        run.abort()
        raise
    finally:
        run.close()


def _check(container: Container, process: dict[str, Any], ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped":
        raise Error("cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")
    if not process.get("args"):
        raise Error("exec args cannot be empty")
    from libcontainer.spec_process import check_user, validate_process

    saved = container.saved
    validate_process(process, rootless_euid=saved.rootless_euid)  # type: ignore[arg-type]
    check_user(process, saved.uid_mappings, saved.gid_mappings)  # type: ignore[arg-type]


def _open_fifo(path: str) -> int:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as err:
        raise Error("failed to open exec wait fifo") from err
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise Error(f"exec wait fifo {path} is not a fifo")
    return fd


class _Exec:
    """One exec."""

    __slots__ = (
        "by_pid",
        "cgroup",
        "channel",
        "console",
        "container",
        "entry",
        "fifo",
        "pid",
        "pidfd",
        "pidfd_peer",
        "process",
        "saved",
        "slots",
        "sockets",
        "stage0",
        "stdio",
        "targets",
        "tasks",
        "userns",
    )

    def __init__(
        self, container: Container, process: dict[str, Any], stdio: tuple[int, ...], cgroup: list[str]
    ) -> None:
        self.container = container
        self.saved = container.saved
        self.process: dict[str, Any] = {"user": {}, **self.saved.exec_process(process)}  # type: ignore[arg-type]
        self.stdio = stdio
        self.cgroup = cgroup
        self.slots = Slots(len(stdio))
        self.userns = self.saved.has_namespace("user")
        self.channel: Channel | None = None
        self.entry = Entry(self._join_by_pid)
        self.by_pid = False
        self.targets: list[str] = []
        self.tasks: list[int] = []
        self.console: Callable[[int, str], None] | None = None
        self.pidfd_peer: _socket.socket | None = None
        self.sockets: list[_socket.socket] = []
        self.stage0 = 0
        self.pid = 0
        self.pidfd = -1
        self.fifo = -1

    # -- the sequence

    def run(self) -> Process:
        try:
            self._start()
        except (Error, OSError) as err:
            oom = " (possibly OOM-killed)" if self.container.cgroup.oom_kills() else ""
            raise Error(f"unable to start container process{oom}") from err
        pidfd, self.pidfd = self.pidfd, -1
        return Process(self.pid, pidfd)

    def _start(self) -> None:
        channel, self.stage0 = remote.spawn(self.stdio)
        self.channel = channel
        self.container.log("debug", remote.SEALED)
        self.container.log("debug", "nsexec container setup")
        faults.point("exec.spawned")
        self._initial_affinity()
        if self.saved.oom_score_adj is not None:
            child.write_oom_score(self.stage0, self.saved.oom_score_adj)
        self._join_and_clone(channel)
        faults.point("exec.cloned")
        self._set_up(channel)
        self._place()
        child.limit_resources(self.pid, self.process.get("rlimits") or [], passed=len(self.stdio))
        faults.point("exec.configured")
        self._finish(channel)
        faults.point("exec.detached")

    def connect(
        self, console_socket: str | None, console: Callable[[int, str], None] | None, pidfd_socket: str | None
    ) -> None:
        """Connect to the caller's sockets before anything is started."""
        self.console = console
        if not console_socket and not pidfd_socket:
            return
        from libcontainer import console as protocol

        if console_socket:
            peer = protocol.connect(console_socket)
            self.sockets.append(peer)
            self.console = lambda master, name: protocol.send_master(peer, master, name)
        if pidfd_socket:
            self.pidfd_peer = protocol.connect(pidfd_socket)
            self.sockets.append(self.pidfd_peer)

    def abort(self) -> None:
        """Kill what was started."""
        child.abort(self.channel, self.pidfd, self.stage0, self.entry.pid)

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.entry.close()
        for fd in self.tasks:
            os.close(fd)
        if self.channel is not None:
            self.channel.close()
        for fd in (self.pidfd, self.fifo):
            if fd >= 0:
                os.close(fd)

    # -- namespaces and cgroup

    def _join_and_clone(self, channel: Channel) -> None:
        """Into the namespaces, then the process itself, born in the container's cgroup where the kernel lets it be.

        The clone is sent without waiting for the joins: if they fail, it is cancelled.
        """
        kinds = [entry["type"] for entry in self.saved.namespaces]
        joins = self._send_joins(channel, kinds)
        place = self._open_cgroup()
        sent = self.entry.send_clone(channel, 0, place, CONTINUE)
        try:
            channel.receive(joins)
        except StepError as err:
            self.entry.cancelled(channel, sent)
            if err.call != "setns" or err.errno not in (errno.EPERM, errno.EINVAL):
                raise
            self._join_one_by_one(channel, kinds)
            sent = self.entry.send_clone(channel, 0, place)
        faults.point("exec.joined")
        self.pid = self.entry.receive_clone(channel, 0, sent)
        self.pidfd = os.pidfd_open(self.pid)
        child.reap(self.stage0)
        self.stage0 = 0
        self.container.log("debug", "child process in init()", pid=self.pid)

    def _send_joins(self, channel: Channel, kinds: list[str]) -> Batch:
        """All namespaces at once by init's pidfd (Linux 5.8); mixed owners will need them one by one."""
        batch = Batch()
        namespaces.append_not_dumpable(batch)
        if not kinds:
            channel.send(batch)
            return batch
        pidfd = os.pidfd_open(self.container.state.init_process_pid)
        try:
            self._check_alive()  # the number may have been taken over by another process until now
            flags = sum(namespaces.FLAGS[kind] for kind in kinds)
            if self.userns:
                namespaces.append_leave_groups(batch)
            batch.call("setns", sysnr.SETNS, batch.local(pidfd), flags, path="namespaces of init")
            if self.userns:
                namespaces.append_become_root(batch, self.process["user"])
                namespaces.append_not_dumpable(batch)
            channel.send(batch)
        finally:
            os.close(pidfd)
        return batch

    def _join_one_by_one(self, channel: Channel, kinds: list[str]) -> None:
        init = self.container.state.init_process_pid
        opened = namespaces.open_paths(
            [(kind, f"/proc/{init}/ns/{namespaces.PROC_NAMES[kind]}") for kind in kinds]
        )
        try:
            self._check_alive()
            namespaces.join(channel, opened, self.process["user"])
        finally:
            namespaces.close_all(opened)

    def _check_alive(self) -> None:
        if not self.container.state.is_alive():
            raise ContainerNotRunning

    def _open_cgroup(self) -> int | None:
        """The directory for CLONE_INTO_CGROUP, if there is one that we may open."""
        manager = self.container.cgroup
        self.targets = manager.exec_targets(self.cgroup or None)
        try:
            place, self.tasks = manager.open_for_join(self.targets)
        except OSError:
            self.by_pid = True
            return None
        return place

    def _cgroup_steps(self) -> list[Step | Talk]:
        if self.by_pid:
            self._join_by_pid(self.pid)
            return []
        tasks, self.tasks = self.tasks, []
        return [self.entry.step(lambda: tasks)]

    def _join_by_pid(self, pid: int) -> None:
        try:
            self.container.cgroup.join_dirs(pid, self.targets)
        except OSError as err:
            if not self._enter_inits_cgroup(pid) and not self.saved.rootless_cgroups:
                raise Error(f"error adding pid {pid} to cgroups") from err

    def _enter_inits_cgroup(self, pid: int) -> bool:
        """v2: init may have moved itself below its cgroup, which then takes no processes (cgroup-v2, "no internal
        processes")."""
        manager = self.container.cgroup
        if manager.version != 2 or self.cgroup:
            return False
        from libcontainer.cgroups.fs2 import current_directory

        try:
            directory = current_directory(self.container.state.init_process_pid)
            self._check_alive()  # else it is another process's
            manager.join_dirs(pid, [directory])
        except OSError:
            return False
        return True

    # -- from outside

    def _initial_affinity(self) -> None:
        initial = (self.process.get("execCPUAffinity") or {}).get("initial")
        if initial:
            self._set_affinity(self.stage0, initial, "initial")
            self.container.log("debug", f"nsexec[{self.stage0}]: affinity: {_mask(self.stage0):#x}")

    def _set_affinity(self, pid: int, cpus: str, which: str) -> None:
        from libcontainer import cpuset_list

        try:
            os.sched_setaffinity(pid, cpuset_list.parse(cpus))
        except (OSError, Error) as err:
            raise Error(f"unable to set the {which} CPU affinity of the process") from err

    def _place(self) -> None:
        self._enter_rdt()
        affinity = self.process.get("execCPUAffinity") or {}
        if affinity.get("final"):
            self._set_affinity(self.pid, affinity["final"], "final")
        elif not affinity.get("initial"):
            child.reset_affinity(self.pid)
        if not self.process.get("terminal"):
            child.own_stdio(self.stdio[:3], self._host_uid())
        if self.pidfd_peer is not None:
            from libcontainer import console

            console.send_pidfd(self.pidfd_peer, self.pidfd, b"setns")

    def _enter_rdt(self) -> None:
        state = self.container.state
        if state.intel_rdt_path:
            from libcontainer import resctrl

            try:
                resctrl.join(state.intel_rdt_path, state.intel_rdt_mon_path, self.pid)
            except Error as err:
                raise Error(f"error adding pid {self.pid} to Intel RDT") from err

    def _host_uid(self) -> int:
        uid = int(self.process["user"].get("uid", 0))
        if not self.userns:
            return uid
        from libcontainer import user_ns

        found = user_ns.host_id(user_ns.read_map(f"/proc/{self.pid}/uid_map"), uid)
        if found is None:
            raise Error(f"cannot setuid to unmapped uid {uid} in user namespace")
        return found

    # -- inside

    def _set_up(self, channel: Channel) -> None:
        """Cgroup, session, root descriptor and private procfs; then what init does too, in exec's order."""
        from libcontainer import rootfs, steps

        todo: list[Step | Talk] = [*self._cgroup_steps(), Step("error setting up session", self._session)]
        if not self.saved.has_namespace("mount"):
            todo.append(Talk("chroot", self._change_root))
        if self._needs_proc():
            todo.append(rootfs.private_proc_step(self.slots, sysctls=False))
        if self.process.get("terminal"):
            todo.append(Talk("failed to set up the console", self._console))
        todo.append(Step("", self._attributes, words=self._scheduler_words))
        steps.run(channel, todo, self.slots.scratch)
        faults.point("exec.cgroup")

    def _session(self, batch: Batch) -> None:
        batch.call("setsid", sysnr.SETSID)
        root = batch.openat2(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY)
        batch.call("dup3", sysnr.DUP3, root, self.slots.root, os.O_CLOEXEC)
        if self.fifo >= 0:
            batch.call("dup3", sysnr.DUP3, batch.local(self.fifo), self.slots.fifo, os.O_CLOEXEC)

    def _scheduler_words(self, err: StepError) -> str | None:
        cgroup = self.container.cgroup
        return process_setup.scheduler_refused(err, self.process, cgroup, cpus=bool(self.saved.cpuset))

    def _attributes(self, batch: Batch) -> None:
        if self.process.get("noNewPrivileges"):
            process_setup.no_new_privs(batch)
        umask = self.saved.umask
        if umask is not None:
            batch.call("umask", sysnr.UMASK, umask)
        process_setup.scheduling(batch, self.process, self.saved.personality, self.saved.memory_policy)

    def _change_root(self, channel: Channel) -> None:
        """Without a mount namespace to join, the root is that of the host, and the container's is a chroot(2) in it."""
        batch = Batch()
        root = batch.openat2(AT_FDCWD, self.saved.rootfs, os.O_PATH | os.O_DIRECTORY)
        batch.call("fchdir", sysnr.FCHDIR, root, path=self.saved.rootfs)
        batch.call("chroot", sysnr.CHROOT, ".", path=self.saved.rootfs)
        batch.call("dup3", sysnr.DUP3, root, self.slots.root, os.O_CLOEXEC)
        batch.close(root)
        channel.run(batch)

    def _needs_proc(self) -> bool:
        return bool(self.process.get("apparmorProfile") or self.process.get("selinuxLabel") or self.fifo >= 0)

    def _console(self, channel: Channel) -> None:
        from libcontainer import pty

        pty.hand_over(channel, self.slots.root, self.process, self.console, on_console=False)

    def _finish(self, channel: Channel) -> None:
        self.container.log("debug", "setns_init: about to exec")
        ending = Ending(
            self.process,
            self.slots,
            passed=len(self.stdio),
            keyring=None if self.saved.no_new_keyring else self.container.id,
            new_keyring=False,
            seccomp=self._filter(),
            userns=self.userns,
            joined=True,
            set_groups=self._may_set_groups(),
            hand_over=self._send_listener,
            log=self.container.log,
            late_apparmor=self.process.get("apparmorProfile"),
        )
        ending.run(channel, self._wait if self.fifo >= 0 else None)

    def _wait(self, batch: Batch, _process: dict[str, Any]) -> None:
        wait_for_reader(batch, self.slots)

    def _may_set_groups(self) -> bool:
        if self.saved.rootless_euid:
            return False
        from libcontainer import user_ns

        if not (self.userns or user_ns.in_user_namespace()):
            return True
        return not user_ns.setgroups_denied(self.pid)

    def _filter(self) -> seccomp.Filter | None:
        profile = self.saved.seccomp
        return seccomp.load(profile, self.container.root) if profile else None

    def _send_listener(self, fd: int) -> None:
        from libcontainer import syscalls

        profile = self.saved.seccomp or {}
        ours = syscalls.pidfd_getfd(self.pidfd, fd)
        try:
            state = self.container.hook_state("running", self.container.state.init_process_pid)
            metadata = profile.get("listenerMetadata") or ""
            seccomp.send_listener(profile.get("listenerPath") or "", ours, state, self.pid, metadata)
        finally:
            os.close(ours)


def _mask(pid: int) -> int:
    """The CPUs that a process may use, a bit each."""
    return sum(1 << cpu for cpu in os.sched_getaffinity(pid))
