"""The command lines of conmon, podman, containerd's shim, dockerd and buildah, word for word, in the environment and with the
descriptors that they give: the answers that those programs read.

The engines themselves are in test_engines.py; here every call is, also those that take an accident to happen.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from libcontainer import cgroups
from tests.root.conftest import CGROUPS, LIMIT, Bundle, Runtime, Sandbox, wait_until

pytestmark = pytest.mark.root

PR_SET_CHILD_SUBREAPER = 36
BARE = {"XDG_RUNTIME_DIR": ""}  # podman's kill, delete, pause, resume: no PATH, no HOME
SHIM = {"PATH": "/usr/bin:/bin", "TTRPC_ADDRESS": "/x", "GOMAXPROCS": "4", "LD_LIBRARY_PATH": "/opt/containerd/lib"}
QUIET = (0, "", "")
NOT_RUNNING = "container not running"
NO_CONTAINER = "container does not exist"


class Engine:
    """One that calls the runtime; what it is told goes to files, as a pipe would be the container's too."""

    def __init__(self, runtime: Runtime, bundle: Bundle, name: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.name = name
        self.log = runtime.scratch / "oci-log"

    def call(self, *args: str, env: Mapping[str, str] = BARE, stdin: bytes = b"", **popen: Any) -> tuple[int, str, str]:
        """Status, stdout and stderr."""
        command = [self.runtime.command, "--root", str(self.runtime.root), *args]
        texts = [self.runtime.scratch / name for name in ("stdin", "stdout", "stderr")]
        texts[0].write_bytes(stdin)
        with texts[0].open("rb") as given, texts[1].open("wb") as out, texts[2].open("wb") as err:
            done = subprocess.run(command, stdin=given, stdout=out, stderr=err, env=env, check=False, timeout=LIMIT, **popen)
        return done.returncode, texts[1].read_text(), texts[2].read_text()

    def shim(self, *args: str, **more: Any) -> tuple[int, str, str]:
        """As go-runc calls it."""
        return self.call("--log", str(self.log), "--log-format", "json", *args, env=SHIM, cwd=self.bundle.path, **more)

    def records(self) -> list[dict[str, str]]:
        """What is in the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def created(self) -> list[str]:
        """The least that a create is told."""
        return ["--root", str(self.runtime.root), "create", "--bundle", str(self.bundle.path), self.name]

    def start(self) -> None:
        """A running container."""
        files = ("--bundle", str(self.bundle.path), "--pid-file", str(self.runtime.scratch / "pid"))
        assert self.shim("create", *files, self.name) == QUIET
        assert self.shim("start", self.name) == QUIET


@pytest.fixture
def engine(sandbox: Sandbox, runtime: Runtime) -> Engine:
    engine = Engine(runtime, sandbox.bundle(), sandbox.name)
    engine.bundle.args("sleep", "1000")
    return engine


def memory_limit(name: str) -> int:
    file = f"{name}/memory.max" if cgroups.mode() == "v2" else f"memory/{name}/memory.limit_in_bytes"
    return int((CGROUPS / file).read_text())


def test_a_life_under_conmon_and_podman(engine: Engine) -> None:
    pid_file = engine.runtime.scratch / "pid"
    create = ("create", "--bundle", str(engine.bundle.path), "--pid-file", str(pid_file), "--no-new-keyring", engine.name)
    assert engine.call("--log-format=json", "--log", str(engine.log), *create, env={"PATH": "/usr/bin"}, cwd="/") == QUIET
    assert engine.log.read_text() == ""
    pid = engine.runtime.state(engine.name)["pid"]
    assert pid_file.read_text() == str(pid)  # go-runc takes no newline
    assert engine.call("start", engine.name) == QUIET
    for verb in ("pause", "resume"):
        assert engine.call(verb, engine.name) == QUIET
    assert json.loads(engine.call("ps", "--format", "json", engine.name)[1]) == [pid]
    assert engine.call("kill", engine.name, "0") == QUIET
    assert engine.call("kill", "--all", engine.name, "9") == QUIET
    wait_until(lambda: engine.runtime.status(engine.name) == "stopped")
    status, _, text = engine.call("kill", engine.name, "9")
    assert status == 1
    assert NOT_RUNNING in text
    assert engine.call("kill", "--all", engine.name, "9") == QUIET
    for _ in range(2):  # once more when there is nothing left
        assert engine.call("delete", "--force", engine.name) == QUIET
    for words in (["state"], ["kill"], ["delete"], ["start"], ["pause"]):
        status, _, text = engine.call(*words, engine.name)
        assert status == 1
        assert NO_CONTAINER in text


def test_a_life_under_the_shim(engine: Engine) -> None:
    engine.start()
    process = engine.runtime.scratch / "runc-process"
    exec_pid = engine.runtime.scratch / "exec.pid"

    def execute(*args: str) -> tuple[int, str, str]:
        process.write_text(json.dumps({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}))
        return engine.shim("exec", "--process", str(process), "--detach", "--pid-file", str(exec_pid), engine.name)

    assert execute("sleep", "1000") == QUIET
    assert exec_pid.read_text().isdecimal()
    assert engine.records() == []
    status, _, text = execute("missing")
    (record,) = engine.records()
    assert (status, record["level"]) == (255, "error")
    assert 'exec: "missing": executable file not found in $PATH' in record["msg"]
    assert record["msg"] in text
    assert engine.shim("kill", "--all", engine.name, "9") == QUIET
    wait_until(lambda: engine.runtime.status(engine.name) == "stopped")
    assert engine.shim("delete", engine.name) == QUIET
    assert engine.shim("delete", "--force", engine.name) == QUIET
    assert len(engine.records()) == 1  # the log is the task's: appended to, and nothing else to tell


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/nonexistent", 'exec: "/nonexistent": stat /nonexistent: no such file or directory'),
        ("missing", 'exec: "missing": executable file not found in $PATH'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_why_a_create_failed(engine: Engine, program: str, words: str) -> None:
    """One record, of which podman takes the whole file, and containerd wants an RFC 3339 time; the text on stderr too."""
    engine.bundle.args(program)
    pid_file = engine.runtime.scratch / "pid"
    create = ("create", "--bundle", str(engine.bundle.path), "--pid-file", str(pid_file), engine.name)
    status, out, err = engine.call("--log-format=json", "--log", str(engine.log), *create)
    record = json.loads(engine.log.read_text())
    assert (status, out, set(record)) == (1, "", {"level", "msg", "time"})
    assert record["msg"].startswith("runc create failed: unable to start container process: ")
    assert words in record["msg"]
    assert record["msg"] in err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", record["time"])
    assert not pid_file.exists()


def test_updates(engine: Engine) -> None:
    """podman's from a file, the shim's on stdin in both spellings; Docker's zeros leave alone what is there."""
    if cgroups.mode() == "v2" and "memory" not in (CGROUPS / "cgroup.controllers").read_text().split():
        pytest.skip("no memory controller")
    engine.start()
    resources = engine.runtime.scratch / "resources"
    resources.write_text('{"memory":{"limit":67108864}}')
    assert engine.call("update", f"--resources={resources}", engine.name) == QUIET
    assert memory_limit(engine.name) == 67108864
    zeros = (
        b'{"memory":{"limit":0,"reservation":0,"swap":0,"kernel":0},"cpu":{"shares":0,"cpus":"","mems":""},'
        b'"blockIO":{"weight":0},"pids":{"limit":50}}'
    )
    for flags in (["--resources", "-"], ["--resources=-"]):
        assert engine.shim("update", *flags, engine.name, stdin=zeros) == QUIET
        assert memory_limit(engine.name) == 67108864


def test_what_engines_ask_for_before_anything_runs(engine: Engine) -> None:
    assert engine.call("checkpoint", "--help")[0] == 0
    status, out, err = engine.call("restore", "--lsm-mount-context")
    assert status != 0
    assert "flag needs an argument" in out + err  # podman 4
    assert "requires an argument" in out + err  # podman 5
    version = engine.call("--version")[1].splitlines()
    assert "version " in version[0]
    assert any(line.startswith("spec: ") for line in version)
    features = json.loads(engine.call("features", env=SHIM)[1])
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] is True  # or containerd 2 refuses such mounts
    assert "user" in features["linux"]["namespaces"]


