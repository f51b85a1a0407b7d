"""The command line from argv to exit status, with a container that only remembers what it was told."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from libcontainer.errors import ContainerNotExist, ContainerNotRunning, Error
from libcontainer.state import check_id
from pyrunc import __main__ as door
from pyrunc import __version__, commands, host
from pyrunc.commands.kill import number
from pyrunc.commands.list import table
from pyrunc.log import Log, StdoutClosed
from pyrunc.options import Invocation
from pyrunc.version import commit
from tests.root.conftest import wait_until

REPOSITORY = Path(__file__).parents[2]
SPEC: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {
        "args": ["sh"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0, "additionalGids": [5]},
        "capabilities": {"bounding": ["CAP_KILL"]},
        "noNewPrivileges": True,
    },
    "linux": {},
}


class FakeProcess:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[int] = []

    def signal(self, signum: int) -> None:
        self.signals.append(signum)

    def wait(self) -> int:
        return 137


class FakeContainer:
    """Stands in for libcontainer.container.Container; `world` is what the test looks at."""

    world: SimpleNamespace

    def __init__(self, container_id: str) -> None:
        self.id = container_id
        self.state = SimpleNamespace(init_process_pid=4242, config={})

    @classmethod
    def create(cls, container_id: str, **options: Any) -> FakeContainer:
        cls.world.created.append((container_id, options))
        return cls(container_id)

    @classmethod
    def load(cls, container_id: str, *, root: str, log: Any = None) -> FakeContainer:
        check_id(container_id)
        if container_id not in cls.world.containers:
            raise ContainerNotExist
        return cls(container_id)

    def start(self, *, notify_socket: str | None = None, notify_pid: int | None = None) -> None:
        if self.world.start_error:
            raise self.world.start_error
        self.world.started.append((self.id, notify_socket, notify_pid))

    def exec(self, process: dict[str, Any], **options: Any) -> FakeProcess:
        self.world.executed.append((process, options))
        child: FakeProcess = self.world.process
        return child

    def signal(self, signum: int, *, all: bool = False) -> None:
        if self.world.signal_error:
            raise self.world.signal_error
        self.world.signals.append(signum)

    def delete(self, *, force: bool = False) -> None:
        self.world.deleted.append((self.id, force))

    def to_state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.world.containers[self.id]
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """An empty state root, a bundle in the working directory, and a library that records."""
    world = SimpleNamespace(
        root=tmp_path / "root", bundle=tmp_path / "bundle", containers={}, created=[], started=[], executed=[],
        signals=[], deleted=[], prctl=[], process=FakeProcess(77), start_error=None, signal_error=None,
    )  # fmt: skip
    world.root.mkdir()
    world.bundle.mkdir()
    write_spec(world, {})
    container = ModuleType("libcontainer.container")
    fake: Any = type("Fake", (FakeContainer,), {"world": world})
    vars(container).update(
        Container=fake,
        list_ids=os.listdir,
        base_process=lambda _container: json.loads(json.dumps(SPEC["process"])),
    )
    syscalls = ModuleType("libcontainer.syscalls")
    vars(syscalls).update(PR_SET_CHILD_SUBREAPER=36, prctl=lambda *args: world.prctl.append(args))
    glance = ModuleType("libcontainer.glance")
    vars(glance).update(Glance=lambda root: SimpleNamespace(state=lambda name: fake.load(name, root=root).to_state()))
    monkeypatch.setitem(sys.modules, "libcontainer.container", container)
    monkeypatch.setitem(sys.modules, "libcontainer.glance", glance)
    monkeypatch.setitem(sys.modules, "libcontainer.syscalls", syscalls)
    monkeypatch.chdir(world.bundle)
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return world


def write_spec(world: SimpleNamespace, process: dict[str, Any]) -> None:
    spec = {**SPEC, "process": {**SPEC["process"], **process}}
    (world.bundle / "config.json").write_text(json.dumps(spec))


def add(world: SimpleNamespace, container_id: str, **changes: Any) -> None:
    (world.root / container_id).mkdir()
    world.containers[container_id] = {
        "ociVersion": "1.3.0", "id": container_id, "pid": 4242, "status": "running", "bundle": "/b",
        "rootfs": "/b/rootfs", "created": "2026-01-02T03:04:05.6Z", "annotations": {}, "owner": "", **changes,
    }  # fmt: skip


def pyrunc(world: SimpleNamespace, *tokens: str) -> int:
    return door.main(["pyrunc", "--root", str(world.root), *tokens])


# --- help, version, usage


@pytest.mark.parametrize("tokens", [[], ["-h"], ["--help"], ["help"], ["h"], ["--help", "create"], ["help", "help"]])
def test_overview(tokens: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", *tokens]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[:2] == ["NAME:", "   pyrunc - Open Container Initiative runtime"]
    assert err == ""
    for name in commands.NAMES:
        assert re.search(rf"^   {name} ", out, re.MULTILINE)


@pytest.mark.parametrize("name", commands.NAMES)
def test_help_of_each_command(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    texts = set()
    for tokens in ([name, "--help"], [name, "-h"], ["help", name], [name, "help"], [name, "h"], [name, "x", "-h"][:3]):
        if tokens[-1] == "-h" and len(tokens) == 3 and name in ("exec", "kill", "ps"):
            continue  # there it belongs to the command inside
        assert door.main(["pyrunc", *tokens]) == 0
        texts.add(capfd.readouterr().out)
    (text,) = texts
    assert text.splitlines()[0] == "NAME:"
    assert text.splitlines()[1].startswith(f"   pyrunc {name} - ")


def test_hidden_flags_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    door.main(["pyrunc", "kill", "--help"])
    assert "--all" not in capfd.readouterr().out


@pytest.mark.parametrize("tokens", [["nope"], ["nope", "-h"], ["help", "nope"], ["migrate", "--help"]])
def test_no_help_topic(tokens: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", *tokens]) == 3
    topic = next(token for token in tokens if token not in ("-h", "--help", "help"))
    assert f"No help topic for '{topic}'" in capfd.readouterr().err


@pytest.mark.parametrize("flag", ["--version", "-v", "-version"])
def test_version(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", flag]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"pyrunc version {__version__}"
    assert lines[1] == f"commit: {commit() or 'unknown'}"
    assert lines[2] == "spec: 1.3.0"
    assert all(": " in line for line in lines[1:])


def test_wrong_argument_count(capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["/usr/bin/pyrunc", "state"]) == 1
    out, err = capfd.readouterr()
    assert out.startswith("Incorrect Usage.\n\nNAME:\n   pyrunc state - ")
    assert r'msg="/usr/bin/pyrunc: \"state\" requires exactly 1 argument(s)"' in err


@pytest.mark.parametrize("tokens", [["--nope"], ["state", "--nope", "x"]])
def test_bad_flag(tokens: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", *tokens]) == 1
    out, err = capfd.readouterr()
    assert err.startswith("Incorrect Usage: flag provided but not defined: -nope\n")
    assert out.startswith("NAME:\n   pyrunc")


def test_usage_errors_reach_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert door.main(["pyrunc", "--log", str(log), "--log-format", "json", "create", "--bundle"]) == 1
    assert json.loads(log.read_text())["msg"] == "flag needs an argument: --bundle requires an argument"
    log.unlink()
    assert door.main(["pyrunc", "--log", str(log), "--log-format=json", "nope"]) == 3
    assert json.loads(log.read_text())["msg"] == "No help topic for 'nope'"


def test_bad_log_format(capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", "--log-format", "xml", "list"]) == 1
    assert 'msg="invalid log-format: xml"' in capfd.readouterr().err


# --- root and rootless


@pytest.mark.parametrize("root", ["/", "", "//", "/..", "/a/.."])
def test_root_is_not_the_root(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert door.main(["pyrunc", "--root", root, "list"]) == 1
    assert "Option --root argument should not be set to /" in capfd.readouterr().err


def root_of(*tokens: str) -> str:
    call = Invocation("pyrunc", Log())
    call.take_globals(tokens)
    return host.state_root(call)


def test_root_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert root_of("--root", "a/../b/") == str(tmp_path / "b")


def test_runtime_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert root_of() == str(tmp_path / "runc")
    assert stat.S_IMODE((tmp_path / "runc").stat().st_mode) == 0o1700
    assert root_of("--root", "/elsewhere") == "/elsewhere"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert root_of() == "/run/runc"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert root_of() == "/run/runc"


@pytest.mark.parametrize(
    ("inside", "user", "used"),
    [(False, None, False), (False, "me", False), (True, None, True), (True, "me", True), (True, "root", False)],
)
def test_runtime_dir_of_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inside: bool, user: str | None, used: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "_in_user_namespace", lambda: inside)
    monkeypatch.delenv("USER", raising=False)
    if user:
        monkeypatch.setenv("USER", user)
    assert root_of() == (str(tmp_path / "runc") if used else "/run/runc")


def test_a_runtime_dir_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert door.main(["pyrunc", "list"]) == 1
    assert capfd.readouterr().err.startswith("the path in $XDG_RUNTIME_DIR must be writable by the user\n")


@pytest.mark.parametrize(
    ("tokens", "euid", "inside", "expected"),
    [
        ([], 1000, False, True),
        ([], 0, False, False),
        ([], 0, True, True),
        (["--rootless", ""], 0, True, True),
        (["--rootless=true"], 0, False, True),
        (["--rootless=0"], 1000, True, False),
        (["--systemd-cgroup"], 0, True, True),
        (["--systemd-cgroup"], 0, False, False),
    ],
)
def test_rootless_cgroups(monkeypatch: pytest.MonkeyPatch, tokens: list[str], euid: int, inside: bool, expected: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(host, "_in_user_namespace", lambda: inside)
    monkeypatch.setattr(host, "_systemd_owner", lambda: 1000)
    call = Invocation("pyrunc", Log())
    call.take_globals(tokens)
    assert host.rootless_cgroups(call) is expected


@pytest.mark.parametrize(("printed", "uid"), [("PID=1\nOwnerUID=1000\n", 1000), ("", 0), (None, 0)])
def test_systemd_owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str | None, uid: int) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    busctl = tmp_path / "busctl"
    busctl.write_text("#!/bin/sh\nexit 1\n" if printed is None else f"#!/bin/sh\nprintf %s '{printed}'\n")
    busctl.chmod(0o755)
    assert host._systemd_owner() == uid


def test_bad_rootless(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(world, "--rootless", "maybe", "create", "c") == 1
    assert 'strconv.ParseBool: parsing \\"maybe\\"' in capfd.readouterr().err
    assert world.created == []


# --- the platform


@pytest.mark.parametrize(
    ("platform", "machine", "release", "text"),
    [
        ("darwin", "x86_64", "6.0", "containers need Linux; this is darwin"),
        ("linux", "mips", "6.0.0", "unsupported architecture mips"),
        ("linux", "x86_64", "5.11.22-generic", "kernel 5.11.22-generic is too old: 5.12 or newer is needed"),
        ("linux", "aarch64", "4.19", "kernel 4.19 is too old"),
        ("linux", "aarch64", "5.12-rc1", None),
        ("linux", "x86_64", "6.18.0+", None),
    ],
)
def test_platform(
    monkeypatch: pytest.MonkeyPatch,
    world: SimpleNamespace,
    capfd: pytest.CaptureFixture[str],
    platform: str,
    machine: str,
    release: str,
    text: str | None,
) -> None:
    add(world, "c")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine, release=release))
    assert pyrunc(world, "state", "c") == (1 if text else 0)
    err = capfd.readouterr().err
    assert (text in err and err.count("\n") == 1) if text else err == ""
    for tokens in (["--version"], ["--help"], ["exec", "--help"], ["spec", "--bundle", str(world.root)]):
        assert pyrunc(world, *tokens) == 0


# --- create, run, start


def test_create(world: SimpleNamespace) -> None:
    add(world, "other")
    tokens = ["--bundle", str(world.bundle), "--pid-file", "pid", "--no-pivot", "--no-new-keyring", "c"]
    assert pyrunc(world, "--systemd-cgroup", "create", *tokens) == 0
    ((container_id, options),) = world.created
    assert container_id == "c"
    assert options["root"] == str(world.root)
    assert options["bundle"] == str(world.bundle)
    assert options["spec"]["process"]["args"] == ["sh"]
    assert (options["no_pivot"], options["no_new_keyring"], options["systemd_cgroup"]) == (True, True, True)
    assert (options["stdio"], options["extra_fds"], options["listen_fds"]) == ((0, 1, 2), (), 0)
    assert (options["console_socket"], options["pidfd_socket"], options["notify_socket"]) == (None, None, None)
    assert (world.bundle / "pid").read_bytes() == b"4242"
    assert world.prctl == [(36, 1)]
    assert world.started == []


def test_the_pid_file_is_relative_to_the_caller(world: SimpleNamespace, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    assert pyrunc(world, "create", "-b", "bundle", "--pid-file", "pid", "c") == 0
    assert (tmp_path / "pid").read_bytes() == b"4242"
    assert stat.S_IMODE((tmp_path / "pid").stat().st_mode) & 0o111 == 0


def test_the_sockets_are_relative_to_the_caller(world: SimpleNamespace, tmp_path: Path) -> None:
    write_spec(world, {"terminal": True})
    os.chdir(tmp_path)
    assert pyrunc(world, "create", "-b", "bundle", "--console-socket", "tty", "--pidfd-socket", "../fd", "c") == 0
    ((_id, options),) = world.created
    assert options["console_socket"] == str(tmp_path / "tty")
    assert options["pidfd_socket"] == str(tmp_path.parent / "fd")


def test_abstract_sockets_are_no_paths(world: SimpleNamespace) -> None:
    write_spec(world, {"terminal": True})
    assert pyrunc(world, "create", "--console-socket", "@tty", "--pidfd-socket", "@fd", "c") == 0
    _, options = world.created[0]
    assert (options["console_socket"], options["pidfd_socket"]) == ("@tty", "@fd")


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_stale_temporary_pid_file(world: SimpleNamespace, verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    (world.bundle / ".pid").touch()
    flags = ["-d"] if verb == "run" else []
    assert pyrunc(world, verb, *flags, "--pid-file", "pid", "c") == 1
    assert "file exists" in capfd.readouterr().err
    assert world.deleted == [("c", True)]
    assert (world.bundle / ".pid").exists()
    assert not (world.bundle / "pid").exists()


def test_a_pid_file_that_cannot_be_renamed_leaves_no_temporary(world: SimpleNamespace) -> None:
    (world.bundle / "pid").mkdir()
    assert pyrunc(world, "create", "--pid-file", "pid", "c") == 1
    assert not (world.bundle / ".pid").exists()
    assert world.deleted == [("c", True)]


def test_no_config(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    (world.bundle / "config.json").unlink()
    assert pyrunc(world, "create", "c") == 1
    assert "runc create failed: JSON specification file config.json not found" in capfd.readouterr().err
    assert pyrunc(world, "run", "--bundle", "/no/such", "c") == 1
    assert "runc run failed: chdir /no/such: no such file or directory" in capfd.readouterr().err


DETACHED = "cannot allocate tty if runc will detach without setting console socket"
USELESS = "cannot use console socket if runc will not detach or allocate tty"


@pytest.mark.parametrize(
    ("terminal", "tokens", "text"),
    [
        (True, ["create"], DETACHED),
        (True, ["run", "-d"], DETACHED),
        (False, ["create", "--console-socket", "s"], USELESS),
        (False, ["run", "-d", "--console-socket", "s"], USELESS),
        (True, ["run", "--console-socket", "s"], USELESS),
        (False, ["run", "--console-socket", "s"], USELESS),
    ],
)
def test_console_rules(
    world: SimpleNamespace, capfd: pytest.CaptureFixture[str], terminal: bool, tokens: list[str], text: str
) -> None:
    write_spec(world, {"terminal": terminal})
    assert pyrunc(world, *tokens, "c") == 1
    assert text in capfd.readouterr().err
    assert world.created == []


def test_sockets_are_handed_on(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(world, {"terminal": True})
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/n")
    assert pyrunc(world, "run", "-d", "--console-socket", "s", "--pidfd-socket", "p", "c") == 0
    ((_, options),) = world.created
    sockets = [str(world.bundle / name) for name in "sp"]
    assert [options["console_socket"], options["pidfd_socket"], options["notify_socket"]] == [*sockets, "/run/n"]
    assert world.started == [("c", "/run/n", None)]


def test_run_detached(world: SimpleNamespace) -> None:
    assert pyrunc(world, "run", "-d", "--no-subreaper", "--pid-file", "pid", "c") == 0
    assert world.started == [("c", None, None)]
    assert world.prctl == []
    assert world.deleted == []
    assert (world.bundle / "pid").read_bytes() == b"4242"


def test_a_failed_start_of_run_deletes(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    world.start_error = Error("no luck")
    assert pyrunc(world, "run", "-d", "c") == 1
    assert "runc run failed: no luck" in capfd.readouterr().err
    assert world.deleted == [("c", True)]


def in_child(action: Any) -> int:
    """The status of `action` in a process of its own, where descriptors may be arranged."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if action() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_preserved_and_activated_descriptors(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def action() -> bool:
        for fd in (3, 4, 5):
            os.dup2(0, fd)
        os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
        assert pyrunc(world, "create", "--preserve-fds", "1", "a") == 0
        os.environ["LISTEN_PID"] = str(os.getppid())
        assert pyrunc(world, "create", "--preserve-fds", "1", "b") == 0
        first, second = (options for _, options in world.created)
        assert (first["extra_fds"], first["listen_fds"]) == ((3, 4, 5), 2)
        return (second["extra_fds"], second["listen_fds"]) == ((3,), 0)

    assert in_child(action) == 0


