"""create: from a Plan to an init that waits for `start`.

Who tells whom what, in order:

    we                                           nsexec (later: the container's init)
    spawn                                  -->   stage 0 serves batches on the socket
    setns to the namespaces to be joined   -->
    clone3 with the new ones               -->   replies the child's pid and exits; the child, our own child by
                                                 CLONE_PARENT, goes on serving the same socket
    id maps, cgroup, oom score, affinity         (waits for the next batch)
    mounts, devices, cgroup namespace      -->
    limits, prestart and createRuntime hooks; createContainer hooks run in init
    pivot, console, sysctls, masks, ...    -->
    rlimits, state.json
    credentials, seccomp, search for args  -->   replies what it found
    last batch                             -->   closes the socket, opens exec.fifo (blocks until `start`),
                                                 startContainer hooks, execve

If we die, init reads end of file and exits. If init dies, the channel raises InitError.
"""

from __future__ import annotations

import errno
import os
import stat

from libcontainer import (
    capabilities,
    devices,
    environment,
    faults,
    mounts,
    namespaces,
    process_setup,
    remote,
    rootfs,
    steps,
    sysnr,
)
from libcontainer.cgroup_entry import Entry
from libcontainer.errors import Error, strerror
from libcontainer.remote import (
    ANY_ERROR,
    OP_DETACH,
    OP_EXEC,
    OP_LABEL,
    OP_SYNC,
    Batch,
    Channel,
)
from libcontainer.steps import Step, Talk
from libcontainer.syscalls import RESOLVE_IN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.plan import Plan, Slots
    from libcontainer.remote import Reply, Result
    from libcontainer.seccomp import Filter
else:
    import _signal

SIOCSIFFLAGS = 0x8914
IFF_UP = 1
NULL_DEVICE = os.makedev(1, 3)
CLOSE_ALL = 0xFFFFFFFF


