"""What tests on a real kernel share: a sandbox directory, bundles, state roots, and a check that nothing is left.

A Sandbox owns one directory and one name. Everything a test makes lies in the directory or carries the name, so that
leaks() can tell a test's leftovers from what else runs on the machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.root import hosts as network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CGROUPS = Path("/sys/fs/cgroup")
TOP = Path(__file__).parent.parent.parent
CAP_SYS_RESOURCE = 24
LIMIT = max(60.0, float(os.environ.get("PYRUNC_TEST_PATIENCE", "60")))  # seconds for a command, or until something comes true
Spec = dict[str, Any]


def may(capability: int) -> bool:
    """Whether this process has a capability."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) & 1 << capability)


class Runtime:
    """A runtime command with a state root; `prefix` is a command that runs it, as somebody else, say."""

    __slots__ = ("command", "prefix", "root", "scratch")

    def __init__(self, command: str, root: Path, scratch: Path) -> None:
        self.command = command
        self.prefix: tuple[str, ...] = ()
        self.root = root
        self.scratch = scratch

    def popen(
        self, *args: str, out: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the command; its output (and a container's that stays) goes to a file."""
        with out.open("ab") as file:
            return subprocess.Popen(
                [*self.prefix, self.command, "--root", str(self.root), *args],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, out: Path | None = None
    ) -> tuple[int, str]:
        """Status and output of the command."""
        own = out or self.scratch / f"out-{uuid.uuid4().hex}"
        with self.popen(*args, out=own, env=env, cwd=cwd) as process:
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return process.returncode, own.read_text(errors="replace")

    def ok(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, out: Path | None = None) -> str:
        """The output of a command that must succeed."""
        status, text = self.run(*args, env=env, cwd=cwd, out=out)
        assert status == 0, f"{args}: status {status}: {text}"
        return text

    def state(self, name: str) -> Spec:
        """The container's state."""
        state: Spec = json.loads(self.ok("state", name))
        return state

    def status(self, name: str) -> str:
        """The container's status word."""
        return str(self.state(name)["status"])


class Bundle:
    """A bundle directory: rootfs and config.json."""

    __slots__ = ("path", "spec")

    def __init__(self, path: Path, spec: Spec) -> None:
        self.path = path
        self.spec = spec

    @property
    def rootfs(self) -> Path:
        """Its root file system."""
        return self.path / "rootfs"

    def write(self) -> None:
        """Put the spec on disk."""
        (self.path / "config.json").write_text(json.dumps(self.spec))

    def args(self, *args: str) -> None:
        """What the container runs; writes config.json."""
        self.spec["process"]["args"] = list(args)
        self.write()


class Sandbox:
    """The directory and the name that all of one test's things have."""

    __slots__ = ("_made", "command", "directory", "name", "roots")

    def __init__(self, command: str, directory: Path) -> None:
        self._made = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.command = command
        self.directory = directory
        self.name = directory.name
        self.roots: list[Runtime] = []

    def runtime(self, command: str | None = None, root: str = "state") -> Runtime:
        """A runtime on a state root of this sandbox."""
        runtime = Runtime(command or self.command, self.directory / root, self.directory)
        self.roots.append(runtime)
        return runtime

    def rootfs(self, path: Path) -> None:
        """A root file system with busybox, made at `path`."""
        busybox = shutil.which("busybox")
        assert busybox, "busybox-static is not installed"
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "mnt", "root"):
            (path / name).mkdir(parents=True)
        shutil.copy(busybox, path / "bin/busybox")
        for applet in subprocess.check_output([busybox, "--list"], text=True).split():
            if applet != "busybox":
                (path / "bin" / applet).symlink_to("busybox")
        (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
        (path / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")

    def bundle(self, name: str = "bundle", spec: Spec | None = None) -> Bundle:
        """A bundle with a fresh root file system, and `spec` or what the command's `spec` writes."""
        path = self.directory / name
        path.mkdir()
        self.rootfs(path / "rootfs")
        if spec is None:
            subprocess.run([self.command, "spec", "--bundle", str(path)], check=True, timeout=60)
            spec = json.loads((path / "config.json").read_text())
            spec["process"]["terminal"] = False
            spec["process"]["args"] = ["sleep", "1000"]
            spec["linux"]["cgroupsPath"] = f"/{self.name}"
        bundle = Bundle(path, spec)
        bundle.write()
        return bundle

    def leaks(self, within: float = LIMIT) -> list[str]:
        """What is left of the sandbox's containers, looked for until it is gone or the time is up."""
        end = time.monotonic() + within
        while (found := self._found()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def assert_clean(self) -> None:
        """Nothing is left: no process, mount, cgroup or container directory."""
        assert not self.leaks()

    def _found(self) -> list[str]:
        return [*self._processes(), *self._mounts(), *self._cgroups(), *self._containers()]

    def _processes(self) -> Iterator[str]:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                ours = self._has(entry)
                command = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile, or is a zombie
                continue
            if ours and entry.name != str(os.getpid()):
                yield f"process {entry.name}: {command!r}"

    def _has(self, process: Path) -> bool:
        """Whether a process is in a cgroup of ours, or in a mount namespace that was made with mounts of ours.

        Not by its mounts alone: one that a test leaves on the host is in every process's, and on a machine where mounts are
        shared in those of all services too, who shall not be killed for that.
        """
        namespace = os.readlink(process / "ns/mnt")  # a zombie has none, and is no leak of ours: its parent has to reap it
        if self.name in (process / "cgroup").read_text():
            return True
        if namespace == os.readlink("/proc/self/ns/mnt"):
            return False
        return self.name in (process / "mountinfo").read_text() and _started(process) >= self._made

    def _mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.directory) in line:
                yield f"mount {line}"

    def _cgroups(self) -> Iterator[str]:
        for top, names, _files in os.walk(CGROUPS):
            yield from (f"cgroup {top}/{name}" for name in names if self.name in name)

    def _containers(self) -> Iterator[str]:
        for runtime in self.roots:
            yield from (f"state {path.parent}" for path in runtime.root.glob("*/state.json"))

    def delete_all(self) -> None:
        """Every container of every state root."""
        for runtime in self.roots:
            for path in runtime.root.glob("*/state.json"):
                runtime.run("delete", "--force", path.parent.name)

    def scrub(self) -> None:
        """Remove everything, whatever a failed test has left."""
        for line in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[1].rstrip(":")), signal.SIGKILL)
        for line in reversed(list(self._mounts())):
            subprocess.run(["umount", "-l", line.split()[5]], check=False, capture_output=True)
        for line in list(self._cgroups()):
            for path, _dirs, _files in os.walk(line.split()[1], topdown=False):
                with contextlib.suppress(OSError, AssertionError):
                    remove_cgroup(Path(path), 2)


def _started(process: Path) -> float:
    """When, in seconds since the boot: proc_pid_stat(5)."""
    ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
    return (ticks + 1) / os.sysconf("SC_CLK_TCK")


class ConsoleSocket:
    """The other end of --console-socket: takes one terminal and keeps what it prints."""

    __slots__ = ("message", "output", "path", "thread")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = b""
        self.message = b""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(LIMIT)
        self.thread = threading.Thread(target=self._receive, args=(listener,))
        self.thread.start()

    def _receive(self, listener: socket.socket) -> None:
        with listener, listener.accept()[0] as peer:
            self.message, fds, _flags, _address = socket.recv_fds(peer, 4096, 4)
        try:
            while chunk := os.read(fds[0], 4096):
                self.output += chunk
        except OSError:  # EIO: hung up
            pass
        finally:
            os.close(fds[0])


def wait_until(condition: Callable[[], object], seconds: float = LIMIT) -> None:
    """Poll a callable until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.02)


def remove_cgroup(directory: Path, seconds: float = LIMIT) -> None:
    """rmdir, as soon as the kernel lets us: a process that ends is still in its cgroup when cgroup.procs lists it no more."""

    def removed() -> bool:
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    wait_until(removed, seconds)


class Share:
    """What `used` (seconds of CPU time) grows by in some seconds, as a share of one CPU: between `least` and `most`, for
    looking takes time too. `idle` is what all CPUs together had left."""

    __slots__ = ("idle", "least", "most")

    def __init__(self, used: Callable[[], float], seconds: float) -> None:
        idle, outer = _idle(), time.monotonic()
        before, inner = used(), time.monotonic()
        time.sleep(seconds)
        inner = time.monotonic() - inner
        spent = used() - before
        outer = time.monotonic() - outer
        self.least, self.most, self.idle = spent / outer, spent / inner, (_idle() - idle) / outer

    def is_about(self, wanted: float) -> bool:
        """Within ten percent; less is no wonder on a machine that had nothing more to give."""
        return self.least < wanted * 1.1 and (self.most > wanted * 0.9 or self.idle < 0.5)


def _idle() -> float:
    """Seconds of all CPUs since the boot: proc_stat(5)."""
    return int(Path("/proc/stat").read_text().split(maxsplit=5)[4]) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def sandbox(pyrunc: str) -> Iterator[Sandbox]:
    """A sandbox; after the test and a `delete --force` of its containers nothing of them may be left."""
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-test-"))
    directory.chmod(0o755)  # containers in a user namespace reach their root as another user
    sandbox = Sandbox(pyrunc, directory)
    try:
        yield sandbox
        sandbox.delete_all()
        left = sandbox.leaks()
    finally:
        sandbox.scrub()
        shutil.rmtree(directory, ignore_errors=True)
    assert not left, left


@pytest.fixture
def hosts(sandbox: Sandbox) -> Iterator[tuple[network.Host, network.Host]]:
    """Two hosts, connected."""
    if shutil.which("ip") is None:
        pytest.skip("no ip: the package iproute2 has it")
    with network.two(sandbox.name.replace("_", "")[-8:]) as both:
        yield both


@pytest.fixture
def criu(monkeypatch: pytest.MonkeyPatch) -> str:
    """CRIU's command: $PYRUNC_CRIU, what tools/criu has fetched, or the machine's; in PATH during the test."""
    fetched = TOP / "build/criu/bin/criu"
    path = os.environ.get("PYRUNC_CRIU") or (str(fetched) if fetched.exists() else shutil.which("criu"))
    if not path:
        pytest.skip("no CRIU; tools/criu fetches one")
    monkeypatch.setenv("PATH", f"{os.path.dirname(path)}:{os.environ['PATH']}")
    return path


@pytest.fixture
def runtime(sandbox: Sandbox) -> Runtime:
    """The command under test on a state root of its own."""
    return sandbox.runtime()