def test_a_descriptor_that_was_not_passed(world: SimpleNamespace, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def action() -> bool:
        os.closerange(3, 100)  # the log takes 3: it is not the caller's to pass on
        code = pyrunc(world, "--log", str(log), "--log-format=json", "create", "--preserve-fds", "1", "c")
        return code == 1 and world.created == []

    assert in_child(action) == 0
    message = json.loads(log.read_text())["msg"]
    assert message.startswith("runc create failed: unable to stat preserved-fd 0 (of 1): ")


def test_closed_stdio_is_filled(world: SimpleNamespace, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def action() -> bool:
        os.closerange(0, 100)
        code = pyrunc(world, "--log", str(log), "state", "none")
        return code == 1 and all(stat.S_ISCHR(os.fstat(fd).st_mode) for fd in range(3))

    assert in_child(action) == 0
    assert "container does not exist" in log.read_text()


def test_start(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "c")
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    assert pyrunc(world, "start", "c") == 0
    assert world.started == [("c", None, None)]
    assert pyrunc(world, "start", "none") == 1
    assert 'level=error msg="container does not exist"' in capfd.readouterr().err


# --- exec


def executed(world: SimpleNamespace, *tokens: str) -> tuple[dict[str, Any], dict[str, Any]]:
    add(world, "c")
    assert pyrunc(world, "exec", "-d", *tokens) == 0
    ((process, options),) = world.executed
    return process, options


def test_exec_takes_the_rest_of_the_line(world: SimpleNamespace) -> None:
    process, options = executed(world, "c", "ls", "-la", "--", "-d")
    assert process == {**SPEC["process"], "args": ["ls", "-la", "--", "-d"], "terminal": False}
    assert options["stdio"] == (0, 1, 2)
    assert (options["cgroup"], options["ignore_paused"], options["extra_fds"]) == ([], False, ())


def test_exec_overlays(world: SimpleNamespace) -> None:
    process, options = executed(
        world, "--cwd", "/tmp", "-e", "A=1", "--env", "B=2", "-u", "7:8", "-g", "9", "--additional-gids", "10",
        "--process-label", "l", "--apparmor", "a", "--no-new-privs=false", "-c", "CAP_CHOWN", "--cgroup", "cpu,cpuacct:s",
        "--cgroup", "x", "--ignore-paused", "--pid-file", "pid", "--pidfd-socket", "p", "--exec-wait-fifo", "f", "c", "id",
    )  # fmt: skip
    assert process["cwd"] == "/tmp"
    assert process["env"] == ["PATH=/bin", "A=1", "B=2"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [5, 9, 10]}
    assert (process["selinuxLabel"], process["apparmorProfile"]) == ("l", "a")
    assert process["noNewPrivileges"] is False
    assert process["capabilities"]["bounding"] == ["CAP_KILL", "CAP_CHOWN"]
    assert process["capabilities"]["effective"] == ["CAP_CHOWN"]
    assert "inheritable" not in process["capabilities"]
    assert options["cgroup"] == ["cpu,cpuacct:s", "x"]
    assert options["ignore_paused"] is True
    assert (options["pidfd_socket"], options["wait_fifo"]) == ("p", "f")
    assert (world.bundle / "pid").read_bytes() == b"77"


def test_exec_user_without_group_keeps_it(world: SimpleNamespace) -> None:
    process, _ = executed(world, "-u", "7", "c", "id")
    assert process["user"] == {"uid": 7, "gid": 0, "additionalGids": [5]}
    assert process["noNewPrivileges"] is True


def test_exec_process_file_replaces_the_flags(world: SimpleNamespace) -> None:
    (world.bundle / "p.json").write_text(json.dumps({"args": ["id"], "cwd": "/", "terminal": True}))
    process, options = executed(world, "-p", "p.json", "--console-socket", "s", "--cwd", "/x", "-e", "A=1", "c")
    assert process == {"args": ["id"], "cwd": "/", "terminal": True}
    assert options["console_socket"] == "s"


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["none", "id"], "exec failed: container does not exist"),
        (["c"], "exec failed: exec args cannot be empty"),
        (["-u", "x", "c", "id"], "exec failed: bad uid: strconv.Atoi"),
        (["-u", "1:", "c", "id"], "exec failed: bad gid: strconv.Atoi"),
        (["-u", "-1", "c", "id"], "exec failed: bad uid: -1"),
        (["-u", "4294967295", "c", "id"], "exec failed: bad uid: 4294967295 is not in the range 0..4294967294"),
        (["-u", "1:4294967295", "c", "id"], "exec failed: bad gid: 4294967295"),
        (["-g", "-1", "c", "id"], "exec failed: additional-gids must be a positive number -1"),
        (["-d", "-t", "c", "id"], f"exec failed: {DETACHED}"),
        (["-d", "--console-socket", "s", "c", "id"], f"exec failed: {USELESS}"),
        (["-t", "--console-socket", "s", "c", "id"], f"exec failed: {USELESS}"),
        (["-p", "/no/such", "c"], "exec failed: /no/such: no such file or directory"),
        (["-d", "--preserve-fds", "1000", "c", "id"], "exec failed: unable to stat preserved-fd"),
    ],
)
def test_exec_failures_are_255(world: SimpleNamespace, capfd: pytest.CaptureFixture[str], tokens: list[str], text: str) -> None:
    add(world, "c")
    assert pyrunc(world, "exec", *tokens) == 255
    assert text in capfd.readouterr().err
    assert world.executed == []


