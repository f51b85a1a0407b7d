"""The other runtime's containers: what one makes, the other operates, on one state root.

runc and pyrunc share the layout of the state root, state.json and the exec fifo, so that an administrator who changes
the runtime keeps the running containers. Every verb after create is tried both ways round.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.root.conftest import Runtime, Sandbox, wait_until

if TYPE_CHECKING:
    from tests.root.conftest import Bundle

RUNC = shutil.which("runc")

pytestmark = [pytest.mark.root, pytest.mark.skipif(RUNC is None, reason="runc is not installed")]

NAME = "both"


class Pair:
    """Maker and operator on one state root."""

    def __init__(self, sandbox: Sandbox, maker: str, operator: str) -> None:
        commands = {"pyrunc": sandbox.command, "runc": RUNC or ""}
        self.maker: Runtime = sandbox.runtime(commands[maker])
        self.operator: Runtime = sandbox.runtime(commands[operator])
        self.bundle: Bundle = sandbox.bundle()
        self.out = sandbox.directory / "out"
        # What both know, and nothing that only the newer of them does.
        self.bundle.args("sh", "-c", 'trap "exit 0" TERM; echo started; while :; do sleep 0.1; done')

    def create(self) -> None:
        """A created container."""
        self.maker.ok("create", "--bundle", str(self.bundle.path), NAME, out=self.out)

    def run(self) -> None:
        """A running one."""
        self.create()
        self.maker.ok("start", NAME)


@pytest.fixture(params=["pyrunc made it, runc operates", "runc made it, pyrunc operates"])
def pair(sandbox: Sandbox, request: pytest.FixtureRequest) -> Pair:
    """Both ways round."""
    maker, operator = ("pyrunc", "runc") if request.param.startswith("pyrunc") else ("runc", "pyrunc")
    return Pair(sandbox, maker, operator)


def same_state(pair: Pair) -> None:
    """Both report the same, but for the version that each speaks."""
    ours, theirs = pair.maker.state(NAME), pair.operator.state(NAME)
    ours.pop("ociVersion")
    theirs.pop("ociVersion")
    assert ours == theirs


def test_state(pair: Pair) -> None:
    """created, running, stopped, with all fields the same."""
    pair.bundle.spec["annotations"] = {"some.key": "value"}
    pair.bundle.write()
    pair.create()
    same_state(pair)
    assert pair.operator.status(NAME) == "created"
    pair.maker.ok("start", NAME)
    same_state(pair)
    assert pair.operator.status(NAME) == "running"
    pair.maker.ok("kill", NAME, "KILL")
    wait_until(lambda: pair.maker.status(NAME) == "stopped")
    same_state(pair)


def test_paused_state(pair: Pair, sandbox: Sandbox) -> None:
    """A frozen cgroup is paused for both."""
    pair.run()
    freezer = f"/sys/fs/cgroup/freezer/{sandbox.name}/freezer.state"
    with open(freezer, "w") as file:
        file.write("FROZEN")
    try:
        wait_until(lambda: pair.maker.status(NAME) == "paused")
        assert pair.operator.status(NAME) == "paused"
    finally:
        with open(freezer, "w") as file:
            file.write("THAWED")


def test_list(pair: Pair) -> None:
    """The same line."""
    pair.run()
    ours, theirs = (json.loads(runtime.ok("list", "--format", "json")) for runtime in (pair.maker, pair.operator))
    for entry in (*ours, *theirs):
        entry.pop("ociVersion")
    assert ours == theirs
    assert pair.operator.ok("list", "--quiet") == f"{NAME}\n"


def test_start(pair: Pair) -> None:
    """The fifo is understood."""
    pair.create()
    pair.operator.ok("start", NAME)
    wait_until(lambda: "started" in pair.out.read_text())
    assert pair.maker.status(NAME) == "running"


def test_start_twice(pair: Pair) -> None:
    """The second start is refused, by either."""
    pair.run()
    status, text = pair.operator.run("start", NAME)
    assert status == 1
    assert "cannot start an already running container" in text


@pytest.mark.parametrize("state", ["created", "running"])
def test_exec(pair: Pair, state: str) -> None:
    """Joins all namespaces, with the container's user, environment, capabilities and cgroup."""
    pair.create()
    if state == "running":
        pair.maker.ok("start", NAME)
    pid = pair.maker.state(NAME)["pid"]
    for name in ("pid", "mnt", "net", "ipc", "uts"):
        assert pair.operator.ok("exec", NAME, "readlink", f"/proc/self/ns/{name}").strip() == os.readlink(
            f"/proc/{pid}/ns/{name}"
        )
    assert pair.operator.ok("exec", NAME, "grep", "Cap", "/proc/self/status") == pair.maker.ok(
        "exec", NAME, "grep", "Cap", "/proc/self/status"
    )
    assert pair.operator.ok("exec", NAME, "cat", "/proc/self/cgroup") == pair.maker.ok("exec", NAME, "cat", "/proc/self/cgroup")
    assert pair.operator.run("exec", NAME, "sh", "-c", "exit 42")[0] == 42
    assert pair.maker.status(NAME) == state


