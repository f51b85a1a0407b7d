"""Processes and cgroups in motion: frozen while killed, paused while joined, cgroups that take nobody or that init has left.

On the machine's own cgroups, and (marked by `view`) on cgroup2 alone, in a mount namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.root.conftest import CGROUPS, LIMIT, Bundle, Sandbox, remove_cgroup, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

UNIFIED = (CGROUPS / "cgroup.controllers").exists()
TOP = CGROUPS if UNIFIED else CGROUPS / "unified"
VIEW = ["unshare", "-m", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]
FORKS = "while :; do true & true & wait; done"


class Place:
    """Containers of a sandbox in one kind of cgroups."""

    __slots__ = ("bundle", "prefix", "root", "sandbox")

    def __init__(self, sandbox: Sandbox, view: bool) -> None:
        self.sandbox = sandbox
        self.prefix = VIEW if view else []
        runtime = sandbox.runtime()
        self.root = runtime.root
        self.bundle: Bundle = sandbox.bundle()
        self.without("cgroup")  # /proc/self/cgroup shall name the host's

    @property
    def unified(self) -> bool:
        return bool(self.prefix) or UNIFIED

    @property
    def cgroup(self) -> Path:
        """The container's directory in the unified hierarchy, or v1's freezer."""
        return (TOP if self.unified else CGROUPS / "freezer") / self.sandbox.name

    def popen(self, *args: str) -> tuple[subprocess.Popen[bytes], Path]:
        """The command, and the file that its output (and that of a container that stays) goes to."""
        out = self.sandbox.directory / f"out-{uuid.uuid4().hex}"
        command = [*self.prefix, self.sandbox.command, "--root", str(self.root), *args]
        with out.open("wb") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file), out

    def run(self, *args: str) -> tuple[int, str]:
        process, out = self.popen(*args)
        try:
            process.wait(LIMIT)
        finally:
            process.kill()
        return process.returncode, out.read_text()

    def ok(self, *args: str) -> str:
        status, text = self.run(*args)
        assert status == 0, f"{args}: {text}"
        return text.strip()

    def start(self, script: str, **linux: Any) -> None:
        """A running container "c"."""
        self.bundle.spec["linux"].update(linux)
        self.bundle.args("sh", "-c", script)
        self.ok("run", "--detach", "--bundle", str(self.bundle.path), "c")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", "c"))
        return found

    def status(self) -> str:
        return str(self.state()["status"])

    def without(self, *kinds: str) -> None:
        linux = self.bundle.spec["linux"]
        linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] not in kinds]


@pytest.fixture(params=[False] if UNIFIED else [False, True], ids=lambda view: "cgroup2" if view else "here")
def place(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(sandbox, request.param)
    yield made
    made.run("delete", "--force", "c")


@pytest.fixture
def unified(sandbox: Sandbox) -> Iterator[Place]:
    made = Place(sandbox, not UNIFIED)
    yield made
    made.run("delete", "--force", "c")


def gone(place: Place) -> bool:
    return not place.cgroup.exists() and not (place.root / "c").exists()


# --- frozen ---


@pytest.mark.parametrize("shared", [False, True], ids=["private-pids", "shared-pids"])
def test_kill_of_a_paused_container(place: Place, shared: bool) -> None:
    if shared:
        place.without("pid")
    place.start("sleep 1000 & sleep 1000 & wait")
    place.ok("pause", "c")
    place.ok("kill", "c", "TERM")
    time.sleep(0.2)
    assert place.status() == "paused"  # a signal that can wait does
    place.ok("kill", "c", "KILL")
    wait_until(lambda: place.status() == "stopped")
    if shared:
        wait_until(lambda: not (place.cgroup / "cgroup.procs").read_text())
    place.ok("delete", "c")
    assert gone(place)


def test_delete_of_a_paused_container(place: Place) -> None:
    place.start("sleep 1000 & sleep 1000 & wait")
    place.ok("pause", "c")
    assert "cannot delete container c that is not stopped: paused" in place.run("delete", "c")[1]
    place.ok("delete", "--force", "c")
    assert gone(place)


def test_a_container_whose_init_has_ended_while_paused(place: Place) -> None:
    """Somebody else kills init, and the cgroup stays frozen: delete --force needs no resume."""
    place.start("sleep 1000 & wait")
    place.ok("pause", "c")
    os.kill(place.state()["pid"], 9)
    place.ok("delete", "--force", "c")
    assert gone(place)


@pytest.mark.parametrize("shared", [False, True], ids=["private-pids", "shared-pids"])
def test_a_container_that_has_frozen_itself(place: Place, shared: bool) -> None:
    """In a cgroup below its own: a killed process that is frozen by v1 ends when it is thawed, not before."""
    if shared:
        place.without("pid")
    place.start("sleep 1000 & wait")
    below = place.cgroup / "a/b"
    below.mkdir(parents=True)
    for pid in (place.cgroup / "cgroup.procs").read_text().split():
        (below / "cgroup.procs").write_text(pid)
    (below.parent / ("cgroup.freeze" if place.unified else "freezer.state")).write_text("1" if place.unified else "FROZEN")
    assert place.status() == "running"
    place.ok("delete", "--force", "c")
    assert gone(place)


def test_exec_waits_in_a_paused_container(place: Place) -> None:
    place.start("sleep 1000")
    place.ok("pause", "c")
    assert place.run("exec", "c", "true")[0] == 255
    process, out = place.popen("exec", "--ignore-paused", "c", "echo", "thawed")
    time.sleep(0.5)
    assert process.poll() is None
    assert out.read_text() == ""
    place.ok("resume", "c")
    assert process.wait(LIMIT) == 0
    assert out.read_text() == "thawed\n"


def test_delete_ends_an_exec_that_waits_in_a_paused_container(place: Place) -> None:
    place.start("sleep 1000")
    place.ok("pause", "c")
    process, out = place.popen("exec", "--ignore-paused", "c", "echo", "never")
    wait_until(lambda: len(json.loads(place.ok("ps", "--format", "json", "c"))) > 1)
    place.ok("delete", "--force", "c")
    assert process.wait(LIMIT) != 0
    assert "never\n" not in out.read_text()
    assert gone(place)


def in_parallel(*works: Callable[[], None]) -> None:
    """Do all at once; the first error counts."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # it is raised where it belongs
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_pause_and_resume_while_processes_come(place: Place) -> None:
    """New tasks can hold v1's freezer in FREEZING: it is tried until it holds, and every exec gets through."""
    place.start(FORKS)

    def execs() -> None:
        for _ in range(10):
            assert place.ok("exec", "--ignore-paused", "c", "echo", "x") == "x"

    def pauses() -> None:
        for _ in range(10):
            place.ok("pause", "c")
            state = place.cgroup / ("cgroup.events" if place.unified else "freezer.state")
            assert "frozen 1" in state.read_text() if place.unified else state.read_text() == "FROZEN\n"
            place.ok("resume", "c")

    in_parallel(execs, pauses)
    assert place.status() == "running"


