"""create, as the container sees it: directory, state, cgroup and fifo around a Creation, and rollback of all of it."""

from __future__ import annotations

import errno
import os

from libcontainer import cgroups, config, faults, seccomp
from libcontainer import spec as oci_spec
from libcontainer.child import check_open
from libcontainer.create import Creation, Events
from libcontainer.errors import ContainerExists, Error, HookError, InitError, SyscallError, describe
from libcontainer.namespaces import CLONE_NEWPID, paths_of
from libcontainer.plan import Plan
from libcontainer.spec_rules import validate, warnings
from libcontainer.state import State, check_id, now_rfc3339nano, process_start_time
from libcontainer.status import FIFO
from libcontainer.user_ns import in_user_namespace, setgroups_denied

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.container import Container
    from libcontainer.net_devices import NetDevices
    from libcontainer.resctrl import Group

_UNKILLABLE = (
    "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged "
    "(as it is impossible to properly kill all container's processes)"
)


class Options:
    """The arguments of Container.create, and what was connected for them."""

    __slots__ = (
        "console",
        "console_socket",
        "listen_fds",
        "log",
        "no_new_keyring",
        "no_pivot",
        "notify_socket",
        "pidfd_socket",
        "rootless_cgroups",
        "rootless_euid",
        "stdio",
        "systemd_cgroup",
    )

    def __init__(
        self,
        *,
        stdio: tuple[int, ...],
        listen_fds: int,
        console_socket: str | None,
        console: Callable[[int, str], None] | None,
        pidfd_socket: str | None,
        notify_socket: str | None,
        no_pivot: bool,
        no_new_keyring: bool,
        rootless_euid: bool | None,
        rootless_cgroups: bool | None,
        systemd_cgroup: bool,
        log: Callable[..., None],
    ) -> None:
        self.stdio = stdio
        self.listen_fds = listen_fds
        self.console_socket = console_socket
        self.console = console
        self.pidfd_socket = pidfd_socket
        self.notify_socket = notify_socket
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.rootless_euid = os.geteuid() != 0 if rootless_euid is None else rootless_euid
        if rootless_cgroups is None:  # root of a user namespace may or may not have been given cgroups
            rootless_cgroups = self.rootless_euid or in_user_namespace()
        self.rootless_cgroups = rootless_cgroups
        self.systemd_cgroup = systemd_cgroup
        self.log = log


def create(
    container_id: str, root: str, bundle: str, spec: dict[str, Any] | None, options: Options
) -> Container:
    """Make a container; on failure nothing of it stays."""
    check_id(container_id)
    check_open(options.stdio)
    bundle = os.path.realpath(bundle)
    making = Making(container_id, os.path.abspath(root), bundle, read_spec(spec, bundle, options), options)
    try:
        return making.run()
    except BaseException:
        making.roll_back()
        raise


def read_spec(spec: dict[str, Any] | None, bundle: str, options: Options) -> dict[str, Any]:
    """The spec, or that of the bundle, validated."""
    document: Any = oci_spec.load(os.path.join(bundle, "config.json")) if spec is None else oci_spec.normalize(spec)
    validate(
        document,
        rootless_euid=options.rootless_euid,
        rootless_cgroups=options.rootless_cgroups,
        bundle=bundle,
        no_pivot=options.no_pivot,
    )
    for text in warnings(document):
        options.log("warning", text)
    return dict(document)