def test_exec_with_seccomp(pair: Pair) -> None:
    """The saved filter is understood."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    pair.bundle.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule],
    }
    pair.bundle.write()
    pair.run()
    assert pair.operator.ok("exec", NAME, "grep", "Seccomp:", "/proc/self/status").split() == ["Seccomp:", "2"]
    assert "not supported" in pair.operator.run("exec", NAME, "mkdir", "/tmp/x")[1]


def test_exec_in_user_namespace(pair: Pair) -> None:
    """The saved maps are understood."""
    ids = {"containerID": 0, "hostID": 100000, "size": 65536}
    pair.bundle.spec["linux"]["namespaces"].append({"type": "user"})
    pair.bundle.spec["linux"].update(uidMappings=[ids], gidMappings=[ids])
    pair.bundle.write()
    shutil.chown(pair.bundle.rootfs, 100000, 100000)
    pair.run()
    pid = pair.maker.state(NAME)["pid"]
    assert pair.operator.ok("exec", NAME, "readlink", "/proc/self/ns/user").strip() == os.readlink(f"/proc/{pid}/ns/user")
    assert pair.operator.ok("exec", NAME, "id", "-u").strip() == "0"


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_kill(pair: Pair, signal: str) -> None:
    """The signal arrives."""
    pair.run()
    wait_until(lambda: "started" in pair.out.read_text())
    pair.operator.ok("kill", NAME, signal)
    wait_until(lambda: pair.maker.status(NAME) == "stopped")
    status, text = pair.operator.run("kill", NAME, signal)
    assert status == 1
    assert "container not running" in text


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_delete(pair: Pair, sandbox: Sandbox, state: str) -> None:
    """Everything goes: process, cgroups, state directory."""
    pair.create()
    if state != "created":
        pair.maker.ok("start", NAME)
    if state == "stopped":
        pair.maker.ok("kill", NAME, "KILL")
        wait_until(lambda: pair.maker.status(NAME) == "stopped")
    if state == "running":
        status, text = pair.operator.run("delete", NAME)
        assert status == 1
        assert "that is not stopped: running" in text
        pair.operator.ok("delete", "--force", NAME)
    else:
        pair.operator.ok("delete", NAME)
    sandbox.assert_clean()
    assert not (pair.operator.root / NAME).exists()


def test_poststop_hooks(pair: Pair, sandbox: Sandbox) -> None:
    """The saved hooks run, whoever deletes."""
    log = sandbox.directory / "log"
    pair.bundle.spec["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{log}"]}]}
    pair.bundle.write()
    pair.create()
    pair.operator.ok("delete", "--force", NAME)
    state = json.loads(log.read_text())
    assert (state["id"], state["status"], state["bundle"]) == (NAME, "stopped", str(pair.bundle.path))


def test_id_in_use(pair: Pair) -> None:
    """The other's container is not overwritten."""
    pair.run()
    status, text = pair.operator.run("create", "--bundle", str(pair.bundle.path), NAME)
    assert status == 1
    assert "container with given ID already exists" in text
    assert pair.maker.status(NAME) == "running"


