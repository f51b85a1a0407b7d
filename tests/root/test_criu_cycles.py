"""One container through many dumps and restores in one process: nothing is left by any of them.

PYRUNC_TEST_CYCLES says how many (20).
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from pathlib import Path

import pytest

from libcontainer import Container
from libcontainer.criu.options import CheckpointOptions
from libcontainer.criu.restore_options import RestoreOptions
from tests.root.conftest import wait_until
from tests.root.laboratory import Laboratory

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]

CYCLES = int(os.environ.get("PYRUNC_TEST_CYCLES", "20"))
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i >>/count; sleep 0.02; done"


def resident() -> int:
    """Kilobytes of this process that are in memory and its own."""
    line = next(line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Private_Dirty"))
    return int(line.split()[1])


def descriptors() -> list[str]:
    gc.collect()
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(found)


def children() -> str:
    return "".join(Path(f"/proc/self/task/{task}/children").read_text() for task in os.listdir("/proc/self/task"))


def mounts(directory: Path) -> list[str]:
    """Ours, and those that CRIU makes for itself; others come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(directory) in line or "/.criu." in line]


@pytest.fixture
def laboratory(tmp_path: Path, busybox_rootfs: Path) -> Laboratory:
    tmp_path.chmod(0o755)
    return Laboratory(tmp_path, busybox_rootfs)


def test_cycles_leave_nothing(laboratory: Laboratory, tmp_path: Path) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    stdio = (null, null, null)
    spec = laboratory.spec(COUNTER)
    images = str(tmp_path / "images")
    count = laboratory.rootfs / "count"
    mounted = mounts(tmp_path)
    container = laboratory.make(spec, stdio=stdio)
    container.start()
    sizes: list[int] = []
    opened: list[list[str]] = []
    try:
        for _ in range(CYCLES + 1):
            seen = lines(count)
            wait_until(lambda seen=seen: lines(count) > seen)  # type: ignore[misc]
            container.checkpoint(CheckpointOptions(image_path=images))
            assert mounts(tmp_path) == mounted
            container = Container.restore(
                laboratory.name(),
                RestoreOptions(image_path=images),
                root=laboratory.root,
                bundle=str(laboratory.bundle),
                spec=spec,
                stdio=stdio,
            )
            shutil.rmtree(images)
            sizes.append(resident())
            opened.append(descriptors())
    finally:
        laboratory.clean_up()
        container.reap()
    assert opened[-1] == opened[0]  # not what a process keeps from its first container on
    assert children() == ""
    os.close(null)
    assert count.read_text().split() == [str(number) for number in range(1, lines(count) + 1)]
    assert mounts(tmp_path) == mounted
    assert laboratory.left_behind() == []
    settled = sizes[len(sizes) // 4]
    assert sizes[-1] - settled < 512, sizes


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0
