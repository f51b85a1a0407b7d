"""podman, containerd and Docker run containers with pyrunc.

Each engine works in a cell (engine_cell.py) on an image made of busybox, without any network; engines that are not
installed are skipped, with the reason.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.root import engine_cell
from tests.root.conftest import LIMIT, Sandbox, wait_until
from tests.root.engine_cell import Cell, Engine, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.engines]

SLEEP = ("sleep", "1000")
# Engines give the size after the program has begun, and complain when it has ended by then.
SIZE = 'until [ -n "$(stty size 2>/dev/null)" ]; do sleep 0.1; done; stty size'
NO_CAPS = "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000"
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


@pytest.fixture(scope="module")
def cell(pyrunc: str) -> Iterator[Cell]:
    """One cell for all engines."""
    cell = Cell(pyrunc)
    try:
        yield cell
    finally:
        cell.close()


def wait_for(engine: Engine, wanted: str, *args: str) -> None:
    """Poll a command until its output has `wanted`. (A container is started a little before its program is executed.)"""
    deadline = time.monotonic() + LIMIT
    while wanted not in (result := engine(*args)).output:
        assert time.monotonic() < deadline, result
        time.sleep(0.1)


def needs(engine: Engine, command: str) -> None:
    """Skip where the runtime does not have this command."""
    if engine.cell.run([str(engine.cell.runtime), "help", command], {}).status:
        engine_cell.skip(f"the runtime has no {command}")


def lines(result: Result) -> list[str]:
    return [line.strip() for line in result.output.splitlines()]


# -- podman


@pytest.fixture(scope="module", params=[0, engine_cell.USER], ids=["root", "rootless"])
def podman(cell: Cell, request: pytest.FixtureRequest) -> Engine:
    """podman as root and as a user."""
    user: int = request.param
    if user and cell.run([str(cell.runtime), "--version"], {}, user=user).status:
        engine_cell.skip("the command lies where other users cannot reach it")
    return engine_cell.podman(cell, user=user)


def run_options(podman: Engine) -> list[str]:
    """No network, and a cgroup that goes with the cell."""
    return ["--network=none", *([f"--cgroup-parent=/{podman.cell.name}"] if not podman.user else [])]


def podman_run(podman: Engine, *args: str, stdin: bytes = b"") -> Result:
    return podman("run", *run_options(podman), *args, stdin=stdin)


@pytest.fixture
def box(podman: Engine) -> Iterator[Engine]:
    """A podman with a container "box" that sleeps."""
    started = podman_run(podman, "--detach", "--name=box", "box", *SLEEP)
    assert started.status == 0, started
    yield podman
    podman.ok("rm", "--force", "--time=0", "box")


def test_podman_statuses(podman: Engine) -> None:
    assert podman_run(podman, "--rm", "box", "echo", "hi").output == "hi"
    assert podman_run(podman, "--rm", "box", "sh", "-c", "exit 7").status == 7
    missing = podman_run(podman, "--rm", "box", "missing")
    assert missing.status == 127
    assert "executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found" in missing.output
    denied = podman_run(podman, "--rm", "box", "/etc/passwd")
    assert denied.status == 126
    assert "permission denied: OCI permission denied" in denied.output
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_podman_stdin_and_much_output(podman: Engine) -> None:
    assert podman_run(podman, "--rm", "--interactive", "box", "cat", stdin=b"given").output == "given"
    assert len(podman_run(podman, "--rm", "box", "head", "-c", "1000000", "/bin/busybox").output) > 500000


def test_podman_terminal(podman: Engine, box: Engine) -> None:
    result = podman.on_terminal("run", *run_options(podman), "--rm", "-it", "box", "sh", "-c", f"tty; {SIZE}")
    assert lines(result) == ["/dev/pts/0", "33 99"]
    result = box.on_terminal("exec", "-it", "box", "sh", "-c", f"tty; {SIZE}; exit 3")
    assert (lines(result)[-1], result.status) == ("33 99", 3)


def test_podman_exec(box: Engine) -> None:
    assert box.ok("exec", "box", "echo", "in") == "in"
    assert box.ok("exec", "--interactive", "box", "cat", stdin=b"given") == "given"
    assert box.ok("exec", "--user=user", "box", "sh", "-c", "id -u; id -G") == "1000\n1000 7"
    assert box.ok("exec", "--workdir=/tmp", "--env=A=b", "box", "sh", "-c", "pwd; echo $A") == "/tmp\nb"
    assert box("exec", "box", "sh", "-c", "exit 5").status == 5
    assert box("exec", "box", "missing").status == 127
    assert box("exec", "box", "/etc/passwd").status == 126
    box.ok("exec", "--detach", "box", "touch", "/tmp/made")
    wait_for(box, "made", "exec", "box", "ls", "/tmp")


def test_podman_looks(box: Engine) -> None:
    wait_for(box, "sleep 1000", "top", "box", "pid", "args")
    assert box.ok("inspect", "--format={{.OCIRuntime}} {{.State.Status}}", "box") == "pyrunc running"
    assert "sleep 1000" in box.ok("ps", "--no-trunc")


def test_podman_stop_start_kill(box: Engine) -> None:
    box.ok("stop", "--time=0", "box")
    state = "--format={{.State.Status}} {{.State.ExitCode}}"
    assert box.ok("inspect", state, "box") == "exited 137"
    box.ok("start", "box")
    assert box.ok("exec", "box", "echo", "again") == "again"
    box.ok("kill", "box")
    assert box.ok("wait", "box") == "137"


def test_podman_pause(box: Engine) -> None:
    needs(box, "pause")
    if box.user:
        engine_cell.skip("podman without root pauses on cgroup v2 only")
    state = "--format={{.State.Status}}"
    box.ok("pause", "box")
    assert box.ok("inspect", state, "box") == "paused"
    assert box("exec", "box", "true").status != 0
    box.ok("unpause", "box")
    assert box.ok("inspect", state, "box") == "running"
    assert box.ok("exec", "box", "echo", "again") == "again"


def test_podman_signal_and_logs(podman: Engine) -> None:
    script = "trap 'echo caught >&2; exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    assert podman_run(podman, "--detach", "--name=trap", "box", "sh", "-c", script).status == 0
    try:
        wait_for(podman, "ready", "logs", "trap")
        podman.ok("kill", "--signal=USR1", "trap")
        assert podman.ok("wait", "trap") == "9"
        assert podman.ok("logs", "trap").splitlines() == ["ready", "caught"]
    finally:
        podman.ok("rm", "--force", "--time=0", "trap")


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        (["--read-only"], "touch /x 2>/dev/null || echo refused; touch /tmp/x && echo made", "refused\nmade"),
        (["--tmpfs=/t:size=1m,mode=1770"], "grep -c ' /t tmpfs ' /proc/mounts", "1"),
        (["--user=user"], "id -u; id -G", "1000\n1000 7"),
        (["--cap-drop=all"], "grep -E 'Cap(Eff|Bnd)' /proc/self/status", NO_CAPS),
        (["--security-opt=no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
        (["--security-opt=seccomp={directory}/seccomp.json"], "mkdir /x 2>/dev/null || echo refused", "refused"),
        (["--uidmap=0:1:1000", "--gidmap=0:1:1000"], "echo $(cat /proc/self/uid_map); id -u", "0 1 1000\n0"),
        (["--sysctl=net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1"),
        (["--ulimit=nofile=100:200", "--ulimit=nproc=4096"], "ulimit -n; ulimit -Hn", "100\n200"),
        (["--volume={directory}/volume:/v:ro"], "cat /v/file; touch /v/x 2>/dev/null || echo refused", "kept\nrefused"),
        (["--hostname=other"], "cat /proc/sys/kernel/hostname", "other"),
        (["--pid=host"], "echo /proc/[0-9]* | wc -w | grep -vc '^[123]$'", "1"),
        (["--privileged"], "echo x > /dev/null && echo ok", "ok"),
        (["--device=/dev/zero:/dev/nought"], "head -c 4 /dev/nought | wc -c", "4"),
    ],
)
def test_podman_options(podman: Engine, options: list[str], script: str, expected: str) -> None:
    directory = podman.cell.directory
    (directory / "volume").mkdir(exist_ok=True)
    (directory / "volume" / "file").write_text("kept\n")
    (directory / "seccomp.json").write_text(json.dumps(NO_MKDIR))
    flags = [option.format(directory=directory) for option in options]
    assert podman_run(podman, "--rm", *flags, "box", "sh", "-c", script).output == expected


def test_podman_descriptors(podman: Engine) -> None:
    inside = "echo $LISTEN_FDS $LISTEN_PID; cat <&3; ls /proc/self/fd"
    command = ["podman", "run", *run_options(podman), "--rm", "box", "sh", "-c", inside]
    script = 'exec 3< "$0" 7< "$0"; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
    (podman.cell.directory / "passed").write_text("passed\n")
    passed = str(podman.cell.directory / "passed")
    result = podman.cell.run(["sh", "-c", script, passed, *command], podman.env, user=podman.user)
    assert lines(result) == ["1 1", "passed", "0", "1", "2", "3", "4"]  # 4 is the directory that ls reads


def test_podman_update_and_commit(box: Engine) -> None:
    """The limits are in a file; and what is copied stands still meanwhile."""
    needs(box, "update")
    if box.user:
        engine_cell.skip("podman without root limits and pauses on cgroup v2 only")
    box.ok("update", "--memory=64m", "--cpus=0.2", "box")
    files = "memory/memory.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu.max"
    limits = box("exec", "box", "sh", "-c", f"cd /sys/fs/cgroup; cat {files} 2>/dev/null").output
    assert limits.split()[:2] == ["67108864", "20000"]
    box.ok("exec", "box", "touch", "/made")
    box.ok("commit", "--quiet", "--pause", "box", "localhost/committed")
    assert podman_run(box, "--rm", "localhost/committed", "ls", "/made").output == "/made"


def test_podman_runtime_by_its_path(podman: Engine) -> None:
    """A name that podman does not know: no log file, the words come on stderr alone."""
    runtime = podman.cell.runtime.parent / "other"
    if not runtime.exists():
        runtime.symlink_to(podman.cell.runtime)
    command = ["podman", "--runtime", str(runtime), "run", *run_options(podman), "--rm", "box"]
    result = podman.cell.run([*command, "/missing"], podman.env, user=podman.user)
    assert result.status == 127
    assert "stat /missing: no such file or directory" in result.output
    assert podman.cell.run([*command, "echo", "hi"], podman.env, user=podman.user).output == "hi"


def test_podman_health(podman: Engine) -> None:
    health = ["--health-interval=disable", "--detach", "--name=health"]
    for command, status in (("test -e /bin/sh", 0), ("exit 1", 1)):
        assert podman_run(podman, *health, f"--health-cmd={command}", "box", *SLEEP).status == 0
        try:
            assert podman("healthcheck", "run", "health").status == status
        finally:
            podman.ok("rm", "--force", "--time=0", "health")


def test_podman_pod(podman: Engine) -> None:
    shares = ("--share=pid,net,uts,ipc", "--infra-image=localhost/pause")
    podman.ok("pod", "create", "--name=pod", *run_options(podman), *shares)
    try:
        first = podman("run", "--detach", "--pod=pod", "--name=first", "box", *SLEEP)
        assert first.status == 0, first
        count = "ps | grep -c '[s]leep 1000'"
        wait_for(podman, "2", "exec", "first", "sh", "-c", count)
        script = f"{count}; cat /proc/sys/kernel/hostname"
        assert podman.ok("run", "--rm", "--pod=pod", "box", "sh", "-c", script) == "2\npod"
        assert podman.ok("exec", "first", "cat", "/proc/sys/kernel/hostname") == "pod"
    finally:
        podman.ok("pod", "rm", "--force", "--time=0", "pod")


def test_buildah(podman: Engine) -> None:
    engine_cell.require("buildah")
    place = podman.cell.directory / f"build-{podman.user}"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM localhost/box\nRUN echo built > /made\nUSER user\nRUN id -u > /tmp/id\n")
    buildah = Engine(podman.cell, ["buildah"], podman.env, podman.user)
    runtime = ["--isolation=oci", f"--runtime={podman.cell.runtime}", "--network=none"]
    if podman.user:
        runtime.remove("--network=none")
        runtime.append("--network=host")
    buildah.ok("build", *runtime, "--tag=localhost/built", str(place))
    assert podman_run(podman, "--rm", "localhost/built", "cat", "/made", "/tmp/id").output == "built\n1000"


# -- containerd


def test_cells_have_names_that_containerd_takes() -> None:
    names = {engine_cell.fresh_name() for _ in range(300)}
    assert len(names) > 290
    assert not [name for name in names if not re.fullmatch(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", name)]


def test_cells_have_nothing_of_other_tests(sandbox: Sandbox, pyrunc: str) -> None:
    place = sandbox.directory / "mount"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "other", str(place)], check=True)
    try:
        cell = Cell(pyrunc)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    try:
        assert sandbox.leaks(0) == []
    finally:
        cell.close()


@pytest.fixture(scope="module")
def ctr(cell: Cell) -> Engine:
    """A containerd; its containers run on the directory of which the others' image was made."""
    return engine_cell.containerd(cell)


