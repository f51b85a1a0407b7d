"""Paths, arguments and names of the cgroup managers: what needs no kernel."""

from __future__ import annotations

import errno
import time

import pytest

from libcontainer import cgroups
from libcontainer.cgroups import freezer1, fs1, fs2, hierarchies, inside, parse_own, parse_sub
from libcontainer.cgroups.devices import DEFAULTS, with_defaults
from libcontainer.cgroups.files import Tree, clean
from libcontainer.errors import Error, SyscallError, Unsupported, describe

V1 = {
    "cpuset": "/sys/fs/cgroup/cpuset/a",
    "cpu": "/sys/fs/cgroup/cpu,cpuacct/a",
    "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a",
    "name=systemd": "/sys/fs/cgroup/systemd/a",
    "": "/sys/fs/cgroup/unified/a",
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/a/../../b", "/b"),
        ("//a//b/", "/a/b"),
        ("/..", "/"),
        ("a/./b", "a/b"),
        ("../../b", "b"),
        ("..", ""),
        ("/", "/"),
    ],
)
def test_clean(path: str, expected: str) -> None:
    assert clean(path) == expected


def test_parse_own() -> None:
    text = "5:cpu,cpuacct:/x\n1:name=systemd:/a:b\n0::/y\n"
    assert parse_own(text) == {"cpu,cpuacct": "/x", "name=systemd": "/a:b", "": "/y"}


@pytest.mark.parametrize("sub", ["../b", "/../b", "x/../../b", "../ab"])
def test_sub_cgroup_stays_inside(sub: str) -> None:
    with pytest.raises(Error, match=rf"^bad sub cgroup path: {sub}$"):
        inside("/sys/fs/cgroup/a", sub)


@pytest.mark.parametrize(("sub", "expected"), [("", "/a"), ("/", "/a"), ("x", "/a/x"), ("/x/../y", "/a/y")])
def test_sub_cgroup(sub: str, expected: str) -> None:
    assert inside("/a", sub) == expected


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a", "b"], r"invalid --cgroup argument: a \(missing <controller>: prefix\)"),
        (["pids:a:b"], "invalid --cgroup argument: pids:a:b"),
        (["cpu,:x"], r"invalid --cgroup argument: cpu,:x \(empty <controller> prefix\)"),
        (["cpu:x", "cpu:y"], r"invalid --cgroup argument: cpu:y \(controller cpu given twice\)"),
    ],
)
def test_bad_sub_arguments(arguments: list[str], text: str) -> None:
    with pytest.raises(Error, match=f"^{text}$"):
        parse_sub(arguments)


def test_sub_arguments() -> None:
    assert parse_sub(["cpu,cpuacct:x", "pids:y"]) == {"cpu": "x", "cpuacct": "x", "pids": "y"}
    assert parse_sub(["x/y"]) == {"": "x/y"}


def test_v1_exec_targets() -> None:
    manager = cgroups.load(V1)
    assert manager.exec_targets(None) == list(dict.fromkeys(V1.values()))
    assert manager.exec_targets(["s"]) == [f"{path}/s" for path in dict.fromkeys(V1.values())]
    one = manager.exec_targets(["cpuset:s"])
    assert one[0] == "/sys/fs/cgroup/cpuset/a/s"
    assert one[1:] == manager.exec_targets(None)[1:]
    with pytest.raises(Error, match=r"^unknown controller memory in SubCgroupPaths$"):
        manager.exec_targets(["memory:s"])
    with pytest.raises(Error, match=r"^bad sub cgroup path: "):
        manager.exec_targets(["cpu:../../s"])


def test_v2_exec_targets() -> None:
    manager = cgroups.load({"": "/sys/fs/cgroup/a"})
    assert manager.exec_targets(None) == ["/sys/fs/cgroup/a"]
    assert manager.exec_targets(["s"]) == ["/sys/fs/cgroup/a/s"]
    with pytest.raises(Error, match=r"^unknown controller cpu in SubCgroupPaths$"):
        manager.exec_targets(["cpu:s"])


