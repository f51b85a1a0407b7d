"""podman and containerd checkpoint and restore with pyrunc: their own command lines, files and expectations."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

import pytest

from tests.root import engine_cell
from tests.root.conftest import wait_until
from tests.root.engine_cell import Cell, Engine

pytestmark = [pytest.mark.root]

COUNTER = ("sh", "-c", "i=0; while :; do i=$((i + 1)); echo $i >>/tmp/count; sleep 0.1; done")


@pytest.fixture
def cell(pyrunc: str, criu: str) -> Iterator[Cell]:
    cell = Cell(pyrunc)
    script = cell.runtime.parent / "criu"
    script.write_text(f'#!/bin/sh\nexec {criu} "$@"\n')
    script.chmod(0o755)
    try:
        yield cell
    finally:
        cell.close()


# -- podman


@pytest.fixture
def podman(cell: Cell) -> Engine:
    return engine_cell.podman(cell)


@pytest.fixture
def box(podman: Engine) -> Iterator[Engine]:
    """A podman with a container "box" that counts."""
    parent = ["--cgroup-parent", f"/{podman.cell.name}"]
    podman.ok("run", "--detach", "--network=none", *parent, "--name=box", "box", *COUNTER)
    wait_until(lambda: counted(podman) > 2)
    yield podman
    podman.ok("rm", "--all", "--force", "--time=0")


def counted(podman: Engine, name: str = "box") -> int:
    return int(podman.ok("exec", name, "sh", "-c", "cat /tmp/count 2>/dev/null | wc -l"))  # none before it has begun


def assert_goes_on(podman: Engine, name: str = "box") -> None:
    before = counted(podman, name)
    wait_until(lambda: counted(podman, name) > before + 1)
    numbers = podman.ok("exec", name, "cat", "/tmp/count").split()
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


def status(podman: Engine, name: str = "box") -> str:
    return podman.ok("inspect", "--format", "{{.State.Status}}", name)


def test_podman_checkpoint_and_restore(box: Engine) -> None:
    for _ in range(2):
        box.ok("container", "checkpoint", "--tcp-established", "--file-locks", "box")
        assert status(box) == "exited"
        box.ok("container", "restore", "--tcp-established", "--file-locks", "box")
        assert status(box) == "running"
        assert_goes_on(box)


def test_podman_leaves_it_running(box: Engine) -> None:
    box.ok("container", "checkpoint", "--leave-running", "box")
    assert_goes_on(box)


def test_podman_exports_and_imports(box: Engine) -> None:
    """With the changes to its files; under another name, and in place of the first."""
    archive = box.cell.directory / "box.tar"
    box.ok("container", "checkpoint", "--compress=none", "--export", str(archive), "box")
    with tarfile.open(archive) as tar:
        names = {os.path.normpath(name) for name in tar.getnames()}
    assert {"checkpoint/inventory.img", "checkpoint/descriptors.json", "spec.dump", "stats-dump"} <= names
    box.ok("container", "restore", "--import", str(archive), "--name=other")
    assert_goes_on(box, "other")
    box.ok("rm", "--force", "--time=0", "box")
    box.ok("container", "restore", "--import", str(archive))
    assert_goes_on(box)


def test_podman_prints_statistics(box: Engine) -> None:
    """podman reads CRIU's stats-dump and stats-restore from the work path."""
    assert '"pages_written"' in box.ok("container", "checkpoint", "--print-stats", "box")
    assert '"restore_time"' in box.ok("container", "restore", "--print-stats", "box")
    assert_goes_on(box)


def test_podman_says_what_went_wrong(box: Engine) -> None:
    script = "head -c 2000000 /dev/zero >/tmp/big; exec 3<>/tmp/big; /bin/busybox rm /tmp/big"
    parent = f"--cgroup-parent=/{box.cell.name}"
    box.ok("run", "--detach", "--network=none", parent, "--name=big", "box", "sh", "-c", f"{script}; {COUNTER[2]}")
    wait_until(lambda: counted(box, "big") > 2)
    refused = box("container", "checkpoint", "big")
    assert refused.status != 0
    assert "a deleted file that is open is larger than --ghost-limit" in refused.output
    assert_goes_on(box, "big")


# -- containerd


@pytest.fixture
def task(cell: Cell) -> Iterator[Engine]:
    """A containerd with a container "task" that counts."""
    ctr = engine_cell.containerd(cell)
    root = str(cell.directory / "image")
    runtime = f"--runc-binary={cell.runtime}"
    ctr.ok("run", runtime, "--env=PATH=/bin", "--detach", "--null-io", "--rootfs", root, "task", *COUNTER)
    wait_until(lambda: counts(ctr) > 2)
    yield ctr
    ctr("task", "kill", "--signal=SIGKILL", "task")
    wait_until(lambda: "not found" in ctr("task", "delete", "task").output)
    ctr.ok("container", "delete", "task")


def counts(ctr: Engine) -> int:
    path = ctr.cell.directory / "image/tmp/count"
    return path.read_text().count("\n") if path.exists() else 0


def test_ctr_checkpoints_a_task(task: Engine) -> None:
    """It goes on; the images are where it was told."""
    images = task.cell.directory / "images"
    task.ok("task", "checkpoint", f"--image-path={images}", "task")
    assert (images / "inventory.img").exists()
    before = counts(task)
    wait_until(lambda: counts(task) > before + 1)


def test_ctr_checkpoints_and_exits(task: Engine) -> None:
    images = task.cell.directory / "images"
    task.ok("task", "checkpoint", "--exit", f"--image-path={images}", "task")
    assert (images / "inventory.img").exists()
    wait_until(lambda: "RUNNING" not in task.ok("task", "ls"))
