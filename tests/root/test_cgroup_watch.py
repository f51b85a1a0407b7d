"""Out of memory and the end of the last process are told at once; on this machine's cgroups, and on cgroup2 alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from libcontainer import cgroups
from libcontainer.cgroups import Manager
from libcontainer.cgroups.oom import Watch
from tests.root.conftest import LIMIT, wait_until
from tests.root.laboratory import Snapshot

pytestmark = pytest.mark.root

NAME = f"pyrunc-watch-{os.getpid()}"
MEMORY = 24 << 20
PATIENCE = LIMIT / 4  # "at once", on a busy machine
MOUNT = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
HUNGRY = "x = bytearray(1 << 28)\nfor i in range(0, len(x), 4096): x[i] = 1"

Spawn = Callable[..., "subprocess.Popen[bytes]"]

if cgroups.mode() != "v2":

    def test_on_cgroup2_alone() -> None:
        again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", MOUNT, "sh", *again], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout


@pytest.fixture
def manager() -> Iterator[Manager]:
    manager = cgroups.new(f"/{NAME}", "c")
    manager.create({})
    yield manager
    for pid in manager.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    manager.delete()


@pytest.fixture
def watch(manager: Manager) -> Iterator[Watch]:
    """From before there is a process."""
    watch = manager.watch()
    yield watch
    watch.close()


@pytest.fixture
def spawn(manager: Manager) -> Iterator[Spawn]:
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str = "import time; time.sleep(60)") -> subprocess.Popen[bytes]:
        """A Python program in the cgroups."""
        code = f"import sys; sys.stdin.readline()\n{code}"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        started.append(process)
        manager.join(process.pid)
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def has_memory(manager: Manager) -> bool:
    if manager.version == 2:
        return os.path.exists(f"{manager.paths['']}/memory.events")
    return "memory" in manager.paths


def later(seconds: float, work: Callable[[], object]) -> threading.Thread:
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


def elapsed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def test_nothing_happens_until_the_time_is_up(watch: Watch, spawn: Spawn) -> None:
    spawn()
    start = time.monotonic()
    assert watch.wait(0.3) == 0
    assert 0.3 <= time.monotonic() - start < PATIENCE
    assert not watch.ended()


def test_the_end_is_told_at_once(watch: Watch, spawn: Spawn) -> None:
    process = spawn()

    later(0.2, process.kill)
    assert elapsed(lambda: watch.wait(LIMIT)) < PATIENCE
    assert watch.ended()


def test_the_end_is_noticed_without_a_unified_hierarchy(manager: Manager, spawn: Spawn) -> None:
    if manager.version == 2:
        pytest.skip("v1 only")
    process = spawn()
    paths = {name: path for name, path in manager.paths.items() if name}
    watch = cgroups.load(paths).watch()
    try:
        later(0.2, process.kill)
        assert elapsed(lambda: watch.wait(LIMIT)) < PATIENCE
        assert watch.ended()
    finally:
        watch.close()


def test_out_of_memory(manager: Manager, watch: Watch, spawn: Spawn) -> None:
    if not has_memory(manager):
        pytest.skip("no memory controller here")
    manager.set({"memory": {"limit": MEMORY, "swap": MEMORY}}, devices=False)
    spawn()
    for _ in range(2):
        process = spawn(HUNGRY)
        assert watch.wait(LIMIT) >= 1
        assert process.wait() == -9
        assert not watch.ended()
        while watch.wait(0.2):  # v1 may tell more than once while a process dies
            pass


def test_processes_that_come_and_stand_still_are_no_event(manager: Manager, watch: Watch, spawn: Spawn) -> None:
    spawn()

    def freeze_and_thaw() -> None:
        manager.freeze()
        time.sleep(0.1)
        manager.thaw()

    thread = later(0.1, freeze_and_thaw)
    while thread.is_alive():
        assert watch.wait(0.2) == 0
    assert watch.wait(0.2) == 0
    assert not watch.ended()


def test_removal_is_the_end_and_no_event(manager: Manager, watch: Watch, spawn: Spawn) -> None:
    process = spawn()
    process.kill()
    process.wait()
    manager.delete()
    assert watch.wait(LIMIT) == 0
    assert watch.ended()


def test_close_leaves_no_descriptor(manager: Manager) -> None:
    manager.pids()
    before = Snapshot()
    manager.watch().close()
    before.assert_unchanged()


def test_statistics_of_a_process(manager: Manager, spawn: Spawn) -> None:
    process = spawn("for i in range(3000000): pass")
    process.wait()
    spawn()
    found = manager.stats()
    assert found["cpu"]["usage"]["total"] > 10_000_000
    assert found["pids"]["current"] == 1
    if has_memory(manager):
        assert found["memory"]["raw"]
        wait_until(lambda: manager.stats()["memory"]["usage"]["usage"] > 0)  # when it has begun to run here


def test_statistics_of_what_is_not_there(manager: Manager) -> None:
    manager.delete()
    found = manager.stats()
    assert found["cpu"]["usage"] == {"kernel": 0, "user": 0}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    manager.create({})
