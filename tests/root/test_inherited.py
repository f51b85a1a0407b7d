"""What a process in a container gets from the runtime that started it, and what the runtime leaves lying about."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer import Container, Error
from libcontainer.errors import describe
from tests.root.conftest import LIMIT, Bundle, Runtime, Sandbox, wait_until
from tests.root.criu_case import process_state
from tests.root.laboratory import descriptors
from tests.root.test_cves import Agent, agent, bundle, notify_on_execve

__all__ = ["agent", "bundle"]  # fixtures

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def container(sandbox: Sandbox, bundle: Bundle) -> Iterator[Container]:
    """A running container, made by the library."""
    made = Container.create("c", root=str(sandbox.directory / "library"), bundle=str(bundle.path))
    made.start()
    yield made
    made.delete(force=True)


def status_of(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


@pytest.mark.parametrize("sysctl", [{}, {"net.ipv4.ip_forward": "1"}])
def test_created_init_opens_no_way_past_masked_paths(
    runtime: Runtime, bundle: Bundle, sysctl: dict[str, str]
) -> None:
    """Its descriptors can be followed by a process of the same user: nothing of procfs but processes is there."""
    bundle.spec["linux"]["sysctl"] = sysctl
    bundle.write()
    runtime.ok("create", "-b", str(bundle.path), "c")
    look = "cd /proc/1/fd; for f in *; do echo $f; ls -d $f/sys $f/sysrq-trigger $f/keys 2>/dev/null; done; true"
    # stdio, the procfs, the fifo; up to now it may not have closed the socket to the runtime
    wait_until(lambda: len(runtime.ok("exec", "c", "sh", "-c", look).split()) <= 5)
    text = runtime.ok("exec", "c", "sh", "-c", look)
    assert not [line for line in text.splitlines() if "/" in line], text
    assert len(text.split()) == 5, text


def test_program_has_stdio_only(runtime: Runtime, bundle: Bundle) -> None:
    """In run and in exec, whatever the caller has open."""
    leaked = [os.open("/", os.O_RDONLY) for _ in range(10)]
    list_them = ["sh", "-c", "echo /proc/self/fd/*"]
    subprocess.run(
        [runtime.command, "--root", str(runtime.root), "run", "-d", "-b", str(bundle.path), "c"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=leaked, check=True, timeout=LIMIT,
    )  # fmt: skip
    for fd in leaked:
        os.close(fd)
    init = runtime.state("c")["pid"]
    wait_until(lambda: os.readlink(f"/proc/{init}/exe").endswith("/busybox"))
    assert set(os.listdir(f"/proc/{init}/fd")) == {"0", "1", "2"}
    # The shell has its own for the listing, 3, at the most.
    numbers = {word.rpartition("/")[2] for word in runtime.ok("exec", "c", *list_them).split()}
    assert numbers <= {"0", "1", "2", "3"}


def test_signals_and_umask(sandbox: Sandbox, runtime: Runtime, bundle: Bundle) -> None:
    """Ignored and blocked signals of the caller, its umask and its niceness for the OOM killer are none of the container's."""
    bundle.args("sh", "-c", "grep Sig /proc/self/status; umask")
    command = [runtime.command, "--root", str(runtime.root), "run", "-b", str(bundle.path), "c"]
    script = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM}); "
        "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP)]; "
        "os.umask(0o077); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT
    )
    found = status_of(done.stdout)
    assert {found["SigBlk"], found["SigIgn"]} == {"0" * 16}, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "0022"


def test_affinity(runtime: Runtime, bundle: Bundle) -> None:
    """A runtime that is bound to one CPU does not bind the container."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU")
    bundle.write()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        runtime.ok("run", "-d", "-b", str(bundle.path), "c")
        allowed = status_of(runtime.ok("exec", "c", "cat", "/proc/self/status"))["Cpus_allowed"]
    finally:
        os.sched_setaffinity(0, before)
    assert os.sched_getaffinity(runtime.state("c")["pid"]) >= before
    assert int(allowed.replace(",", ""), 16).bit_count() >= len(before)


def test_session_keyring(runtime: Runtime, bundle: Bundle) -> None:
    """One of the container's own (proc_keys(5) lists what is possessed)."""
    bundle.spec["linux"]["maskedPaths"] = []
    bundle.args("cat", "/proc/keys")
    assert "_ses.c" in runtime.ok("run", "-b", str(bundle.path), "c")