def test_exec_usage_errors_are_1(world: SimpleNamespace) -> None:
    assert pyrunc(world, "exec") == 1
    assert pyrunc(world, "exec", "--nope", "c", "id") == 1


def test_exec_whose_pid_file_fails_is_killed(world: SimpleNamespace) -> None:
    add(world, "c")
    assert pyrunc(world, "exec", "-d", "--pid-file", "/no/such/pid", "c", "id") == 255
    assert world.process.signals == [signal.SIGKILL]


# --- kill, delete


@pytest.mark.parametrize(
    ("text", "signum"),
    [("9", 9), ("KILL", 9), ("sigkill", 9), ("SigTerm", 15), ("0", 0), ("SIGRTMIN", signal.SIGRTMIN), ("64", 64)],
)
def test_signal_names(text: str, signum: int) -> None:
    assert number(text) == signum


@pytest.mark.parametrize("text", ["", "FOO", "SIG", "SIGSIGKILL", "_DFL", "SIG_DFL", "9x", "kill ", "pending"])
def test_unknown_signals(text: str) -> None:
    with pytest.raises(Error, match="^unknown signal "):
        number(text)


def test_kill(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "c")
    assert pyrunc(world, "kill", "c") == 0
    assert pyrunc(world, "kill", "c", "9") == 0
    assert pyrunc(world, "kill", "--all", "c", "USR1") == 0
    assert world.signals == [15, 9, 10]
    assert pyrunc(world, "kill", "c", "-9x") == 1
    assert r"unknown signal \"-9x\"" in capfd.readouterr().err
    assert pyrunc(world, "kill", "c", "9", "more") == 1