class Creation:
    """One run of create. `events` lets the container write its state and run its hooks at the right moments."""

    __slots__ = (
        "cgroup",
        "channel",
        "console",
        "entry",
        "events",
        "fifo",
        "log",
        "pid",
        "pidfd",
        "plan",
        "seccomp",
        "stage0",
        "stdio",
    )

    def __init__(
        self,
        plan: Plan,
        cgroup: Manager,
        events: Events,
        *,
        stdio: tuple[int, ...],
        fifo: int,
        seccomp: Filter | None,
        console: Callable[[int, str], None] | None,
        log: Callable[..., None],
    ) -> None:
        self.plan = plan
        self.cgroup = cgroup
        self.events = events
        self.stdio = stdio
        self.fifo = fifo
        self.seccomp = seccomp
        self.console = console
        self.log = log
        self.channel: Channel | None = None
        self.entry = Entry(cgroup.join)
        self.stage0 = 0
        self.pid = 0
        self.pidfd = -1

    # -- the sequence

    def run(self) -> None:
        """Do it all; on any error the caller calls abort()."""
        try:
            channel = self._spawn_and_clone()
            self._place()
            self._set_up(channel)
            self._finish(channel)
        finally:
            self.entry.close()
            mounts.close_prepared(self.plan)

    def abort(self) -> None:
        """Kill what was started, and reap it."""
        if self.channel is not None:
            self.channel.close()
        if self.pidfd >= 0:
            kill(self.pidfd)
        for pid in (self.stage0, self.entry.pid):
            if pid:
                reap(pid)

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    # -- namespaces

    def _spawn_and_clone(self) -> Channel:
        plan = self.plan
        opened = namespaces.open_paths(plan.joins)
        try:
            channel, self.stage0 = remote.spawn(self.stdio)
            self.channel = channel
            self.log("debug", "nsexec container setup")
            faults.point("create.spawned")
            if opened:
                not_dumpable(channel)
                namespaces.join(channel, opened)
        finally:
            namespaces.close_all(opened)
        unshared = self._time_offsets(channel)
        self._clone(channel, unshared)
        return channel

    def _time_offsets(self, channel: Channel) -> int:
        """Offsets must be written before the first process is in: stage 0 makes that namespace itself."""
        offsets = self.plan.linux.get("timeOffsets")
        if not offsets or not self.plan.new & namespaces.CLONE_NEWTIME:
            return 0
        done = namespaces.CLONE_NEWTIME
        if self.plan.rootless_euid and self.plan.new & namespaces.CLONE_NEWUSER:
            self._unshare(channel, namespaces.CLONE_NEWUSER)
            self._write_maps(self.stage0)
            namespaces.become_root(channel)
            done |= namespaces.CLONE_NEWUSER
        self._unshare(channel, namespaces.CLONE_NEWTIME)
        lines = "".join(
            f"{clock} {value.get('secs', 0)} {value.get('nanosecs', 0)}\n" for clock, value in offsets.items()
        )
        _write(f"/proc/{self.stage0}/timens_offsets", lines, "linux.timeOffsets")
        return done

    def _unshare(self, channel: Channel, flags: int) -> None:
        batch = Batch()
        batch.call("unshare", sysnr.UNSHARE, flags, path="namespaces")
        channel.run(batch)

    def _clone(self, channel: Channel, unshared: int) -> None:
        """Start the clone, make the cgroup meanwhile, and learn the pid.

        The cgroup namespace comes later: its root is where init is at that moment, which must be the container's cgroup.
        """
        flags = self.plan.new & ~unshared & ~namespaces.CLONE_NEWCGROUP
        sent = self.entry.send_clone(channel, flags, self.events.cgroup_for_clone())
        try:
            self.events.make_cgroup()
            # Now, while nobody is in it: device rules are not replaced at once, and init makes and opens devices.
            self.events.limit()
            faults.point("create.cgroup")
        finally:
            self.pid = self.entry.receive_clone(channel, flags, sent)
        self.pidfd = os.pidfd_open(self.pid)
        reap(self.stage0)
        self.stage0 = 0
        self.log("debug", "child process in init()", pid=self.pid)
        faults.point("create.cloned")
        if self.plan.new & ~unshared & namespaces.CLONE_NEWUSER:
            self._write_maps(self.pid)
        elif self.plan.joined("user") is not None:
            self._adopt_maps()
        faults.point("create.mapped")

    def _write_maps(self, pid: int) -> None:
        from libcontainer import user_ns

        user_ns.write_maps(pid, self.plan.uid_map, self.plan.gid_map, rootless_euid=self.plan.rootless_euid)

    def _adopt_maps(self) -> None:
        """The maps of a user namespace that is joined are its own: what the config says of them must be true."""
        from libcontainer import spec, user_ns

        plan = self.plan
        maps: Any = [user_ns.read_map(f"/proc/{self.pid}/{kind}_map") for kind in ("uid", "gid")]
        linux: Any = plan.linux
        process: Any = plan.process
        spec.check_joined_mappings(linux, *maps)
        spec.check_user(process, *maps)
        plan.uid_map, plan.gid_map = maps
        plan.setgroups_denied = user_ns.setgroups_denied(self.pid)

    # -- from outside

    def _place(self) -> None:
        """Cgroup, oom score and affinity, before init does anything."""
        reset_affinity(self.pid)
        score = self.plan.process.get("oomScoreAdj")
        if score is not None:
            write_oom_score(self.pid, score)
        self._own_stdio()
        self.events.spawned(self.pid)

    def _own_stdio(self) -> None:
        """stdio belongs to the user, so that it can reopen it (/dev/stdout)."""
        if not self.plan.process.get("terminal"):
            own_stdio(self.stdio[:3], self.plan.host_uid(self.plan.process["user"].get("uid", 0)))

    # -- mounts and the rest of the set-up

    def _set_up(self, channel: Channel) -> None:
        plan = self.plan
        rootfs.check_no_restrictions_without_mount_namespace(plan)
        self._prepare_id_maps()
        begin: list[Step | Talk] = [
            self.entry.step(self.cgroup.open_tasks),
            Step("error setting up session", self._session),
        ]
        if plan.reach:
            steps.run(channel, begin, plan.slots.scratch)
            self._reach(channel)
            begin = []
        else:
            begin.append(rootfs.attach_step(plan))
        first = [*begin, *self._mount_steps()]
        if self._hooks("prestart", "createRuntime", "createContainer"):
            steps.run(channel, first, plan.slots.scratch)
            faults.point("create.mounted")
            self.events.runtime_hooks(self.pid)
            self._container_hooks(channel)
            faults.point("create.hooks")
            steps.run(channel, self._late_steps(), plan.slots.scratch)
        else:
            steps.run(channel, [*first, *self._late_steps()], plan.slots.scratch)
        faults.point("create.configured")

    def _session(self, batch: Batch) -> None:
        plan = self.plan
        # Now: process.rlimits may allow fewer descriptors than the slot's number later.
        batch.call("dup3", sysnr.DUP3, batch.local(self.fifo), plan.slots.fifo, os.O_CLOEXEC)
        batch.call("setsid", sysnr.SETSID)
        batch.call("prctl", sysnr.PRCTL, process_setup.PR_SET_NAME, "pyrunc:[INIT]")
        if plan.userns and plan.may_set_groups():
            batch.call("setgroups", sysnr.SETGROUPS, 0, 0)
        if plan.userns:
            batch.call("setresgid", sysnr.SETRESGID, 0, 0, 0, path="user namespace root")
            batch.call("setresuid", sysnr.SETRESUID, 0, 0, 0, path="user namespace root")
        if plan.new & namespaces.CLONE_NEWCGROUP:
            batch.call("unshare", sysnr.UNSHARE, namespaces.CLONE_NEWCGROUP, path="cgroup namespace")
        if plan.new & namespaces.CLONE_NEWNET:
            _loopback_up(batch)

    def _prepare_id_maps(self) -> None:
        if any(m.idmapped for m in self.plan.mounts):
            from libcontainer import idmap

            idmap.prepare(self.plan, self.pid)

    def _reach(self, channel: Channel) -> None:
        """A second nsexec, in init's mount namespace but still host root, does what container root may not."""
        plan = self.plan
        outside, pid = remote.spawn(())
        try:
            opened = namespaces.open_paths([("mount", f"/proc/{self.pid}/ns/mnt")])
            try:
                namespaces.join(outside, opened)
            finally:
                namespaces.close_all(opened)
            steps.run(outside, [rootfs.attach_step(plan)], plan.slots.scratch)
            root = _fetch(outside, plan.slots.root)
            try:
                _give(channel, root, plan.slots.root)
            finally:
                os.close(root)
            mounts.prepare_dev_outside(outside, plan)
            mounts.prepare_outside(outside, plan)
        finally:
            outside.close()
            reap(pid)

    def _mount_steps(self) -> list[Step | Talk]:
        plan = self.plan
        return [
            Step("umask", lambda batch: batch.call("umask", sysnr.UMASK, 0)),
            rootfs.private_proc_step(plan.slots, sysctls=bool(plan.linux.get("sysctl"))),
            *mounts.steps(plan),
            *devices.steps(plan),
        ]

    def _late_steps(self) -> list[Step | Talk]:
        """What follows the hooks; the contract's steps 8 to 22."""
        plan = self.plan
        late: list[Step | Talk | None] = [self._cwd_step(), *rootfs.mask_steps(plan), *rootfs.readonly_steps(plan)]
        if plan.process.get("terminal"):
            late.append(Talk("failed to set up the console", self._console))
        else:
            late.append(self._null_step())
        late += mounts.late_steps(plan)
        late += [rootfs.pivot_step(plan), rootfs.propagation_step(plan), rootfs.readonly_root_step(plan)]
        late.append(Step("", self._names_and_sysctls))
        if plan.linux.get("sysctl"):
            late.append(rootfs.restrict_proc_step(plan.slots))
        return [step for step in late if step is not None]

    def _cwd_step(self) -> Talk | None:
        """process.cwd is made if it is missing."""
        from libcontainer import inroot

        plan = self.plan
        cwd = inroot.clean(plan.process["cwd"])
        if not cwd:
            return None

        def talk(channel: Channel) -> None:
            if inroot.stat_at(channel, plan.slots.root, cwd) is None:
                inroot.make(channel, plan.slots.root, cwd, directory=True)

        return Talk("failed to create the working directory", talk)

    def _null_step(self) -> Step | None:
        """stdio on the host's /dev/null moves to the container's own."""
        nulls = [i for i, fd in enumerate(self.stdio[:3]) if _is_null(fd)]
        if not nulls or not self.plan.has("mount"):
            return None
        root = self.plan.slots.root

        def emit(batch: Batch) -> None:
            null = batch.openat2(root, "dev/null", os.O_RDWR, resolve=RESOLVE_IN_ROOT)
            for fd in nulls:
                batch.call("dup3", sysnr.DUP3, null, fd, 0)
            batch.tolerate(null, errno.ENOENT, skip=batch.count_since(null))

        return Step("error reopening /dev/null", emit)

    def _console(self, channel: Channel) -> None:
        from libcontainer import pty
        from libcontainer.console import winsize

        process = self.plan.process
        size = winsize(process.get("consoleSize"))
        uid = process["user"].get("uid", 0)
        on_console = self.plan.has("mount")
        master, name = pty.allocate(channel, self.plan.slots.root, size=size, uid=uid, on_console=on_console)
        try:
            if self.console is None:
                raise Error("process.terminal is set, but nothing receives the console")
            self.console(master, name)
        finally:
            os.close(master)

    def _names_and_sysctls(self, batch: Batch) -> None:
        plan = self.plan
        batch.call("umask", sysnr.UMASK, _umask(plan.process))
        for key, nr in (("hostname", sysnr.SETHOSTNAME), ("domainname", sysnr.SETDOMAINNAME)):
            name = plan.spec.get(key)
            if name:
                encoded = os.fsencode(name)
                batch.call(f"set{key}", nr, encoded, len(encoded), path=name)
        if plan.process.get("apparmorProfile"):
            process_setup.apparmor(batch, plan.process["apparmorProfile"], plan.slots.proc)
        if plan.linux.get("sysctl"):
            from libcontainer import sysctl

            for path, value in sysctl.targets(plan.linux["sysctl"]):
                batch.write_file(plan.slots.proc, f"sys/{path}", value, name=f"sysctl {path}")
        if plan.process.get("noNewPrivileges"):
            process_setup.no_new_privs(batch)
        process_setup.scheduling(
            batch, plan.process, plan.linux.get("personality"), plan.linux.get("memoryPolicy")
        )

    # -- hooks

    def _hooks(self, *kinds: str) -> list[dict[str, Any]]:
        hooks = self.plan.spec.get("hooks") or {}
        return [hook for kind in kinds for hook in hooks.get(kind) or ()]

    def _container_hooks(self, channel: Channel) -> None:
        """createContainer: run by init in its namespaces, with the host's root still visible, cwd in the rootfs."""
        if self._hooks("createContainer"):
            from libcontainer import container_hooks

            document = self.events.hook_state("creating", container_hooks.inner_pid(self.pid))
            container_hooks.run(channel, self.plan, self._hooks("createContainer"), document)

    # -- the end

    def _finish(self, channel: Channel) -> None:
        self._limit_resources()
        faults.point("create.limited")
        self.events.ready(self.pid)
        faults.point("create.state")
        path = self._credentials(channel)
        self._last_batch(channel, path)
        channel.close()
        self.log("debug", "init: about to wait on exec fifo")
        faults.point("create.detached")

    def _limit_resources(self) -> None:
        limits = self.plan.process.get("rlimits")
        if limits:
            from libcontainer import rlimits

            rlimits.apply(self.pid, rlimits.parse(limits))

    def _credentials(self, channel: Channel) -> str:
        """Become the user; find the program as that user."""
        plan, process = self.plan, self.plan.process
        env, has_home, path = environment.prepare(process.get("env") or [])
        if not has_home:
            env = environment.with_home(env, self._home(channel))
        self.plan.process = {**process, "env": env}
        batch = Batch()
        close_finished(batch, plan.slots)
        if not plan.no_new_keyring:
            process_setup.session_keyring(batch, plan.id, process, plan.slots.proc)
        if process.get("selinuxLabel"):
            process_setup.selinux(batch, process["selinuxLabel"], plan.slots.proc)
        early = self.seccomp if self.seccomp and not process.get("noNewPrivileges") else None
        if early:
            batch = self._load_seccomp(channel, batch, early)
        became = become_user(batch, process, set_groups=plan.may_set_groups(), userns=plan.userns, log=self.log)
        lookup = process_setup.Lookup(batch, process["args"][0], path)
        reply = channel.run(batch)
        became.check(reply, self.log)
        lookup.check_cwd(reply)
        return lookup.result(reply)

    def _load_seccomp(self, channel: Channel, batch: Batch, filter_: Filter) -> Batch:
        """Load the filter; with a listener, hand it to the agent before anything is filtered by it."""
        loaded = process_setup.seccomp(batch, filter_)
        self.log("debug", f"seccomp filter flags: {filter_.flags}")
        if not filter_.notify:
            return batch
        batch.op(OP_SYNC, 0, (), "sync")
        close_listener(batch, loaded)
        channel.send(batch)
        self.events.listener(channel.receive(batch)[loaded], self.pidfd, self.pid)
        channel.go()
        channel.receive(batch)
        return Batch()

    def _home(self, channel: Channel) -> str | None:
        from libcontainer import inroot, passwd

        fd = inroot.open_file(channel, self.plan.slots.root, "etc/passwd")
        if fd is None:
            return None
        try:
            return passwd.home_of(fd, self.plan.process["user"].get("uid", 0))
        finally:
            os.close(fd)

    def _last_batch(self, channel: Channel, path: str) -> None:
        plan, process = self.plan, self.plan.process
        batch = Batch()
        if self.seccomp and process.get("noNewPrivileges"):
            channel.run(self._load_seccomp(channel, batch, self.seccomp))
            batch = Batch()
        batch.op(OP_DETACH, 0, (), "detach")
        batch.op(OP_LABEL, 0, ("pyrunc: cannot open exec fifo",), "label")
        proc = f"self/fd/{plan.slots.fifo}"
        fifo = batch.call("openat", sysnr.OPENAT, plan.slots.proc, proc, os.O_WRONLY | os.O_CLOEXEC, 0)
        batch.call("write", sysnr.WRITE, fifo, b"0", 1)
        batch.close(fifo)
        batch.close(plan.slots.fifo)
        batch.close(plan.slots.proc)
        if self._hooks("startContainer"):
            from libcontainer import container_hooks

            document = self.events.hook_state("created", container_hooks.inner_pid(self.pid))
            container_hooks.append(batch, self._hooks("startContainer"), document, process)
        finish_exec(batch, path, process, passed=len(self.stdio))
        self.log("debug", "init: closing the pipe to signal completion")
        channel.send(batch)


