"""Two hundred containers, eight at a time, through every verb: each does what it should, and nothing is left over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from libcontainer import Container
from libcontainer.cgroups import mode
from tests.root.conftest import CGROUPS, Bundle, Runtime, Sandbox
from tests.root.laboratory import Snapshot

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNT, AT_ONCE = 200, 8
MEMORY = 1 << 25


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

    def limit(self, name: str) -> int:
        """The memory limit that the kernel has."""
        directory = Path(self.name, name)
        if mode() == "v2":
            return int((CGROUPS / directory / "memory.max").read_text())
        return int((CGROUPS / "memory" / directory / "memory.limit_in_bytes").read_text())

    def everyone(self, life: Callable[[str], None]) -> None:
        """`life` of all, eight at a time; the first that failed is told."""
        start = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(life, [f"c{number}" for number in range(COUNT)]))
        print(f"{COUNT} containers, {AT_ONCE} at a time: {time.monotonic() - start:.1f} s")

    def remove_cgroup(self) -> None:
        """The one above all of them, which only an empty one lets us do."""
        for top in (CGROUPS, *CGROUPS.iterdir()):
            if (top / self.name).is_dir():
                (top / self.name).rmdir()


@pytest.fixture
def herd(sandbox: Sandbox) -> Herd:
    return Herd(sandbox)


def test_by_command(sandbox: Sandbox, runtime: Runtime, herd: Herd) -> None:
    def life(name: str) -> None:
        bundle = herd.bundle(name)
        runtime.ok("create", "--bundle", str(bundle.path), name)
        runtime.ok("start", name)
        runtime.ok("update", "--memory", str(MEMORY), "--pids-limit", "50", name)
        assert herd.limit(name) == MEMORY
        runtime.ok("pause", name)
        assert runtime.status(name) == "paused"
        runtime.ok("resume", name)
        assert runtime.ok("exec", name, "echo", name).strip() == name
        runtime.ok("delete", "--force", name)

    herd.everyone(life)
    assert runtime.ok("list", "--quiet") == ""
    herd.remove_cgroup()
    sandbox.assert_clean()


def test_by_library(sandbox: Sandbox, herd: Herd) -> None:
    """From threads of one process, which has to be left with the descriptors and children that it had."""
    root = str(sandbox.directory / "state")

    def life(name: str) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        bundle = herd.bundle(name)
        container = Container.create(name, root=root, bundle=str(bundle.path), spec=bundle.spec, stdio=(null, null, null))
        try:
            container.start()
            container.update({"memory": {"limit": MEMORY}})
            assert herd.limit(name) == MEMORY
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
