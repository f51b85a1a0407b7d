"""restore with the real CRIU: images exchanged with runc, and a runtime that is killed half way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from libcontainer.criu import mounts_stage
from libcontainer.faults import POINTS
from tests.root.conftest import LIMIT, Bundle, Runtime, Sandbox, wait_until
from tests.root.laboratory import MAPPED

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu"), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

COUNTER = "i=0; while :; do i=$((i + 1)); echo $i >> /count; sleep 0.05; done"


def count(rootfs: Path) -> list[int]:
    """The numbers that the container has written."""
    path = rootfs / "count"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def goes_on(rootfs: Path) -> None:
    """It counts, and has neither missed nor repeated a number."""
    before = len(count(rootfs))
    wait_until(lambda: len(count(rootfs)) > before)
    numbers = count(rootfs)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture
def bundle(sandbox: Sandbox) -> Bundle:
    """A counter with bind mounts, masked paths, and a cgroup namespace."""
    bundle = sandbox.bundle()
    data = sandbox.directory / "data"
    data.mkdir()
    (data / "file").write_text("of the host\n")
    bundle.spec["root"]["readonly"] = False
    bundle.spec["mounts"] += [
        {"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "ro"]},
        {"destination": "/one", "type": "bind", "source": str(data / "file"), "options": ["bind"]},
    ]
    namespaces: list[dict[str, str]] = bundle.spec["linux"]["namespaces"]
    if not any(namespace["type"] == "cgroup" for namespace in namespaces):
        namespaces.append({"type": "cgroup"})
    bundle.args("/bin/sh", "-c", COUNTER)
    return bundle


def detached(runtime: Runtime, *args: str) -> tuple[int, str]:
    """Status and log of the command, with its descriptors on the null device, which the container keeps."""
    log = runtime.scratch / "log"
    log.unlink(missing_ok=True)
    command = [runtime.command, "--root", str(runtime.root), "--log", str(log), *args]
    null = subprocess.DEVNULL
    ended = subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False, timeout=LIMIT)
    return ended.returncode, log.read_text() if log.exists() else ""


# -- runc


@pytest.fixture
def runc(sandbox: Sandbox) -> Runtime:
    """The real runc on a state root of its own."""
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    return sandbox.runtime("runc", "runc-state")


@pytest.mark.parametrize("ours_first", [True, False], ids=["from pyrunc to runc", "from runc to pyrunc"])
@pytest.mark.parametrize("userns", [False, True], ids=["", "user namespace"])
def test_images_are_exchanged_with_runc(
    sandbox: Sandbox, runtime: Runtime, runc: Runtime, bundle: Bundle, ours_first: bool, userns: bool
) -> None:
    if userns and ours_first:
        pytest.skip("our /dev of a user namespace has real nodes, for which runc has no words")
    if userns:
        bundle.spec["linux"]["namespaces"].append({"type": "user"})
        bundle.spec["linux"]["uidMappings"] = bundle.spec["linux"]["gidMappings"] = MAPPED
        for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
            os.chown(path, MAPPED[0]["hostID"], MAPPED[0]["hostID"], follow_symlinks=False)
        bundle.write()
    first, second = (runtime, runc) if ours_first else (runc, runtime)
    images = str(sandbox.directory / "images")
    assert detached(first, "run", "-d", "-b", str(bundle.path), sandbox.name) == (0, "")
    goes_on(bundle.rootfs)
    status, text = detached(first, "checkpoint", "--image-path", images, sandbox.name)
    assert status == 0, text
    status, text = detached(second, "restore", "-d", "-b", str(bundle.path), "--image-path", images, sandbox.name)
    assert status == 0, text
    goes_on(bundle.rootfs)
    script = "cat /data/file /one; head -c 1 /proc/keys | wc -c; echo > /dev/null && echo writable"
    assert second.ok("exec", sandbox.name, "sh", "-c", script).endswith("of the host\nof the host\n0\nwritable\n")
    # and back again
    status, text = detached(second, "checkpoint", "--image-path", images, sandbox.name)
    assert status == 0, text
    status, text = detached(first, "restore", "-d", "-b", str(bundle.path), "--image-path", images, sandbox.name)
    assert status == 0, text
    goes_on(bundle.rootfs)


# -- a container whose root is nobody on the host


def test_what_only_root_may_search_is_no_place_for_the_sources_nor_is_it_hidden(
    sandbox: Sandbox, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, criu: str
) -> None:
    """The state root, CRIU and a bind mount's source are below one directory that is closed."""
    if not any(mounts_stage._is_empty(path) for path in mounts_stage.OFTEN_EMPTY):
        pytest.skip("no directory of this host is empty")
    closed = sandbox.directory / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "source/made").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "bin/criu").write_text(f'#!/bin/sh\nexec {criu} "$@"\n')
    (closed / "bin/criu").chmod(0o755)
    monkeypatch.setenv("PATH", f"{closed}/bin:{os.environ['PATH']}")
    source = {"destination": "/fresh/source", "type": "bind", "source": str(closed / "source"), "options": ["bind"]}
    bundle.spec["mounts"].append(source)
    bundle.spec["linux"]["namespaces"].append({"type": "user"})
    bundle.spec["linux"].update(uidMappings=MAPPED, gidMappings=MAPPED)
    subprocess.run(["chown", "-R", "100000:100000", str(bundle.rootfs), str(closed / "source")], check=True)
    bundle.write()
    runtime = sandbox.runtime(root="closed/state")
    images = str(sandbox.directory / "images")
    assert detached(runtime, "run", "-d", "-b", str(bundle.path), sandbox.name) == (0, "")
    assert detached(runtime, "checkpoint", "--image-path", images, sandbox.name)[0] == 0
    shutil.rmtree(bundle.rootfs / "fresh")
    status, text = detached(runtime, "restore", "-d", "-b", str(bundle.path), "--image-path", images, sandbox.name)
    assert status == 0, text
    goes_on(bundle.rootfs)
    assert runtime.ok("exec", sandbox.name, "ls", "/fresh/source") == "made\n"


# -- killed


@pytest.mark.parametrize("point", POINTS["restore"])
def test_a_restore_that_is_killed_leaves_what_delete_removes(
    sandbox: Sandbox, runtime: Runtime, bundle: Bundle, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.write()
    images = str(sandbox.directory / "images")
    assert detached(runtime, "run", "-d", "-b", str(bundle.path), sandbox.name) == (0, "")
    goes_on(bundle.rootfs)
    assert detached(runtime, "checkpoint", "--image-path", images, sandbox.name)[0] == 0
    restore = ("restore", "-d", "-b", str(bundle.path), "--image-path", images, sandbox.name)
    monkeypatch.setenv("PYRUNC_FAULT", point)
    assert detached(runtime, *restore)[0] == -9
    monkeypatch.delenv("PYRUNC_FAULT")
    runtime.ok("delete", "--force", sandbox.name)
    sandbox.assert_clean()
    assert (bundle.rootfs / "bin/busybox").exists()
    assert detached(runtime, *restore)[0] == 0
    goes_on(bundle.rootfs)