class Events:
    """What the container does at certain moments of create (container.py)."""

    __slots__ = ()

    def cgroup_for_clone(self) -> int | None:
        """A descriptor of the cgroup that init is to be born in, if there is such a thing."""
        raise NotImplementedError

    def make_cgroup(self) -> None:
        """Make what is missing of the container's cgroup, while init is being cloned."""
        raise NotImplementedError

    def spawned(self, pid: int) -> None:
        """init exists, and is in the cgroup."""
        raise NotImplementedError

    def limit(self) -> None:
        """Apply the cgroup's limits, while init is being cloned."""
        raise NotImplementedError

    def runtime_hooks(self, pid: int) -> None:
        """prestart and createRuntime."""
        raise NotImplementedError

    def hook_state(self, status: str, pid: int) -> dict[str, Any]:
        """The state object for hooks that init runs."""
        raise NotImplementedError

    def ready(self, pid: int) -> None:
        """All is set up but credentials: the state is saved."""
        raise NotImplementedError

    def listener(self, fd: int, pidfd: int, pid: int) -> None:
        """The seccomp notify descriptor `fd` of init goes to the agent."""
        raise NotImplementedError


# -- shared with exec


def become_user(
    batch: Batch, process: dict[str, Any], *, set_groups: bool, userns: bool, log: Callable[..., None]
) -> Became:
    """Working directory, bounding set, ids, capabilities."""
    caps = process.get("capabilities")
    masks = None
    if caps is not None:
        masks = capabilities.masks(caps, capabilities.supported() if userns else None)
        if masks.unknown:
            log("warning", masks.warning())
        process_setup.bounding_set(batch, masks.bounding)
    before = process_setup.change_directory(batch, process["cwd"])
    process_setup.user(batch, process["user"], keep_caps=masks is not None, set_groups=set_groups)
    after = process_setup.change_directory(batch, process["cwd"])
    raised = process_setup.capability_sets(batch, masks) if masks is not None else []
    return Became(process, (before, after), raised)


