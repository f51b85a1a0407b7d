"""Limits that are real, not only written: what a process in a container can feel of them.

Each test runs wherever the kernel and our own rights permit it, with both cgroup drivers: the test VM has everything.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libcontainer import cgroups
from tests.root.conftest import CAP_SYS_RESOURCE, LIMIT, Sandbox, Share, may, wait_until
from tests.root.drivers import KINDS, Driver, made

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

MIB = 1 << 20

needs_sys_resource = pytest.mark.skipif(not may(CAP_SYS_RESOURCE), reason="needs CAP_SYS_RESOURCE")
needs_apparmor = pytest.mark.skipif(not os.path.exists("/sys/kernel/security/apparmor/policy"), reason="needs AppArmor")


@pytest.fixture(params=KINDS)
def driver(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Driver]:
    """Both drivers, for root and for a user."""
    with made(sandbox, request.param) as driver:
        yield driver


def number(path: Path, key: str) -> int:
    """A value of a flat keyed file."""
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.split()[0] == key)


def test_a_process_over_the_memory_limit_is_killed(driver: Driver) -> None:
    """It alone, and `events` says so.

    Nobody else may ask for memory meanwhile, as the other end of a pipe would: what the killed process had is given back a
    moment after the kernel has taken it for dead, and who finds nothing in that moment has the kernel choose once more.
    """
    greedy = "until [ -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=90M count=1; sleep 1000"
    driver.limit({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}, "sh", "-c", greedy)
    driver.start()
    told = driver.runtime.scratch / "events"
    stream = driver.runtime.popen("events", "--interval", "200ms", driver.name, out=told)
    try:
        wait_until(lambda: '"type":"stats"' in told.read_text())  # it watches now
        (driver.bundle.rootfs / "go").touch()
        wait_until(lambda: json.dumps({"type": "oom", "id": driver.name}, separators=(",", ":")) in told.read_text())
    finally:
        stream.terminate()
        stream.wait()
    memory = driver.cgroup("memory")
    kills = memory / ("memory.events" if cgroups.mode() == "v2" else "memory.oom_control")
    # v1 tells of it before it kills (mm/memcontrol-v1.c), and "It alone" is true only when nothing is under way.
    wait_until(lambda: number(kills, "oom_kill") > 0)
    time.sleep(0.5)
    assert number(kills, "oom_kill") == 1
    assert driver.runtime.status(driver.name) == "running"


@pytest.mark.skipif(cgroups.mode() != "v2", reason="cgroup v2")
def test_a_group_is_killed_as_one(driver: Driver) -> None:
    """memory.oom.group: who is within the limit goes as well."""
    resources = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}, "unified": {"memory.oom.group": "1"}}
    driver.limit(resources, "sh", "-c", "dd if=/dev/zero of=/dev/null bs=90M count=1; echo survived; exit 0")
    status, output = driver.run()
    assert status == 137
    assert "survived" not in output


def test_init_over_the_memory_limit_is_killed(driver: Driver) -> None:
    driver.limit({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}, "dd", "if=/dev/zero", "of=/dev/null", "bs=90M")
    assert driver.run()[0] == 137


def test_a_fork_bomb_ends_at_pids_limit(driver: Driver) -> None:
    bomb = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo survived"
    driver.limit({"pids": {"limit": 16}}, "sh", "-c", bomb)
    status, output = driver.run()
    assert status != 0
    assert "can't fork" in output
    assert "survived" not in output


def test_the_pids_limit_counts(driver: Driver) -> None:
    """Exactly so many as said, of which the shell is one."""
    fifteen = "i=0; while [ $i -lt 15 ]; do sleep 1000 & i=$((i+1)); done; echo all; kill -9 -1"
    driver.limit({"pids": {"limit": 16}}, "sh", "-c", fifteen)
    assert "all" in driver.run()[1]
    driver.limit({"pids": {"limit": 15}}, "sh", "-c", fifteen)
    assert "all" not in driver.run()[1]


def test_the_cpu_quota_holds_within_ten_percent(driver: Driver) -> None:
    quota = 20000
    driver.limit({"cpu": {"quota": quota, "period": 100000}}, "sh", "-c", "while :; do :; done")
    driver.start()
    group = driver.cgroup("cpu")

    def used() -> float:
        if cgroups.mode() == "v2":
            return number(group / "cpu.stat", "usage_usec") / 1e6
        return int((driver.cgroup("cpuacct") / "cpuacct.usage").read_text()) / 1e9

    def throttled() -> int:
        return number(group / "cpu.stat", "nr_throttled")

    wait_until(lambda: throttled() > 2)
    throttles = throttled()
    share = Share(used, 6)
    assert throttled() > throttles
    assert share.is_about(0.2), (share.least, share.most, share.idle)


def test_a_device_rule_refuses_open(driver: Driver) -> None:
    """The devices cgroup decides even for a node that is there, and for one that the container's root makes (/dev/kmsg)."""
    if driver.uid:
        pytest.skip("device rules are for root")
    look = (
        "mknod /dev/mine c 1 11; mknod /dev/mine2 c 1 3; for d in mine mine2 null; do "
        "if (: </dev/$d) 2>/dev/null; then echo $d opens; else echo $d refused; fi; done"
    )
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "m"}]
    driver.bundle.spec["process"]["capabilities"] = {
        name: [*driver.bundle.spec["process"]["capabilities"]["bounding"], "CAP_MKNOD", "CAP_SYSLOG"]
        for name in ("bounding", "effective", "permitted")
    }
    driver.limit({"devices": rules}, "sh", "-c", look)
    status, output = driver.run()
    assert "mine refused" in output, output
    assert "mine2 opens" in output
    assert "null opens" in output
    rules[1]["access"] = "rm"
    driver.limit({"devices": rules}, "sh", "-c", look)
    status, output = driver.run()
    assert "mine opens" in output, output
    assert status == 0


