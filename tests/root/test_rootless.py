"""The two meanings of rootless, in all combinations: RootlessEUID (not uid 0), RootlessCgroups (perhaps no right to cgroups).

Callers: root; an ordinary user; that user as root of a user namespace. Places: the machine's own cgroups, where only root may
do anything; and cgroup2 alone, in a mount namespace, with a cgroup that was handed to the user or without.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer.example_spec import example
from tests.root.conftest import CGROUPS, LIMIT, Bundle, Sandbox, remove_cgroup, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

UID = 4711
USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"]
# Where the unified hierarchy is on this machine, and a view of it alone.
TOP = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"
VIEW = 'mount -t cgroup2 none /sys/fs/cgroup && echo $$ >"/sys/fs/cgroup$0/cgroup.procs" && exec "$@"'
DELEGATED = ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
CT = f"pyrunc-rootless-{os.getpid()}"  # without a cgroupsPath also the name of its cgroup, next to everybody's
ALL_DEVICES = [{"allow": True, "access": "rwm"}]


class Caller:
    """Somebody who calls the runtime, from somewhere."""

    __slots__ = ("bundle", "cgroup", "namespace", "prefix", "runtime", "start_from")

    def __init__(self, kind: str, sandbox: Sandbox, cgroup: str | None) -> None:
        self.cgroup = cgroup  # where the calls come from in a view of cgroup2; None: as the machine is
        self.runtime = sandbox.runtime()
        self.bundle = bundle_for(sandbox, kind)
        self.start_from: list[str] = []
        self.prefix = [] if kind == "root" else USER
        self.namespace: subprocess.Popen[bytes] | None = None
        if kind == "mapped":
            self.namespace = subprocess.Popen([*USER, "unshare", "--user", "--map-root-user", "sleep", "1000"])
            pid = self.namespace.pid
            wait_until(lambda: os.readlink(f"/proc/{pid}/exe").endswith("sleep"))
            self.prefix = [*USER, "nsenter", f"--target={pid}", "--user", "--preserve-credentials"]

    def close(self) -> None:
        """Remove what is left, from where it was made."""
        self.run("delete", "--force", CT)
        if self.namespace is not None:
            self.namespace.kill()
            self.namespace.wait()

    def write(self, *argv: str, **linux: Any) -> None:
        """What to run, and members of `linux`."""
        self.bundle.spec["linux"].update(linux)
        self.bundle.args(*argv)

    def run(self, *args: str) -> tuple[int, str]:
        """Status and output of the command; through a file, as a container may keep the other end."""
        out = self.runtime.scratch / f"out-{uuid.uuid4().hex}"
        view = ["unshare", "-m", "sh", "-c", VIEW, self.cgroup] if self.cgroup is not None else self.start_from
        command = [*view, *self.prefix, self.runtime.command, "--root", str(self.runtime.root), *args]
        with out.open("wb") as file:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=LIMIT, check=False)
        return done.returncode, out.read_text()

    def ok(self, *args: str) -> str:
        """The output of a command that must succeed."""
        status, text = self.run(*args)
        assert status == 0, f"{args}: {text}"
        return text.strip()

    def start(self, *flags: str) -> dict[str, Any]:
        """A running container; its state.json."""
        self.ok(*flags, "run", "--detach", "--bundle", str(self.bundle.path), CT)
        saved: dict[str, Any] = json.loads((self.runtime.root / f"{CT}/state.json").read_text())
        return saved

    def refusal(self, *flags: str) -> str:
        """What a run says that must fail, and leave nothing."""
        status, text = self.run(*flags, "run", "--bundle", str(self.bundle.path), CT)
        assert status != 0, text
        assert not (self.runtime.root / CT).exists()
        return text


def bundle_for(sandbox: Sandbox, kind: str) -> Bundle:
    """What `spec` writes for such a caller; who is root of a user namespace needs no second one."""
    spec: Any = example(kind != "root")
    spec["process"].update(terminal=False, args=["sleep", "1000"])
    if kind == "user":
        mapping = [{"containerID": 0, "hostID": UID, "size": 1}]
        spec["linux"].update(uidMappings=mapping, gidMappings=mapping)
    if kind == "mapped":
        spec["linux"]["namespaces"] = [row for row in spec["linux"]["namespaces"] if row["type"] != "user"]
        del spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]
    # /proc/self/cgroup shall name the host's
    spec["linux"]["namespaces"] = [row for row in spec["linux"]["namespaces"] if row["type"] != "cgroup"]
    bundle = sandbox.bundle(spec=spec)
    if kind != "root":
        for path in [sandbox.directory, *sandbox.directory.rglob("*")]:
            os.lchown(path, UID, UID)
    return bundle


@pytest.fixture
def delegated(sandbox: Sandbox) -> Iterator[Path]:
    """A cgroup of the user, in the unified hierarchy, with a child that calls come from."""
    top = TOP / sandbox.name
    for directory in (top, top / "caller"):
        directory.mkdir()
        for name in DELEGATED:
            os.chown(directory / name, UID, UID)
    yield top
    for directory in (top / "caller", top):
        remove_cgroup(directory)


@pytest.fixture
def caller(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Callable[..., Caller]]:
    """Makes callers; where="delegated" is below the cgroup that is the user's, "cgroup2" at the top."""

    made: list[Caller] = []

    def make(kind: str, where: str = "") -> Caller:
        cgroup: str | None = "/" if where else None
        if where == "delegated":
            cgroup = "/" + str(request.getfixturevalue("delegated").relative_to(TOP) / "caller")
        made.append(Caller(kind, sandbox, cgroup))
        if made[-1].run("--version")[0] != 0:
            pytest.skip("the command lies where other users cannot reach it")
        return made[-1]

    yield make
    for each in made:
        each.close()


