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

from libcontainer import (
    child,
    devices,
    faults,
    loopback,
    mounts,
    namespaces,
    process_setup,
    remote,
    rootfs,
    steps,
    sysnr,
)
from libcontainer.cgroup_entry import Entry
from libcontainer.ending import Ending, wait_for_reader
from libcontainer.remote import (
    AT_FDCWD,
    Batch,
    Channel,
)
from libcontainer.steps import Step, Talk
from libcontainer.syscalls import RESOLVE_IN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.plan import Plan
    from libcontainer.remote import StepError
    from libcontainer.seccomp import Filter


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
        child.abort(self.channel, self.pidfd, self.stage0, self.entry.pid)

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
            self.log("debug", remote.SEALED)
            self.log("debug", "nsexec container setup")
            faults.point("create.spawned")
            score = plan.process.get("oomScoreAdj")
            if score is not None:
                child.write_oom_score(self.stage0, score)
            if opened:
                namespaces.join(channel, opened, plan.process["user"])
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
            namespaces.become_root(channel, self.plan.process["user"])
            done |= namespaces.CLONE_NEWUSER
        self._unshare(channel, namespaces.CLONE_NEWTIME)
        lines = "".join(
            f"{clock} {value.get('secs', 0)} {value.get('nanosecs', 0)}\n" for clock, value in offsets.items()
        )
        child.write(f"/proc/{self.stage0}/timens_offsets", lines, "linux.timeOffsets")
        return done

    def _unshare(self, channel: Channel, flags: int) -> None:
        batch = Batch()
        batch.call("unshare", sysnr.UNSHARE, flags, path="namespaces")
        channel.run(batch)

    def _clone(self, channel: Channel, unshared: int) -> None:
        """Start the clone, make the cgroup meanwhile, and learn the pid."""
        flags = self.plan.new & ~unshared & ~self._made_by_init()
        sent = self.entry.send_clone(channel, flags, self.events.cgroup_for_clone(self.stage0))
        try:
            self.events.make_cgroup()
            # Now, while nobody is in it: device rules are not replaced at once, and init makes and opens devices.
            self.events.limit()
            faults.point("create.cgroup")
        finally:
            self.pid = self.entry.receive_clone(channel, flags, sent)
        self.pidfd = os.pidfd_open(self.pid)
        child.reap(self.stage0)
        self.stage0 = 0
        self.log("debug", "child process in init()", pid=self.pid)
        faults.point("create.cloned")
        if self.plan.new & ~unshared & namespaces.CLONE_NEWUSER:
            self._write_maps(self.pid)
        elif self.plan.joined("user") is not None:
            self._adopt_maps()
        faults.point("create.mapped")

    def _made_by_init(self) -> int:
        """Namespaces that come later. The root of a cgroup namespace is where init is at that moment, which must be the
        container's cgroup; the message queues of an ipc namespace belong to who makes it, which must be a mapped user."""
        late = namespaces.CLONE_NEWCGROUP | (namespaces.CLONE_NEWIPC if self.plan.userns else 0)
        return self.plan.new & late

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
        """Cgroup and affinity, before init does anything."""
        child.reset_affinity(self.pid)
        self._own_stdio()
        self.events.spawned(self.pid)

    def _own_stdio(self) -> None:
        """stdio belongs to the user, so that it can reopen it (/dev/stdout)."""
        if not self.plan.process.get("terminal"):
            child.own_stdio(self.stdio[:3], self.plan.host_uid(self.plan.process["user"].get("uid", 0)))

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
        elif plan.on_host:
            self.events.host_root(mounted=False)
            faults.point("create.root-announced")
            steps.run(channel, [*begin, rootfs.attach_step(plan)], plan.slots.scratch)
            faults.point("create.root-mounted")
            self.events.host_root(mounted=True)
            faults.point("create.root-recorded")
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
            namespaces.append_become_root(batch, plan.process["user"])
        if self._made_by_init():
            batch.call("unshare", sysnr.UNSHARE, self._made_by_init(), path="namespaces")
        if plan.new & namespaces.CLONE_NEWNET:
            loopback.up(batch)

    def _prepare_id_maps(self) -> None:
        if any(m.idmapped for m in self.plan.mounts):
            from libcontainer import idmap

            idmap.prepare(self.plan, self.pid)

    def _reach(self, channel: Channel) -> None:
        """A second nsexec, in init's mount namespace but still host root, does what container root may not."""
        plan = self.plan
        outside, pid = remote.spawn(())
        try:
            self._join_mounts(outside)
            steps.run(outside, [rootfs.attach_step(plan)], plan.slots.scratch)
            root = child.fetch(outside, plan.slots.root)
            try:
                child.give(channel, root, plan.slots.root)
            finally:
                os.close(root)
            mounts.prepare_dev_outside(outside, plan)
            mounts.prepare_outside(outside, plan)
        finally:
            outside.close()
            child.reap(pid)

    def _join_mounts(self, outside: Channel) -> None:
        opened = namespaces.open_paths([("mount", f"/proc/{self.pid}/ns/mnt")])
        try:
            namespaces.join(outside, opened)
        finally:
            namespaces.close_all(opened)

    def _clone_outside(self, mount: mounts.Mount) -> None:
        """The like for one bind mount, whose source is a mount that init has made meanwhile."""
        plan = self.plan
        outside, pid = remote.spawn(())
        try:
            self._join_mounts(outside)
            batch = Batch()
            root = batch.openat2(AT_FDCWD, plan.rootfs, os.O_PATH | os.O_DIRECTORY)
            batch.call("dup3", sysnr.DUP3, root, plan.slots.root, os.O_CLOEXEC)
            outside.run(batch)
            mount.prepared = mounts.clone_outside(outside, plan, mount)
        finally:
            outside.close()
            child.reap(pid)

    def _mount_steps(self) -> list[Step | Talk]:
        plan = self.plan
        return [
            Step("umask", lambda batch: batch.call("umask", sysnr.UMASK, 0)),
            rootfs.private_proc_step(plan.slots, sysctls=bool(plan.linux.get("sysctl"))),
            *mounts.steps(plan, self._clone_outside),
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
        late.append(Step("", self._names_and_sysctls, words=self._words))
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
        nulls = [i for i, fd in enumerate(self.stdio[:3]) if child.is_null(fd)]
        if not nulls or not self.plan.has("mount"):
            return None
        root = self.plan.slots.root

        def emit(batch: Batch) -> None:
            null = batch.openat2(root, "dev/null", os.O_RDWR, resolve=RESOLVE_IN_ROOT)
            devices.verify(batch, null, devices.NULL)
            for fd in nulls:
                batch.call("dup3", sysnr.DUP3, null, fd, 0)
            batch.tolerate(null, errno.ENOENT, skip=batch.count_since(null))

        return Step("error reopening /dev/null", emit, words=rootfs.null_words)

    def _console(self, channel: Channel) -> None:
        from libcontainer import pty

        on_console = self.plan.has("mount")
        pty.hand_over(channel, self.plan.slots.root, self.plan.process, self.console, on_console=on_console)

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

    def _words(self, err: StepError) -> str | None:
        cpus = ((self.plan.linux.get("resources") or {}).get("cpu") or {}).get("cpus")
        return process_setup.apparmor_refused(err) or process_setup.scheduler_refused(
            err, self.plan.process, self.cgroup, cpus=bool(cpus)
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
        ending = Ending(
            self.plan.process,
            self.plan.slots,
            passed=len(self.stdio),
            keyring=None if self.plan.no_new_keyring else self.plan.id,
            seccomp=self.seccomp,
            userns=self.plan.userns,
            joined=bool(self.plan.joins),
            set_groups=self.plan.may_set_groups(),
            hand_over=lambda fd: self.events.listener(fd, self.pidfd, self.pid),
            log=self.log,
        )
        ending.run(channel, self._append_last)
        channel.close()
        self.log("debug", "init: about to wait on exec fifo")
        faults.point("create.detached")

    def _limit_resources(self) -> None:
        child.limit_resources(self.pid, self.plan.process.get("rlimits") or [], passed=len(self.stdio))

    def _append_last(self, batch: Batch, process: dict[str, Any]) -> None:
        """Wait for `start`, then run the startContainer hooks."""
        wait_for_reader(batch, self.plan.slots)
        if self._hooks("startContainer"):
            from libcontainer import container_hooks

            document = self.events.hook_state("created", container_hooks.inner_pid(self.pid))
            container_hooks.append(batch, self._hooks("startContainer"), document, process)


class Events:
    """What the container does at certain moments of create (container.py)."""

    __slots__ = ()

    def cgroup_for_clone(self, pid: int) -> int | None:
        """A descriptor of the cgroup that init is to be born in, if there is such a thing. `pid` is going to clone it."""
        raise NotImplementedError

    def make_cgroup(self) -> None:
        """Make what is missing of the container's cgroup, while init is being cloned."""
        raise NotImplementedError

    def spawned(self, pid: int) -> None:
        """init exists, and is in the cgroup."""
        raise NotImplementedError

    def host_root(self, *, mounted: bool) -> None:
        """The rootfs is about to be mounted on the host, or is now."""
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


def _umask(process: dict[str, Any]) -> int:
    umask = process["user"].get("umask")
    return process_setup.DEFAULT_UMASK if umask is None else int(umask)
