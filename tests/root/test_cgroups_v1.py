"""The v1 and hybrid back end against the kernel."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from libcontainer import cgroups
from libcontainer.cgroups import Manager, fs1
from libcontainer.cgroups.files import ROOT
from libcontainer.errors import Error, SyscallError, Unsupported, describe
from tests.root.conftest import LIMIT, wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(cgroups.mode() == "v2", reason="this machine has no cgroup v1"),
]

NAME = f"pyrunc-test-{os.getpid()}"
DENY = [{"allow": False, "access": "rwm"}]
KMSG = "/dev/kmsg"  # 1:11, no default rule


@pytest.fixture
def manager() -> Iterator[Manager]:
    manager = cgroups.new(f"/{NAME}/c", "c")
    yield manager
    for pid in manager.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    manager.delete()
    for path in set(manager.paths.values()):
        if os.path.isdir(os.path.dirname(path)):
            os.rmdir(os.path.dirname(path))


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, **keywords: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv or ("sleep", "60"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **keywords
        )  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def in_cgroup(manager: Manager, code: str) -> str:
    """The output of a Python program that runs in the container's cgroups."""
    fork = f"import sys; sys.stdin.readline()\n{code}"
    process = subprocess.Popen(
        [sys.executable, "-c", fork],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    manager.join(process.pid)
    return process.communicate("\n")[0]


def read(manager: Manager, controller: str, file: str) -> str:
    with open(f"{manager.paths[controller]}/{file}") as stream:
        return stream.read().strip()


def try_open(path: str) -> str:
    return (
        f"import os\ntry: os.open('{path}', os.O_RDONLY); print('open')\nexcept OSError as e: print(e.errno)"
    )


def test_lives_in_every_hierarchy_and_leaves_nothing(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert manager.version == 1
    assert not manager.exists()
    manager.check_usable()
    manager.create({})
    process = spawn()
    manager.join(process.pid)
    with open(f"/proc/{process.pid}/cgroup") as file:
        places = cgroups.parse_own(file.read())
    hierarchies = {hierarchy for names in places for hierarchy in names.split(",")}
    for controller in manager.paths:
        assert controller in hierarchies
        assert places[next(names for names in places if controller in names.split(","))] == f"/{NAME}/c"
    assert manager.pids() == [process.pid]
    process.kill()
    process.wait()
    manager.delete()
    assert not any(os.path.exists(path) for path in manager.paths.values())
    manager.delete()


def test_relative_paths_are_below_our_own_cgroup() -> None:
    manager = cgroups.new("", "some-id")
    own = cgroups.own_cgroups()
    for controller, path in manager.paths.items():
        hierarchy = next(names for names in own if controller in names.split(","))
        assert path.endswith(f"{own[hierarchy].rstrip('/')}/some-id")
        assert os.path.isdir(os.path.dirname(path))


def test_a_mount_that_shows_a_part_of_its_hierarchy(manager: Manager) -> None:
    """As in a container without cgroup namespace: /proc/self/cgroup has the host's names."""
    manager.create({})
    code = "from libcontainer import cgroups; print(cgroups.new('', 'x').paths['pids'])"
    script = f"""
        echo $$ > {manager.paths["pids"]}/cgroup.procs
        mount --bind {ROOT}/pids/{NAME} {ROOT}/pids
        exec "$@"
    """
    command = ["unshare", "-m", "sh", "-ec", script, "sh", sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True) == f"{ROOT}/pids/c/x\n"


def test_rollback_removes_what_create_made_and_nothing_else() -> None:
    first = cgroups.new(f"/{NAME}-r/x/y", "a")
    memory = first.paths["memory"]
    os.makedirs(os.path.dirname(os.path.dirname(memory)))
    try:
        first.create({})
        assert first.exists()
        first.rollback()
        for path in first.paths.values():
            assert not os.path.exists(os.path.dirname(path))
        assert os.path.isdir(os.path.dirname(os.path.dirname(memory)))
    finally:
        os.rmdir(os.path.dirname(os.path.dirname(memory)))


def test_rollback_leaves_a_cgroup_that_was_there(manager: Manager) -> None:
    other = cgroups.new(f"/{NAME}/c", "c")
    other.create({})
    manager.create({})
    manager.rollback()
    assert manager.exists()


def test_rollback_leaves_parents_that_are_in_use(manager: Manager) -> None:
    manager.create({})
    sibling = cgroups.new(f"/{NAME}/d", "d")
    sibling.create({})
    manager.rollback()
    assert sibling.exists()
    sibling.delete()


def test_occupied_and_frozen_cgroups_are_refused(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    manager.check_usable()
    manager.freeze()
    with pytest.raises(Error, match=r"^container's cgroup unexpectedly frozen$"):
        manager.check_usable()
    manager.thaw()
    manager.join(spawn().pid)
    with pytest.raises(Error, match=r"^container's cgroup is not empty: 1 process\(es\) found$"):
        manager.check_usable()


def test_memory_may_grow_and_shrink_with_swap(manager: Manager) -> None:
    manager.create({})
    mib = 1 << 20
    for limit, swap in ((64, 128), (256, 512), (8, 8), (16, -1), (32, 64)):
        total = swap if swap < 0 else swap * mib
        manager.set({"memory": {"limit": limit * mib, "swap": total}}, devices=False)
        assert read(manager, "memory", "memory.limit_in_bytes") == str(limit * mib)
        if swap > 0:
            assert read(manager, "memory", "memory.memsw.limit_in_bytes") == str(total)
    manager.set({"memory": {"limit": -1}}, devices=False)
    assert int(read(manager, "memory", "memory.limit_in_bytes")) > 1 << 60
    assert int(read(manager, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60


def test_a_memory_limit_below_the_usage(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    hold = "x = b'x' * (40 << 20); print('ready', flush=True); sys.stdin.readline()"
    process = spawn(sys.executable, "-c", f"import sys; sys.stdin.readline(); {hold}")
    manager.join(process.pid)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"ready\n"
    with open(f"{manager.paths['memory']}/memory.swappiness", "w") as file:
        file.write("0")  # what a machine with swap could do about it is not meant
    with pytest.raises(
        Error, match=r"^unable to set memory limit to 1048576 \(current usage: \d+, peak usage: \d+\)$"
    ):
        manager.set({"memory": {"limit": 1 << 20}}, devices=False)


def test_oom_kills_are_counted(manager: Manager) -> None:
    manager.create({})
    limit = 24 << 20
    manager.set({"memory": {"limit": limit, "swap": limit}}, devices=False)
    assert manager.oom_kills() == 0
    in_cgroup(manager, "x = bytearray(1 << 28)\nfor i in range(0, len(x), 4096): x[i] = 1")
    assert manager.oom_kills() == 1


def test_cpu(manager: Manager) -> None:
    manager.create({})
    manager.set(
        {"cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0"}}, devices=False
    )
    names = ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us")
    assert [read(manager, "cpu", name) for name in names] == ["512", "50000", "100000", "1000"]
    assert read(manager, "cpuset", "cpuset.cpus") == "0"
    for shares, text in (
        (1, "minimum allowed cpu-shares is 2"),
        (10**6, "maximum allowed cpu-shares is 262144"),
    ):
        with pytest.raises(Error, match=f"^the {text}$"):
            manager.set({"cpu": {"shares": shares}}, devices=False)


def test_period_and_quota_in_the_order_that_the_parent_admits(manager: Manager) -> None:
    manager.create({})
    parent = os.path.dirname(manager.paths["cpu"])
    with open(f"{parent}/cpu.cfs_quota_us", "w") as file:
        file.write("50000")
    for quota, period in ((50000, 100000), (20000, 50000), (10000, 200000)):
        manager.set({"cpu": {"quota": quota, "period": period}}, devices=False)
        assert read(manager, "cpu", "cpu.cfs_quota_us") == str(quota)
        assert read(manager, "cpu", "cpu.cfs_period_us") == str(period)
    with pytest.raises(Error) as caught:
        manager.set({"cpu": {"quota": 90000, "period": 100000}}, devices=False)
    assert describe(caught.value).startswith("linux.resources.cpu.quota: write ")


def test_cpuset_is_filled_from_above_and_takes_what_is_asked(manager: Manager) -> None:
    deep = cgroups.new(f"/{NAME}/c/d", "d")
    deep.create({"cpu": {"cpus": "0"}})
    top = f"{ROOT}/cpuset"
    with open(f"{top}/cpuset.cpus") as cpus, open(f"{top}/cpuset.mems") as mems:
        everything = (cpus.read().strip(), mems.read().strip())
    for path in (os.path.dirname(manager.paths["cpuset"]), manager.paths["cpuset"]):
        with open(f"{path}/cpuset.cpus") as cpus, open(f"{path}/cpuset.mems") as mems:
            assert (cpus.read().strip(), mems.read().strip()) == everything
    assert (read(deep, "cpuset", "cpuset.cpus"), read(deep, "cpuset", "cpuset.mems")) == ("0", everything[1])
    deep.delete()


def test_impossible_cpus_are_named(manager: Manager) -> None:
    with pytest.raises(Error) as caught:
        manager.create({"cpu": {"cpus": "4000"}})
    assert describe(caught.value).startswith("linux.resources.cpu.cpus: write ")


@pytest.mark.parametrize(("limit", "text"), [(0, "1"), (-1, "max"), (7, "7")])
def test_pids(manager: Manager, limit: int, text: str) -> None:
    manager.create({})
    manager.set({"pids": {"limit": limit}}, devices=False)
    assert read(manager, "pids", "pids.max") == text


def test_refusals_name_the_field(manager: Manager) -> None:
    manager.create({})
    less = cgroups.load({name: path for name, path in manager.paths.items() if name != "memory"})
    text = "linux.resources.memory.limit: cannot set memory limit: container could not join or create cgroup"
    with pytest.raises(Unsupported) as missing:
        less.set({"memory": {"limit": 1 << 30}}, devices=False)
    assert str(missing.value) == text
    with pytest.raises(Error) as caught:
        manager.set({"pids": {"limit": 1 << 70}}, devices=False)
    path = f"{manager.paths['pids']}/pids.max"
    assert describe(caught.value).startswith(f"linux.resources.pids.limit: write {path}: ")


def test_devices_outside_the_list_cannot_be_opened(manager: Manager) -> None:
    manager.create({})
    assert in_cgroup(manager, try_open(KMSG)) == "open\n"
    manager.set({"devices": DENY})
    assert in_cgroup(manager, try_open(KMSG)) == "1\n"
    assert in_cgroup(manager, try_open("/dev/null")) == "open\n"
    node = f"/dev/shm/n{os.getpid()}"
    mknod = f"import os, stat; os.mknod({node!r}, stat.S_IFBLK, os.makedev(7, 200)); os.unlink({node!r})"
    assert in_cgroup(manager, mknod) == ""


def test_device_rules_of_a_fresh_cgroup_and_later_changes(manager: Manager) -> None:
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    manager.create({})
    manager.set({"devices": [*DENY, kmsg]})
    assert in_cgroup(manager, try_open(KMSG)) == "open\n"
    assert "c 1:11 r" in read(manager, "devices", "devices.list").splitlines()
    later = cgroups.load(manager.paths)
    later.set({"devices": DENY})
    assert in_cgroup(manager, try_open(KMSG)) == "1\n"
    later.set({"devices": [{"allow": True, "access": "rwm"}]})
    assert in_cgroup(manager, try_open(KMSG)) == "open\n"
    assert read(manager, "devices", "devices.list") == "a *:* rwm"
    later.set({"devices": [{"allow": True, "access": "rwm"}, {**kmsg, "allow": False}]})
    assert in_cgroup(manager, try_open(KMSG)) == "1\n"
    later.set({"devices": DENY}, spec_devices=["/dev/null"])
    assert in_cgroup(manager, try_open("/dev/null")) == "1\n"


def test_devices_of_a_cgroup_with_children_can_change(manager: Manager) -> None:
    """The kernel refuses a reset ("a") while there are children: only differences may be written."""
    manager.create({})
    manager.set({"devices": DENY})
    child = f"{manager.paths['devices']}/child"
    os.mkdir(child)
    later = cgroups.load(manager.paths)
    later.set({"devices": [*DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]})
    assert "c 1:11 rwm" in read(manager, "devices", "devices.list").splitlines()


def test_what_the_parent_forbids_cannot_be_allowed(manager: Manager) -> None:
    outer = cgroups.new(f"/{NAME}", "outer")
    outer.create({})
    outer.set({"devices": DENY})
    manager.create({})
    with pytest.raises(SyscallError, match=r"devices\.allow") as caught:
        manager.set(
            {"devices": [*DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]}
        )
    assert "c 1:11 r" in describe(caught.value)


def test_freeze_stops_and_thaw_continues(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    process = spawn("sh", "-c", "while :; do :; done")
    manager.join(process.pid)
    manager.freeze()
    assert manager.frozen()
    assert cgroups.load(manager.paths).frozen()

    def ticks() -> int:
        with open(f"/proc/{process.pid}/stat") as file:
            return int(file.read().rsplit(") ", 1)[1].split()[11])

    before = ticks()
    time.sleep(0.1)
    assert ticks() == before
    manager.thaw()
    assert not manager.frozen()
    wait_until(lambda: ticks() > before)


def test_a_frozen_ancestor_is_not_our_pause(manager: Manager) -> None:
    manager.create({})
    parent = f"{os.path.dirname(manager.paths['freezer'])}/freezer.state"
    with open(parent, "w") as file:
        file.write("FROZEN")
    try:
        assert not manager.frozen()
    finally:
        with open(parent, "w") as file:
            file.write("THAWED")


def test_kill_reaches_the_whole_subtree_even_frozen(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    processes = [spawn() for _ in range(3)]
    nested = []
    for directory in manager.exec_targets(None):
        os.makedirs(f"{directory}/sub/deeper")
        nested.append(f"{directory}/sub/deeper")
    fs1.Manager1({"cpuset": manager.paths["cpuset"] + "/sub/deeper"})._fill_cpuset(
        manager.paths["cpuset"] + "/sub/deeper", {}
    )
    manager.join(processes[0].pid)
    manager.join_dirs(processes[1].pid, nested)
    assert manager.pids() == sorted(p.pid for p in processes[:2])
    assert manager.pids(recursive=False) == [processes[0].pid]
    manager.freeze()
    manager.kill()
    assert [p.wait(LIMIT) for p in processes[:2]] == [-9, -9]
    assert processes[2].poll() is None
    assert not manager.frozen()
    manager.delete()
    assert not any(os.path.exists(path) for path in manager.paths.values())


def test_kill_without_a_freezer(manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]) -> None:
    manager.create({})
    process = spawn()
    manager.join(process.pid)
    bare = cgroups.load({"devices": manager.paths["devices"]})
    bare.kill()
    assert process.wait(LIMIT) == -9


def test_delete_waits_for_dying_processes(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    process = spawn()
    manager.join(process.pid)
    began = time.monotonic()
    killer = threading.Timer(0.1, process.kill)
    killer.start()
    manager.delete()
    assert time.monotonic() - began > 0.05
    assert not manager.exists()
    killer.join()


def test_delete_of_an_occupied_cgroup_fails(
    manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    manager.create({})
    manager.join(spawn().pid)
    pids = cgroups.load({"pids": manager.paths["pids"]})
    with pytest.raises(SyscallError) as caught:
        pids.delete()
    assert describe(caught.value) == f"rmdir {manager.paths['pids']}: device or resource busy"


def test_delete_digs_as_deep_as_the_container_did(manager: Manager) -> None:
    """Deeper than PATH_MAX and than Python's recursion limit."""
    manager.create({})
    name = "n" * 8
    fd = os.open(manager.paths["pids"], os.O_RDONLY)
    for _ in range(1100):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert cgroups.load({"pids": manager.paths["pids"]}).pids() == []
    manager.delete()
    assert not os.path.exists(manager.paths["pids"])


def test_create_for_clone_is_a_beginning(manager: Manager) -> None:
    place = manager.create_for_clone({})
    if "" in manager.paths:
        assert place is not None
        assert os.readlink(f"/proc/self/fd/{place}") == manager.paths[""]
        os.close(place)
    else:
        assert place is None
    assert not os.path.exists(manager.paths["pids"])
    manager.create({})
    assert all(os.path.isdir(path) for path in manager.paths.values())
    manager.rollback()
    assert not any(os.path.exists(os.path.dirname(path)) for path in manager.paths.values())


def test_the_fast_way_in_needs_no_pid(manager: Manager) -> None:
    manager.create({})
    clone, tasks = manager.open_for_join()
    own = cgroups.own_cgroups()
    if clone is not None:
        assert os.readlink(f"/proc/self/fd/{clone}") == manager.paths[""]
        os.close(clone)
    assert len(tasks) == len(set(manager.paths.values()) - {manager.paths.get("")})
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in tasks:
            os.write(fd, b"0")
        with open("/proc/self/cgroup", "rb") as file:
            os.write(writer, file.read())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    places = cgroups.parse_own(os.read(reader, 65536).decode())
    os.close(reader)
    for fd in tasks:
        os.close(fd)
    joined = {names for names, path in places.items() if path == f"/{NAME}/c"}
    expected = {names for names in own if names and any(c in manager.paths for c in names.split(","))}
    assert joined == expected


def test_exec_in_a_sub_cgroup(manager: Manager, spawn: Callable[..., subprocess.Popen[bytes]]) -> None:
    manager.create({})
    os.mkdir(f"{manager.paths['pids']}/sub")
    process = spawn()
    manager.join_dirs(process.pid, manager.exec_targets(["pids:sub"]))
    with open(f"/proc/{process.pid}/cgroup") as file:
        places = cgroups.parse_own(file.read())
    assert places["pids"] == f"/{NAME}/c/sub"
    assert places["devices"] == f"/{NAME}/c"
    with pytest.raises(SyscallError) as caught:
        manager.open_for_join(manager.exec_targets(["pids:nosuch"]))
    assert describe(caught.value) == f"open {manager.paths['pids']}/nosuch/tasks: no such file or directory"


def test_mounts_exist(manager: Manager) -> None:
    for hierarchy in manager.own_mounts():
        assert os.path.ismount(f"{ROOT}/{hierarchy.name}")
        assert hierarchy.directory == f"{ROOT}/{hierarchy.name}/{NAME}/c"


def as_nobody(work: Callable[[], str]) -> str:
    """What `work` says when it is run without any privilege."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writer, work().encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {describe(error)}".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def test_rootless_goes_without_what_it_may_not_have() -> None:
    def without_limits() -> str:
        manager = cgroups.new("", NAME, rootless=True)
        manager.check_usable()
        manager.create({})
        manager.join(os.getpid())
        manager.set({"devices": DENY})
        manager.delete()
        return f"paths {manager.paths}"

    def with_limits() -> str:
        manager = cgroups.new("", NAME, rootless=True)
        manager.create({"pids": {"limit": 5}})
        manager.set({"pids": {"limit": 5}})
        return "set"

    def with_path() -> str:
        cgroups.new(f"/{NAME}", NAME, rootless=True).create({})
        return "created"

    assert as_nobody(without_limits) == "paths {}"
    text = "cannot set pids limit: container could not join or create cgroup"
    assert as_nobody(with_limits) == f"Unsupported: linux.resources.pids.limit: {text}"
    assert as_nobody(with_path).endswith(": permission denied")