def ctr_run(ctr: Engine, name: str, *args: str, options: tuple[str, ...] = ()) -> Result:
    root = str(ctr.cell.directory / "image")
    return ctr("run", f"--runc-binary={ctr.cell.runtime}", "--env=PATH=/bin", "--rootfs", *options, root, name, *args)


@pytest.fixture
def task(ctr: Engine) -> Iterator[Engine]:
    """A containerd with a container "task" that sleeps."""
    started = ctr_run(ctr, "task", *SLEEP, options=("--detach",))
    assert started.status == 0, started
    yield ctr
    ctr("task", "kill", "--signal=SIGKILL", "task")
    wait_for(ctr, "not found", "task", "delete", "task")
    ctr.ok("container", "delete", "task")


def test_ctr_statuses(ctr: Engine) -> None:
    assert ctr_run(ctr, "one", "echo", "hi", options=("--rm",)).output == "hi"
    assert ctr_run(ctr, "one", "sh", "-c", "exit 7", options=("--rm",)).status == 7
    missing = ctr_run(ctr, "one", "missing", options=("--rm",))
    assert missing.status != 0
    assert 'OCI runtime create failed: runc create failed: unable to start container process' in missing.output
    assert 'exec: "missing": executable file not found in $PATH' in missing.output


def test_ctr_terminal(ctr: Engine) -> None:
    root = str(ctr.cell.directory / "image")
    args = ("run", "--rm", "-t", f"--runc-binary={ctr.cell.runtime}", "--env=PATH=/bin", "--rootfs", root, "one")
    result = ctr.on_terminal(*args, "sh", "-c", f"tty; {SIZE}")
    assert lines(result) == ["/dev/pts/0", "33 99"]