def test_v1_own_mounts() -> None:
    """As with runc, without the unified hierarchy of a hybrid host: images would not go to a runtime that lacks it."""
    mounts = [(m.name, m.data, m.directory, m.links) for m in cgroups.load(V1).own_mounts()]
    assert mounts == [
        ("cpuset", "cpuset", V1["cpuset"], []),
        ("cpu,cpuacct", "cpu,cpuacct", V1["cpu"], ["cpu", "cpuacct"]),
        ("systemd", "name=systemd", V1["name=systemd"], []),
    ]


def test_load_picks_the_back_end() -> None:
    assert isinstance(cgroups.load(V1), fs1.Manager1)
    assert isinstance(cgroups.load({"": "/sys/fs/cgroup/a"}), fs2.Manager2)
    assert (cgroups.load(V1).version, cgroups.load({"": "/sys/fs/cgroup/a"}).version) == (1, 2)


@pytest.mark.parametrize(
    "path", ["/etc", "/sys/fs/cgroup", "/sys/fs/cgroup/../x", "sys/fs/cgroup/a", "/sys/fs/cgroup/a/"]
)
def test_load_refuses_paths_that_are_none(path: str) -> None:
    with pytest.raises(Error, match=r"invalid cgroup path"):
        cgroups.load({"": path})


def test_load_refuses_nothing() -> None:
    with pytest.raises(Error, match=r"no cgroup paths"):
        cgroups.load({})


def test_rootless_without_any_cgroup_has_no_processes() -> None:
    manager = cgroups.load({}, rootless=True)
    assert not manager.exists()
    assert manager.pids() == []
    assert not manager.frozen()
    assert manager.exec_targets(None) == []
    manager.kill()
    manager.delete()


def test_tree_refuses_other_paths() -> None:
    with pytest.raises(Error, match=r"/sys/fs/cgroups/x is not below /sys/fs/cgroup"):
        Tree(0).read("/sys/fs/cgroups/x")


def test_systemd_is_refused() -> None:
    with pytest.raises(Unsupported, match="systemd"):
        cgroups.new("", "x", systemd=True)


def test_names_for_runc() -> None:
    named = fs1.Manager1({}, cgroups_path="/a/../b", name="id")
    assert named.describe_runc() == {"path": "/b", "scope_prefix": ""}
    unnamed = fs1.Manager1({}, cgroups_path="", name="id")
    assert unnamed.describe_runc() == {"name": "id", "path": "", "scope_prefix": ""}


def test_default_device_rules_follow_the_users() -> None:
    user = [{"allow": False, "access": "rwm"}]
    assert with_defaults(user) == user + [rule for _, rule in DEFAULTS]


def test_redefining_a_device_takes_its_default_rule_away() -> None:
    rules = with_defaults([], ["/dev/null", "/dev/ptmx", "/dev/fuse"])
    numbers = {(rule["major"], rule["minor"]) for rule in rules}
    assert (1, 3) not in numbers
    assert {(1, 5), (5, 2), (10, 200), (136, -1)} <= numbers
    assert len(rules) == len(DEFAULTS) - 1