def test_pause_and_resume_by_runc(sandbox: Sandbox) -> None:
    """Verbs that only runc has here work on our container."""
    pair = Pair(sandbox, "pyrunc", "runc")
    pair.run()
    pair.operator.ok("pause", NAME)
    assert pair.maker.status(NAME) == "paused"
    pair.operator.ok("resume", NAME)
    assert pair.maker.status(NAME) == "running"
    assert "sh" in pair.operator.ok("ps", NAME)


def test_update_by_runc(sandbox: Sandbox) -> None:
    """The saved resources are understood: an update of one keeps the others."""
    pair = Pair(sandbox, "pyrunc", "runc")
    pair.bundle.spec["linux"]["resources"].update(pids={"limit": 33}, memory={"limit": 64 << 20}, cpu={"shares": 512})
    pair.bundle.write()
    pair.run()
    pair.operator.ok("update", "--pids-limit", "44", NAME)

    def value(controller: str, file: str) -> str:
        with open(f"/sys/fs/cgroup/{controller}/{sandbox.name}/{file}") as opened:
            return opened.read().strip()

    assert value("pids", "pids.max") == "44"
    assert value("memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value("cpu", "cpu.shares") == "512"
    assert pair.maker.status(NAME) == "running"


def limit_file(sandbox: Sandbox, controller: str, file: str) -> str:
    """What a file of the container's cgroup says."""
    with open(f"/sys/fs/cgroup/{controller}/{sandbox.name}/{file}") as opened:
        return opened.read().strip()


def test_pause_and_resume(pair: Pair) -> None:
    """One freezes, the other thaws."""
    pair.run()
    pair.operator.ok("pause", NAME)
    assert pair.maker.status(NAME) == "paused"
    assert pair.maker.run("pause", NAME)[0] == 1
    pair.maker.ok("resume", NAME)
    assert pair.operator.status(NAME) == "running"


def test_ps(pair: Pair) -> None:
    """The same pids."""
    pair.bundle.args("sleep", "1000")
    pair.run()
    assert pair.operator.ok("ps", "--format", "json", NAME) == pair.maker.ok("ps", "--format", "json", NAME)


def test_update(pair: Pair, sandbox: Sandbox) -> None:
    """Each works on the limits that the other saved. (runc 1.1 forgets, of most, those that are not given.)"""
    pair.bundle.spec["linux"]["resources"].update(memory={"limit": 1 << 25}, cpu={"shares": 200})
    pair.bundle.write()
    pair.run()
    pair.operator.ok("update", "--memory", str(1 << 26), "--cpu-quota", "20000", "--cpu-period", "50000", NAME)
    pair.maker.ok("update", "--memory", str(1 << 27), "--pids-limit", "50", NAME)
    pair.operator.ok("update", "--memory-reservation", str(1 << 24), "--pids-limit", "50", NAME)
    assert limit_file(sandbox, "memory", "memory.limit_in_bytes") == str(1 << 27)
    assert limit_file(sandbox, "memory", "memory.soft_limit_in_bytes") == str(1 << 24)
    assert limit_file(sandbox, "cpu", "cpu.shares") == "200"
    assert limit_file(sandbox, "cpu", "cpu.cfs_quota_us") == "20000"
    assert limit_file(sandbox, "pids", "pids.max") == "50"
    cgroup = json.loads((pair.maker.root / NAME / "state.json").read_text())["config"]["cgroups"]
    assert (cgroup["memory_reservation"], cgroup["pids_limit"]) == (1 << 24, 50)
    assert pair.maker.ok("exec", NAME, "echo", "alive").strip() == "alive"
    assert pair.operator.ok("exec", NAME, "echo", "alive").strip() == "alive"