def test_ctr_exec(task: Engine) -> None:
    assert task.ok("task", "exec", "--exec-id=1", "task", "echo", "in") == "in"
    assert task("task", "exec", "--exec-id=2", "task", "sh", "-c", "exit 5").status == 5
    assert task.ok("task", "exec", "--exec-id=3", "--user=1000", "task", "id", "-u") == "1000"
    missing = task("task", "exec", "--exec-id=4", "task", "missing")
    assert "OCI runtime exec failed: exec failed: unable to start container process" in missing.output
    terminal = task.on_terminal("task", "exec", "--exec-id=5", "-t", "task", "sh", "-c", f"tty; {SIZE}")
    assert lines(terminal) == ["/dev/pts/0", "33 99"]


def test_ctr_kill(task: Engine) -> None:
    task.ok("task", "kill", "--all", "--signal=SIGKILL", "task")
    wait_for(task, "STOPPED", "task", "ls")


def test_ctr_pause(task: Engine) -> None:
    needs(task, "pause")
    task.ok("task", "pause", "task")
    assert "PAUSED" in task.ok("task", "ls")
    task.ok("task", "resume", "task")
    assert "RUNNING" in task.ok("task", "ls")


def test_ctr_processes(task: Engine) -> None:
    needs(task, "ps")
    assert len(task.ok("task", "ps", "task").splitlines()) == 2