def test_seccomp_listener_is_not_left_with_init(runtime: Runtime, bundle: Bundle, sandbox: Sandbox, agent: Agent) -> None:
    """With it, a process that may ptrace init could answer for the agent."""
    notify_on_execve(bundle, sandbox)
    bundle.spec["process"]["noNewPrivileges"] = False
    bundle.write()
    runtime.ok("create", "-b", str(bundle.path), "c")
    assert not [what for what in descriptors(runtime.state("c")["pid"]).values() if "seccomp" in what]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp_profile_without_close_range(runtime: Runtime, bundle: Bundle, *, no_new_privileges: bool) -> None:
    """Older than the call, as engines' profiles were for years."""
    bundle.spec["process"]["noNewPrivileges"] = no_new_privileges
    rule = {"names": ["close_range"], "action": "SCMP_ACT_ERRNO"}
    bundle.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.args("echo", "running")
    assert runtime.ok("run", "-b", str(bundle.path), "c") == "running\n"


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL"])
def test_seccomp_profile_without_exit(runtime: Runtime, bundle: Bundle, action: str) -> None:
    """What cannot even end by itself ends all the same."""
    rule = {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}
    bundle.spec["linux"]["seccomp"] = {"defaultAction": action, "syscalls": [rule]}
    bundle.args("true")
    assert runtime.run("run", "-b", str(bundle.path), "c")[0] != 0