def root_of(who: Caller, directory: Path, **variables: str) -> bool:
    """Whether a call with XDG_RUNTIME_DIR=`directory` has its state root there."""
    settings = [f"{name}={value}" for name, value in {"XDG_RUNTIME_DIR": str(directory), **variables}.items()]
    command = [*who.prefix, "env", "-u", "USER", *settings, who.runtime.command, "list", "-q"]
    subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    return (directory / "runc").exists()


@pytest.mark.parametrize(
    ("kind", "variables", "honoured"),
    [
        ("root", {"USER": "somebody"}, False),
        ("root", {}, False),
        ("user", {"USER": "root"}, True),
        ("user", {}, True),
        ("user", {"XDG_RUNTIME_DIR": ""}, False),
        ("mapped", {"USER": "somebody"}, True),
        ("mapped", {"USER": ""}, True),
        ("mapped", {}, True),
        ("mapped", {"USER": "root"}, False),
    ],
)
def test_the_default_state_root(
    caller: Callable[..., Caller], sandbox: Sandbox, kind: str, variables: dict[str, str], honoured: bool
) -> None:
    directory = sandbox.directory / "xdg"
    directory.mkdir()
    os.chown(directory, UID if kind != "root" else 0, UID)
    assert root_of(caller(kind), directory, **variables) is honoured
    if honoured:
        assert (directory / "runc").stat().st_mode & 0o7777 == 0o1700
        assert (directory / "runc").stat().st_uid == UID


def said(saved: dict[str, Any]) -> tuple[bool, bool, bool]:
    """RootlessEUID, RootlessCgroups, and what is told to others."""
    config = saved["config"]
    assert config["cgroups"]["Rootless"] == config["rootless_cgroups"]
    return config["rootless_euid"], config["rootless_cgroups"], saved["rootless"]


@pytest.mark.parametrize(
    ("kind", "where", "flags", "expected"),
    [
        ("root", "", [], (False, False, False)),
        ("root", "", ["--rootless", "auto"], (False, False, False)),
        ("root", "", ["--rootless=false"], (False, False, False)),
        ("root", "", ["--rootless", "true"], (False, True, False)),
        ("root", "cgroup2", ["--rootless=1"], (False, True, False)),
        ("user", "", [], (True, True, True)),
        ("user", "", ["--rootless="], (True, True, True)),
        ("user", "cgroup2", [], (True, True, True)),
        ("user", "delegated", [], (True, True, True)),
        ("user", "delegated", ["--rootless=false"], (True, False, False)),
        ("mapped", "", [], (False, True, False)),
        ("mapped", "cgroup2", ["--rootless", "T"], (False, True, False)),
        ("mapped", "delegated", [], (False, True, False)),
        ("mapped", "delegated", ["--rootless=0"], (False, False, False)),
    ],
)
def test_a_life_in_each_combination(
    caller: Callable[..., Caller], kind: str, where: str, flags: list[str], expected: tuple[bool, bool, bool]
) -> None:
    who = caller(kind, where)
    # A user cannot load device rules: --rootless=false makes that an error, unless there is nothing to refuse.
    who.write("sleep", "1000", resources={"devices": ALL_DEVICES})
    assert said(who.start(*flags)) == expected
    assert '"status": "running"' in who.ok("state", CT)
    # what was decided at create holds: the flag is of no account any more
    assert who.ok("--rootless=false", "exec", CT, "id", "-u") == "0"
    who.ok("kill", CT, "KILL")
    wait_until(lambda: '"status": "stopped"' in who.ok("state", CT))
    who.ok("delete", CT)