def test_ctr_watches(task: Engine) -> None:
    """The cgroup that the shim reads is the container's."""
    assert "pids.current" in task.ok("task", "metrics", "task")
    task.ok("task", "exec", "--detach", "--exec-id=watched", "task", "sleep", "1001")
    wait_for(task, "watched", "task", "ps", "task")
    task.ok("task", "kill", "--exec-id=watched", "--signal=SIGKILL", "task")
    wait_until(lambda: "sleep 1001" not in task.cell.run(["ps", "ax"], {}).output)


def test_ctr_options(ctr: Engine) -> None:
    options = ("--rm", "--read-only", "--seccomp", "--env=A=b", "--cwd=/tmp", "--cgroup", f"/{ctr.cell.name}-ctr")
    script = "echo $A; pwd; touch /x 2>/dev/null || echo refused; grep Seccomp: /proc/self/status"
    assert ctr_run(ctr, "one", "sh", "-c", script, options=options).output == "b\n/tmp\nrefused\nSeccomp:\t2"
    assert ctr_run(ctr, "one", "true", options=("--rm", "--privileged")).status == 0


def test_ctr_shared_pid_namespace(ctr: Engine) -> None:
    """containerd kills the rest itself once init has ended: `kill --all` of a stopped container."""
    options = ("--rm", "--with-ns=pid:/proc/self/ns/pid")
    assert ctr_run(ctr, "one", "sh", "-c", "sleep 1234 & exit 3", options=options).status == 3
    wait_until(lambda: "sleep 1234" not in ctr.cell.run(["ps", "ax"], {}).output)


