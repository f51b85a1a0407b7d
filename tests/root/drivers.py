"""The cgroup drivers, for root and for a user: a container's commands, where its cgroups are, what its unit says.

A user gets a cgroup of his own for the cgroupfs driver; for the systemd driver he needs a session ($PYRUNC_TEST_USER, default
tester, whom the test VM has).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer import cgroups
from libcontainer.example_spec import example
from tests.root.conftest import CGROUPS, LIMIT, Bundle, Runtime, Sandbox, remove_cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

V2 = cgroups.mode() == "v2"
DELEGATED = ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
KINDS = ("root-cgroupfs", "root-systemd", "user-cgroupfs", "user-systemd")


class Driver:
    """A runtime with one of the cgroup drivers, and one container."""

    __slots__ = ("bundle", "flags", "name", "runtime", "systemd", "uid", "unit")

    def __init__(self, sandbox: Sandbox, *, systemd: bool, uid: int) -> None:
        self.systemd = systemd
        self.uid = uid
        self.name = sandbox.name
        self.unit = f"pyrunc-{self.name}.scope"
        self.flags = ("--systemd-cgroup",) if systemd else ()
        self.runtime: Runtime = sandbox.runtime()
        self.bundle: Bundle = sandbox.bundle(spec=users_spec(uid)) if uid else sandbox.bundle()
        self.bundle.spec["linux"]["cgroupsPath"] = self._path()
        if uid:
            self.runtime.prefix = self._as_user()
            for path in [sandbox.directory, *sandbox.directory.rglob("*")]:
                os.lchown(path, uid, uid)

    def _path(self) -> str:
        if self.systemd:
            return f":pyrunc:{self.name}"
        return f"/{self.name}/ct" if self.uid else f"/{self.name}"

    def _as_user(self) -> tuple[str, ...]:
        runtime_dir = f"XDG_RUNTIME_DIR=/run/user/{self.uid}"
        user = ("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "env", runtime_dir)
        if self.systemd:
            return user
        return ("sh", "-c", 'echo 0 >"$0" && exec "$@"', str(CGROUPS / self.name / "caller/cgroup.procs"), *user)

    def cgroup(self, controller: str) -> Path:
        """The container's cgroup, while it is there."""
        if not self.systemd:
            below = f"{self.name}/ct" if self.uid else self.name
        elif self.uid:
            below = f"user.slice/user-{self.uid}.slice/user@{self.uid}.service/user.slice/{self.unit}"
        else:
            below = f"system.slice/{self.unit}"
        return CGROUPS / below if V2 else CGROUPS / controller / below

    def shown(self, *properties: str) -> dict[str, str]:
        """What systemd says of the container's unit."""
        prefix = (*self.runtime.prefix, "systemctl", "--user") if self.uid else ("systemctl",)
        command = [*prefix, "show", "--property", ",".join(properties), self.unit]
        text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def forgotten(self) -> bool:
        """Whether systemd knows nothing of the unit any more: it unloads it when it has nothing else to do."""
        return not self.systemd or self.shown("LoadState") == {"LoadState": "not-found"}

    def limit(self, resources: dict[str, Any], *args: str) -> None:
        """What the container may use, and what it runs."""
        self.bundle.spec["linux"]["resources"] = resources
        self.bundle.args(*args)

    def run(self) -> tuple[int, str]:
        """Run the container to its end."""
        return self.runtime.run(*self.flags, "run", "-b", str(self.bundle.path), self.name)

    def start(self) -> None:
        """Run it in the background."""
        self.runtime.ok(*self.flags, "run", "-d", "-b", str(self.bundle.path), self.name)


def users_spec(uid: int) -> dict[str, Any]:
    """What `spec --rootless` writes for this user."""
    spec: Any = example(True)
    spec["process"].update(terminal=False, args=["sleep", "1000"])
    only = [{"containerID": 0, "hostID": uid, "size": 1}]
    spec["linux"].update(uidMappings=only, gidMappings=only)
    return dict(spec)


def user(systemd: bool) -> int:
    """The uid of one; skips where there is none with a session, if that is needed."""
    if not V2:
        pytest.skip("cgroup v1 is not handed to users")
    try:
        uid = pwd.getpwnam(os.environ.get("PYRUNC_TEST_USER", "tester")).pw_uid
    except KeyError:
        uid = 4711
    if systemd and not os.path.exists(f"/run/user/{uid}/bus"):
        pytest.skip("no user with a systemd session")
    return uid


@contextlib.contextmanager
def delegated(name: str, uid: int) -> Iterator[None]:
    """A cgroup that is the user's, with controllers, and one below it for him to call from."""
    top = CGROUPS / name
    for controller in CONTROLLERS:
        with contextlib.suppress(OSError):
            (CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
    for directory in (top, top / "caller"):
        directory.mkdir()
        for file in DELEGATED:
            os.chown(directory / file, uid, uid)
    try:
        yield
    finally:
        for directory in (top / "caller", top):
            remove_cgroup(directory)


@contextlib.contextmanager
def made(sandbox: Sandbox, kind: str) -> Iterator[Driver]:
    """A driver of this kind; skips where this machine has it not."""
    systemd, uid = kind.endswith("systemd"), 0
    if systemd and not os.path.isdir("/run/systemd/system"):
        pytest.skip("needs systemd")
    if kind.startswith("user"):
        uid = user(systemd)
    with delegated(sandbox.name, uid) if uid and not systemd else contextlib.nullcontext():
        driver = Driver(sandbox, systemd=systemd, uid=uid)
        if uid and driver.runtime.run("--version")[0] != 0:
            pytest.skip("the command lies where other users cannot reach it")
        yield driver
        driver.runtime.run("delete", "--force", driver.name)
