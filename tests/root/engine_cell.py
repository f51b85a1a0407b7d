"""A cell for container engines: namespaces in which they may do as they like, and that take everything with them.

Engines leave daemons, mounts, bridges, sockets in /run and files in /var and /etc behind. In the cell a mount, a network
and a pid namespace are theirs, /run is a tmpfs, and what they write to /etc and /var goes to another: ending the cell's
first process undoes it all, but for the cgroups, which carry the cell's name.
"""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.root.conftest import CGROUPS, LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = 54321
FIRST_SUBUID = 200000
CONTAINERD_TIMEOUTS = ("shim.cleanup", "shim.load", "shim.shutdown", "task.state")

_SETUP = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/cell
cat /proc/self/mountinfo > /run/cell/mounts
while read -r _ _ _ _ place _; do # what other tests have mounted just now is theirs, and who shows it is taken for theirs
    case $place in
        {temporary}/pyrunc-test-*) umount -l "$place" || true ;;
    esac
done < /run/cell/mounts
for top in etc var; do
    mkdir -p /run/cell/$top/upper /run/cell/$top/work
    mount -t overlay -o lowerdir=/$top,upperdir=/run/cell/$top/upper,workdir=/run/cell/$top/work overlay /$top
done
ip link set lo up
mkdir -p /run/user/{user}
chown {user}:{user} /run/user/{user}
echo cell:x:{user}:{user}::/:/bin/sh >> /etc/passwd
echo cell:x:{user}: >> /etc/group
echo cell:{subuid}:65536 > /etc/subuid
echo cell:{subuid}:65536 > /etc/subgid
"""
# The first process of a pid namespace has to reap what is left to it.
_FIRST = """
import os, subprocess, sys, time
subprocess.run(["/bin/sh", "-c", sys.argv[1]], check=True)
open(sys.argv[2], "w").close()
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.02)
"""


class Result:
    """How a command ended, and what it printed."""

    __slots__ = ("output", "status")

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.output = output

    def __repr__(self) -> str:
        return f"status {self.status}: {self.output}"


def skip(reason: str) -> NoReturn:
    """Say why on the terminal too: these tests are easily skipped without anybody noticing."""
    print(f"\nengines: {reason}", file=sys.__stderr__)
    pytest.skip(reason)


def require(*programs: str) -> None:
    """Skip unless these programs are installed."""
    missing = [program for program in programs if shutil.which(program, path=PATH) is None]
    if missing:
        skip(f"{', '.join(missing)} not installed")


def fresh_name() -> str:
    """A name that every engine takes: containerd wants a letter or a digit at the end, mkdtemp() does not promise one."""
    return f"pyrunc-cell-{uuid.uuid4().hex[:8]}"


class Cell:
    """The namespaces, a directory for all files, and the runtime under test."""

    __slots__ = ("_children", "_first", "_unshare", "directory", "name", "runtime")

    def __init__(self, runtime: str) -> None:
        require("unshare", "nsenter", "setpriv", "mount", "ip", "busybox")
        self.name = fresh_name()
        self.directory = Path(tempfile.gettempdir()) / self.name
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.runtime = self.directory / "bin" / "pyrunc"
        self._children: list[subprocess.Popen[bytes]] = []
        self._install(os.path.realpath(runtime))
        self._image()
        self._unshare = self._begin()
        self._first = self._first_process()

    def _install(self, runtime: str) -> None:
        """The runtime under the name of its own, and as the `runc` that engines look for in PATH."""
        self.runtime.parent.mkdir()
        for name in ("pyrunc", "runc"):
            script = self.runtime.parent / name
            script.write_text(f'#!/bin/sh\nexec "{runtime}" "$@"\n')
            script.chmod(0o755)

    @property
    def image(self) -> Path:
        """A tar file of a root file system with busybox."""
        return self.directory / "image.tar"

    def _image(self) -> None:
        root = self.directory / "image"
        for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        shutil.copy(str(shutil.which("busybox", path=PATH)), root / "bin" / "busybox")
        for applet in "sh cat echo false grep head id ip ls mkdir ps pwd sleep stty touch tr true tty wc".split():
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
        (root / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\nmore:x:7:user\n")
        with tarfile.open(self.image, "w") as archive:
            archive.add(root, arcname=".")
        self.image.chmod(0o644)

    def _begin(self) -> subprocess.Popen[bytes]:
        setup = _SETUP.format(user=USER, subuid=FIRST_SUBUID, temporary=tempfile.gettempdir())
        ready = self.directory / "ready"
        unshare = ["unshare", "--mount", "--propagation=private", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
        log = (self.directory / "cell.log").open("wb")
        with log:
            process = subprocess.Popen(
                [*unshare, sys.executable, "-IS", "-c", _FIRST, setup, str(ready)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        deadline = time.monotonic() + LIMIT
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                reason = (self.directory / "cell.log").read_text().strip()
                shutil.rmtree(self.directory)
                skip(f"no namespaces for the engines here: {reason}")
            time.sleep(0.01)
        return process

    def _first_process(self) -> int:
        pid = self._unshare.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    # -- commands

    def enter(self, command: list[str], *, user: int = 0) -> list[str]:
        """The command line that runs a command in the cell."""
        prefix = ["nsenter", f"--target={self._first}", "--mount", "--net", "--pid", f"--wd={self.directory}"]
        if user:
            prefix += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return [*prefix, *command]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Nothing of ours: engines hand much of it on."""
        return {"PATH": f"{self.runtime.parent}:{PATH}", "HOME": "/root", "TERM": "xterm", **more}

    def run(self, command: list[str], env: Mapping[str, str], *, user: int = 0, stdin: bytes = b"") -> Result:
        """Run a command in the cell; stdout and stderr together, through a file that a daemon may keep open."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            done = subprocess.run(
                self.enter(command, user=user),
                stdin=given, stdout=out, stderr=out, env=self.environment(env), timeout=LIMIT, check=False,
            )
            out.seek(0)
            return Result(done.returncode, out.read().decode(errors="replace").strip())

    def on_terminal(self, command: list[str], env: Mapping[str, str], *, user: int = 0) -> Result:
        """Run a command with a terminal of 33 lines and 99 columns."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (33, 99))
        with subprocess.Popen(
            self.enter(command, user=user),
            stdin=theirs, stdout=theirs, stderr=theirs, env=self.environment(env), start_new_session=True,
        ) as process:
            os.close(theirs)
            output = b""
            try:
                while chunk := os.read(ours, 4096):
                    output += chunk
            except OSError:  # EIO: all have closed their side
                pass
            finally:
                os.close(ours)
        return Result(process.returncode, output.decode(errors="replace").replace("\r", "").strip())

    def daemon(self, command: list[str], ready: Callable[[], bool]) -> None:
        """Start a daemon that lives as long as the cell; skips when it does not get ready."""
        path = self.directory / f"{os.path.basename(command[0])}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                self.enter(command),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment({}), start_new_session=True,
            )
        self._children.append(process)
        deadline = time.monotonic() + LIMIT
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                skip(f"{command[0]} does not start here: {path.read_text().strip()[-500:]}")
            time.sleep(0.05)

    # -- the end

    def close(self) -> None:
        """End it all, and remove what namespaces do not take with them."""
        os.kill(self._first, 9)
        for process in (self._unshare, *self._children):
            process.wait()
        left = self._remove_cgroups()
        shutil.rmtree(self.directory)
        assert not left, left

    def _remove_cgroups(self) -> list[Path]:
        deadline = time.monotonic() + LIMIT
        tops = (CGROUPS, *CGROUPS.iterdir())  # of v2, and of each hierarchy of v1
        while left := [path for top in tops for path in top.glob(f"{self.name}*") if path.is_dir()]:
            for path in left:
                subprocess.run(
                    ["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], check=False, capture_output=True
                )
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return left


def nofile() -> str:
    """A limit that may be set everywhere: raising one takes CAP_SYS_RESOURCE."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = 1024 if hard == resource.RLIM_INFINITY else min(hard, 1024)
    return f"nofile={limit}:{limit}"


def has_flag(program: str, flag: str) -> bool:
    """Whether this version of a program has it."""
    return flag in subprocess.run([program, "--help"], capture_output=True, text=True, check=False, env={"PATH": PATH}).stdout


class Engine:
    """What is the same for all engines: a command that runs in the cell."""

    def __init__(self, cell: Cell, command: list[str], env: Mapping[str, str], user: int = 0) -> None:
        self.cell = cell
        self.command = command
        self.env = env
        self.user = user

    def __call__(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        return self.cell.run([*self.command, *args], {**self.env, **(env or {})}, user=self.user, stdin=stdin)

    def ok(self, *args: str, stdin: bytes = b"") -> str:
        """The output of a command that must succeed."""
        result = self(*args, stdin=stdin)
        assert result.status == 0, f"{args}: {result}"
        return result.output

    def on_terminal(self, *args: str) -> Result:
        """Run the command with a terminal."""
        return self.cell.on_terminal([*self.command, *args], self.env, user=self.user)


def podman(cell: Cell, *, user: int = 0) -> Engine:
    """podman with storage, state and configuration of its own, `user` for rootless."""
    require("podman", "conmon", *(["newuidmap"] if user else []))
    place = cell.directory / f"podman-{user}"
    for name in ("graph", "run", "tmp", "home"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n')
    (place / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = ["{nofile()}", "nproc=4096:4096"]\n'
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "pyrunc"\ntmp_dir = "{place}/tmp"\n'
        f'runtime_supports_json = ["pyrunc"]\n[engine.runtimes]\npyrunc = ["{cell.runtime}"]\n'
        f'[network]\nnetwork_config_dir = "{place}/networks"\n'
    )
    (place / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {
        "CONTAINERS_CONF": f"{place}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{place}/storage.conf",
        "HOME": f"{place}/home",
        "TMPDIR": f"{place}/tmp",
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",  # of podman 5
    }
    if user:
        env["XDG_RUNTIME_DIR"] = f"/run/user/{user}"  # podman takes no long path for that
    for path in [place, *place.iterdir()]:
        os.chown(path, user, user)
    engine = Engine(cell, ["podman"], env, user)
    info = engine("info")
    if info.status:
        skip(f"podman does not work here: {info}")
    for name, entry in (("box", []), ("pause", ["--change", 'ENTRYPOINT ["/bin/sleep", "1000"]'])):
        engine.ok("import", "--change", "ENV PATH=/bin", *entry, str(cell.image), f"localhost/{name}")
    return engine


def containerd(cell: Cell) -> Engine:
    """A containerd, driven by ctr."""
    require("containerd", "ctr", "containerd-shim-runc-v2")
    place = cell.directory / "containerd"
    place.mkdir()
    address = place / "containerd.sock"
    # of two to five seconds, for what the runtime does too
    timeouts = "".join(f'"io.containerd.timeout.{name}" = "{LIMIT}s"\n' for name in CONTAINERD_TIMEOUTS)
    (place / "config.toml").write_text(
        f'version = 2\nroot = "{place}/root"\nstate = "{place}/state"\noom_score = 0\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{address}"\n'
        f"[timeouts]\n{timeouts}"
    )
    engine = Engine(cell, ["ctr", "--address", str(address), "--namespace", cell.name], {})
    command = ["containerd", "--config", str(place / "config.toml")]
    cell.daemon(command, lambda: address.exists() and engine("version").status == 0)
    return engine


def docker(cell: Cell) -> Engine:
    """A dockerd with a containerd of its own."""
    require("dockerd", "containerd", "containerd-shim-runc-v2")
    place = cell.directory / "docker"
    place.mkdir()
    (place / "daemon.json").write_text(json.dumps({
        "runtimes": {"pyrunc": {"path": str(cell.runtime)}, "wrapped": {"path": str(cell.runtime), "runtimeArgs": ["--debug"]}}
    }))
    host = f"unix://{place}/docker.sock"
    # Not any docker in PATH: an installed client may be newer than the daemon allows.
    client = shutil.which("docker", path="/usr/bin") or shutil.which("docker", path=PATH)
    if client is None:
        skip("docker not installed")
    engine = Engine(cell, [client, "--host", host], {"DOCKER_CONFIG": str(place)})
    cell.daemon(
        [
            *("dockerd", "--config-file", f"{place}/daemon.json", "--pidfile", f"{place}/pid", "--host", host),
            *("--data-root", f"{place}/data", "--exec-root", f"{place}/exec"),
            *(["--oom-score-adjust", "0"] if has_flag("dockerd", "--oom-score-adjust") else []),
            *("--default-ulimit", nofile()),
            *("--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--cgroup-parent", f"/{cell.name}"),
        ],
        lambda: (place / "docker.sock").exists() and engine("version").status == 0,
    )
    engine.ok("import", "--change", "ENV PATH=/bin", str(cell.image), "box")
    return engine