def test_ctr_leaves_nothing(ctr: Engine) -> None:
    assert ctr_run(ctr, "last", "true", options=("--rm",)).status == 0
    assert ctr.ok("task", "ls", "--quiet") == ""
    assert ctr.cell.run(["ls", f"/run/containerd/runc/{ctr.cell.name}"], {}).output == ""


# -- Docker


@pytest.fixture(scope="module")
def docker(cell: Cell) -> Engine:
    """A dockerd."""
    return engine_cell.docker(cell)


def docker_run(docker: Engine, *args: str, stdin: bytes = b"") -> Result:
    return docker("run", "--runtime=pyrunc", *args, stdin=stdin)


@pytest.fixture
def whale(docker: Engine) -> Iterator[Engine]:
    """A dockerd with a container "whale" that sleeps."""
    started = docker_run(docker, "--detach", "--name=whale", "box", *SLEEP)
    assert started.status == 0, started
    yield docker
    docker.ok("rm", "--force", "whale")


def test_docker_statuses(docker: Engine) -> None:
    assert docker_run(docker, "--rm", "box", "echo", "hi").output == "hi"
    assert docker_run(docker, "--rm", "box", "sh", "-c", "exit 7").status == 7
    assert docker_run(docker, "--rm", "--no-such-flag", "box", "true").status == 125
    assert docker_run(docker, "--rm", "box", "/etc/passwd").status == 126
    missing = docker_run(docker, "--rm", "box", "missing")
    assert missing.status == 127
    assert 'exec: "missing": executable file not found in $PATH' in missing.output
    assert docker_run(docker, "--rm", "--interactive", "box", "cat", stdin=b"given").output == "given"