@pytest.mark.parametrize("kind", ["user", "mapped"])
@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_without_rights_no_cgroup_is_made(caller: Callable[..., Caller], kind: str, where: str) -> None:
    who = caller(kind, where)
    saved = who.start()
    assert not any(os.path.exists(path) for path in saved["cgroup_paths"].values())
    assert who.ok("exec", CT, "echo", "in") == "in"
    if kind == "user":
        assert "warning" not in who.ok("kill", CT, "KILL")


@pytest.mark.parametrize("kind", ["user", "mapped"])
@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_without_rights_limits_are_refused(caller: Callable[..., Caller], kind: str, where: str) -> None:
    who = caller(kind, where)
    who.write("true", resources={"pids": {"limit": 9}, "devices": ALL_DEVICES})
    if where or TOP == CGROUPS:
        words = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: mkdir "
    else:
        words = "cannot set pids limit: container could not join or create cgroup"
    assert words in who.refusal()


@pytest.mark.parametrize("kind", ["user", "mapped"])
@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_without_rights_a_path_is_refused(
    caller: Callable[..., Caller], sandbox: Sandbox, kind: str, where: str
) -> None:
    who = caller(kind, where)
    who.write("true", cgroupsPath=f"/{sandbox.name}")
    text = who.refusal()
    assert "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/" in text
    assert "permission denied" in text


@pytest.mark.parametrize("kind", ["user", "mapped"])
@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_rootless_false_tolerates_nothing(caller: Callable[..., Caller], kind: str, where: str) -> None:
    text = caller(kind, where).refusal("--rootless=false")
    assert "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/" in text
    assert "permission denied" in text


@pytest.mark.parametrize("flags", [[], ["--rootless=true"]])
@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_root_has_its_cgroup_whatever_it_calls_itself(
    caller: Callable[..., Caller], sandbox: Sandbox, where: str, flags: list[str]
) -> None:
    who = caller("root", where)
    who.write("sleep", "1000", cgroupsPath=f"/{sandbox.name}")
    paths = who.start(*flags)["cgroup_paths"]
    unified = where or TOP == CGROUPS
    shown = TOP / sandbox.name if unified else CGROUPS / "pids" / sandbox.name
    assert set(paths) == {""} if unified else len(paths) > 5
    init = json.loads(who.ok("state", CT))["pid"]
    assert (shown / "cgroup.procs").read_text().split() == [str(init)]


@pytest.mark.parametrize("kind", ["user", "mapped"])
@pytest.mark.parametrize("named", [False, True], ids=["beside the caller", "by path"])
def test_delegated(caller: Callable[..., Caller], delegated: Path, kind: str, named: bool) -> None:
    """With a cgroup of its own a container without root has limits, can be paused, and is killed as a whole."""
    who = caller(kind, "delegated")
    cgroup = delegated / ("ct" if named else CT)
    if named:
        who.bundle.spec["linux"]["cgroupsPath"] = f"/{delegated.name}/ct"
    resources = {"unified": {"cgroup.max.depth": "7"}, "devices": ALL_DEVICES}
    who.write("sh", "-c", "sleep 1000 & wait", resources=resources)
    saved = who.start()
    assert saved["cgroup_paths"] == {"": f"/sys/fs/cgroup/{cgroup.relative_to(TOP)}"}
    assert (cgroup / "cgroup.max.depth").read_text() == "7\n"
    wait_until(lambda: len((cgroup / "cgroup.procs").read_text().split()) == 2)
    who.ok("pause", CT)
    assert '"status": "paused"' in who.ok("state", CT)
    assert "cannot exec in a paused container" in who.run("exec", CT, "true")[1]
    who.ok("resume", CT)
    assert who.ok("exec", CT, "grep", "^0::", "/proc/self/cgroup").endswith(f"/{cgroup.relative_to(TOP)}")
    who.ok("pause", CT)
    who.ok("delete", "--force", CT)
    assert not cgroup.exists()


@pytest.mark.parametrize("kind", ["user", "mapped"])
def test_a_read_only_view_of_the_callers_cgroups(caller: Callable[..., Caller], delegated: Path, kind: str) -> None:
    """CVE-2023-25809: without a cgroup namespace it is the host's hierarchy that is mounted."""
    who = caller(kind, "delegated")
    view = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    who.bundle.spec["mounts"].append(view)
    attack = f"ls -d /sys/fs/cgroup/{delegated.name}/caller; mkdir /sys/fs/cgroup/{delegated.name}/evil"
    who.write("sh", "-c", attack, resources={"devices": ALL_DEVICES})
    status, text = who.run("run", "--bundle", str(who.bundle.path), CT)
    assert "/caller\n" in text
    assert status == 1
    assert "Read-only file system" in text
    assert not (delegated / "evil").exists()