class Became:
    """The calls of become_user() that may fail, to be looked at when their results are there."""

    __slots__ = ("_directories", "_process", "_raised")

    def __init__(self, process: dict[str, Any], directories: tuple[int, int], raised: list[tuple[int, int]]) -> None:
        self._process = process
        self._directories = directories
        self._raised = raised

    def check(self, reply: Reply, log: Callable[..., None]) -> None:
        """Raise if nobody could enter the working directory. A capability that cannot be ambient (it is not
        inheritable, say) is worth a warning only."""
        process_setup.check_directory(reply, self._process["cwd"], self._directories)
        for capability, result in self._raised:
            if reply[result] < 0:
                name = capabilities.NAMES[capability]
                log("warning", f"can't raise ambient capability {name}: {strerror(-reply[result])}")


def close_finished(batch: Batch, slots: Slots) -> None:
    """Before init takes the user's ids, and others may look at its descriptors: close all but the procfs and the fifo."""
    batch.close_range(*slots.scratch)
    batch.close_range(slots.fifo + 1, CLOSE_ALL)


def close_listener(batch: Batch, listener: Result) -> None:
    """Whoever has the notify descriptor decides what the filter lets through: the container must not get at it."""
    batch.tolerate(batch.close(listener), ANY_ERROR)  # the filter is in force, for close(2) as well