def test_v1_co_mounted_controllers_share_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"cpu,cpuacct": "/me", "devices": "/", "name=systemd": "/me", "": "/me"}
    monkeypatch.setattr(fs1, "own_cgroups", lambda: own)

    def place(controller: str, hierarchy: str, path: str, _home: int) -> tuple[str, str] | None:
        name = {"": "unified", "name=systemd": "systemd"}.get(controller, hierarchy)
        return f"/sys/fs/cgroup/{name}", path

    monkeypatch.setattr(hierarchies, "_mount", place)
    relative = fs1.new("a/b", "id", rootless=False)
    assert relative.paths == {
        "devices": "/sys/fs/cgroup/devices/a/b",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/me/a/b",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/me/a/b",
        "name=systemd": "/sys/fs/cgroup/systemd/me/a/b",
        "": "/sys/fs/cgroup/unified/me/a/b",
    }
    assert next(iter(relative.paths)) == "devices"
    assert fs1.new("/a/../../b", "id", rootless=False).paths["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/b"
    assert fs1.new("", "id", rootless=False).paths["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/me/id"


def test_v1_without_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs1, "own_cgroups", lambda: {"cpu": "/"})
    monkeypatch.setattr(hierarchies, "_mount", lambda *_: ("/sys/fs/cgroup/cpu", "/"))
    with pytest.raises(Unsupported, match="devices"):
        fs1.new("/a", "id", rootless=False)
    assert fs1.new("/a", "id", rootless=True).paths == {"cpu": "/sys/fs/cgroup/cpu/a"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/x/y", "/x/y"), ("x/y", "/user/x/y"), ("", "/user/id"), ("../../x", "/user/x"), ("/../x", "/x")],
)
def test_v2_paths(path: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs2, "own_cgroups", lambda: {"": "/user/session"})
    assert fs2.new(path, "id", rootless=False).paths == {"": f"/sys/fs/cgroup{expected}"}


class FakeTree:
    """A cgroup that refuses some writes: (file, value) -> errno, once a listed number of times."""

    def __init__(
        self, refusals: dict[tuple[str, str], list[int]], files: dict[str, str] | None = None
    ) -> None:
        self.refusals = refusals
        self.files = files or {}
        self.written: list[tuple[str, str]] = []

    def write(self, path: str, value: str) -> None:
        file = path.rpartition("/")[2]
        pending = self.refusals.get((file, value))
        if pending:
            raise SyscallError("write", pending.pop(0), path)
        self.written.append((file, value))

    def read(self, path: str) -> str:
        return self.files[path.rpartition("/")[2]]

    def exists(self, path: str) -> bool:
        return path.rpartition("/")[2] in self.files


def v2_with(tree: FakeTree) -> cgroups.Manager:
    manager = cgroups.load({"": "/sys/fs/cgroup/a"})
    manager._tree = tree  # type: ignore[assignment]
    return manager


def v1_with(tree: FakeTree) -> cgroups.Manager:
    manager = cgroups.load({name: f"/sys/fs/cgroup/{name}/a" for name in ("cpu", "memory")})
    manager._tree = tree  # type: ignore[assignment]
    return manager


class NeverFrozen(FakeTree):
    """A freezer that stays in FREEZING, or answers `error`."""

    def __init__(self, error: int | None = None) -> None:
        super().__init__({})
        self.error = error

    def read(self, path: str) -> str:
        if self.error:
            raise SyscallError("read", self.error, path)
        return "FREEZING\n"


class Clock:
    """In place of the module time: reading it takes ten microseconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.sleep(0.00001)
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class BusyMachine(FakeTree):
    """A freezer whose processes take a second to stop: that long it must be left in FREEZING."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({})
        self.clock = clock
        self.since = 0.0

    def write(self, path: str, value: str) -> None:
        if self.written[-1:] != [("freezer.state", value)]:
            self.since = self.clock.now
        super().write(path, value)

    def read(self, path: str) -> str:
        return "FROZEN\n" if self.clock.now - self.since > 1 else "FREEZING\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(freezer1, "time", made)
    return made


def test_v1_a_busy_machine_gets_its_time(clock: Clock) -> None:
    tree = BusyMachine(clock)
    manager = cgroups.load({"freezer": "/sys/fs/cgroup/freezer/a"})
    manager._tree = tree  # type: ignore[assignment]
    manager.freeze()
    assert tree.written[-1] == ("freezer.state", "FROZEN")
    assert 1 < clock.now < 5


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, "unable to freeze"),
        (errno.EIO, "read /sys/fs/cgroup/freezer/a/freezer.state: input/output error"),
    ],
)
def test_v1_what_cannot_be_frozen_is_thawed(clock: Clock, error: int | None, text: str) -> None:
    tree = NeverFrozen(error)
    manager = cgroups.load({"freezer": "/sys/fs/cgroup/freezer/a"})
    manager._tree = tree  # type: ignore[assignment]
    with pytest.raises((Error, OSError)) as caught:
        manager.freeze()
    assert describe(caught.value) == text
    assert tree.written[0] == ("freezer.state", "FROZEN")
    assert tree.written[-1] == ("freezer.state", "THAWED")
    if error is None:
        states = [value for _file, value in tree.written]
        assert states.count("THAWED") > 10
        assert 10 < clock.now < 12


def test_v1_thaw_of_what_is_gone_is_no_error() -> None:
    tree = FakeTree({("freezer.state", "THAWED"): [errno.ENOENT, errno.ENODEV, errno.EACCES]})
    manager = cgroups.load({"freezer": "/sys/fs/cgroup/freezer/a"})
    manager._tree = tree  # type: ignore[assignment]
    manager.thaw()
    manager.thaw()
    with pytest.raises(SyscallError):
        manager.thaw()