@needs_sys_resource
def test_rlimits_are_raised_above_our_own(sandbox: Sandbox) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    bundle.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 5000, "soft": 4000}]
    bundle.spec["process"]["args"] = ["sh", "-c", "grep 'open files' /proc/self/limits"]
    bundle.write()

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    command = [sandbox.command, "--root", str(runtime.root), "run", "-b", str(bundle.path), sandbox.name]
    done = subprocess.run(
        command, preexec_fn=lower, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.stdout.split()[3:5] == ["4000", "5000"], done.stdout + done.stderr


@needs_sys_resource
@pytest.mark.parametrize("score", [-500, 0, 300])
def test_the_oom_score_is_lowered_below_our_own(sandbox: Sandbox, score: int) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    bundle.spec["process"]["oomScoreAdj"] = score
    bundle.args("cat", "/proc/self/oom_score_adj")
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text("200")
    try:
        assert runtime.ok("run", "-b", str(bundle.path), sandbox.name).strip() == str(score)
    finally:
        own.write_text(before)


PROFILE = """
abi <abi/4.0>,
profile {name} flags=(attach_disconnected, mediate_deleted) {{
  file,
  capability,
  signal,
  mount,
  umount,
  deny /etc/secret rw,
}}
"""


@pytest.fixture
def profile(sandbox: Sandbox, tmp_path: Path) -> Iterator[str]:
    """A loaded AppArmor profile that denies /etc/secret."""
    source = tmp_path / "profile"
    source.write_text(PROFILE.format(name=sandbox.name))
    subprocess.run(["apparmor_parser", "--skip-cache", "--replace", str(source)], check=True, timeout=LIMIT)
    yield sandbox.name
    subprocess.run(["apparmor_parser", "--remove", str(source)], check=True, timeout=LIMIT)


@needs_apparmor
def test_an_apparmor_profile_is_enforced(sandbox: Sandbox, profile: str) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    (bundle.rootfs / "etc/secret").write_text("secret\n")
    look = "cat /proc/self/attr/current; cat /etc/secret /etc/group"
    bundle.args("sh", "-c", look)
    assert "secret" in runtime.ok("run", "-b", str(bundle.path), sandbox.name)
    bundle.spec["process"]["apparmorProfile"] = profile
    bundle.write()
    status, output = runtime.run("run", "-b", str(bundle.path), sandbox.name)
    assert status != 0
    assert f"{profile} (enforce)" in output
    assert "root:x:0:" in output
    assert "/etc/secret': Permission denied" in output


@needs_apparmor
def test_an_apparmor_profile_that_is_not_loaded(sandbox: Sandbox) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    bundle.spec["process"]["apparmorProfile"] = sandbox.name
    bundle.write()
    status, output = runtime.run("run", "-b", str(bundle.path), sandbox.name)
    assert status == 1
    assert f"apparmor profile '{sandbox.name}': profile not loaded" in output


@needs_apparmor
def test_exec_has_the_containers_profile_or_its_own(sandbox: Sandbox, profile: str) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    bundle.spec["process"]["apparmorProfile"] = profile
    bundle.write()
    runtime.ok("run", "-d", "-b", str(bundle.path), sandbox.name)
    current = ("cat", "/proc/self/attr/current")
    assert runtime.ok("exec", sandbox.name, *current).strip() == f"{profile} (enforce)"
    bundle.spec["process"] |= {"apparmorProfile": "unconfined", "args": list(current)}
    process = sandbox.directory / "process.json"
    process.write_text(json.dumps(bundle.spec["process"]))
    assert runtime.ok("exec", "-p", str(process), sandbox.name).strip() == "unconfined"


@needs_apparmor
def test_an_unknown_profile_is_an_error(sandbox: Sandbox) -> None:
    bundle, runtime = sandbox.bundle(), sandbox.runtime()
    bundle.spec["process"]["apparmorProfile"] = "no-such-profile"
    bundle.write()
    status, output = runtime.run("run", "-b", str(bundle.path), sandbox.name)
    assert status == 1
    assert "apparmor" in output
    assert "no-such-profile" in output