def test_pause_and_kill_at_once(place: Place) -> None:
    place.without("pid")
    place.start(f"({FORKS}) & ({FORKS}) & wait")

    def pauses() -> None:
        for _ in range(5):
            place.run("pause", "c")
            place.run("resume", "c")

    def kills() -> None:
        for _ in range(5):
            place.run("kill", "c", "KILL")

    in_parallel(pauses, kills)
    place.ok("delete", "--force", "c")
    assert gone(place)


def test_a_frozen_cgroup_takes_no_container(place: Place) -> None:
    place.cgroup.mkdir()
    freezer, frozen, thawed = (
        ("cgroup.freeze", "1", "0") if place.unified else ("freezer.state", "FROZEN", "THAWED")
    )
    (place.cgroup / freezer).write_text(frozen)
    try:
        status, text = place.run("run", "--bundle", str(place.bundle.path), "c")
        assert (status, "container's cgroup unexpectedly frozen" in text) == (1, True)
        assert not (place.root / "c").exists()
    finally:
        (place.cgroup / freezer).write_text(thawed)
        place.cgroup.rmdir()


# --- exec: where to ---


def cgroup_of(place: Place, *flags: str) -> str:
    """Where an exec'd process is, in the hierarchy that place.cgroup is of."""
    lines = place.ok("exec", *flags, "c", "cat", "/proc/self/cgroup").splitlines()
    mark = "0::" if place.unified else ":freezer:"
    return next(line.partition(mark)[2] for line in lines if mark in line)


def init_of(place: Place) -> str:
    return str(place.state()["pid"])


def test_exec_into_a_sub_cgroup_of_cgroup2(unified: Place) -> None:
    unified.start("sleep 1000")
    (unified.cgroup / "a/b").mkdir(parents=True)
    name = unified.sandbox.name
    assert cgroup_of(unified) == f"/{name}"
    for sub in ("/", ".", ""):
        assert cgroup_of(unified, "--cgroup", sub) == f"/{name}"
    for sub in ("a/b", "/a/b", "a/../a/b"):
        assert cgroup_of(unified, "--cgroup", sub) == f"/{name}/a/b"
    for sub, words in {
        "nowhere": "error adding pid ",
        "../x": "bad sub cgroup path: ../x",
        f"../{name}-x": f"bad sub cgroup path: ../{name}-x",
        "pids:a": "unknown controller pids in SubCgroupPaths",
    }.items():
        status, text = unified.run("exec", "--cgroup", sub, "c", "true")
        assert (status, words in text) == (255, True), text


