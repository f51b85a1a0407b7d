"""SIGKILL at every step: whatever a killed command leaves, `delete --force` removes.

libcontainer.faults names the points; PYRUNC_FAULT=<point> makes the command kill itself there. After it has died and the
container was deleted by force, no process, mount, cgroup or directory may be left, and the id can be used again.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from libcontainer.faults import POINTS
from tests.root.conftest import wait_until

if TYPE_CHECKING:
    from tests.root.conftest import Bundle, Runtime, Sandbox

pytestmark = pytest.mark.root

NAME = "victim"

# Each variant gives create more that can be left over.
HOOKS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
VARIANTS = ["plain", "user namespace", "mounts", "host pid namespace"]


def vary(bundle: Bundle, variant: str) -> None:
    """Change the bundle's spec; hooks are always there, or their points would be passed by."""
    linux = bundle.spec["linux"]
    bundle.spec["hooks"] = {kind: [{"path": "/bin/true"}] for kind in HOOKS}
    if variant == "user namespace":
        ids = {"containerID": 0, "hostID": 100000, "size": 65536}
        linux["namespaces"].append({"type": "user"})
        linux.update(uidMappings=[ids], gidMappings=[ids])
        for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
            os.lchown(path, 100000, 100000)
    elif variant == "mounts":
        (bundle.path / "source").mkdir()
        bundle.spec["mounts"].append({"destination": "/mnt", "type": "bind", "source": "source", "options": ["rbind", "ro"]})
        bundle.spec["mounts"].append({"destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})
    elif variant == "host pid namespace":
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
        bundle.spec["process"]["args"] = ["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000"]
    bundle.write()


def killed(runtime: Runtime, point: str, *args: str) -> bool:
    """Run with the fault armed; whether the command died of it (else it has passed the point by)."""
    status, text = runtime.run(*args, env={"PYRUNC_FAULT": point})
    assert status in (0, -signal.SIGKILL), f"{point}: status {status}: {text}"
    return status == -signal.SIGKILL


def forced_away(sandbox: Sandbox, runtime: Runtime, bundle: Bundle) -> None:
    """delete --force, nothing is left, and the id is free."""
    runtime.ok("delete", "--force", NAME)
    sandbox.assert_clean()
    assert not (runtime.root / NAME).exists()
    runtime.ok("create", "--bundle", str(bundle.path), NAME)
    runtime.ok("delete", "--force", NAME)
    sandbox.assert_clean()


def cases(verb: str) -> list[str]:
    """The points of one verb."""
    return list(POINTS[verb])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("point", cases("create"))
def test_create(sandbox: Sandbox, runtime: Runtime, point: str, variant: str) -> None:
    """A create killed at the point."""
    bundle = sandbox.bundle()
    vary(bundle, variant)
    assert killed(runtime, point, "create", "--bundle", str(bundle.path), NAME)
    forced_away(sandbox, runtime, bundle)


@pytest.mark.parametrize("point", [*cases("create, on the host's mounts"), "create.mounted", "create.detached"])
def test_create_on_the_hosts_mounts(sandbox: Sandbox, runtime: Runtime, point: str) -> None:
    """Without a mount namespace, what create mounts does not go with init."""
    bundle = sandbox.bundle()
    vary(bundle, "plain")
    linux = bundle.spec["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "mount"]
    linux.update(maskedPaths=[], readonlyPaths=[])
    bundle.spec["root"]["readonly"] = False
    bundle.write()
    assert killed(runtime, point, "create", "--bundle", str(bundle.path), NAME)
    forced_away(sandbox, runtime, bundle)


@pytest.mark.parametrize("point", cases("create"))
def test_run(sandbox: Sandbox, runtime: Runtime, point: str) -> None:
    """A foreground run killed at the points of create."""
    bundle = sandbox.bundle()
    bundle.args("true")
    killed(runtime, point, "run", "--bundle", str(bundle.path), NAME)
    forced_away(sandbox, runtime, bundle)


@pytest.mark.parametrize("variant", ["plain", "mounts"])
@pytest.mark.parametrize("point", cases("start"))
def test_start(sandbox: Sandbox, runtime: Runtime, point: str, variant: str) -> None:
    """A start killed at the point."""
    bundle = sandbox.bundle()
    vary(bundle, variant)
    runtime.ok("create", "--bundle", str(bundle.path), NAME)
    assert killed(runtime, point, "start", NAME)
    assert runtime.status(NAME) in ("created", "running", "stopped")
    forced_away(sandbox, runtime, bundle)


@pytest.mark.parametrize("variant", ["plain", "user namespace", "host pid namespace"])
@pytest.mark.parametrize("point", cases("exec"))
def test_exec(sandbox: Sandbox, runtime: Runtime, point: str, variant: str) -> None:
    """An exec killed at the point; the container goes on."""
    bundle = sandbox.bundle()
    vary(bundle, variant)
    runtime.ok("run", "--detach", "--bundle", str(bundle.path), NAME)
    assert killed(runtime, point, "exec", "--detach", NAME, "sleep", "1000")
    assert runtime.status(NAME) == "running"
    assert runtime.ok("exec", NAME, "echo", "alive") == "alive\n"
    forced_away(sandbox, runtime, bundle)


def bring_to(runtime: Runtime, state: str) -> None:
    """A created container into the state that delete shall find it in."""
    if state != "created":
        runtime.ok("start", NAME)
    if state == "stopped":
        runtime.ok("kill", NAME, "KILL")
        wait_until(lambda: runtime.status(NAME) == "stopped")


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
@pytest.mark.parametrize("point", cases("delete"))
def test_delete(sandbox: Sandbox, runtime: Runtime, point: str, state: str) -> None:
    """A forced delete killed at the point; another one finishes it."""
    bundle = sandbox.bundle()
    vary(bundle, "mounts")
    runtime.ok("create", "--bundle", str(bundle.path), NAME)
    bring_to(runtime, state)
    killed(runtime, point, "delete", "--force", NAME)
    forced_away(sandbox, runtime, bundle)


@pytest.mark.parametrize("point", cases("delete"))
def test_delete_reaches_every_point(sandbox: Sandbox, runtime: Runtime, point: str) -> None:
    """None of the points is a name that nobody passes."""
    bundle = sandbox.bundle()
    vary(bundle, "mounts")
    runtime.ok("run", "--detach", "--bundle", str(bundle.path), NAME)
    assert killed(runtime, point, "delete", "--force", NAME)
    forced_away(sandbox, runtime, bundle)


def test_an_unknown_point_is_passed_by(sandbox: Sandbox, runtime: Runtime) -> None:
    """The variable alone changes nothing."""
    bundle = sandbox.bundle()
    assert not killed(runtime, "no.such.point", "create", "--bundle", str(bundle.path), NAME)
    assert runtime.status(NAME) == "created"


@pytest.mark.slow
def test_create_killed_at_any_time(sandbox: Sandbox, runtime: Runtime) -> None:
    """Not only at the points: SIGKILL after each of many delays."""
    bundle = sandbox.bundle()
    out = sandbox.directory / "out"
    for step in range(40):
        with runtime.popen("create", "--bundle", str(bundle.path), NAME, out=out) as process:
            time.sleep(0.002 * step)
            process.kill()
        runtime.ok("delete", "--force", NAME)
        sandbox.assert_clean()
        assert not (runtime.root / NAME).exists()