def test_hooks_umask(runtime: Runtime, bundle: Bundle) -> None:
    """Files that a createContainer hook makes are not for everybody to write."""
    said = bundle.path / "said"
    bundle.spec["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"umask > {said}"]}]}
    bundle.args("true")
    runtime.ok("run", "-b", str(bundle.path), "c")
    assert said.read_text() == "0022\n"


def test_exec_without_mount_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """The container's root is a chroot then, and exec's is the same, not the host's."""
    linux = bundle.spec["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "mount"]
    linux.update(maskedPaths=[], readonlyPaths=[])
    bundle.spec["mounts"] = []
    (bundle.rootfs / "here").touch()
    bundle.args("/bin/busybox", "sleep", "100")
    runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    assert "here" in runtime.ok("exec", "c", "/bin/ls", "/").split()


def test_tmpcopyup_is_charged_to_the_container(runtime: Runtime, bundle: Bundle) -> None:
    """An image cannot fill the host's memory past the container's limit."""
    (bundle.rootfs / "data").mkdir()
    with (bundle.rootfs / "data/big").open("wb") as big:
        big.truncate(100 << 20)
    bundle.spec["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    )
    bundle.spec["linux"].setdefault("resources", {})["memory"] = {"limit": 30 << 20, "swap": 30 << 20}
    bundle.args("true")
    status, text = runtime.run("run", "-b", str(bundle.path), "c")
    assert status == 1
    assert "OOM-killed" in text


def test_tmpcopyup_of_a_bottomless_image(runtime: Runtime, bundle: Bundle) -> None:
    """Deeper than Python's stack: an error in words."""
    data = bundle.rootfs / "data"
    data.mkdir()
    parent = os.open(data, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=parent)
        below = os.open("d", os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = below
    os.close(parent)
    bundle.spec["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    )
    bundle.write()
    status, text = runtime.run("run", "-b", str(bundle.path), "c")
    assert status == 1
    assert "nested too deeply" in text
    subprocess.run(["rm", "-rf", data], check=True)


def test_state_is_for_its_owner(runtime: Runtime, bundle: Bundle) -> None:
    """The root and the cache of filters for the owner alone; the container's directory can be passed through, no more."""
    rule = {"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}
    bundle.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.write()
    runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    (cached,) = runtime.root.glob(".seccomp-*")
    modes = {path: (runtime.root / path).stat().st_mode & 0o777 for path in (".", "c", "c/state.json", cached.name)}
    assert modes == {".": 0o700, "c": 0o711, "c/state.json": 0o600, cached.name: 0o600}


def test_state_root_lists_containers_only(runtime: Runtime, bundle: Bundle) -> None:
    """Nobody takes the cache for a container, or makes one with its name; runc neither."""
    rule = {"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}
    bundle.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.args("true")
    runtime.ok("run", "-b", str(bundle.path), "c")
    (cached,) = runtime.root.glob(".seccomp-*")
    assert runtime.ok("list", "-q") == ""
    if shutil.which("runc"):
        listed = subprocess.run(["runc", "--root", runtime.root, "list", "-q"], capture_output=True, text=True, check=True)
        assert listed.stdout + listed.stderr == ""
    for verb in (["delete", "--force"], ["run", "-b", str(bundle.path)]):
        assert "invalid container ID format" in runtime.run(*verb, cached.name)[1]
    assert cached.is_file()


@pytest.mark.parametrize(("word", "flag"), [("rro", "ro"), ("rnoexec", "noexec"), ("rnosuid", "nosuid")])
def test_recursive_attributes_of_new_file_systems(runtime: Runtime, bundle: Bundle, word: str, flag: str) -> None:
    """They hold there too, with a mountpoint made inside in between."""
    mount = {"destination": "/new", "type": "tmpfs", "source": "tmpfs", "options": [word]}
    inner = {"destination": "/new/inner", "type": "tmpfs", "source": "tmpfs"}
    bundle.spec["mounts"] += [mount, inner]
    bundle.args("grep", " /new ", "/proc/mounts")
    assert flag in runtime.ok("run", "-b", str(bundle.path), "c").split()[3].split(",")


def test_a_reused_pid_is_not_killed(runtime: Runtime, bundle: Bundle) -> None:
    """The number in the state is another process's by now: it started at another time."""
    runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    path = runtime.root / "c/state.json"
    state = json.loads(path.read_text())
    ticks = os.sysconf("SC_CLK_TCK")
    wait_until(lambda: int(time.clock_gettime(time.CLOCK_BOOTTIME) * ticks) > int(state["init_process_start"]))
    with subprocess.Popen(["sleep", "100"]) as innocent:
        path.write_text(json.dumps({**state, "init_process_pid": innocent.pid}))
        assert "container not running" in runtime.run("kill", "c", "KILL")[1]
        assert "stopped container" in runtime.run("exec", "c", "true")[1]
        assert innocent.poll() is None
        innocent.kill()
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("victim", ["process", "init"])
def test_exec_that_is_killed_half_way(container: Container, victim: str) -> None:
    """The container, or its init, goes away while exec sets up: an error, and no child is left."""
    before = _children()

    def kill(_master: int, _name: str) -> None:
        # It is in the pid namespace, so it dies with init; or it is killed by what shares its uid.
        if victim == "init":
            container.signal(signal.SIGKILL)
            wait_until(lambda: all(process_state(pid) == "Z" for pid in _children() - before))
        else:
            for pid in _children() - before:
                os.kill(pid, signal.SIGKILL)

    null = os.open("/dev/null", os.O_RDWR)
    process = {"args": ["true"], "cwd": "/", "terminal": True, "user": {"uid": 0, "gid": 0}}
    try:
        with pytest.raises(Error) as raised:
            container.exec(process, stdio=(null, null, null), console=kill)
    finally:
        os.close(null)
    assert "init died before it was set up" in describe(raised.value)
    assert not _children() - before


def _children() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(path.parent.name))
    return found


def test_memfd_mode_is_sealed() -> None:
    """A long-lived program starts all its containers from one memfd: none of them may take its execute bit."""
    from libcontainer import syscalls

    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 3):
        pytest.skip("F_SEAL_EXEC is of Linux 6.3")
    null = os.open("/dev/null", os.O_RDWR)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = syscalls.spawn((null, null, null), theirs.fileno())
        try:
            with pytest.raises(PermissionError):
                os.chmod(f"/proc/{pid}/exe", 0)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(null)
