"""Restore where the host's mounts are shared, as systemd makes them: all binds of one file system are slaves of one mount.

The tests' own mounts may be private: the commands run in a mount namespace in which they are not.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.root.conftest import Bundle, Runtime, Sandbox, wait_until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]


@pytest.fixture
def host(sandbox: Sandbox) -> Iterator[int]:
    """A process in such a namespace."""
    # Private first: what is shared with the machine would be shared with it still.
    share = "mount --make-rshared / && exec sleep 1000"
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", share])
    try:
        wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"))
        wait_until(lambda: " shared:" in Path(f"/proc/{process.pid}/mountinfo").read_text())
        yield process.pid
        sandbox.delete_all()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def there(sandbox: Sandbox, host: int) -> Runtime:
    """The command in that namespace."""
    wrapper = sandbox.directory / "pyrunc"
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --target {host} --mount {sandbox.command} "$@"\n')
    wrapper.chmod(0o755)
    return sandbox.runtime(str(wrapper))


@pytest.fixture
def bundle(sandbox: Sandbox) -> Bundle:
    """With two binds of the file system that the root is on."""
    made = sandbox.bundle()
    for name in ("one", "two"):
        (sandbox.directory / name).mkdir()
        (made.rootfs / name).mkdir()
        (sandbox.directory / name / "file").write_text(name)
        (sandbox.directory / name / "mnt").mkdir()
        bind = {"destination": f"/{name}", "type": "bind", "source": str(sandbox.directory / name)}
        made.spec["mounts"].append({**bind, "options": ["rbind", "ro" if name == "one" else "rw", "rslave"]})
    made.spec["root"]["readonly"] = False
    made.args("sh", "-c", "while :; do sleep 100; done")  # restored, a sleep may end early: EINTR
    return made


def quietly(runtime: Runtime, *arguments: str) -> None:
    log = runtime.scratch / "log"
    status, _ = runtime.run("--log", str(log), *arguments, out=Path("/dev/null"))
    assert status == 0, log.read_text()


def mounts_of(runtime: Runtime, name: str) -> dict[str, list[str]]:
    """Mountpoint and the options and propagation of each mount of a container."""
    lines = Path(f"/proc/{runtime.state(name)['pid']}/mountinfo").read_text().splitlines()
    return {line.split()[4]: line.partition(" - ")[0].split()[5:] for line in lines}


@pytest.mark.parametrize("user_namespace", [False, True], ids=["", "user namespace"])
def test_slaves_of_one_mount_stay_slaves(
    there: Runtime, host: int, sandbox: Sandbox, bundle: Bundle, user_namespace: bool
) -> None:
    if user_namespace:
        maps = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
        bundle.spec["linux"]["namespaces"].append({"type": "user"})
        bundle.spec["linux"].update(uidMappings=maps, gidMappings=maps)
        bundle.write()
    name = sandbox.name
    quietly(there, "run", "--detach", "--bundle", str(bundle.path), name)
    before = mounts_of(there, name)
    assert before["/one"][1] == before["/two"][1]
    assert before["/one"][1].startswith("master:")
    images = str(sandbox.directory / "images")
    there.ok("checkpoint", "--image-path", images, name)
    quietly(there, "restore", "--detach", "--bundle", str(bundle.path), "--image-path", images, name)
    assert mounts_of(there, name) == before
    assert there.ok("exec", name, "cat", "/one/file", "/two/file") == "onetwo"
    for point in ("one", "two"):
        where = str(sandbox.directory / point / "mnt")
        subprocess.run(["nsenter", f"--target={host}", "--mount", "mount", "-t", "tmpfs", "none", where], check=True)
        assert f"/{point}/mnt" in mounts_of(there, name), "what the host mounts does not show in the container"