def test_kill_of_a_stopped_container(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "c")
    world.signal_error = ContainerNotRunning()
    assert pyrunc(world, "kill", "c", "9") == 1
    assert "container not running" in capfd.readouterr().err
    assert pyrunc(world, "kill", "-a", "c", "9") == 0
    assert pyrunc(world, "kill", "-a", "none", "9") == 1


def test_delete(world: SimpleNamespace) -> None:
    add(world, "c")
    assert pyrunc(world, "delete", "c") == 0
    assert pyrunc(world, "delete", "c", "--force") == 0
    assert world.deleted == [("c", False), ("c", True)]


def test_delete_of_what_does_not_exist(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(world, "delete", "none") == 1
    assert "container does not exist" in capfd.readouterr().err
    assert pyrunc(world, "delete", "--force", "none") == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("flags", "code"), [([], 1), (["-f"], 0)])
def test_delete_removes_a_directory_without_state(world: SimpleNamespace, flags: list[str], code: int) -> None:
    (world.root / "half" / "notify").mkdir(parents=True)
    assert pyrunc(world, "delete", *flags, "half") == code
    assert not (world.root / "half").exists()


@pytest.mark.parametrize("container_id", ["..", ".", "../bundle", "a/b", ""])
def test_delete_checks_the_id_first(world: SimpleNamespace, capfd: pytest.CaptureFixture[str], container_id: str) -> None:
    assert pyrunc(world, "delete", "-f", container_id) == 1
    assert "container ID" in capfd.readouterr().err or container_id == ""
    assert (world.bundle / "config.json").exists()