def finish_exec(batch: Batch, path: str, process: dict[str, Any], *, passed: int) -> None:
    """The last calls of all: close everything but what is passed, and execve."""
    argv = batch.vector(process["args"])
    envp = batch.vector(process["env"])
    # All are close-on-exec; but /proc/self/fd/N as args[0] is looked up before that happens (CVE-2024-21626).
    closed = batch.close_range(passed, CLOSE_ALL)
    batch.tolerate(closed, ANY_ERROR)  # a seccomp profile may not know it
    messages = process_setup.exec_messages(batch, path)
    batch.op(OP_EXEC, 0, (path, argv, envp, messages), "execve", path)


def reset_affinity(pid: int) -> None:
    """All CPUs: the runtime's own affinity is none of the container's business."""
    cpus = os.sysconf("SC_NPROCESSORS_CONF")
    if len(os.sched_getaffinity(0)) == cpus:
        return
    try:
        os.sched_setaffinity(pid, range(max(cpus, 1024)))
    except OSError:
        pass  # not permitted rootless in a cpuset: then it stays what it was


def write_oom_score(pid: int, score: int) -> None:
    """process.oomScoreAdj (proc_pid_oom_score_adj(5))."""
    _write(f"/proc/{pid}/oom_score_adj", str(score), "failed to set process.oomScoreAdj")


