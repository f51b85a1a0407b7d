"""The v2 back end against the kernel.

On a machine with cgroup v1 the file runs itself once more in a private mount namespace where cgroup2 is what
/sys/fs/cgroup shows. The controllers there are those that v1 has not taken, so tests of limits need a v2
machine.
"""

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
from libcontainer.cgroups import Manager, ebpf, fs2
from libcontainer.cgroups.devices import evaluate
from libcontainer.cgroups.files import ROOT
from libcontainer.errors import Error, SyscallError, Unsupported, describe
from tests.root.conftest import LIMIT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAME = f"pyrunc-test-{os.getpid()}"
DENY = [{"allow": False, "access": "rwm"}]
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
MOUNT = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'

Spawn = Callable[..., "subprocess.Popen[bytes]"]


if cgroups.mode() != "v2":

    def test_in_a_mount_namespace_with_cgroup2() -> None:
        pytest_again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", MOUNT, "sh", *pytest_again],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout

else:

    @pytest.fixture
    def manager() -> Iterator[Manager]:
        manager = cgroups.new(f"/{NAME}/c", "c")
        yield manager
        for pid in manager.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        manager.delete()
        parent = os.path.dirname(manager.paths[""])
        if os.path.isdir(parent):
            os.rmdir(parent)

    @pytest.fixture
    def spawn() -> Iterator[Spawn]:
        started: list[subprocess.Popen[bytes]] = []

        def start(*argv: str) -> subprocess.Popen[bytes]:
            started.append(subprocess.Popen(argv or ("sleep", "60"), stdin=subprocess.PIPE))
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.communicate()

    def can_open(manager: Manager, path: str, flags: int = os.O_RDONLY) -> bool:
        code = f"import os, sys; sys.stdin.readline(); os.close(os.open({path!r}, {flags}))"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        manager.join(process.pid)
        errors = process.communicate("\n")[1]
        assert process.returncode == 0 or "Operation not permitted" in errors, errors
        return process.returncode == 0

    def programs(manager: Manager) -> list[int]:
        fd = os.open(manager.paths[""], os.O_RDONLY)
        try:
            return ebpf._attached_ids(fd)
        finally:
            os.close(fd)

    def has(controller: str) -> bool:
        with open(f"{ROOT}/cgroup.controllers") as file:
            return controller in file.read().split()

    def test_life_cycle(manager: Manager, spawn: Spawn) -> None:
        assert manager.version == 2
        assert manager.paths == {"": f"{ROOT}/{NAME}/c"}
        manager.check_usable()
        manager.create({})
        with (
            open(f"{ROOT}/cgroup.controllers") as every,
            open(f"{manager.paths['']}/cgroup.controllers") as here,
        ):
            assert every.read() == here.read()
        process = spawn()
        manager.join(process.pid)
        assert fs2.current_directory(process.pid) == manager.paths[""]
        assert cgroups.load(manager.paths).pids() == [process.pid]
        with pytest.raises(Error, match=r"^container's cgroup is not empty: 1 process\(es\) found$"):
            manager.check_usable()
        process.kill()
        process.wait()
        manager.delete()
        assert not manager.exists()
        manager.delete()
        assert manager.pids() == []
        assert not manager.frozen()

    def test_rollback(manager: Manager) -> None:
        manager.create({})
        manager.rollback()
        assert not os.path.exists(f"{ROOT}/{NAME}")
        cgroups.new(f"/{NAME}/c", "c").create({})
        manager.create({})
        manager.rollback()
        assert manager.exists()

    def test_a_descriptor_for_clone(manager: Manager) -> None:
        clone = manager.create_for_clone({})
        assert clone is not None
        manager.create({})
        assert manager.open_tasks() == []
        assert os.readlink(f"/proc/self/fd/{clone}").endswith(f"/{NAME}/c")
        os.close(clone)
        os.mkdir(f"{manager.paths['']}/sub")
        clone, tasks = manager.open_for_join(manager.exec_targets(["sub"]))
        assert clone is not None
        assert tasks == []
        assert os.readlink(f"/proc/self/fd/{clone}").endswith(f"/{NAME}/c/sub")
        os.close(clone)
        with pytest.raises(SyscallError):
            manager.open_for_join(manager.exec_targets(["nosuch"]))

    def test_devices_outside_the_list_cannot_be_opened(manager: Manager) -> None:
        manager.create({})
        assert can_open(manager, "/dev/kmsg")
        manager.set({"devices": DENY})
        assert not can_open(manager, "/dev/kmsg")
        assert can_open(manager, "/dev/null", os.O_RDWR)
        assert can_open(manager, "/dev/zero")

    def test_access_is_decided_bit_by_bit(manager: Manager) -> None:
        manager.create({})
        manager.set({"devices": [*DENY, {**KMSG, "access": "r"}]})
        assert can_open(manager, "/dev/kmsg", os.O_RDONLY)
        assert not can_open(manager, "/dev/kmsg", os.O_WRONLY)
        manager.set({"devices": [{"allow": True, "access": "rwm"}, {**KMSG, "allow": False, "access": "w"}]})
        assert can_open(manager, "/dev/kmsg", os.O_RDONLY)
        assert not can_open(manager, "/dev/kmsg", os.O_WRONLY)

    def test_the_program_is_replaced_not_added(manager: Manager) -> None:
        manager.create({})
        manager.set({"devices": DENY})
        first = programs(manager)
        later = cgroups.load(manager.paths)
        later.set({"devices": [*DENY, KMSG]})
        second = programs(manager)
        assert len(first) == len(second) == 1
        assert first != second
        assert can_open(manager, "/dev/kmsg")
        manager.set({"devices": DENY})
        assert len(programs(manager)) == 1
        assert not can_open(manager, "/dev/kmsg")

    def test_at_no_moment_is_there_none_or_another(manager: Manager) -> None:
        """One process opens all the time what both lists allow, and what none of them does."""
        code = (
            "import os, sys\nsys.stdin.readline()\nprint(flush=True)\nwhile not os.path.exists(sys.argv[1]):\n"
            " os.close(os.open('/dev/null', os.O_RDWR))\n try: os.open('/dev/kmsg', os.O_RDONLY)\n"
            " except PermissionError: continue\n sys.exit('opened')"
        )
        manager.create({})
        manager.set({"devices": DENY})
        stop = f"{manager.paths['']}/stop"
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", code, stop], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        manager.join(process.pid)
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "\n"  # it has begun
        for number in range(200):
            manager.set({"devices": [*DENY, {**KMSG, "minor": 100 + number}]})
        os.mkdir(stop)
        assert process.communicate()[1] == ""
        assert process.returncode == 0

    def test_several_old_programs_all_go(manager: Manager) -> None:
        manager.create({})
        fd = os.open(manager.paths[""], os.O_RDONLY)
        for _ in range(3):
            ebpf.attach(fd, ebpf.assemble(evaluate(DENY)), fresh=True)
        os.close(fd)
        assert len(programs(manager)) == 3
        cgroups.load(manager.paths).set({"devices": [{"allow": True, "access": "rwm"}]})
        assert len(programs(manager)) == 1
        assert can_open(manager, "/dev/kmsg")

    def test_no_program_where_everything_is_allowed_anyway(manager: Manager) -> None:
        manager.create({})
        manager.set({"devices": [{"allow": True, "access": "rwm"}]})
        assert programs(manager) == []

    def test_many_rules_load(manager: Manager) -> None:
        manager.create({})
        rules = [{**KMSG, "minor": minor, "access": "rw"} for minor in range(500)]
        manager.set({"devices": [*DENY, *rules]})
        assert can_open(manager, "/dev/kmsg")

    def test_freeze(manager: Manager, spawn: Spawn) -> None:
        manager.create({})
        process = spawn("sh", "-c", "while :; do :; done")
        manager.join(process.pid)
        manager.freeze()
        assert manager.frozen()
        with open(f"{manager.paths['']}/cgroup.events") as file:
            assert "frozen 1" in file.read()
        manager.thaw()
        assert not manager.frozen()

    def test_a_frozen_ancestor_is_not_our_pause(manager: Manager) -> None:
        manager.create({})
        outer = cgroups.new(f"/{NAME}", "outer")
        outer.freeze()
        assert not manager.frozen()
        outer.thaw()

    def test_frozen_cgroup_is_refused(manager: Manager) -> None:
        manager.create({})
        manager.freeze()
        with pytest.raises(Error, match=r"^container's cgroup unexpectedly frozen$"):
            manager.check_usable()
        manager.thaw()

    @pytest.mark.parametrize("way", ["cgroup.kill", "one by one"])
    def test_kill_reaches_the_whole_subtree(
        manager: Manager, spawn: Spawn, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.create({})
        first, second = spawn(), spawn()
        manager.join(first.pid)
        os.makedirs(f"{manager.paths['']}/a/b")
        manager.join_dirs(second.pid, manager.exec_targets(["a/b"]))
        assert manager.pids() == sorted((first.pid, second.pid))
        assert manager.pids(recursive=False) == [first.pid]
        manager.freeze()
        if way == "cgroup.kill":
            manager.kill()
        else:
            Manager.kill(manager)
        assert [first.wait(LIMIT), second.wait(LIMIT)] == [-9, -9]
        manager.thaw()
        manager.delete()
        assert not manager.exists()

    def test_threaded_children_are_counted_once_and_deleted(manager: Manager, spawn: Spawn) -> None:
        manager.create({})
        process = spawn()
        manager.join(process.pid)
        child = f"{manager.paths['']}/threads"
        os.mkdir(child)
        with open(f"{child}/cgroup.type", "w") as file:
            file.write("threaded")
        with open(f"{child}/cgroup.threads", "w") as file:
            file.write(str(process.pid))
        assert manager.pids() == [process.pid]
        manager.kill()
        process.wait(LIMIT)
        manager.delete()
        assert not manager.exists()

    def test_below_a_threaded_cgroup(manager: Manager) -> None:
        manager.create({})
        # Only where no controller that knows nothing of threads is enabled may a cgroup become threaded.
        with open(f"{ROOT}/{NAME}/cgroup.controllers") as every:
            names = every.read().split()
        with open(f"{ROOT}/{NAME}/cgroup.subtree_control", "w") as control:
            control.write(" ".join(f"-{name}" for name in names))
        with open(f"{manager.paths['']}/cgroup.type", "w") as file:
            file.write("threaded")
        inner = cgroups.new(f"/{NAME}/c/d", "d")
        text = (
            f'cannot enter cgroupv2 "{inner.paths[""]}" with domain controllers -- it is in an invalid state'
        )
        with pytest.raises(Error) as caught:
            inner.create({"memory": {"limit": 1 << 30}})
        assert str(caught.value) == text
        inner.create({})
        with open(f"{inner.paths['']}/cgroup.type") as file:
            assert file.read() == "threaded\n"
        inner.delete()

    def test_delete_waits_for_dying_processes(manager: Manager, spawn: Spawn) -> None:
        manager.create({})
        process = spawn()
        manager.join(process.pid)
        began = time.monotonic()
        timer = threading.Timer(0.1, process.kill)
        timer.start()
        manager.delete()
        assert time.monotonic() - began > 0.05
        assert not manager.exists()
        timer.join()

    @pytest.mark.skipif(has("pids"), reason="here the pids controller is on v2")
    def test_absent_controllers_are_named(manager: Manager) -> None:
        manager.create({})
        with pytest.raises(
            Unsupported, match=r"^linux\.resources\.pids\.limit: controller pids not available$"
        ):
            manager.set({"pids": {"limit": 5}})
        with pytest.raises(Error) as caught:
            manager.set({"unified": {"pids.max": "5"}})
        assert (
            str(caught.value) == 'unified resource "pids.max" can\'t be set: controller "pids" not available'
        )
        manager.set({"unified": {"cgroup.max.depth": "3"}})
        with open(f"{manager.paths['']}/cgroup.max.depth") as file:
            assert file.read() == "3\n"

    @pytest.mark.skipif(not has("hugetlb"), reason="the hugetlb controller is not on v2 here")
    def test_huge_pages(manager: Manager) -> None:
        manager.create({})
        manager.set({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]})
        for file in ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"):
            with open(f"{manager.paths['']}/{file}") as stream:
                assert stream.read() == f"{4 << 20}\n"

    @pytest.mark.skipif(
        not (has("memory") and has("cpu") and has("pids")), reason="v1 has the controllers here"
    )
    def test_limits(manager: Manager) -> None:
        manager.create({})
        memory = {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20}
        cpu = {"shares": 512, "quota": 50000, "period": 100000}
        manager.set({"memory": memory, "cpu": cpu, "pids": {"limit": 0}})
        expected = {
            "memory.max": str(64 << 20),
            "memory.low": str(32 << 20),
            "cpu.weight": "59",
            "cpu.max": "50000 100000",
            "pids.max": "1",
        }
        for file, value in expected.items():
            with open(f"{manager.paths['']}/{file}") as stream:
                assert stream.read().strip() == value

    def as_nobody(work: Callable[[], str]) -> str:
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

    def test_rootless() -> None:
        def without_limits() -> str:
            manager = cgroups.new("", NAME, rootless=True)
            manager.check_usable()
            manager.create({"devices": DENY})
            manager.join(os.getpid())
            manager.set({"devices": DENY})
            manager.delete()
            return f"absent {manager.absent} {manager.open_for_clone()} {manager.open_for_join()}"

        def with_limits() -> str:
            cgroups.new("", NAME, rootless=True).create({"pids": {"limit": 5}})
            return "created"

        def with_path() -> str:
            cgroups.new(f"/{NAME}", NAME, rootless=True).create({})
            return "created"

        assert as_nobody(without_limits) == "absent True None (None, [])"
        text = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
        assert as_nobody(with_limits).startswith(f"Error: {text}: mkdir {ROOT}/")
        assert as_nobody(with_limits).endswith(": permission denied")
        assert as_nobody(with_path) == f"SyscallError: mkdir {ROOT}/{NAME}: permission denied"
