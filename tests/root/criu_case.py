"""A container for tests of checkpoint and restore: a program, its checkpoints, and what is restored from them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from pathlib import Path

import pytest

from tests.root.conftest import CGROUPS, LIMIT, Bundle, Runtime, Sandbox, wait_until

PYTHON = shutil.which("python3", path="/usr/bin") or ""
# A connection of the program to itself: the server end is not yet accepted.
CONNECTED = """
import subprocess
subprocess.run(["/bin/ip", "link", "set", "lo", "up"], check=True)
s = socket.socket(); s.bind(("127.0.0.1", 4000)); s.listen()
c = socket.create_connection(("127.0.0.1", 4000))
"""
# What it answers to the host, by files: the host's word in /ask, its own in /answer.
ANSWERING = """
def serve(answer):
    print("ready", flush=True)
    seen = ""
    while True:
        try:
            asked = open("/ask").read()
        except OSError:
            asked = ""
        if asked != seen:
            seen = asked
            try:
                said = answer(asked)
            except OSError as err:
                said = type(err).__name__
            with open("/answer.new", "w") as f:
                f.write(asked + ": " + said)
            os.rename("/answer.new", "/answer")
        time.sleep(0.05)
"""
ECHO = f"""
{ANSWERING}
{CONNECTED}
p, _ = s.accept()
def answer(word):
    c.settimeout({LIMIT}); p.settimeout({LIMIT})
    c.sendall(word.encode())
    return p.recv(99).decode() or "closed"
serve(answer)
"""


class Case:
    """A running container and its checkpoints. Its program prints "ready" when it has what the test is about."""

    def __init__(self, sandbox: Sandbox, runtime: Runtime) -> None:
        self.sandbox = sandbox
        self.runtime = runtime
        self.bundle: Bundle = sandbox.bundle()
        self.bundle.spec["root"]["readonly"] = False
        self.name = sandbox.name
        self.images = sandbox.directory / "images"
        self.out = sandbox.directory / "container.out"

    def sh(self, script: str) -> None:
        """Run a shell."""
        self.bundle.args("/bin/sh", "-c", f"{script}\necho ready; while :; do sleep 1; done")
        self.start()

    def python(self, program: str) -> None:
        """Run the host's Python, from a bind mount of /usr."""
        mounts = [
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]},
            *({"destination": f"/{name}", "type": "bind", "source": f"/usr/{name}", "options": ["bind", "ro"]}
              for name in ("lib", "lib64") if Path(f"/usr/{name}").is_dir()),
        ]  # fmt: skip
        self.bundle.spec["mounts"].extend(mounts)
        script = f"import os, socket, time, fcntl\n{program}\nprint('ready', flush=True)\nwhile True: time.sleep(1)"
        self.bundle.args(PYTHON, "-ISuc", script)
        self.start()

    def start(self, *flags: str) -> None:
        self.bundle.write()
        self.runtime.ok("run", "--detach", *flags, "--bundle", str(self.bundle.path), self.name, out=self.out)
        wait_until(lambda: "ready" in self.out.read_text())

    def checkpoint(self, *flags: str, images: str = "images", leave: bool = True) -> tuple[int, str]:
        path = self.sandbox.directory / images
        shutil.rmtree(path, ignore_errors=True)
        return self.runtime.run(
            "checkpoint", "--image-path", str(path), *(["--leave-running"] if leave else []), *flags, self.name
        )

    def works(self, *flags: str, images: str = "images") -> None:
        status, text = self.checkpoint(*flags, images=images)
        assert status == 0, text
        assert self.runtime.status(self.name) == "running"

    def refused(self, *flags: str) -> str:
        """The error's line; the container runs on."""
        status, text = self.checkpoint(*flags)
        assert status == 1, text
        self.assert_runs()
        return text.strip().splitlines()[-1]

    def dump(self, *flags: str) -> None:
        """Let the images be all that is left of it."""
        status, text = self.checkpoint(*flags, leave=False)
        assert status == 0, text
        wait_until(lambda: not (self.runtime.root / self.name).exists())

    def restore(self, *flags: str) -> tuple[int, str]:
        """Status and log of a restore; what the program prints goes where it went."""
        log = self.sandbox.directory / "restore.log"
        log.unlink(missing_ok=True)
        paths = ("--bundle", str(self.bundle.path), "--image-path", str(self.images))
        status, _ = self.runtime.run("--log", str(log), "restore", "--detach", *paths, *flags, self.name, out=self.out)
        return status, log.read_text() if log.exists() else ""

    def restored(self, *flags: str) -> None:
        status, text = self.restore(*flags)
        assert (status, text) == (0, "")

    def restore_refused(self, *flags: str) -> str:
        """The error's line; nothing is left, and the images can be restored still."""
        status, text = self.restore(*flags)
        assert status == 1
        assert not (self.runtime.root / self.name).exists()
        return text.strip().splitlines()[-1]

    def assert_runs(self) -> None:
        state = self.runtime.state(self.name)
        assert state["status"] == "running"
        wait_until(lambda: process_state(state["pid"]) in "SR")  # D while it reads from the disk or is just thawed
        assert freezer(self.name).read_text().strip() in ("THAWED", "0")

    @property
    def log(self) -> str:
        return (self.images / "dump.log").read_text()

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.images.iterdir()}


def process_state(pid: int) -> str:
    """Its letter: proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def freezer(name: str) -> Path:
    """The file of a container's cgroup, in version 1 or 2."""
    v1 = CGROUPS / "freezer" / name / "freezer.state"
    return v1 if v1.exists() else CGROUPS / name / "cgroup.freeze"


@pytest.fixture
def case(sandbox: Sandbox, runtime: Runtime) -> Case:
    return Case(sandbox, runtime)


def allow_network(case: Case) -> None:
    """Its program may set up an interface."""
    for kind in case.bundle.spec["process"]["capabilities"].values():
        kind.append("CAP_NET_ADMIN")


def free_port() -> int:
    """One that nobody listens at, and that the kernel gives nobody who asks for any (ip_local_port_range)."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(first // 2, first), 100):
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def listening(port: int) -> bool:
    wanted = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in lines[1:])


def ask(case: Case, word: str) -> str:
    """What the program says of it now."""
    written = case.bundle.rootfs / "ask.new"
    written.write_text(word)
    os.rename(written, case.bundle.rootfs / "ask")  # an empty file would be a word too
    answer = case.bundle.rootfs / "answer"
    wait_until(lambda: answer.exists() and answer.read_text().startswith(f"{word}: "))
    return answer.read_text().removeprefix(f"{word}: ")
