"""What the tests share: the command under test, and a bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


def pytest_configure() -> None:
    """A shell that starts us in the background lets us, and all that the tests start, ignore these signals."""
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `root` are skipped, by name, where they cannot run."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def pyrunc() -> str:
    """The command under test: $PYRUNC, or what `make` built."""
    path = os.environ.get("PYRUNC") or str(TOP / "build" / "pyrunc")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    return path


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with busybox; tests do not write into it."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    rootfs = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin" / "busybox")
    for applet in ("sh", "true", "false", "sleep", "cat", "echo", "id", "ls"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    return rootfs


@pytest.fixture
def bundle(tmp_path: Path, pyrunc: str, busybox_rootfs: Path) -> Path:
    """A bundle of `pyrunc spec` on busybox, without a terminal, that sleeps."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    subprocess.run([pyrunc, "spec", "--bundle", directory], check=True, timeout=60)
    spec = json.loads((directory / "config.json").read_text())
    spec["root"]["path"] = str(busybox_rootfs)
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["/bin/sleep", "100"]
    (directory / "config.json").write_text(json.dumps(spec))
    return directory