def test_spellings(engine: Engine) -> None:
    """Go's: one dash or two, a flag that comes twice, a value that is attached or not, flags of all commands anywhere."""
    engine.start()
    for words in (["--rootless=false"], ["--rootless", "false"], ["-rootless=auto"], ["--systemd-cgroup=false"]):
        assert engine.call(*words, "state", engine.name)[0] == 0
    status, _, text = engine.call("checkpoint", "--image-path", "/x", "--leave-running", "--leave-running", "nobody")
    assert (status, NO_CONTAINER in text) == (1, True)
    bundle = str(engine.runtime.scratch / "no-such-bundle")
    status, _, text = engine.call("restore", "--detach", "-no-subreaper", "--image-path", "/x", "--bundle", bundle, "other")
    assert status == 1
    assert "no-such-bundle" in text
    assert "flag" not in text
    assert engine.call("kill", engine.name, "SIGKILL") == QUIET  # buildah


def test_init_is_left_to_the_subreaper(engine: Engine) -> None:
    """With its status, and with nobody else who holds its output."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        engine.bundle.args("sh", "-c", "echo out; exit 9")
        ours, theirs = os.pipe()
        with open(theirs, "wb") as output:
            create = [engine.runtime.command, *engine.created()]
            subprocess.run(create, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True, timeout=LIMIT)
        pid = engine.runtime.state(engine.name)["pid"]
        assert f"PPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
        assert engine.call("start", engine.name) == QUIET
        with open(ours, "rb") as text:
            assert text.read() == b"out\n"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    finally:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_what_the_shim_leaks_stays_outside(engine: Engine) -> None:
    """The socket that it listens at is descriptor 3 of a create."""
    engine.bundle.args("ls", "/proc/self/fd")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(engine.runtime.scratch / "shim.sock"))
        listening.listen()
        command = ["run", "--bundle", str(engine.bundle.path), engine.name]
        status, out, _ = engine.call(*command, pass_fds=[listening.fileno()])
    assert (status, out.split()) == (0, ["0", "1", "2", "3"])  # 3 is the directory that ls reads


def test_a_shell_between(engine: Engine) -> None:
    """Docker's runtimeArgs: a script that does not exec. What dies with it must not be the container."""
    script = engine.runtime.scratch / "wrapped"
    script.write_text(f"#!/bin/sh\n{engine.runtime.command} --debug $@\n")
    script.chmod(0o755)
    null = subprocess.DEVNULL
    subprocess.run([str(script), *engine.created()], stdin=null, stdout=null, stderr=null, check=True, timeout=LIMIT)
    assert engine.runtime.status(engine.name) == "created"
    assert engine.call("start", engine.name) == QUIET
    assert engine.runtime.status(engine.name) == "running"