# --- state, list


def test_state(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "c", annotations={"a": "b"}, owner="somebody")
    assert pyrunc(world, "state", "c") == 0
    text = capfd.readouterr().out
    assert text.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "c",\n')
    assert text.endswith('  "owner": ""\n}')
    assert json.loads(text)["annotations"] == {"a": "b"}
    add(world, "plain")
    assert pyrunc(world, "state", "plain") == 0
    assert "annotations" not in json.loads(capfd.readouterr().out)


def test_list_table(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "b", status="stopped", pid=0)
    add(world, "a-rather-long-name")
    (world.root / "half").mkdir()
    assert pyrunc(world, "list") == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "ID                   PID         STATUS      BUNDLE      CREATED                  OWNER"
    assert lines[1].startswith("a-rather-long-name   4242        running     /b          2026-01-02T03:04:05.6Z   ")
    assert lines[2].startswith("b                    0           stopped     ")
    assert len(lines) == 3
    assert err == "load container half: container does not exist\n"


def test_list_json(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(world, "list", "--format=json") == 0
    assert capfd.readouterr().out == "null\n"
    add(world, "c")
    assert pyrunc(world, "list", "-f", "json") == 0
    text = capfd.readouterr().out
    assert text.count("\n") == 1
    (row,) = json.loads(text)
    assert list(row) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
    assert row["owner"]


def test_list_quiet_and_bad_format(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a"):
        add(world, name)
        (world.root / name / "state.json").touch()
    (world.root / "c").mkdir()
    assert pyrunc(world, "list", "-q") == 0
    said = capfd.readouterr()
    assert said.out == "a\nb\n"
    assert "load container c: container does not exist" in said.err
    assert pyrunc(world, "list", "--format", "xml") == 1
    assert "invalid format option" in capfd.readouterr().err


def test_list_of_a_missing_root(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert door.main(["pyrunc", "--root", str(world.root / "none"), "list"]) == 1
    assert "no such file or directory" in capfd.readouterr().err
    monkeypatch.setattr(host, "state_root", lambda _call: str(world.root / "none"))
    assert door.main(["pyrunc", "list", "-q"]) == 0


def test_owner_without_a_name(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    add(world, "c")
    os.chown(world.root / "c", 54321, -1)
    assert pyrunc(world, "list", "-f", "json") == 0
    assert json.loads(capfd.readouterr().out)[0]["owner"] == "#54321"


def test_table_pads_like_tabwriter() -> None:
    assert table([("a", "b"), ("c" * 10, "dd")]) == f"{'a':13}b\n{'c' * 10}   dd\n"


# --- spec, features


def test_spec(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(world, "spec") == 1
    assert "File config.json exists. Remove it first" in capfd.readouterr().err
    empty = world.root / "empty"
    empty.mkdir()
    assert pyrunc(world, "spec", "-b", str(empty)) == 0
    text = (empty / "config.json").read_text()
    assert text.startswith('{\n\t"ociVersion": ')
    assert text.endswith("\n}")
    assert "user" not in {row["type"] for row in json.loads(text)["linux"]["namespaces"]}


def test_spec_rootless_is_not_the_global_flag(world: SimpleNamespace) -> None:
    for name, tokens, rootless in (
        ("a", ["spec", "--rootless"], True),
        ("b", ["--rootless", "true", "spec"], False),
        ("c", ["--rootless", "false", "spec", "--rootless"], True),
    ):
        (world.root / name).mkdir()
        assert pyrunc(world, *tokens, "--bundle", str(world.root / name)) == 0
        namespaces = json.loads((world.root / name / "config.json").read_text())["linux"]["namespaces"]
        assert ("user" in {row["type"] for row in namespaces}) is rootless


def test_features(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(world, "features") == 0
    text = capfd.readouterr().out
    assert text.startswith('{\n    "ociVersionMin"')
    assert text.endswith("}\n")
    annotations = json.loads(text)["annotations"]
    assert annotations["org.opencontainers.runc.version"] == __version__
    assert annotations["org.opencontainers.runc.commit"] == commit()


# --- the door


def test_engines_find_exactly_one_record(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    log = world.root / "log.json"
    (world.bundle / "config.json").write_text("{")
    assert pyrunc(world, "--log", str(log), "--log-format", "json", "create", "c") == 1
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert record["msg"].startswith("runc create failed: ")
    assert capfd.readouterr().err == record["msg"] + "\n"


def test_an_unforeseen_error_is_one_line(world: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    add(world, "c")
    world.signal_error = ZeroDivisionError("surprise")
    assert pyrunc(world, "kill", "c") == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert pyrunc(world, "--debug", "kill", "c") == 1
    assert "Traceback (most recent call last)" in capfd.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (StdoutClosed(), 141)])
def test_silent_ends(world: SimpleNamespace, capfd: pytest.CaptureFixture[str], error: BaseException, code: int) -> None:
    add(world, "c")
    world.signal_error = error
    assert pyrunc(world, "kill", "c") == code
    assert capfd.readouterr() == ("", "")


def command(*tokens: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    code = f"import sys; sys.path.append({str(REPOSITORY)!r}); from pyrunc.__main__ import main, leave; leave(main(sys.argv))"
    return subprocess.run([sys.executable, "-c", code, *tokens], capture_output=True, timeout=60, check=False, **options)


def test_an_empty_environment(tmp_path: Path) -> None:
    done = command("--root", str(tmp_path), "list", "-q", env={}, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_stdout_that_is_full() -> None:
    with open("/dev/full", "wb") as full:
        code = (
            f"import sys; sys.path.append({str(REPOSITORY)!r}); from pyrunc.__main__ import main, leave; leave(main(sys.argv))"
        )
        done = subprocess.run([sys.executable, "-c", code, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"/dev/stdout: no space left on device" in done.stderr


# --- the foreground, with a real child and real signals

ATTEND = f"""
import os, sys
sys.path.append({str(REPOSITORY)!r})
from pyrunc.foreground import Pipes, attend
from pyrunc.signals import Signals
pipes, signals = Pipes(os.getuid(), os.getgid()), Signals()
actions = [(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in enumerate(pipes.stdio)]
defaults = [n for n in range(1, 32) if n not in (9, 19)]  # as nsexec does for the init of a container
arguments = ["sh", "-c", sys.argv[1]]
pid = os.posix_spawn("/bin/sh", arguments, os.environ, file_actions=actions, setsigmask=[], setsigdef=defaults)
pipes.started()
os._exit(attend(pid, signals, pipes))
"""


@pytest.fixture
def deadline() -> Iterator[None]:
    """A read that never returns becomes a failure."""

    def expire(*_: object) -> None:
        raise TimeoutError("the test takes too long")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def attended(script: str, **options: Any) -> subprocess.Popen[bytes]:
    pytest.importorskip("nsexec._nsexec")
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", ATTEND, script], stdin=pipe, stdout=pipe, stderr=pipe, **options)


def test_attend_copies_all_three_streams(deadline: None) -> None:
    data = os.urandom(1_000_003)
    with attended("cat; echo error >&2; exit 7") as process:
        out, err = process.communicate(data, timeout=60)
    assert (out == data, err, process.returncode) == (True, b"error\n", 7)


def test_attend_status_of_a_signal(deadline: None) -> None:
    with attended("kill -KILL $$") as process:
        process.communicate(timeout=60)
    assert process.returncode == 137


def test_attend_notices_a_child_that_ends_at_once(deadline: None) -> None:
    with attended("exit 3") as process:
        assert process.wait(timeout=60) == 3


def test_attend_forwards_signals(deadline: None) -> None:
    script = 'for s in HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP TTIN TTOU; do trap "echo $s" $s; done; echo ready; '
    script += "while :; do sleep 0.02; done"
    with attended(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "TSTP", "TTIN", "TTOU"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert process.stdout.readline() == f"{name}\n".encode()
        process.send_signal(signal.SIGPIPE)  # no trap: it ends the child, not us
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


def test_attend_keeps_what_concerns_itself(deadline: None) -> None:
    with attended("for s in CHLD WINCH URG; do trap 'echo got one' $s; done; echo ready; read x; echo $x") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        for signum in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
            process.send_signal(signum)
        time.sleep(0.1)
        out, _ = process.communicate(b"end\n", timeout=60)
    assert out == b"end\n"


def test_attend_does_not_wait_for_others_that_hold_the_pipe(deadline: None) -> None:
    with attended("sleep 1000 & echo $!") as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGKILL)


def test_attend_breaks_the_pipe_when_our_reader_is_gone(deadline: None) -> None:
    with attended("yes") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


def test_attend_can_be_told_not_to_wait_for_a_reader(deadline: None) -> None:
    with attended("exec head -c 1000000 /dev/zero") as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)  # it has begun
        # Its pipe is full, and there is something in ours, which nobody reads any more and is as large: it cannot take all.
        wait_until(lambda: child_of(process.pid) == ("head", "S"))
        process.send_signal(signal.SIGTERM)  # ends the child; its output still waits
        wait_until(lambda: child_of(process.pid)[1] in "Z-")
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def child_of(pid: int) -> tuple[str, str]:
    """Name and state of the only one; "-" if there is none (any more)."""
    child = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
    try:
        name, _, rest = Path(f"/proc/{child or 0}/stat").read_text().partition("(")[2].rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return "-", "-"
    return name, rest.split(maxsplit=1)[0]


def test_attend_without_stdin(deadline: None) -> None:
    code = "import os; os.close(0); " + ATTEND
    pytest.importorskip("nsexec._nsexec")
    done = subprocess.run([sys.executable, "-c", code, "cat; echo end"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"end\n")