def _write(path: str, content: str, what: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, content.encode())
        finally:
            os.close(fd)
    except OSError as err:
        err.filename = err.filename or path
        raise Error(what) from err


def own_stdio(fds: tuple[int, ...], uid: int) -> None:
    """fchown stdio to `uid`; what cannot be owned (read-only, not ours) stays as it is."""
    for fd in fds:
        info = os.fstat(fd)
        if info.st_uid == uid or _is_null(fd):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.EROFS, errno.EINVAL, errno.ENOSYS):
                raise Error("unable to change the owner of stdio") from err


def check_open(fds: tuple[int, ...]) -> None:
    """What is passed must be there before we open anything: it could get the number of one that is missing."""
    for number, fd in enumerate(fds):
        try:
            os.fstat(fd)
        except OSError as err:
            raise Error(f"descriptor {fd}, to be number {number} of the process") from err


def _is_null(fd: int) -> bool:
    info = os.fstat(fd)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == NULL_DEVICE


def _umask(process: dict[str, Any]) -> int:
    umask = process["user"].get("umask")
    return process_setup.DEFAULT_UMASK if umask is None else int(umask)


def not_dumpable(channel: Channel) -> None:
    """Processes of a namespace that we join must not ptrace us (CVE-2016-9962)."""
    batch = Batch()
    batch.call("prctl", sysnr.PRCTL, process_setup.PR_SET_DUMPABLE, 0, 0, 0, 0, path="dumpable")
    channel.run(batch)


def _loopback_up(batch: Batch) -> None:
    """netdevice(7): set IFF_UP on lo."""
    socket = batch.call("socket", sysnr.SOCKET, 2, 2 | os.O_CLOEXEC, 0, path="loopback")  # AF_INET, SOCK_DGRAM
    request = batch.put(b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22))
    batch.call("ioctl", sysnr.IOCTL, socket, SIOCSIFFLAGS, request, path="loopback")
    batch.close(socket)


def _fetch(channel: Channel, number: int) -> int:
    """Our duplicate of a descriptor of the process behind `channel`."""
    batch = Batch()
    batch.send_back(batch.call("fcntl", sysnr.FCNTL, number, 1030, 0))  # F_DUPFD_CLOEXEC
    return channel.run(batch).fds[0]


def _give(channel: Channel, fd: int, number: int) -> None:
    """Make our `fd` the descriptor `number` of the process behind `channel`."""
    batch = Batch()
    batch.call("dup3", sysnr.DUP3, batch.local(fd), number, os.O_CLOEXEC)
    channel.run(batch)


def kill(pidfd: int) -> None:
    try:
        _signal.pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        pass


def reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # the calling program ignores SIGCHLD