@pytest.mark.skipif(TOP == CGROUPS, reason="no cgroup v1")
@pytest.mark.parametrize("kind", ["user", "mapped"])
def test_hybrid_with_the_unified_hierarchy_alone(caller: Callable[..., Caller], delegated: Path, kind: str) -> None:
    """The one directory that could be made is not taken for that of a machine without v1."""
    who = caller(kind)
    who.start_from = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(delegated / "caller/cgroup.procs")]
    cgroup = delegated / "caller" / CT
    assert who.start()["cgroup_paths"] == {"": str(cgroup)}
    assert len((cgroup / "cgroup.procs").read_text().split()) == 1
    assert f"0::/{cgroup.relative_to(TOP)}" in who.ok("exec", CT, "cat", "/proc/self/cgroup").split()
    assert '"running"' in who.ok("list", "-f", "json")
    assert "the freezer controller is not available" in who.run("pause", CT)[1]
    who.ok("delete", "--force", CT)
    assert not cgroup.exists()


def test_root_of_a_user_namespace_is_root_but_for_cgroups(caller: Callable[..., Caller]) -> None:
    """What RootlessEUID forbids is the kernel's to forbid here."""
    who = caller("mapped")
    who.bundle.spec["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [50]}
    who.write("grep", "Groups", "/proc/self/status")
    # The unprivileged user who made the namespace has given up setgroups(2) for it.
    assert who.ok("run", "--bundle", str(who.bundle.path), CT).split() == ["Groups:"]


@pytest.mark.parametrize("flags", [[], ["--rootless=false"]])
def test_exec_from_where_the_cgroup_cannot_be_reached(caller: Callable[..., Caller], flags: list[str]) -> None:
    """To move a process takes the right to the cgroup above both (cgroup-v2.rst, "Delegation Containment")."""
    who = caller("user", "delegated")
    who.write("sleep", "1000", resources={"devices": ALL_DEVICES})
    who.start(*flags)
    who.cgroup = "/"
    status, text = who.run("exec", CT, "grep", "^0::", "/proc/self/cgroup")
    if flags:
        assert status == 255
        assert "error adding pid " in text
        assert "/cgroup.procs: permission denied" in text
    else:
        assert (status, text) == (0, "0::/\n")  # it stays where it came from
    who.ok("delete", "--force", CT)


@pytest.mark.parametrize("where", ["", "cgroup2"])
def test_what_nothing_holds_together_is_not_killed_together(caller: Callable[..., Caller], where: str) -> None:
    who = caller("user", where)
    linux = who.bundle.spec["linux"]
    linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "pid"]
    proc = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
    who.bundle.spec["mounts"] = [proc, *(row for row in who.bundle.spec["mounts"] if row["destination"] != "/proc")]
    who.write("sleep", "1000")
    who.start()
    text = who.ok("kill", CT, "KILL")
    assert "failed to kill all processes, possibly due to lack of cgroup (Hint: enable cgroup v2 delegation)" in text
    wait_until(lambda: '"status": "stopped"' in who.ok("state", CT))
    assert "container not running" in who.run("kill", CT, "KILL")[1]
    who.ok("delete", CT)


def test_oom_score(caller: Callable[..., Caller]) -> None:
    """Only root may write to /proc of a process that others must not look into: one that joins namespaces."""
    who = caller("user")
    process, linux = who.bundle.spec["process"], who.bundle.spec["linux"]
    process["oomScoreAdj"] = 217
    who.write("sleep", "1000")
    who.start()
    assert who.ok("exec", CT, "cat", "/proc/self/oom_score_adj") == "217"
    namespaces = f"/proc/{json.loads(who.ok('state', CT))['pid']}/ns"
    paths = {"user": f"{namespaces}/user", "network": f"{namespaces}/net"}
    linux["namespaces"] = [{**row, "path": paths.get(row["type"], "")} for row in linux["namespaces"]]
    del linux["uidMappings"], linux["gidMappings"]
    who.write("cat", "/proc/self/oom_score_adj")
    try:
        assert who.ok("run", "--bundle", str(who.bundle.path), "d") == "217"
    finally:
        who.run("delete", "--force", "d")


def test_groups_of_root_stay_outside(caller: Callable[..., Caller]) -> None:
    """An unprivileged user's container denies setgroups(2): root who looks after it leaves his groups behind before."""
    who = caller("user")
    who.bundle.spec["process"].pop("rlimits", None)
    who.write("sleep", "1000")
    who.start()
    who.prefix = ["setpriv", "--groups=4,6,27"]
    assert who.ok("exec", CT, "grep", "Groups", "/proc/self/status").split() == ["Groups:"]