def test_docker_network(docker: Engine) -> None:
    """dockerd brings the interface through a prestart hook."""
    assert docker_run(docker, "--rm", "box", "sh", "-c", "ip -o -4 addr show eth0 | wc -l").output == "1"


def test_docker_info(docker: Engine) -> None:
    """Docker looks for `runc` in PATH, which is pyrunc here, and asks it for its version."""
    info = docker.ok("info", "--format={{.RuncCommit.ID}} {{json .Runtimes}}")
    assert "pyrunc" in info
    assert docker("run", "--rm", "box", "echo", "default").output == "default"
    assert docker("run", "--rm", "--runtime=wrapped", "box", "echo", "wrapped").output == "wrapped"


def test_docker_terminal(docker: Engine, whale: Engine) -> None:
    result = docker.on_terminal("run", "--runtime=pyrunc", "--rm", "-it", "box", "sh", "-c", f"tty; {SIZE}")
    assert lines(result) == ["/dev/pts/0", "33 99"]
    result = whale.on_terminal("exec", "-it", "whale", "sh", "-c", f"tty; {SIZE}; exit 3")
    assert (lines(result), result.status) == (["/dev/pts/0", "33 99"], 3)


def test_docker_exec(whale: Engine) -> None:
    assert whale.ok("exec", "whale", "echo", "in") == "in"
    assert whale.ok("exec", "--interactive", "whale", "cat", stdin=b"given") == "given"
    assert whale.ok("exec", "--user=user", "whale", "sh", "-c", "id -u; id -G") == "1000\n1000 7"
    assert whale("exec", "whale", "sh", "-c", "exit 5").status == 5
    missing = whale("exec", "whale", "missing")
    assert missing.status in (126, 127)
    assert "executable file not found" in missing.output
    nowhere = whale("exec", "--workdir=/nowhere", "whale", "true")
    assert 'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory' in nowhere.output


def test_docker_stop_start_kill(whale: Engine) -> None:
    state = "--format={{.State.Status}} {{.State.ExitCode}}"
    whale.ok("stop", "--time=1", "whale")
    assert whale.ok("inspect", state, "whale") == "exited 137"
    whale.ok("start", "whale")
    assert whale.ok("exec", "whale", "echo", "again") == "again"
    whale.ok("kill", "whale")
    assert whale.ok("wait", "whale") == "137"


def test_docker_pause(whale: Engine) -> None:
    needs(whale, "pause")
    state = "--format={{.State.Status}}"
    whale.ok("pause", "whale")
    assert whale.ok("inspect", state, "whale") == "paused"
    whale.ok("unpause", "whale")
    assert whale.ok("inspect", state, "whale") == "running"


def test_docker_restart_rename_commit(whale: Engine) -> None:
    whale.ok("exec", "whale", "touch", "/made")
    whale.ok("commit", "whale", "committed")
    assert docker_run(whale, "--rm", "committed", "ls", "/made").output == "/made"
    whale.ok("restart", "--time=0", "whale")
    whale.ok("rename", "whale", "orca")
    assert whale.ok("exec", "orca", "ls", "/made") == "/made"
    whale.ok("rename", "orca", "whale")


def test_docker_shares_namespaces(whale: Engine) -> None:
    options = ("--rm", "--pid=container:whale", "--network=container:whale")
    wait_for(whale, "sleep", "exec", "whale", "cat", "/proc/1/cmdline")
    script = "cat /proc/1/cmdline | tr '\\0' ' '; ip -o -4 addr show eth0 | wc -l"
    assert docker_run(whale, *options, "box", "sh", "-c", script).output == "sleep 1000 1"


