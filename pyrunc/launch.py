"""What create, run and exec share: the bundle, the descriptors that go along, the console rules, the pid file."""

from __future__ import annotations

import os

from libcontainer import spec as specs
from libcontainer.errors import Error, SyscallError
from pyrunc import host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from libcontainer.container import Container
    from pyrunc.options import Invocation

    Receiver = Callable[[int, str], None]

STDIO = (0, 1, 2)


class Launch:
    """A container about to be made from the bundle that a command line names."""

    __slots__ = ("_call", "_pid_file", "_pidfd_socket", "console_socket", "spec", "terminal")

    def __init__(self, call: Invocation, *, detached: bool) -> None:
        self._call = call
        # What the command line names is relative to the caller, what the bundle says to the bundle.
        self._pid_file = absolute(call.text("pid-file"))
        self.console_socket = _address(call.text("console-socket"))
        self._pidfd_socket = _address(call.text("pidfd-socket")) if call.takes("pidfd-socket") else ""  # restore has none
        _enter_bundle(call.text("bundle"))
        self.spec: dict[str, Any] = {**specs.load("config.json")}
        self.terminal = bool(self.spec.get("process", {}).get("terminal"))
        check_terminal(self.terminal, detached, self.console_socket)

    def create(self, stdio: tuple[int, int, int] = STDIO, console: Receiver | None = None) -> Container:
        """Make the container and write its pid file; if that fails nothing is left."""
        from libcontainer.container import Container

        call = self._call
        listen = listen_fds()
        container = Container.create(
            call.arguments[0],
            root=call.root,
            bundle=os.getcwd(),
            spec=self.spec,
            no_pivot=call.switch("no-pivot"),
            no_new_keyring=call.switch("no-new-keyring"),
            stdio=stdio,
            extra_fds=passed_fds(listen, call.number("preserve-fds")),
            listen_fds=listen,
            console_socket=self.console_socket or None,
            console=console,
            pidfd_socket=self._pidfd_socket or None,
            notify_socket=host.notify_socket(),
            rootless_euid=host.rootless_euid(),
            rootless_cgroups=host.rootless_cgroups(call),
            systemd_cgroup=call.switch("systemd-cgroup"),
            log=call.log,
        )
        self.write_pid(container)
        return container

    def write_pid(self, container: Container) -> None:
        """Write the pid file of a container that was just made, or delete it."""
        try:
            write_pid_file(self._pid_file, container.state.init_process_pid)
        except BaseException:
            container.delete(force=True)
            raise

    @property
    def owner(self) -> tuple[int, int]:
        """Who the container's root is on the host."""
        linux = self.spec.get("linux", {})
        if not any(namespace.get("type") == "user" for namespace in linux.get("namespaces", ())):
            return 0, 0
        return root_owner(linux.get("uidMappings", ()), linux.get("gidMappings", ()))


def _enter_bundle(path: str) -> None:
    if path:
        try:
            os.chdir(path)
        except OSError as error:
            raise SyscallError("chdir", error.errno or 0, path) from None


def check_terminal(terminal: bool, detached: bool, console_socket: str) -> None:
    """A terminal needs somebody at its other end: ourselves in the foreground, else whoever owns the socket."""
    if detached and terminal and not console_socket:
        raise Error("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (detached and terminal):
        raise Error("cannot use console socket if runc will not detach or allocate tty")


def root_owner(uid_mappings: Sequence[Mapping[str, int]], gid_mappings: Sequence[Mapping[str, int]]) -> tuple[int, int]:
    """The host's ids of the container's root; without maps it is the host's root."""
    if not uid_mappings:
        return 0, 0
    from libcontainer.user_ns import host_id

    uid, gid = host_id(uid_mappings, 0), host_id(gid_mappings, 0)
    return (-1 if uid is None else uid, -1 if gid is None else gid)  # -1 leaves it as it is: chown(2)


def listen_fds() -> int:
    """How many descriptors socket activation (sd_listen_fds(3)) passed: to this very process, not to a parent."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return 0
    return int(count)


def passed_fds(listen: int, preserve: int) -> tuple[int, ...]:
    """The descriptors that become 3, 4, ... of the process."""
    first, end = 3 + listen, 3 + listen + max(preserve, 0)
    for fd in range(3, first):
        _check_passed(fd, f"socket-activation fd {fd} (of {listen})")
    for fd in range(first, end):
        _check_passed(fd, f"preserved-fd {fd - first} (of {preserve})")
    return tuple(range(3, end))


def _check_passed(fd: int, name: str) -> None:
    """A close-on-exec descriptor was opened by this process (a log file, say): the caller did not pass it."""
    try:
        passed = os.get_inheritable(fd)
    except OSError:
        passed = False
    if not passed:
        raise Error(f"unable to stat {name}") from FileNotFoundError(2, "", f"stat /proc/self/fd/{fd}")


def absolute(path: str) -> str:
    """The path as seen from here, whatever directory we change to later."""
    return os.path.abspath(path) if path else ""


def _address(path: str) -> str:
    """An abstract one, which begins with @, is nowhere in the file system."""
    return path if path.startswith("@") else absolute(path)


def write_pid_file(path: str, pid: int) -> None:
    """Who sees the file sees the whole number. A ".name" left over belongs to another start: better fail than guess."""
    if not path:
        return
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
