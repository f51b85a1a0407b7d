"""What engines' containers have when pyrunc has restored them: volumes, logs, terminals; and what it says if it fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.root import engine_cell
from tests.root.conftest import wait_until
from tests.root.engine_cell import Cell, Engine

pytestmark = [pytest.mark.root, pytest.mark.engines, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

COUNTER = ("sh", "-c", "i=0; while true; do i=$((i + 1)); echo $i; sleep 0.1; done")


@pytest.fixture
def cell(pyrunc: str, criu: str) -> Iterator[Cell]:
    """A cell with CRIU in PATH."""
    cell = Cell(pyrunc)
    try:
        script = cell.runtime.parent / "criu"
        script.write_text(f'#!/bin/sh\nexec "{criu}" "$@"\n')
        script.chmod(0o755)
        yield cell
    finally:
        cell.close()


def numbers(text: str) -> list[int]:
    return [int(line) for line in text.split() if line.isdecimal()]


def goes_on(logs: list[int], before: int) -> None:
    """All numbers up to more than there were: none is missing, none came twice."""
    assert len(logs) > before
    assert logs == list(range(1, len(logs) + 1))


def wait_more(engine: Engine, before: int, *logs: str) -> list[int]:
    wait_until(lambda: len(numbers(engine.ok(*logs))) > before)
    return numbers(engine.ok(*logs))


# -- podman


@pytest.fixture
def podman(cell: Cell) -> Iterator[Engine]:
    """podman with a container "box" that counts."""
    podman = engine_cell.podman(cell)
    parent = f"--cgroup-parent=/{cell.name}"
    host = cell.directory / "host"
    host.mkdir()
    (host / "file").write_text("of the host\n")
    podman.ok("run", "--network=none", parent, "--detach", "--name=box", f"--volume={host}:/host:ro", "box", *COUNTER)
    wait_more(podman, 3, "logs", "box")
    yield podman
    podman("rm", "--force", "--all", "--time=0")


def test_podman_checkpoint_and_restore(podman: Engine) -> None:
    podman.ok("container", "checkpoint", "box")
    assert podman.ok("inspect", "--format={{.State.Status}} {{.State.Checkpointed}}", "box") == "exited true"
    before = len(numbers(podman.ok("logs", "box")))
    podman.ok("container", "restore", "box")
    goes_on(wait_more(podman, before + 2, "logs", "box"), before)
    assert podman.ok("exec", "box", "cat", "/host/file") == "of the host"
    assert podman.ok("inspect", "--format={{.State.Status}} {{.State.Restored}}", "box") == "running true"
    podman.ok("container", "checkpoint", "box")
    podman.ok("container", "restore", "box")
    goes_on(wait_more(podman, before + 4, "logs", "box"), before)


def test_podman_export_and_import(podman: Engine) -> None:
    archive = str(podman.cell.directory / "box.tar.gz")
    conmon = podman.ok("inspect", "--format={{.State.ConmonPid}}", "box")
    podman.ok("container", "checkpoint", "--export", archive, "--compress=gzip", "box")
    # which writes the log: it may have some of the output before it still
    wait_until(lambda: podman.cell.run(["test", "-e", f"/proc/{conmon}"], {}).status)
    before = numbers(podman.ok("logs", "box"))[-1]
    podman.ok("rm", "box")
    for name in ("one", "two"):
        podman.ok("container", "restore", "--import", archive, "--name", name)
        logs = wait_more(podman, 2, "logs", name)
        # podman keeps the log from before out of the archive
        first = logs[0]
        assert logs == list(range(first, first + len(logs)))
        assert first in (1, before, before + 1)
        podman.ok("rm", "--force", "--time=0", name)


def test_podman_terminal(podman: Engine) -> None:
    parent = f"--cgroup-parent=/{podman.cell.name}"
    podman.ok("run", "--network=none", parent, "--detach", "--tty", "--name=tty", "box", *COUNTER)
    wait_more(podman, 3, "logs", "tty")
    podman.ok("container", "checkpoint", "tty")
    before = len(numbers(podman.ok("logs", "tty")))
    podman.ok("container", "restore", "tty")
    goes_on(wait_more(podman, before + 2, "logs", "tty"), before)
    assert "/dev/pts/0" in podman.ok("exec", "tty", "ls", "-l", "/proc/1/fd/1")


def test_podman_says_why(podman: Engine) -> None:
    podman.ok("container", "checkpoint", "box")
    (podman.cell.directory / "host" / "file").unlink()
    (podman.cell.directory / "host").rmdir()
    refused = podman("container", "restore", "box")
    assert refused.status != 0
    assert str(podman.cell.directory / "host") in refused.output


# -- containerd


def test_ctr_task_checkpoint(cell: Cell) -> None:
    ctr = engine_cell.containerd(cell)
    log = cell.directory / "log"
    ctr.ok(
        *("run", "--detach", f"--runc-binary={cell.runtime}", "--env=PATH=/bin", "--rootfs", f"--log-uri=file://{log}"),
        *(str(cell.directory / "image"), "task", *COUNTER),
    )
    wait_until(lambda: log.exists() and len(numbers(log.read_text())) >= 3)
    bundle = cell.directory / "own-bundle"
    state = f"{cell.directory}/containerd/state/io.containerd.runtime.v2.task/{cell.name}/task/config.json"
    bundle.mkdir()
    assert cell.run(["cp", state, str(bundle)], {}).status == 0
    images = cell.directory / "images"
    ctr.ok("task", "checkpoint", "--exit", f"--image-path={images}", "task")
    assert (images / "inventory.img").exists()
    wait_until(lambda: "RUNNING" not in ctr.ok("task", "ls"))
    ctr("task", "delete", "task")
    ctr.ok("container", "delete", "task")
    before = numbers(log.read_text())[-1]  # complete now: the shim, which copies it, was waited for
    runtime = [str(cell.runtime), "--root", str(cell.directory / "own")]
    out = cell.directory / "out"
    command = f'"$@" > {out}'
    restore = [*runtime, "restore", "--detach", "--image-path", str(images), "--bundle", str(bundle), "again"]
    restored = cell.run(["sh", "-c", command, "sh", *restore], {})
    assert restored.status == 0, restored
    wait_until(lambda: len(numbers(out.read_text())) >= 3)
    found = numbers(out.read_text())
    assert found == list(range(before + 1, before + 1 + len(found)))
    assert cell.run([*runtime, "delete", "--force", "again"], {}).status == 0
    shutil.rmtree(bundle)
