"""pyrunc exec: run one more process in a container. Whatever fails before it runs is "exec failed", status 255."""

from __future__ import annotations

from libcontainer.errors import Error
from pyrunc.options import (
    CONSOLE_SOCKET,
    DETACH,
    NUMBERS,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    SWITCH,
    TEXT,
    TEXTS,
    Command,
    Flag,
    decimal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.container import Container
    from libcontainer.process import Process
    from pyrunc.launch import Receiver
    from pyrunc.options import Invocation

COMMAND = Command(
    "exec",
    "execute new process inside the container",
    arguments="<container-id> <command> [command options]  || -p process.json <container-id>",
    count=(1, None),
    options_first=True,
    flags=(
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        Flag("cwd", TEXT, "current working directory in the container"),
        Flag("env", TEXTS, "set an environment variable", letter="e"),
        Flag("tty", SWITCH, "allocate a pseudo-TTY", letter="t"),
        Flag("user", TEXT, "UID (format: <uid>[:<gid>])", letter="u"),
        Flag("additional-gids", NUMBERS, "additional gids", letter="g"),
        Flag("process", TEXT, "path of a process.json, which replaces all flags about the process", letter="p"),
        DETACH,
        PID_FILE,
        Flag("process-label", TEXT, "SELinux label of the process"),
        Flag("apparmor", TEXT, "AppArmor profile of the process"),
        Flag("no-new-privs", SWITCH, "set the no new privileges value for the process"),
        Flag("cap", TEXTS, "add a capability to the sets of the process", letter="c"),
        PRESERVE_FDS,
        Flag("cgroup", TEXTS, "run the process in an existing sub-cgroup; format is [<controller>:]<cgroup>"),
        Flag("ignore-paused", SWITCH, "allow exec in a paused container"),
        Flag("exec-wait-fifo", TEXT, "wait with the program until somebody opens this FIFO for reading"),
    ),
    description="""\
The command is looked up and run in the container's namespaces, root, and cgroup; its user, environment and limits are
those of the container's own process unless flags say otherwise.""",
)
_SIGKILL = 9


class ExecFailed(Error):
    """The process could not be run. Statuses below 255 are the process's own."""

    status = 255


def run(call: Invocation) -> int:
    try:
        return _execute(call)
    except Exception as error:
        raise ExecFailed("exec failed") from error


def _execute(call: Invocation) -> int:
    from libcontainer.container import Container
    from pyrunc.launch import STDIO, absolute, check_terminal

    pid_file = absolute(call.text("pid-file"))
    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    process = _process(call, container)
    terminal = bool(process.get("terminal"))
    check_terminal(terminal, call.switch("detach"), call.text("console-socket"))
    if call.switch("detach"):
        _start(call, container, process, pid_file, STDIO, None)
        return 0

    from pyrunc.foreground import attend, relay
    from pyrunc.signals import Signals

    between = relay(terminal, *_owner(container))
    signals = Signals()  # before the child exists: one that ends at once must be noticed
    try:
        child = _start(call, container, process, pid_file, between.stdio, between.receive)
        between.started()
        return attend(child.pid, signals, between)
    finally:
        between.restore()


def _start(
    call: Invocation,
    container: Container,
    process: dict[str, Any],
    pid_file: str,
    stdio: tuple[int, int, int],
    console: Receiver | None,
) -> Process:
    from pyrunc.launch import passed_fds, write_pid_file

    child = container.exec(
        process,
        stdio=stdio,
        extra_fds=passed_fds(0, call.number("preserve-fds")),
        console_socket=call.text("console-socket") or None,
        console=console,
        pidfd_socket=call.text("pidfd-socket") or None,
        cgroup=call.texts("cgroup"),
        ignore_paused=call.switch("ignore-paused"),
        wait_fifo=call.text("exec-wait-fifo") or None,
    )
    try:
        write_pid_file(pid_file, child.pid)
    except BaseException:
        child.signal(_SIGKILL)
        child.wait()
        raise
    return child


def _owner(container: Container) -> tuple[int, int]:
    from pyrunc.launch import root_owner

    maps = (_spec_map(container.state.config.get(f"{kind}_mappings")) for kind in ("uid", "gid"))
    return root_owner(*maps)


def _spec_map(saved: list[dict[str, int]] | None) -> list[dict[str, int]]:
    """The names of config.json for those of state.json."""
    return [{"containerID": row["container_id"], "hostID": row["host_id"], "size": row["size"]} for row in saved or ()]


def _process(call: Invocation, container: Container) -> dict[str, Any]:
    if call.text("process"):
        from libcontainer.spec import load_process

        return {**load_process(call.text("process"))}
    args = call.arguments[1:]
    if not args:
        raise Error("exec args cannot be empty")
    from libcontainer.container import base_process

    return overlay(base_process(container), args, call)


def overlay(process: dict[str, Any], args: list[str], call: Invocation) -> dict[str, Any]:
    """The container's own process, changed by what the flags say. The terminal is never inherited."""
    process.update(args=args, terminal=call.switch("tty"))
    process["env"] = [*process.get("env", ()), *call.texts("env")]
    for name, flag in (("cwd", "cwd"), ("apparmorProfile", "apparmor"), ("selinuxLabel", "process-label")):
        if call.text(flag):
            process[name] = call.text(flag)
    if call.given("no-new-privs"):
        process["noNewPrivileges"] = call.switch("no-new-privs")
    if call.texts("cap"):
        from libcontainer.capabilities import raise_exec

        process["capabilities"] = raise_exec(process.get("capabilities", {}), call.texts("cap"))
    process["user"] = _user(process.get("user", {}), call)
    return process


def _user(base: dict[str, Any], call: Invocation) -> dict[str, Any]:
    user = {**base, **_ids(call.text("user"))}
    gids = call.numbers("additional-gids")
    for gid in gids:
        if gid < 0:
            raise Error(f"additional-gids must be a positive number {gid}")
    if gids:
        user["additionalGids"] = [*base.get("additionalGids", ()), *gids]
    return user


def _ids(text: str) -> dict[str, int]:
    """UID[:GID]; without a GID the group stays."""
    if not text:
        return {}
    uid, colon, gid = text.partition(":")
    ids = {"gid": _id("gid", gid)} if colon else {}
    return {"uid": _id("uid", uid), **ids}


def _id(kind: str, text: str) -> int:
    try:
        value = decimal(text)
    except ValueError as error:
        raise Error(f"bad {kind}") from error
    if not 0 <= value < (1 << 32) - 1:
        raise Error(f"bad {kind}: {value} is not in the range 0..4294967294")
    return value
