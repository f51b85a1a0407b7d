"""Containers made by root of a user namespace: what podman without root makes of every call of the runtime.

The config names no user namespace then, and neither mknod(2) nor (on cgroup v1) a new cgroup is permitted.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.root.conftest import LIMIT, Runtime, Sandbox, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

FIRST = 100000
INNER = [{"containerID": 0, "hostID": 1, "size": 1000}]


class Caller:
    """Root of a user namespace (uids from FIRST on) that lasts as long as a test."""

    __slots__ = ("process", "runtime")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.process = subprocess.Popen(["unshare", "--user", "--mount", "--propagation", "private", "sleep", "1000"])
        ours = os.readlink("/proc/self/ns/user")
        wait_until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/user") != ours)
        for kind in ("uid", "gid"):
            Path(f"/proc/{self.process.pid}/{kind}_map").write_text(f"0 {FIRST} 65536")

    def run(self, *args: str) -> tuple[int, str]:
        """Status and output of the command as root inside; through a file, as a container may keep the other end."""
        out = self.runtime.scratch / "output"
        enter = ["nsenter", f"--target={self.process.pid}", "--user", "--mount", "--setuid=0", "--setgid=0", "--wd=/"]
        command = [*enter, self.runtime.command, "--root", str(self.runtime.root), *args]
        with out.open("wb") as file:
            done = subprocess.run(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
        return done.returncode, out.read_text()

    def ok(self, *args: str) -> str:
        """The output of a command that must succeed."""
        status, text = self.run(*args)
        assert status == 0, f"{args}: {text}"
        return text.strip()


@pytest.fixture
def caller(sandbox: Sandbox) -> Iterator[Caller]:
    """The caller; skips where other users cannot even reach the command."""
    caller = Caller(sandbox.runtime())
    try:
        if caller.run("--version")[0] != 0:
            pytest.skip("the command lies where other users cannot reach it")
        yield caller
    finally:
        caller.process.kill()
        caller.process.wait()


@pytest.mark.parametrize("nested", [False, True], ids=["no-namespace", "nested"])
def test_life(sandbox: Sandbox, caller: Caller, nested: bool) -> None:
    bundle = sandbox.bundle()
    del bundle.spec["linux"]["cgroupsPath"]
    if nested:
        bundle.spec["linux"]["namespaces"].append({"type": "user"})
        bundle.spec["linux"].update(uidMappings=INNER, gidMappings=INNER)
    bundle.write()
    for path in [sandbox.directory, *sandbox.directory.rglob("*")]:
        os.lchown(path, FIRST, FIRST)

    try:
        caller.ok("run", "--detach", "--bundle", str(bundle.path), "c")
        assert '"status": "running"' in caller.ok("state", "c")
        nodes = caller.ok("exec", "c", "ls", "/dev").split()
        assert {"null", "zero", "full", "tty", "random", "urandom", "ptmx", "fd"} <= set(nodes)
        assert caller.ok("exec", "c", "sh", "-c", "echo lost > /dev/null; head -c 3 /dev/zero | wc -c") == "3"
        assert caller.ok("exec", "c", "id", "-u") == "0"
    finally:
        caller.ok("delete", "--force", "c")
    assert not list(caller.runtime.root.glob("*/state.json"))


def test_only_cgroups_are_treated_otherwise_than_for_root(sandbox: Sandbox, caller: Caller) -> None:
    """Neither a user namespace nor mapped ids are asked for, groups can be had: RootlessEUID is false."""
    bundle = sandbox.bundle()
    del bundle.spec["linux"]["cgroupsPath"]
    bundle.spec["process"]["user"] = {"uid": 3, "gid": 4, "additionalGids": [50, 51]}
    bundle.spec["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "t", "options": ["uid=7"]})
    bundle.args("sh", "-c", "id -G; stat -c %u /mnt")
    for path in [sandbox.directory, *sandbox.directory.rglob("*")]:
        os.lchown(path, FIRST, FIRST)
    assert caller.ok("run", "--bundle", str(bundle.path), "c").split() == ["4", "50", "51", "7"]
    bundle.spec["linux"]["cgroupsPath"] = f"/{sandbox.name}"
    bundle.write()
    status, text = caller.run("run", "--bundle", str(bundle.path), "c")
    assert status == 1
    assert "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/" in text