@pytest.mark.parametrize(
    ("paths", "machine", "version"),
    [
        ({"": "/sys/fs/cgroup/unified/a"}, "hybrid", 1),  # a rootless container that got no other
        ({"": "/sys/fs/cgroup/unified/a"}, "v2", 2),
        ({"": "/sys/fs/cgroup/a"}, "v2", 2),
    ],
)
def test_load_of_a_single_hierarchy(
    monkeypatch: pytest.MonkeyPatch, paths: dict[str, str], machine: str, version: int
) -> None:
    monkeypatch.setattr(cgroups, "mode", lambda: machine)
    assert cgroups.load(paths).version == version


def test_period_that_needs_the_quota_first_is_tried_again() -> None:
    tree = FakeTree(
        {("cpu.cfs_period_us", "50000"): [errno.EINVAL], ("cpu.cfs_burst_us", "9"): [errno.EINVAL]}
    )
    v1_with(tree).set({"cpu": {"period": 50000, "quota": 20000, "burst": 9}}, devices=False)
    assert tree.written == [
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.cfs_period_us", "50000"),
        ("cpu.cfs_burst_us", "9"),
    ]


def test_period_refused_twice_is_an_error() -> None:
    tree = FakeTree({("cpu.cfs_period_us", "5"): [errno.EINVAL, errno.EINVAL]})
    with pytest.raises(Error) as caught:
        v1_with(tree).set({"cpu": {"period": 5, "quota": 20000}}, devices=False)
    expected = "linux.resources.cpu.period: write /sys/fs/cgroup/cpu/a/cpu.cfs_period_us: invalid argument"
    assert describe(caught.value) == expected


def test_v2_burst_is_tried_again_after_the_quota() -> None:
    tree = FakeTree({("cpu.max.burst", "9"): [errno.EINVAL]})
    v2_with(tree).set({"cpu": {"quota": 20000, "burst": 9}}, devices=False)
    assert tree.written == [("cpu.max", "20000 100000"), ("cpu.max.burst", "9")]


def test_missing_burst_file_is_fine_on_v1_only() -> None:
    v1 = FakeTree({("cpu.cfs_burst_us", "9"): [errno.ENOENT]})
    v1_with(v1).set({"cpu": {"burst": 9}}, devices=False)
    assert v1.written == []
    v2 = FakeTree({("cpu.max.burst", "9"): [errno.ENOENT]}, {"cgroup.controllers": "cpu"})
    with pytest.raises(Error, match=r"^linux\.resources\.cpu\.burst$"):
        v2_with(v2).set({"cpu": {"burst": 9}}, devices=False)


@pytest.mark.parametrize(("limit", "swap", "fine"), [(100, 100, True), (100, -1, True), (100, 150, False)])
def test_v2_without_swap(limit: int, swap: int, fine: bool) -> None:
    gone = {("memory.swap.max", text): [errno.ENOENT] for text in ("0", "max", "50")}
    tree = FakeTree(gone, {"cgroup.controllers": "memory"})
    if fine:
        v2_with(tree).set({"memory": {"limit": limit, "swap": swap}}, devices=False)
        assert tree.written == [("memory.max", "100")]
        return
    with pytest.raises(Error, match=r"^linux\.resources\.memory\.swap$"):
        v2_with(tree).set({"memory": {"limit": limit, "swap": swap}}, devices=False)


def test_v2_absent_controller_is_named() -> None:
    tree = FakeTree({("pids.max", "5"): [errno.ENOENT]}, {"cgroup.controllers": "cpu memory"})
    with pytest.raises(Unsupported, match=r"^linux\.resources\.pids\.limit: controller pids not available$"):
        v2_with(tree).set({"pids": {"limit": 5}}, devices=False)