def test_docker_out_of_memory(docker: Engine) -> None:
    """The shim watches the cgroup that init is in."""
    options = ("--detach", "--name=hungry", "--memory=20m", "--memory-swap=20m")
    script = "until [ -e /watched ]; do sleep 0.1; done; exec busybox dd if=/dev/zero of=/dev/null bs=100M count=1"
    try:
        assert docker_run(docker, *options, "box", "sh", "-c", script).status == 0
        docker.ok("exec", "hungry", "touch", "/watched")  # the shim had answered to its start
        assert docker.ok("wait", "hungry") == "137"
        wait_for(docker, "true 137", "inspect", "--format={{.State.OOMKilled}} {{.State.ExitCode}}", "hungry")
    finally:
        docker.ok("rm", "--force", "hungry")


def test_docker_top(whale: Engine) -> None:
    needs(whale, "ps")
    wait_for(whale, "sleep 1000", "top", "whale")


def test_docker_update(whale: Engine) -> None:
    needs(whale, "update")
    whale.ok("update", "--memory=64m", "--memory-swap=64m", "whale")
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    assert whale("exec", "whale", "sh", "-c", f"cat {files} 2>/dev/null").output == "67108864"


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        (["--read-only"], "touch /x 2>/dev/null || echo refused", "refused"),
        (["--tmpfs=/t:size=1m"], "grep -c ' /t tmpfs ' /proc/mounts", "1"),
        (["--user=user"], "id -u; id -G", "1000\n1000 7"),
        (["--cap-drop=all"], "grep -E 'Cap(Eff|Bnd)' /proc/self/status", NO_CAPS),
        ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
        (["--memory=64m"], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null", "67108864"),
        (["--volume={directory}/volume:/v:ro"], "cat /v/file; touch /v/x 2>/dev/null || echo refused", "kept\nrefused"),
        (["--hostname=other"], "cat /proc/sys/kernel/hostname", "other"),
        (["--pid=host"], "echo /proc/[0-9]* | wc -w | grep -vc '^[123]$'", "1"),
        (["--network=none"], "ip -o link | wc -l | grep -vc '^0$'", "1"),
        (["--privileged"], "echo x > /dev/null && echo ok", "ok"),
        (["--device=/dev/zero:/dev/nought"], "head -c 4 /dev/nought | wc -c", "4"),
        (["--workdir=/made/up"], "pwd", "/made/up"),
    ],
)
def test_docker_options(docker: Engine, options: list[str], script: str, expected: str) -> None:
    directory = docker.cell.directory
    (directory / "volume").mkdir(exist_ok=True)
    (directory / "volume" / "file").write_text("kept\n")
    flags = [option.format(directory=directory) for option in options]
    assert docker_run(docker, "--rm", *flags, "box", "sh", "-c", script).output == expected


def test_docker_init(docker: Engine) -> None:
    engine_cell.require("docker-init")
    assert "docker-init" in docker_run(docker, "--rm", "--init", "box", "cat", "/proc/1/cmdline").output


def test_docker_many_at_once(docker: Engine) -> None:
    names = [f"many{n}" for n in range(4)]
    run = f"{' '.join(docker.command)} run --runtime=pyrunc --rm"
    script = " ".join(f"{run} --name={name} box echo {name} &" for name in names)
    result = docker.cell.run(["sh", "-c", f"{script} wait"], docker.env)
    assert sorted(lines(result)) == names


def test_docker_leaves_nothing(docker: Engine) -> None:
    assert docker_run(docker, "--rm", "box", "true").status == 0
    assert docker.ok("ps", "--all", "--quiet") == ""
    states = ["ls", str(docker.cell.directory / "docker/exec/runtime-runc/moby")]
    wait_until(lambda: docker.cell.run(states, {}).output == "")  # dockerd waits two seconds for a delete, then goes on