class Making(Events):
    """One create: its resources, in the order in which roll_back() gives them up again."""

    again = False  # is it a container that has been one before?
    __slots__ = (
        "bundle",
        "cgroup",
        "container",
        "creation",
        "directory",
        "fifo",
        "hooks_ran",
        "id",
        "made_directory",
        "net_devices",
        "options",
        "pidfd_peer",
        "plan",
        "rdt",
        "root",
        "sockets",
        "spec",
    )

    def __init__(self, container_id: str, root: str, bundle: str, spec: Any, options: Options) -> None:
        self.id = container_id
        self.root = root
        self.bundle = bundle
        self.spec = spec
        self.options = options
        self.directory = os.path.join(root, container_id)
        self.made_directory = False
        self.hooks_ran = False
        self.fifo = -1
        self.creation: Creation | None = None
        self.container: Container | None = None
        self.sockets: list[_socket.socket] = []
        self.pidfd_peer: _socket.socket | None = None
        self.rdt: Group | None = None
        self.net_devices: NetDevices | None = None
        self.cgroup: Manager = cgroups.new(
            (spec.get("linux") or {}).get("cgroupsPath") or "",
            container_id,
            rootless=options.rootless_cgroups,
            systemd=options.systemd_cgroup,
            annotations=spec.get("annotations"),
            owner=config.cgroup_owner(spec).get("owner_uid"),
            log=options.log,
        )

    # -- the sequence

    def run(self) -> Container:
        receiver = self._connect()
        self._check_free()
        self._make_directory()
        self._notify_directory()
        self._listen_environment()
        in_userns = in_user_namespace()
        self.plan = Plan(
            self.id,
            self.spec,
            self.bundle,
            passed_fds=len(self.options.stdio),
            no_pivot=self.options.no_pivot,
            no_new_keyring=self.options.no_new_keyring,
            rootless_euid=self.options.rootless_euid,
            rootless_cgroups=self.options.rootless_cgroups,
            in_userns=in_userns,
            setgroups_denied=in_userns and setgroups_denied(os.getpid()),
        )
        self.plan.adopt_cgroup(self.cgroup)
        self._first_state()
        self.creation = Creation(
            self.plan,
            self.cgroup,
            self,
            stdio=self.options.stdio,
            fifo=self.fifo,
            seccomp=self._seccomp(),
            console=receiver,
            log=self.options.log,
        )
        self._run_creation(self.creation)
        if self.pidfd_peer is not None:  # only now: whoever gets it may use it at once
            from libcontainer import console

            console.send_pidfd(self.pidfd_peer, self.creation.pidfd, b"standard")
        assert self.container is not None  # _first_state() made it
        self._close()
        return self.container

    def _run_creation(self, creation: Creation) -> None:
        try:
            creation.run()
        except InitError as err:
            if self.cgroup.oom_kills():
                raise Error("container init was OOM-killed (memory limit too low?)") from None
            raise Error(f"unable to start container process{self._hint()}") from err
        except HookError as err:
            raise HookError("unable to start container process: error during container init") from err
        except (Error, OSError) as err:
            raise Error(f"unable to start container process{self._hint()}: error during container init") from err

    def _hint(self) -> str:
        """The cgroup of who has died may be gone, and the kernel's count with it."""
        return " (possibly OOM-killed)" if self.cgroup.vanished() else ""

    def _connect(self) -> Callable[[int, str], None] | None:
        """Connect to the sockets that the caller listens on, before anything is made."""
        options = self.options
        if options.pidfd_socket:
            from libcontainer import console

            self.pidfd_peer = console.connect(options.pidfd_socket)
            self.sockets.append(self.pidfd_peer)
        if not options.console_socket:
            return options.console
        from libcontainer import console

        peer = console.connect(options.console_socket)
        self.sockets.append(peer)
        return lambda master, name: console.send_master(peer, master, name)

    def _check_free(self) -> None:
        try:
            os.makedirs(self.root, mode=0o700, exist_ok=True)
        except FileExistsError:
            raise SyscallError("mkdir", errno.ENOTDIR, self.root) from None
        if os.path.lexists(self.directory):
            raise ContainerExists
        self.cgroup.check_usable()
        self._check_rdt()

    def _make_directory(self) -> None:
        try:
            os.mkdir(self.directory, 0o711)
        except FileExistsError:
            raise ContainerExists from None
        self.made_directory = True
        os.chmod(self.directory, 0o711)
        faults.point("create.state-dir")

    def _notify_directory(self) -> None:
        if self.options.notify_socket:
            from libcontainer.notify_socket import ENVIRONMENT, NotifySocket

            socket = NotifySocket(self.directory, self.options.notify_socket)
            socket.make_directory()
            self.spec = {**self.spec, "mounts": [*(self.spec.get("mounts") or []), socket.mount()]}
            self._add_environment(ENVIRONMENT)

    def _listen_environment(self) -> None:
        if self.options.listen_fds:
            self._add_environment(f"LISTEN_FDS={self.options.listen_fds}", "LISTEN_PID=1")

    def _add_environment(self, *entries: str) -> None:
        process = self.spec["process"]
        self.spec = {**self.spec, "process": {**process, "env": [*(process.get("env") or []), *entries]}}

    def _seccomp(self) -> seccomp.Filter | None:
        profile = self.plan.linux.get("seccomp")
        return seccomp.load(profile, self.root) if profile else None

    # -- state

    def _first_state(self) -> None:
        """Saved before anything else exists, so that `delete` finds the cgroup of a create that was killed."""
        internal = config.to_runc(
            self.spec,
            id=self.id,
            bundle=self.bundle,
            rootfs=self.plan.rootfs,
            no_pivot=self.options.no_pivot,
            no_new_keyring=self.options.no_new_keyring,
            rootless_euid=self.options.rootless_euid,
            rootless_cgroups=self.options.rootless_cgroups,
            cgroup=self.cgroup.describe_runc(),
            systemd=self.options.systemd_cgroup,
        )
        if self.rdt is not None:
            internal["intel_rdt"] = self.rdt.saved()
        state = State(
            {
                "id": self.id,
                "init_process_pid": 0,
                "init_process_start": 0,
                "created": now_rfc3339nano(),
                "config": internal,
                "rootless": self.options.rootless_euid and self.options.rootless_cgroups,
                "cgroup_paths": self.cgroup.paths,
                "namespace_paths": {},
                "external_descriptors": [_describe(fd) for fd in self.options.stdio[:3]],
                "intel_rdt_path": self.rdt.path if self.rdt is not None else "",
                "intel_rdt_mon_path": self.rdt.monitor if self.rdt is not None else "",
            }
        )
        from libcontainer.container import Container

        self.container = Container(self.id, self.root, state, log=self.options.log)
        self.container.cgroup = self.cgroup
        self.container.save()
        faults.point("create.first-state")

    def _make_fifo(self) -> None:
        path = os.path.join(self.directory, FIFO)
        os.mkfifo(path, 0o622)
        os.chmod(path, 0o622)
        if self.plan.userns and not self.options.rootless_euid:
            os.chown(path, *self.plan.host_root())
        self.fifo = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if self.creation is not None:
            self.creation.fifo = self.fifo

    # -- events of the creation

    def cgroup_for_clone(self, pid: int) -> int | None:
        try:
            return self.cgroup.create_for_clone(self.plan.linux.get("resources"), pid)
        except (Error, OSError) as err:
            raise Error("unable to apply cgroup configuration") from err

    def make_cgroup(self) -> None:
        try:
            self.cgroup.create(self.plan.linux.get("resources"))
        except OSError as err:
            raise Error("unable to apply cgroup configuration") from err
        shared_pids = not self.plan.new & CLONE_NEWPID
        if shared_pids and self.options.rootless_cgroups and not self.cgroup.exists():
            self.options.log("warning", _UNKILLABLE)

    def spawned(self, pid: int) -> None:
        self._make_fifo()
        if self.container is not None:
            state = self.container.state
            state.init_process_pid = pid
            state.init_process_start = process_start_time(pid) or 0
            state.namespace_paths = paths_of(pid)
            if self.plan.joined("user") is not None:
                maps: Any = (self.plan.uid_map, self.plan.gid_map)
                state.config.update(config.id_maps(*maps))
        self.place(pid)

    def place(self, pid: int) -> None:
        """What else the first process brings its container into, before there is a second."""
        if self.rdt is not None:
            self._enter_rdt(self.rdt, pid)
        devices = self.plan.linux.get("netDevices")
        if devices:
            self._move_net_devices(devices, pid)
        faults.point("create.placed")

    def _check_rdt(self) -> None:
        settings = (self.spec.get("linux") or {}).get("intelRdt")
        if settings is not None:
            from libcontainer import resctrl

            self.rdt = resctrl.Group(self.id, settings)

    def _enter_rdt(self, rdt: Group, pid: int) -> None:
        try:
            rdt.make()
            rdt.add(pid)
        except (Error, OSError) as err:
            raise Error("unable to apply Intel RDT configuration") from err
        assert self.container is not None
        self.container.state.config["intel_rdt"] = rdt.saved()

    def _move_net_devices(self, devices: dict[str, Any], pid: int) -> None:
        from libcontainer.net_devices import NetDevices

        self.net_devices = NetDevices(f"/proc/{pid}/ns/net", self.options.log)
        self.net_devices.move(devices, again=self.again)

    def limit(self) -> None:
        devices = [device["path"] for device in self.plan.linux.get("devices") or ()]
        self.cgroup.set(self.plan.linux.get("resources") or {}, spec_devices=devices)

    def host_root(self, *, mounted: bool) -> None:
        from libcontainer import host_root

        note = host_root.record if mounted else host_root.announce
        note(self.directory, self.plan.rootfs)

    def runtime_hooks(self, pid: int) -> None:
        from libcontainer import hooks

        all_hooks = self.spec.get("hooks") or {}
        self.hooks_ran = True
        state = self.hook_state("creating", pid)
        for kind in ("prestart", "createRuntime"):
            hooks.run(kind, all_hooks.get(kind) or [], state, inherit_env=True, cwd=self.bundle)

    def hook_state(self, status: str, pid: int) -> dict[str, Any]:
        assert self.container is not None
        return self.container.hook_state(status, pid)

    def ready(self, pid: int) -> None:
        assert self.container is not None
        self.container.save()

    def listener(self, fd: int, pidfd: int, pid: int) -> None:
        from libcontainer import syscalls

        profile = self.plan.linux["seccomp"]
        ours = syscalls.pidfd_getfd(pidfd, fd)
        try:
            state = self.hook_state("creating", pid)
            seccomp.send_listener(profile["listenerPath"], ours, state, pid, profile.get("listenerMetadata") or "")
        finally:
            os.close(ours)

    # -- giving up

    def _close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.sockets.clear()
        if self.net_devices is not None:
            self.net_devices.close()
            self.net_devices = None
        if self.fifo >= 0:
            os.close(self.fifo)
            self.fifo = -1
        if self.creation is not None:
            self.creation.close()
            self.creation = None  # it refers to us: what both hold open would stay until the garbage collector comes

    def roll_back(self) -> None:
        """Undo, in reverse; an error in here must not hide the one that brought us here."""
        if self.creation is not None:
            self.creation.abort()
        if self.net_devices is not None:
            self.net_devices.put_back()
        self._close()
        for undo in (self._remove_rdt, self._remove_cgroup, self._unmount, self._remove_directory, self._poststop):
            try:
                undo()
            except (Error, OSError) as err:
                self.options.log("warning", f"cleaning up after a failed create: {describe(err)}")

    def _remove_rdt(self) -> None:
        if self.rdt is not None:
            self.rdt.roll_back()

    def _remove_cgroup(self) -> None:
        self.cgroup.rollback()

    def _unmount(self) -> None:
        if self.container is not None:
            from libcontainer.container_delete import unmount

            unmount(self.container)

    def _remove_directory(self) -> None:
        if self.made_directory:
            from libcontainer.container_delete import remove_directory

            remove_directory(self.root, self.id)

    def _poststop(self) -> None:
        if self.hooks_ran and self.container is not None:
            from libcontainer.container_delete import poststop

            poststop(self.container)


def _describe(fd: int) -> str:
    """What /proc says of a descriptor ("pipe:[123]"): checkpoint needs it to reconnect stdio."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
