"""Two hundred containers through every verb, eight commands at a time: each does what it should, and nothing is left over.

On the machine's own cgroups and on cgroup2 alone, in a mount namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from libcontainer import Container
from libcontainer.cgroups import mode
from tests.root.conftest import CGROUPS, Bundle, Runtime, Sandbox
from tests.root.laboratory import Snapshot

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNT, AT_ONCE = 200, 8
MEMORY = 1 << 25
V2 = mode() == "v2"
MOUNT = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
# The limit that is updated: where v1 has taken all controllers, one that needs none.
HAS_MEMORY = not V2 or "memory" in (CGROUPS / "cgroup.controllers").read_text().split()
RESOURCES: Any = {"memory": {"limit": MEMORY}} if HAS_MEMORY else {"unified": {"cgroup.max.depth": "7"}}

if not V2:

    def test_on_cgroup2_alone(pyrunc: str) -> None:
        again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", MOUNT, "sh", *again],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYRUNC": pyrunc},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 passed" in done.stdout


class Herd:
    """Many containers that share a root file system, read-only; each has a cgroup below one that they share."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.name = sandbox.name
        self.directory = sandbox.directory
        self.shared = sandbox.bundle("shared")

    def bundle(self, name: str) -> Bundle:
        """The bundle of one."""
        path = self.directory / name
        path.mkdir()
        spec = {**self.shared.spec, "root": {"path": str(self.shared.rootfs), "readonly": True}}
        spec["linux"] = {**spec["linux"], "cgroupsPath": f"/{self.name}/{name}"}
        bundle = Bundle(path, spec)
        bundle.args("sleep", "1000")
        return bundle

    def is_limited(self, name: str) -> bool:
        """Whether the kernel has what RESOURCES asks for."""
        if not HAS_MEMORY:
            return (CGROUPS / self.name / name / "cgroup.max.depth").read_text() == "7\n"
        directory = CGROUPS if V2 else CGROUPS / "memory"
        file = directory / self.name / name / ("memory.max" if V2 else "memory.limit_in_bytes")
        return int(file.read_text()) == MEMORY

    def everyone(self, work: Callable[[str], None]) -> None:
        """`work` for all, eight at a time; the first that failed is told."""
        start = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(work, [f"c{number}" for number in range(COUNT)]))
        print(f"{COUNT} containers, {AT_ONCE} at a time: {time.monotonic() - start:.1f} s")

    def remove_cgroup(self) -> None:
        """The one above all of them, which only an empty one lets us do."""
        for top in (CGROUPS, *CGROUPS.iterdir()):
            if (top / self.name).is_dir():
                (top / self.name).rmdir()


@pytest.fixture
def herd(sandbox: Sandbox) -> Herd:
    return Herd(sandbox)


class Verbs:
    """What is done with each, by command."""

    __slots__ = ("_herd", "_resources", "_runtime")

    def __init__(self, runtime: Runtime, herd: Herd) -> None:
        self._runtime = runtime
        self._herd = herd
        self._resources = herd.directory / "resources.json"
        self._resources.write_text(json.dumps(RESOURCES))

    def start(self, name: str) -> None:
        self._runtime.ok("create", "--bundle", str(self._herd.bundle(name).path), name)
        self._runtime.ok("start", name)

    def update(self, name: str) -> None:
        self._runtime.ok("update", "--resources", str(self._resources), name)
        assert self._herd.is_limited(name)

    def pause(self, name: str) -> None:
        self._runtime.ok("pause", name)
        assert self._runtime.status(name) == "paused"

    def exec(self, name: str) -> None:
        self._runtime.ok("resume", name)
        assert self._runtime.ok("exec", name, "echo", name).strip() == name

    def delete(self, name: str) -> None:
        self._runtime.ok("delete", "--force", name)

    @property
    def all(self) -> tuple[Callable[[str], None], ...]:
        return self.start, self.update, self.pause, self.exec, self.delete


def nothing_left(sandbox: Sandbox, runtime: Runtime, herd: Herd) -> None:
    assert runtime.ok("list", "--quiet") == ""
    herd.remove_cgroup()
    sandbox.assert_clean()


def test_different_verbs_at_once(sandbox: Sandbox, runtime: Runtime, herd: Herd) -> None:
    """Some come while others go."""
    verbs = Verbs(runtime, herd).all

    def life(name: str) -> None:
        for verb in verbs:
            verb(name)

    herd.everyone(life)
    nothing_left(sandbox, runtime, herd)


def test_all_live_at_once(sandbox: Sandbox, runtime: Runtime, herd: Herd) -> None:
    for verb in Verbs(runtime, herd).all:
        herd.everyone(verb)
    nothing_left(sandbox, runtime, herd)


def test_by_library(sandbox: Sandbox, herd: Herd) -> None:
    """From threads of one process, which has to be left with the descriptors and children that it had."""
    root = str(sandbox.directory / "state")

    def life(name: str) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        bundle = herd.bundle(name)
        container = Container.create(name, root=root, bundle=str(bundle.path), spec=bundle.spec, stdio=(null, null, null))
        try:
            container.start()
            container.update(RESOURCES)
            assert herd.is_limited(name)
            container.pause()
            assert container.status() == "paused"
            container.resume()
            with container.exec({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"]}, stdio=(null, null, null)) as process:
                assert process.wait() == 0
            assert list(container.processes()) == [container.pid]
        finally:
            container.delete(force=True)
            os.close(null)

    life("first")  # the program that init runs is made once a process, and kept
    before = Snapshot()
    herd.everyone(life)
    assert not [entry for entry in os.listdir(root) if entry != ".seccomp"]
    before.assert_unchanged()
    herd.remove_cgroup()
    sandbox.assert_clean()