@pytest.mark.parametrize(
    ("file", "code", "text"),
    [
        (
            "misc.max",
            errno.ENOENT,
            'unified resource "misc.max" can\'t be set: controller "misc" not available',
        ),
        (
            "misc.max",
            errno.EPERM,
            'unified resource "misc.max" can\'t be set: controller "misc" not available',
        ),
        ("cpu.nosuch", errno.ENOENT, 'unable to set unified resource "cpu.nosuch"'),
        ("cgroup.nosuch", errno.ENOENT, 'unable to set unified resource "cgroup.nosuch"'),
        ("cpu.weight", errno.ERANGE, 'unable to set unified resource "cpu.weight"'),
        ("nosuch", errno.ENOENT, 'unified resource "nosuch" must be in the form CONTROLLER.PARAMETER'),
    ],
)
def test_v2_unified_refusals(file: str, code: int, text: str) -> None:
    tree = FakeTree({(file, "1"): [code]}, {"cgroup.controllers": "cpu memory"})
    with pytest.raises(Error) as caught:
        v2_with(tree).set({"unified": {file: "1"}}, devices=False)
    assert str(caught.value) == text


def test_v1_busy_memory_limit_says_how_much_is_used() -> None:
    files = {"memory.usage_in_bytes": "700\n", "memory.max_usage_in_bytes": "900\n"}
    tree = FakeTree({("memory.limit_in_bytes", "5"): [errno.EBUSY]}, files)
    with pytest.raises(
        Error, match=r"^unable to set memory limit to 5 \(current usage: 700, peak usage: 900\)$"
    ):
        v1_with(tree).set({"memory": {"limit": 5}}, devices=False)


@pytest.mark.parametrize(("asked", "got", "word"), [(1, 2, "minimum"), (300000, 262144, "maximum")])
def test_v1_clamped_shares(asked: int, got: int, word: str) -> None:
    tree = FakeTree({}, {"cpu.shares": f"{got}\n"})
    with pytest.raises(Error, match=f"^the {word} allowed cpu-shares is {got}$"):
        v1_with(tree).set({"cpu": {"shares": asked}}, devices=False)


def test_v1_limit_of_an_absent_controller() -> None:
    text = (
        r"^linux\.resources\.pids\.limit: cannot set pids limit: container could not join or create cgroup$"
    )
    with pytest.raises(Unsupported, match=text):
        v1_with(FakeTree({})).set({"pids": {"limit": 5}}, devices=False)
    v1_with(FakeTree({})).set({"pids": {}, "hugepageLimits": []}, devices=False)


def test_v1_refuses_unified() -> None:
    with pytest.raises(Error, match=r"^invalid configuration: cannot use unified on cgroup v1$"):
        v1_with(FakeTree({})).set({"unified": {"a.b": "1"}}, devices=False)
    with pytest.raises(Error, match=r"^invalid configuration: cannot use unified on cgroup v1$"):
        v1_with(FakeTree({})).create({"unified": {"a.b": "1"}})


def test_join_waits_for_a_new_task(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    tree = FakeTree({("cgroup.procs", "7"): [errno.EINVAL] * 4})
    v2_with(tree).join(7)
    assert tree.written == [("cgroup.procs", "7")]
    assert len(naps) == 4
    tree = FakeTree({("cgroup.procs", "7"): [errno.EINVAL] * 5})
    with pytest.raises(SyscallError):
        v2_with(tree).join(7)


def test_v2_threaded_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.Manager, "_mkdir", lambda *_: True)

    def create(kind: str, resources: dict[str, object]) -> list[tuple[str, str]]:
        tree = FakeTree({}, {"cgroup.controllers": "", "cgroup.type": kind})
        v2_with(tree).create(resources)
        return [write for write in tree.written if write[0] == "cgroup.type"]

    assert create("domain", {"memory": {"limit": 5}}) == []
    assert create("domain invalid", {"pids": {"limit": 5}, "memory": {"disableOOMKiller": False}}) == [
        ("cgroup.type", "threaded")
    ]
    assert create("threaded", {"pids": {"limit": 5}}) == []
    with pytest.raises(Error) as caught:
        create("domain invalid", {"memory": {"limit": 5}})
    start = 'cannot enter cgroupv2 "/sys/fs/cgroup/a" with domain controllers -- it is in '
    assert str(caught.value) == start + "an invalid state"
    with pytest.raises(Error) as caught:
        create("domain threaded", {"cpu": {"shares": 5}})
    assert str(caught.value) == start + "domain threaded mode"