def test_exec_into_a_threaded_sub_cgroup_and_beside_it(unified: Place) -> None:
    """A sibling of a threaded cgroup is "domain invalid": neither clone3 nor cgroup.procs gets anybody in."""
    unified.start("sleep 1000")
    for sub in ("threaded", "invalid"):
        (unified.cgroup / sub).mkdir()
    (unified.cgroup / "threaded/cgroup.type").write_text("threaded")
    assert (unified.cgroup / "invalid/cgroup.type").read_text() == "domain invalid\n"
    assert cgroup_of(unified, "--cgroup", "threaded").endswith("/threaded")
    status, text = unified.run("exec", "--cgroup", "invalid", "c", "true")
    assert status == 255
    assert "/invalid/cgroup.procs: operation not supported" in text
    assert cgroup_of(unified) == f"/{unified.sandbox.name}"


def test_exec_goes_where_init_is_when_the_cgroup_is_gone(unified: Place) -> None:
    unified.start("sleep 1000")
    elsewhere = TOP / f"{unified.sandbox.name}-elsewhere"
    elsewhere.mkdir()
    try:
        (elsewhere / "cgroup.procs").write_text(init_of(unified))
        unified.cgroup.rmdir()
        assert cgroup_of(unified) == f"/{elsewhere.name}"
        # whoever names a cgroup means that one
        status, text = unified.run("exec", "--cgroup", "/", "c", "true")
        assert status == 255
        assert "error adding pid " in text
        unified.ok("kill", "c", "KILL")
        wait_until(lambda: unified.status() == "stopped")
        unified.ok("delete", "c")
    finally:
        remove_cgroup(elsewhere)


def test_exec_goes_where_init_is_when_the_cgroup_takes_no_processes(unified: Place) -> None:
    """A nested runtime enables controllers below the container's cgroup: "no internal processes" (cgroup-v2.rst)."""
    if not (TOP / "cgroup.controllers").read_text().split():
        pytest.skip("cgroup v1 has all controllers")
    unified.start("sleep 1000")
    (unified.cgroup / "init").mkdir()
    (unified.cgroup / "init/cgroup.procs").write_text(init_of(unified))
    name = (unified.cgroup / "cgroup.controllers").read_text().split()[0]
    (unified.cgroup / "cgroup.subtree_control").write_text(f"+{name}")
    assert cgroup_of(unified) == f"/{unified.sandbox.name}/init"
    assert cgroup_of(unified, "--cgroup", "init") == f"/{unified.sandbox.name}/init"
    status, text = unified.run("exec", "--cgroup", "/", "c", "true")
    assert status == 255
    assert "device or resource busy" in text


def test_a_container_in_a_threaded_cgroup(unified: Place) -> None:
    """Below a threaded cgroup new ones are "domain invalid" until they are threaded as well."""
    top = unified.cgroup
    (top / "threaded").mkdir(parents=True)
    (top / "threaded/cgroup.type").write_text("threaded")
    try:
        unified.start("sleep 1000", cgroupsPath=f"/{top.name}/threaded/c")
        assert (top / "threaded/c/cgroup.type").read_text() == "threaded\n"
        assert cgroup_of(unified) == f"/{top.name}/threaded/c"
        unified.ok("delete", "--force", "c")
    finally:
        unified.run("delete", "--force", "c")
        for directory in (top / "threaded", top):
            remove_cgroup(directory)


def test_the_cgroup_stays_the_host_s(unified: Place) -> None:
    """A container may be told to own its cgroup; only the systemd driver hands it over, as it does with runc."""
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    linux = unified.bundle.spec["linux"]
    linux["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    for row in unified.bundle.spec["mounts"]:
        if row["destination"] == "/sys/fs/cgroup":
            row["options"] = [word for word in row["options"] if word != "ro"]
    unified.start("sleep 1000", uidMappings=mapping, gidMappings=mapping)
    saved = json.loads((unified.root / "c/state.json").read_text())
    assert saved["config"]["cgroups"]["owner_uid"] == 100000
    assert {path.stat().st_uid for path in (unified.cgroup, *unified.cgroup.iterdir())} == {0}
    assert unified.run("exec", "c", "mkdir", "/sys/fs/cgroup/mine")[0] == 1


@pytest.mark.skipif(UNIFIED, reason="no cgroup v1")
def test_exec_on_v1_by_controller(sandbox: Sandbox) -> None:
    place = Place(sandbox, view=False)
    place.start("sleep 1000")
    for controller in ("freezer", "pids", "unified"):
        (CGROUPS / controller / sandbox.name / "sub").mkdir()
    assert cgroup_of(place, "--cgroup", "freezer:sub") == f"/{sandbox.name}/sub"
    assert cgroup_of(place, "--cgroup", "pids:sub") == f"/{sandbox.name}"
    assert cgroup_of(place, "--cgroup", "pids:sub", "--cgroup", "freezer:/sub") == f"/{sandbox.name}/sub"
    status, text = place.run("exec", "--cgroup", "pids:sub", "--cgroup", "sub", "c", "true")
    assert (status, "invalid --cgroup argument: sub (missing <controller>: prefix)" in text) == (255, True)
    place.ok("delete", "--force", "c")
    assert gone(place)
