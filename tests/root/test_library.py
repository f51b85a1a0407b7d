"""The public library on real containers: what a program without a command line gets, in the ways that programs are."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import libcontainer
from libcontainer import Container, Error
from libcontainer.errors import describe
from libcontainer.state import process_alive, process_start_time
from tests.root.conftest import LIMIT, wait_until
from tests.root.laboratory import MAPPED, Laboratory, Snapshot, bind, descriptors, mount, with_user_namespace, without

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
TOP = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Laboratory]:
    """A laboratory that is as it was when the test is over: nothing stays, whatever went wrong."""
    laboratory = Laboratory(tmp_path, busybox_rootfs)
    assert laboratory.run("exit 0")[0] == 0  # what is opened once a process
    before = Snapshot()
    try:
        yield laboratory
    finally:
        laboratory.clean_up()
    assert laboratory.left_behind() == []
    before.assert_unchanged()


# -- the life of a container


def test_a_life(lab: Laboratory) -> None:
    container = lab.make("trap 'exit 3' TERM; echo up > /up; while :; do sleep 0.01; done")
    assert container.status() == "created"
    assert not (lab.rootfs / "up").exists()
    state = container.to_state()
    assert (state["status"], state["pid"], state["bundle"]) == ("created", container.pid, str(lab.bundle))
    container.start()
    assert container.status() == "running"
    wait_until((lab.rootfs / "up").exists)
    assert lab.exec(container, "hostname; exit 5") == (5, "runc\n")
    assert [c.id for c in Container.list(root=lab.root)] == [container.id]
    assert Container.load(container.id, root=lab.root).pid == container.pid
    container.signal(signal.SIGTERM)
    assert container.wait() == 3
    assert container.wait() == 3
    assert (container.status(), container.pid, container.to_state()["pid"]) == ("stopped", 0, 0)
    container.delete()


def test_the_spec_of_the_bundle(lab: Laboratory) -> None:
    (lab.bundle / "config.json").write_text(json.dumps(lab.spec("exit 9")))
    container = Container.create(lab.name(), root=lab.root, bundle=str(lab.bundle))
    container.start()
    assert container.wait() == 9
    container.delete()


def test_relative_paths_survive_a_change_of_directory(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.directory)
    container = Container.create(lab.name(), root="state", bundle="bundle", spec=lab.spec("exit 4"))
    loaded = Container.load(container.id, root="state")
    monkeypatch.chdir("/")
    loaded.start()
    assert loaded.wait() == 4
    loaded.delete()


def test_a_process_without_a_user_is_root(lab: Laboratory) -> None:
    spec = lab.spec("id -u; exec sleep 100")
    del spec["process"]["user"]
    container = lab.make(spec)
    assert lab.exec(container, "id -u") == (0, "0\n")
    container.delete(force=True)


def test_the_status_of_a_killed_one(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    container.start()
    process = container.exec({"args": ["/bin/sleep", "100"], "cwd": "/", "env": []})
    process.signal(signal.SIGKILL)
    assert process.wait() == 128 + 9
    process.close()
    container.signal(9)
    assert container.wait() == 128 + 9
    container.delete()


def test_processes_that_nobody_closes(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    for _ in range(20):
        assert container.exec({"args": ["/bin/true"], "cwd": "/", "env": []}).wait() == 0
    container.delete(force=True)


def test_extra_descriptors_and_listen_fds(lab: Laboratory) -> None:
    pipes = [os.pipe() for _ in range(3)]
    container = lab.make(
        "echo $LISTEN_FDS $LISTEN_PID >&3; echo second >&4; echo third >&5; ls /proc/self/fd >&5",
        extra_fds=[writer for _, writer in pipes],
        listen_fds=2,
    )
    container.start()
    assert container.wait() == 0
    said = []
    for reader, writer in pipes:
        os.close(writer)
        said.append(os.read(reader, 1000).decode())
        os.close(reader)
    assert said == ["2 1\n", "second\n", "third\n0\n1\n2\n3\n4\n5\n6\n"]  # 6: ls itself
    container.delete()


def test_exec_with_extra_descriptors(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    reader, writer = os.pipe()
    with container.exec(
        {"args": ["/bin/sh", "-c", "ls /proc/self/fd >&3"], "cwd": "/", "env": ["PATH=/bin"]}, extra_fds=[writer]
    ) as process:
        assert process.wait() == 0
    os.close(writer)
    assert os.read(reader, 1000) == b"0\n1\n2\n3\n4\n"
    os.close(reader)
    container.delete(force=True)


# -- errors


def test_errors_are_exceptions_of_their_kind(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    with pytest.raises(libcontainer.ContainerExists, match="container with given ID already exists"):
        Container.create(container.id, root=lab.root, bundle=str(lab.bundle), spec=lab.spec())
    with pytest.raises(libcontainer.ContainerNotExist, match="container does not exist"):
        Container.load("absent", root=lab.root)
    for bad in ("", "..", "a/b", "a b"):
        with pytest.raises(libcontainer.InvalidID):
            Container.load(bad, root=lab.root)
        with pytest.raises(libcontainer.InvalidID):
            Container.create(bad, root=lab.root, bundle=str(lab.bundle), spec=lab.spec())
    container.start()
    with pytest.raises(libcontainer.ContainerRunning, match="cannot start an already running container"):
        container.start()
    with pytest.raises(Error, match="cannot delete container .* that is not stopped: running"):
        container.delete()
    with pytest.raises(Error, match="exec args cannot be empty"):
        container.exec({"args": [], "cwd": "/"})
    with pytest.raises(Error) as caught:
        container.exec({"args": ["absent"], "cwd": "/", "env": ["PATH=/bin"]})
    assert describe(caught.value) == ('unable to start container process: exec: "absent": executable file not found in $PATH')
    container.signal(9)
    container.wait()
    with pytest.raises(libcontainer.ContainerNotRunning, match="container not running"):
        container.signal(15)
    container.signal(15, all=True)
    with pytest.raises(Error, match="cannot exec in a stopped container"):
        container.exec({"args": ["true"], "cwd": "/"})
    with pytest.raises(Error, match="cannot start a container that has stopped"):
        container.start()
    container.delete()


BAD_SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "no program": ({"process.args": ["absent"]}, 'exec: "absent": executable file not found in $PATH'),
    "no program at a path": ({"process.args": ["/absent"]}, 'exec: "/absent": stat /absent: no such file or directory'),
    "a directory as program": ({"process.args": ["/etc"]}, 'exec: "/etc": is a directory'),
    "a source that is missing": ({"mounts": [bind("/no/such/thing", "/x")]}, "no such file or directory"),
    "an unknown file system": ({"mounts": [mount("/x", "nosuchfs")]}, "no such device"),
    "a mount on the root": ({"mounts": [mount("/.", "tmpfs")]}, "is on the top of rootfs"),
    "a failing hook": (
        {"hooks": {"createRuntime": [{"path": "/bin/false"}]}},
        "error running createRuntime hook #0: exit status 1, stdout: , stderr: ",
    ),
    "a failing hook inside": (
        {"hooks": {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2; exit 2"]}]}},
        "error running createContainer hook #0: exit status 2, stdout: out\n, stderr: err\n",
    ),
    "a hook that is missing": (
        {"hooks": {"createContainer": [{"path": "/absent"}]}},
        "error running createContainer hook #0: fork/exec /absent: no such file or directory",
    ),
    "a hook that takes too long": (
        {"hooks": {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}},
        "error running createContainer hook #0: hook ran past specified timeout of 1.0s",
    ),
    "a hook on the host that takes too long": (
        {"hooks": {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}},
        "error running prestart hook #0: hook ran past specified timeout of 1.0s",
    ),
    "a limit that the kernel refuses": ({"linux.resources": {"cpu": {"cpus": "4000-4001"}}}, ""),
    "a sysctl of the host": ({"linux.sysctl": {"kernel.panic": "1"}}, "is not in a separate kernel namespace"),
    "a namespace that is none": (
        {"hostname": "", "linux.namespaces": [{"type": "mount"}, {"type": "network", "path": "/etc"}]},
        "failed to join the network namespace: setns network: invalid argument",
    ),
    "a null byte in a masked path": ({"linux.maskedPaths": ["/a\0b"]}, "null byte"),
    "half a character in a path": ({"linux.readonlyPaths": ["/a\ud800"]}, "no text that a system call takes"),
    "a working directory that is a file": ({"process.cwd": "/bin/busybox"}, "not a directory"),
    "a user that is not mapped": (
        {"hostname": "", "process.user": {"uid": 70000}, "linux.uidMappings": MAPPED, "linux.gidMappings": MAPPED,
         "linux.namespaces": [{"type": "mount"}, {"type": "user"}]},
        "cannot setuid to unmapped uid 70000 in user namespace",
    ),
    "an output without a terminal": ({"process.terminal": True}, "nothing receives the console"),
}  # fmt: skip


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`spec` with what dotted names lead to replaced; mounts are appended."""
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = spec
        for parent in parents:
            place = place[parent]
        place[last] = place[last] + value if name == "mounts" else value
    return spec


@pytest.mark.parametrize("name", BAD_SPECS)
def test_a_create_that_fails_leaves_nothing(lab: Laboratory, name: str) -> None:
    """The fixture looks for what is left: processes, descriptors, mounts, cgroups, directories."""
    changes, words = BAD_SPECS[name]
    assert words in lab.refusal(changed(lab.spec(), changes))


def test_a_descriptor_that_is_not_open(lab: Laboratory) -> None:
    with pytest.raises(Error) as caught:
        lab.make("exit 0", stdio=(0, 1, 4000))
    assert describe(caught.value) == "descriptor 4000, to be number 2 of the process: bad file descriptor"
    container = lab.make("exec sleep 100")
    with pytest.raises(Error, match="descriptor 4000"):
        container.exec({"args": ["/bin/true"], "cwd": "/"}, extra_fds=[4000])
    container.delete(force=True)


def test_exec_failures_leave_nothing(lab: Laboratory) -> None:
    container = lab.make(with_user_namespace(lab.spec()))
    before = Snapshot()
    for process, words in (
        ({"cwd": "/absent"}, "/absent"),
        ({"user": {"uid": 70000}}, "cannot setuid to unmapped uid 70000 in user namespace"),
        ({"terminal": True}, "nothing receives the console"),
        ({"cwd": "relative"}, "Cwd must be an absolute path"),
        ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]}, ""),
    ):
        with pytest.raises(Error) as caught:
            container.exec({"args": ["/bin/true"], "cwd": "/", "env": [], **process})
        assert words in describe(caught.value)
    before.assert_unchanged()
    container.delete(force=True)


# -- the calling program


def test_threads_at_work_while_another_one_changes_what_is_shared(lab: Laboratory) -> None:
    """Working directory and umask belong to all threads; containers must not depend on them."""
    lab.make("exit 0").delete(force=True)
    stop = threading.Event()
    failures: list[BaseException] = []
    directory, mask = os.getcwd(), os.umask(0o22)

    def disturb() -> None:
        while not stop.is_set():
            for where, wanted in (("/", 0o777), ("/proc", 0), (lab.directory, 0o77)):
                os.chdir(where)
                os.umask(wanted)

    def work(number: int) -> None:
        try:
            for _ in range(4):
                code, output = lab.run(f"umask; stat -Lc %a /proc/self/cwd /dev/null; exit {number}")
                assert code == number
                assert output == "0022\n755\n666\n"
        except BaseException as err:
            failures.append(err)

    disturber = threading.Thread(target=disturb)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    try:
        for thread in (disturber, *workers):
            thread.start()
        for thread in workers:
            thread.join()
    finally:
        stop.set()
        disturber.join()
        os.chdir(directory)
        os.umask(mask)
    assert failures == []


def in_a_program(lab: Laboratory, body: str, **popen: Any) -> str:
    """Run a program of its own that has `lab`'s directories; its output."""
    spec = lab.spec("exit 6")
    del spec["process"]["rlimits"]
    (lab.bundle / "config.json").write_text(json.dumps(spec))
    program = f"""
        import os, signal, resource, sys
        sys.path.insert(0, {str(TOP)!r})
        from libcontainer import Container, Error
        from libcontainer.errors import describe
        name, root, bundle = {lab.name()!r}, {lab.root!r}, {str(lab.bundle)!r}
    """
    source = textwrap.dedent(program) + textwrap.dedent(body)
    popen = {"stdin": subprocess.DEVNULL, **popen}
    done = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, timeout=LIMIT, text=True, **popen)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_a_program_that_ignores_its_children(lab: Laboratory) -> None:
    said = in_a_program(
        lab,
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        spec = None
        container = Container.create(name, root=root, bundle=bundle)
        process = container.exec({"args": ["/bin/true"], "cwd": "/", "env": []})
        try:
            process.wait()
        except ChildProcessError:
            print("no status")
        container.start()
        while container.status() != "stopped":
            pass
        container.delete()
        print(os.path.exists(f"{root}/{name}"))
        """,
    )
    assert said == "no status\nFalse\n"


def test_a_program_that_ignores_its_children_and_maps_ids(lab: Laboratory) -> None:
    said = in_a_program(
        lab,
        f"""
        import json
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        spec = json.load(open(f"{{bundle}}/config.json"))
        maps = {MAPPED!r}
        volume = dict(destination="/m", type="bind", source=bundle, options=["bind"])
        spec["mounts"].append({{**volume, "uidMappings": maps, "gidMappings": maps}})
        Container.create(name, root=root, bundle=bundle, spec=spec).delete()
        print("done")
        """,
    )
    assert said == "done\n"


def test_a_program_without_stdin(lab: Laboratory) -> None:
    said = in_a_program(
        lab,
        """
        os.close(0)
        try:
            Container.create(name, root=root, bundle=bundle)
        except Error as err:
            print(describe(err))
        print(os.path.exists(f"{root}/{name}"))
        output = os.dup(1)
        null = os.open("/dev/null", os.O_RDWR)
        assert 0 in (output, null)
        os.close(1)
        container = Container.create(name, root=root, bundle=bundle, stdio=(null, output, output))
        print(os.readlink(f"/proc/{container.pid}/fd/0"), file=os.fdopen(os.dup(output), "w"), flush=True)
        container.delete()
        """,
    )
    assert said == "descriptor 0, to be number 0 of the process: bad file descriptor\nFalse\n/dev/null\n"


def test_a_program_with_thousands_of_descriptors(lab: Laboratory) -> None:
    said = in_a_program(
        lab,
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
        held = [os.dup(0) for _ in range(5000)]
        for fd in held[::2]:
            os.set_inheritable(fd, True)
        container = Container.create(name, root=root, bundle=bundle)
        container.start()
        print(container.wait(), len(os.listdir(f"/proc/self/fd")) - len(held) < 20)
        container.delete()
        """,
    )
    assert said == "6 True\n"


def test_a_program_at_its_limit_of_descriptors(lab: Laboratory) -> None:
    said = in_a_program(
        lab,
        """
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
        container = Container.create(name, root=root, bundle=bundle)
        container.delete()
        held = []
        for room in range(4, 40):  # fewer are not enough to remove what was made
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            for _ in range(room):
                os.close(held.pop())
            before = len(os.listdir("/proc/self/fd"))
            try:
                Container.create(name, root=root, bundle=bundle).delete()
            except (Error, OSError) as err:
                words = describe(err)
                assert "too many open files" in words.lower(), words
            else:
                print("room")
                break
            assert not os.path.exists(f"{root}/{name}"), room
            assert len(os.listdir("/proc/self/fd")) == before, room
        """,
    )
    assert said == "room\n"


def test_signals_that_arrive_in_the_middle(lab: Laboratory) -> None:
    """A handler runs in the calling program, never in what it starts."""
    ticks = []
    previous = signal.signal(signal.SIGALRM, lambda *_: ticks.append(os.getpid()))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(10):
            assert lab.run("exit 8")[0] == 8
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert set(ticks) == {os.getpid()}


def test_masked_and_ignored_signals_are_not_inherited(lab: Laboratory) -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        spec = lab.spec()
        spec["process"]["args"] = ["/bin/grep", "Sig", "/proc/self/status"]
        _, output = lab.run(spec)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        signal.signal(signal.SIGINT, previous)
    words = dict(line.split(":\t") for line in output.splitlines())
    assert int(words["SigBlk"], 16) == int(words["SigIgn"], 16) == 0


# -- start


def test_one_of_many_that_start_it_wins(lab: Laboratory) -> None:
    for _ in range(5):
        container = lab.make("exec sleep 100")
        outcomes: list[str] = []

        def start(name: str = container.id, outcomes: list[str] = outcomes) -> None:
            try:
                Container.load(name, root=lab.root).start()
                outcomes.append("started")
            except Error as err:
                outcomes.append(describe(err))

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert len(outcomes) == 6, "one waits for ever"
        assert outcomes.count("started") == 1, outcomes
        losers = {words for words in outcomes if words != "started"}
        assert all("already running" in words or "exec fifo is empty" in words for words in losers)
        container.delete(force=True)


def test_a_container_that_was_killed_before_its_start(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    os.kill(container.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, container.pid, os.WSTOPPED | os.WNOWAIT)
    killer = threading.Thread(target=kill_when_waited_for, args=(container,))
    killer.start()
    with pytest.raises(Error, match="exec fifo is empty"):
        container.start()
    killer.join()
    container.delete(force=True)


def kill_when_waited_for(container: Container) -> None:
    """As soon as this process has its fifo open."""
    fifo = f"{container.directory}/exec.fifo"
    wait_until(lambda: fifo in descriptors().values())
    os.kill(container.pid, signal.SIGKILL)


# -- hooks


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def test_hooks_of_all_kinds(lab: Laboratory) -> None:
    log = lab.directory / "log"
    log.touch()
    spec = lab.spec("echo process >> /log; exec sleep 100")
    (lab.rootfs / "log").touch()
    spec["mounts"].append(bind(log, "/log"))
    line = 'read -r state; echo "{} $state" >> {}'
    host = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    spec["hooks"] = {kind: [hook(line.format(kind, log))] for kind in host}
    spec["hooks"]["startContainer"] = [hook(line.format("startContainer", "/log"))]
    container = lab.make(spec)
    pid = container.pid
    container.start()
    wait_until(lambda: "process\n" in log.read_text())
    container.delete(force=True)
    lines = [entry.partition(" ") for entry in log.read_text().splitlines()]
    order = [name for name, _, _ in lines]
    order.remove("poststart")  # at the same time as the container's own
    assert order == ["prestart", "createRuntime", "createContainer", "startContainer", "process", "poststop"]
    states = {name: json.loads(state) for name, _, state in lines if state}
    assert {name: (state["status"], state.get("pid")) for name, state in states.items()} == {
        "prestart": ("creating", pid),
        "createRuntime": ("creating", pid),
        "createContainer": ("creating", 1),
        "startContainer": ("created", 1),
        "poststart": ("running", pid),
        "poststop": ("stopped", None),
    }


def test_hooks_inside_get_no_descriptor_of_ours(lab: Laboratory) -> None:
    log = lab.directory / "log"
    spec = lab.spec("exit 0")
    spec["hooks"] = {
        "createContainer": [hook(f"ls /proc/self/fd > {log}")],
        "startContainer": [hook("/bin/ls /proc/self/fd > /fds", env=["A=B"])],
    }
    reader, writer = os.pipe()
    container = lab.make(spec, extra_fds=[writer])
    container.start()
    assert container.wait() == 0
    assert log.read_text().split() == ["0", "1", "2", "3"]
    assert (lab.rootfs / "fds").read_text().split() == ["0", "1", "2", "3"]
    for fd in (reader, writer):
        os.close(fd)
    container.delete()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (hook("echo a; echo b >&2; exit 3"), "exit status 3, stdout: a\n, stderr: b\n"),
        (hook("kill -9 $$"), "signal: killed, stdout: , stderr: "),
        (hook("exec sleep 60", timeout=1), "hook ran past specified timeout of 1.0s"),
        ({"path": "/no/such"}, "fork/exec /no/such: no such file or directory"),
        ({"path": "/etc"}, "fork/exec /etc: permission denied"),
    ],
)
def test_a_startcontainer_hook_that_fails_ends_the_container(lab: Laboratory, entry: dict[str, Any], words: str) -> None:
    spec = lab.spec("echo not reached")
    spec["hooks"] = {"startContainer": [hook("echo a quiet one"), entry]}
    code, output = lab.run(spec)
    assert (code, output) == (255, f"error running startContainer hook #1: {words}\n")


def test_what_a_startcontainer_hook_prints_is_no_output_of_the_container(lab: Laboratory) -> None:
    spec = lab.spec("echo mine")
    spec["hooks"] = {"startContainer": [hook("echo a; echo b >&2")]}
    assert lab.run(spec) == (0, "mine\n")


def test_a_poststart_hook_that_fails_kills_the_container(lab: Laboratory) -> None:
    spec = lab.spec()
    spec["hooks"] = {"poststart": [hook("exit 3")]}
    container = lab.make(spec)
    with pytest.raises(Error, match="error running poststart hook #0"):
        container.start()
    assert container.wait() == 128 + 9
    assert container.status() == "stopped"
    container.delete()


def test_a_poststop_hook_that_fails_is_told_when_all_is_gone(lab: Laboratory) -> None:
    spec = lab.spec()
    spec["hooks"] = {"poststop": [hook("exit 3")]}
    container = lab.make(spec)
    with pytest.raises(Error, match="error running poststop hook #0"):
        container.delete(force=True)
    assert lab.left_behind() == []


# -- namespaces


def test_a_user_namespace(lab: Laboratory) -> None:
    spec = with_user_namespace(lab.spec("exec sleep 100"))
    spec["linux"]["devices"] = [
        {"path": "/dev/mapped", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/unmapped", "type": "c", "major": 1, "minor": 3, "uid": 70000, "gid": 70000},
        {"path": "/dev/deep/er", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    container = lab.make(spec)
    assert Path(f"/proc/{container.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    code, output = lab.exec(container, "cd /dev; stat -c '%n %u:%g %a %F %t,%T' $(find . | sort) 2>&1", env=["PATH=/bin"])
    assert code == 0, output
    entries = {line.split()[0].removeprefix("./"): line.split()[1:] for line in output.splitlines()}
    strangers = {name: entry for name, entry in entries.items() if "65534" in entry[0]}
    assert strangers == {}
    assert entries["mapped"][:2] == ["7:8", "640"]
    assert entries["unmapped"][:2] == ["0:0", "666"]
    assert entries["null"] == ["0:0", "666", "character", "special", "file", "1,3"]
    assert entries["deep"][:2] == ["0:0", "755"]
    assert entries["pipe"][:2] == ["0:0", "600"]
    assert entries["fd"][0] == entries["ptmx"][0] == entries["stdin"][0] == "0:0"
    assert lab.exec(container, "echo works > /dev/null && echo yes; id -u") == (0, "yes\n0\n")
    assert lab.exec(container, "id -u; id -g", user={"uid": 5, "gid": 6, "additionalGids": [7]}) == (0, "5\n6\n")
    with pytest.raises(Error, match="cannot setgid to unmapped gid 65536 in user namespace"):
        container.exec({"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 65536}})
    container.delete(force=True)


def unshare(*flags: str) -> subprocess.Popen[bytes]:
    """A process in new namespaces, when it is there."""
    process = subprocess.Popen(["unshare", *flags, "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()


def joining(spec: dict[str, Any], pid: int, **kinds: str) -> dict[str, Any]:
    without(spec, *kinds)
    for entry in spec["mounts"]:
        entry["options"] = [word for word in entry.get("options", ()) if word != "gid=5"]  # it need not be mapped
    spec["linux"]["namespaces"] += [{"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in kinds.items()]
    return spec


def test_joined_namespaces(lab: Laboratory) -> None:
    host = unshare("-n", "-i", "-u")
    try:
        spec = joining(
            lab.spec("cd /proc/self/ns; readlink net; readlink ipc; readlink uts"),
            host.pid,
            network="net",
            ipc="ipc",
            uts="uts",
        )
        code, output = lab.run(spec)
        assert code == 0
        assert output.split() == [os.readlink(f"/proc/{host.pid}/ns/{kind}") for kind in ("net", "ipc", "uts")]
    finally:
        ended(host)


@pytest.mark.parametrize("groups", ["allow", "deny"])
def test_a_joined_user_namespace(lab: Laboratory, groups: str) -> None:
    host = unshare("-U", *(["-r"] if groups == "deny" else []))
    try:
        if groups == "allow":
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{host.pid}/{kind}").write_text("0 0 1\n5 100005 10\n")
        assert Path(f"/proc/{host.pid}/setgroups").read_text().strip() == groups
        spec = joining(lab.spec("exec sleep 100"), host.pid, user="user")
        container = lab.make(spec)
        assert lab.exec(container, "readlink /proc/self/ns/user; id -u") == (
            0,
            os.readlink(f"/proc/{host.pid}/ns/user") + "\n0\n",
        )
        with pytest.raises(Error, match="cannot setuid to unmapped uid 1 in user namespace"):
            container.exec({"args": ["/bin/true"], "cwd": "/", "user": {"uid": 1}})
        saved = Container.load(container.id, root=lab.root).saved
        assert saved.uid_mappings[0] == {"containerID": 0, "hostID": 0, "size": 1}
        container.delete(force=True)
        spec["process"]["user"] = {"uid": 3, "gid": 0}
        assert "cannot setuid to unmapped uid 3 in user namespace" in lab.refusal(spec)
    finally:
        ended(host)


def test_a_joined_user_namespace_that_is_described_wrongly(lab: Laboratory) -> None:
    host = unshare("-U", "-r")
    try:
        spec = joining(lab.spec("exit 0"), host.pid, user="user")
        spec["linux"].update(uidMappings=MAPPED, gidMappings=MAPPED)
        assert "both namespace path and non-matching mapping specified" in lab.refusal(spec)
        right = [{"containerID": 0, "hostID": 0, "size": 1}]
        spec["linux"].update(uidMappings=right, gidMappings=right)
        assert lab.run(spec)[0] == 0
    finally:
        ended(host)


def test_joined_namespaces_of_different_owners(lab: Laboratory) -> None:
    """A network namespace of the host's user namespace beside a user namespace of its own (pods do that)."""
    host = unshare("-n")
    try:
        spec = joining(with_user_namespace(lab.spec("exec sleep 100")), host.pid, network="net")
        spec["mounts"] = [entry for entry in spec["mounts"] if entry["type"] not in ("sysfs", "cgroup")]
        container = lab.make(spec)
        net = os.readlink(f"/proc/{host.pid}/ns/net")
        assert lab.exec(container, "readlink /proc/self/ns/net; id -u") == (0, f"{net}\n0\n")
        container.delete(force=True)
    finally:
        ended(host)


def uptime(line: str) -> float:
    return float(line.split(maxsplit=1)[0])


@pytest.mark.parametrize("user", [False, True])
def test_time_offsets(lab: Laboratory, user: bool) -> None:
    spec = lab.spec("cat /proc/uptime; cat /proc/self/timens_offsets")
    if user:
        with_user_namespace(spec)
    spec["linux"]["namespaces"].append({"type": "time"})
    spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 77}}
    before = uptime(Path("/proc/uptime").read_text())
    code, output = lab.run(spec)
    assert code == 0
    seen, *offsets = output.splitlines()
    # Hundredths of a second are shown.
    assert before - 0.02 <= uptime(seen) - 1_000_000 <= uptime(Path("/proc/uptime").read_text()) + 0.02
    assert sorted(line.split() for line in offsets) == [["boottime", "1000000", "5"], ["monotonic", "77", "0"]]


def test_a_shared_pid_namespace(lab: Laboratory) -> None:
    spec = without(lab.spec("sleep 100 & sleep 100 & wait"), "pid")
    container = lab.make(spec)
    container.start()
    wait_until(lambda: len(container.cgroup.pids()) == 3)
    started = {pid: process_start_time(pid) for pid in container.cgroup.pids()}
    container.delete(force=True)
    assert not [pid for pid, start in started.items() if process_alive(pid, start or 0)]


def test_without_a_mount_namespace(lab: Laboratory) -> None:
    """chroot(2): nothing can be hidden, and what is asked for in vain is refused."""
    spec = without(lab.spec("ls /; readlink /proc/self/ns/mnt; exec sleep 100"), "mount")
    assert "unable to restrict sys entries without a private MNT namespace" in lab.refusal(spec)
    del spec["linux"]["maskedPaths"], spec["linux"]["readonlyPaths"]
    spec["mounts"] = []
    code, output = lab.run({**spec, "process": {**spec["process"], "args": ["/bin/ls", "/"]}})
    assert code == 0
    assert "busybox" not in output
    assert {"bin", "dev", "proc"} <= set(output.split())
    assert "boot" not in output.split()


def test_no_pivot(lab: Laboratory) -> None:
    code, output = lab.run("ls /; grep -c . /proc/self/mountinfo; mkdir /p; mount -t proc proc /p 2>&1", no_pivot=True)
    assert "bin" in output.split()
    assert "boot" not in output.split()
    assert code != 0


def mounts_below(directory: Path) -> list[str]:
    """On the host; elsewhere others mount and unmount meanwhile."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]


def test_a_root_below_a_shared_mount(lab: Laboratory) -> None:
    """A bind mount of the same file system is a mount of its own, and nothing may propagate out of the container."""
    place = lab.directory / "shared"
    place.mkdir()
    subprocess.run(["mount", "--bind", lab.bundle, place], check=True)
    try:
        subprocess.run(["mount", "--make-shared", place], check=True)
        for propagation in ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"):
            before = mounts_below(lab.directory)
            spec = lab.spec("exec sleep 100")
            spec["linux"]["rootfsPropagation"] = propagation
            container = Container.create(lab.name(), root=lab.root, bundle=str(place), spec=spec)
            assert mounts_below(lab.directory) == before, propagation
            own = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
            root = next(line for line in own if line.split()[4] == "/")
            words = {"shared": "shared:", "rshared": "shared:", "unbindable": "unbindable"}
            for word, mark in words.items():
                assert propagation != word or mark in root, (propagation, root)
            container.delete(force=True)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


# -- mounts


def test_tmpcopyup(lab: Laboratory) -> None:
    source = lab.rootfs / "content"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "file").write_text("text")
    os.chown(source / "deep" / "file", 3, 4)
    (source / "deep" / "file").chmod(0o4711)
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo")
    source.chmod(0o1750)
    spec = lab.spec(
        "cd /content; stat -c '%n %u:%g %a %F' . $(find deep link fifo | sort); cat deep/file; echo; readlink link;"
        "echo new > deep/file; grep -c ' /content tmpfs ' /proc/mounts"
    )
    spec["process"]["capabilities"] = {kind: ["CAP_DAC_OVERRIDE"] for kind in ("bounding", "permitted", "effective")}
    spec["mounts"].append(mount("/content", "tmpfs", "tmpfs", "tmpcopyup"))
    code, output = lab.run(spec)
    assert code == 0
    assert output.splitlines()[:6] == [
        ". 0:0 1750 directory",
        "deep 0:0 755 directory",
        "deep/er 0:0 755 directory",
        "deep/file 3:4 4711 regular file",
        "fifo 0:0 644 fifo",
        "link 0:0 777 symbolic link",
    ]
    assert output.splitlines()[6:] == ["text", "/etc/passwd", "1"]
    assert (source / "deep" / "file").read_text() == "text"


@pytest.mark.parametrize("user", [False, True])
def test_id_mapped_mounts(lab: Laboratory, user: bool) -> None:
    volume = lab.directory / "volume"
    volume.mkdir()
    (volume / "file").touch()
    os.chown(volume / "file", 1000, 2000)
    spec = lab.spec("stat -c %u:%g /one/file /two/file; touch /one/new")
    maps = [{"containerID": 1000, "hostID": 4, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}]
    groups = [{"containerID": 2000, "hostID": 5, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}]
    shift = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    for name in ("one", "two"):
        (lab.rootfs / name).mkdir()
    if user:
        with_user_namespace(spec)
        spec["mounts"] += [
            bind(volume, "/one", "idmap"),
            bind(volume, "/two", "idmap") | {"uidMappings": shift, "gidMappings": shift},
        ]
    else:
        spec["mounts"] += [
            bind(volume, "/one") | {"uidMappings": maps, "gidMappings": groups},
            bind(volume, "/two", "ridmap") | {"uidMappings": maps, "gidMappings": groups},
        ]
    code, output = lab.run(spec)
    assert (code, output) == (0, "1000:2000\n1000:2000\n" if user else "4:5\n4:5\n")
    made = (volume / "new").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)


def test_a_hundred_mountpoints_that_are_missing(lab: Laboratory) -> None:
    """Each costs a repair; none of them ends the patience with the next."""
    source = lab.directory / "volume"
    source.mkdir()
    (source / "file").write_text("x")
    spec = lab.spec("ls -d /missing/*/* | wc -l; cat /files/*/f | wc -c")
    spec["mounts"] += [bind(source, f"/missing/{i}/x") for i in range(100)]
    spec["mounts"] += [bind(source / "file", f"/files/{i}/f") for i in range(100)]
    assert lab.run(spec) == (0, "100\n100\n")


def test_a_set_up_longer_than_any_buffer(lab: Laboratory) -> None:
    spec = lab.spec("exit 3")
    spec["linux"]["readonlyPaths"] = [f"/absent/{i}" for i in range(4000)]
    spec["linux"]["maskedPaths"] = [f"/absent/{'x' * 200}/{i}" for i in range(1000)]
    assert lab.run(spec) == (3, "")


def test_masked_and_readonly_paths(lab: Laboratory) -> None:
    (lab.rootfs / "secret").mkdir()
    (lab.rootfs / "secret" / "file").write_text("secret")
    (lab.rootfs / "hidden").write_text("hidden")
    (lab.rootfs / "kept").mkdir()
    spec = lab.spec("ls /secret; cat /hidden; touch /secret/x /kept/x /tmp/x; ls /tmp")
    spec["linux"]["maskedPaths"] += ["/secret", "/hidden", "/absent"]
    spec["linux"]["readonlyPaths"] += ["/kept", "/absent"]
    code, output = lab.run(spec)
    assert "secret\n" not in output
    assert output.count("Read-only file system") == 2
    assert (code, output.splitlines()[-1]) == (0, "x")


def test_symlinks_of_the_image_stay_inside(lab: Laboratory) -> None:
    outside = lab.directory / "outside"
    outside.mkdir()
    (lab.rootfs / "absolute").symlink_to(outside)
    (lab.rootfs / "relative").symlink_to("../" * 20 + str(outside)[1:])
    (lab.rootfs / "loop").symlink_to("loop")
    spec = lab.spec("exit 0")
    volume = lab.directory / "volume"
    volume.mkdir()
    spec["mounts"] += [bind(volume, "/absolute/a/b"), bind(volume, "/relative/c")]
    spec["process"]["cwd"] = "/relative/work"
    assert lab.run(spec)[0] == 0
    assert list(outside.iterdir()) == []
    assert (lab.rootfs / str(outside)[1:] / "a" / "b").is_dir()
    assert (lab.rootfs / str(outside)[1:] / "work").is_dir()
    spec["mounts"].append(bind(volume, "/loop/x"))
    assert "too many levels of symbolic links" in lab.refusal(spec)


# -- limits, sockets, terminals


def test_tight_limits(lab: Laboratory) -> None:
    spec = lab.spec("ulimit -n; exec sleep 100")
    spec["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5},
        {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0},
    ]
    container = lab.make(spec)
    container.start()
    code, output = lab.exec(container, "ulimit -n", rlimits=[{"type": "RLIMIT_NOFILE", "soft": 6, "hard": 7}])
    assert (code, output) == (0, "6\n")
    container.delete(force=True)


def received(listener: socket.socket) -> tuple[bytes, int]:
    peer, _ = listener.accept()
    with peer:
        data, fds, _, _ = socket.recv_fds(peer, 4096, 4)
    assert len(fds) == 1
    return data, fds[0]


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_pidfd_sockets(lab: Laboratory) -> None:
    path = lab.directory / "pidfd.sock"
    with listening(path) as listener:
        container = lab.make("exec sleep 100", pidfd_socket=str(path))
        kind, pidfd = received(listener)
        assert kind == b"standard"
        assert f"Pid:\t{container.pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        os.close(pidfd)
        process = container.exec({"args": ["/bin/sleep", "100"], "cwd": "/"}, pidfd_socket=str(path))
        kind, pidfd = received(listener)
        assert kind == b"setns"
        signal.pidfd_send_signal(pidfd, 9)
        assert process.wait() == 128 + 9
        os.close(pidfd)
        process.close()
    container.delete(force=True)
    with pytest.raises(Error, match="dial unix"):
        lab.make("exit 0", pidfd_socket=str(lab.directory / "absent"))


def test_a_console_function(lab: Laboratory) -> None:
    masters: list[tuple[int, str]] = []

    def keep(master: int, name: str) -> None:
        masters.append((os.dup(master), name))

    spec = lab.spec("tty; stat -c %u:%t,%T /dev/console; exec sleep 100")
    spec["process"].update(terminal=True, consoleSize={"height": 12, "width": 34}, user={"uid": 7, "gid": 7})
    container = lab.make(spec, console=keep)
    container.start()
    with container.exec(
        {"args": ["/bin/sh", "-c", "tty; echo exec"], "cwd": "/", "env": ["PATH=/bin"], "terminal": True}, console=keep
    ) as process:
        (master, name), (second, other) = masters
        assert (name, other) == ("/dev/pts/0", "/dev/pts/1")
        assert os.get_terminal_size(master) == (34, 12)
        assert read_until(second, b"exec") == b"/dev/pts/1\r\nexec"
        assert process.wait() == 0
    assert read_until(master, b"88,0\r\n").startswith(b"/dev/pts/0\r\n7:88,0")
    os.close(master)
    os.close(second)
    container.delete(force=True)


def read_until(fd: int, end: bytes) -> bytes:
    content = b""
    while end not in content:
        content += os.read(fd, 1)
    return content


def test_a_console_function_that_fails(lab: Laboratory) -> None:
    def refuse(master: int, name: str) -> None:
        raise OSError(5, "no terminal here")

    spec = lab.spec("exit 0")
    spec["process"]["terminal"] = True
    assert "failed to set up the console" in lab.refusal(spec, console=refuse)


def test_a_console_socket(lab: Laboratory) -> None:
    path = lab.directory / "console.sock"
    spec = lab.spec("echo hello; exec sleep 100")
    spec["process"]["terminal"] = True
    with listening(path) as listener:
        container = lab.make(spec, console_socket=str(path))
        name, master = received(listener)
        assert name == b"/dev/pts/0"
        container.start()
        assert read_until(master, b"hello") == b"hello"
        os.close(master)
    container.delete(force=True)


class Manager:
    """A service manager: what it was told, and whether it answers barriers."""

    def __init__(self, path: Path, *, answers: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[bytes] = []
        self.answers = answers
        self.held: list[int] = []
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while b"BARRIER=1" not in self.heard:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            self.heard.append(data)
            self.held += fds
        if self.answers:
            self.close()

    def close(self) -> None:
        for fd in self.held:
            os.close(fd)
        self.held.clear()
        self.socket.close()


# A shell has no datagrams; the test's process sends what the container would.
def say(lab: Laboratory, container: Container, *words: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = f"{lab.root}/{container.id}/notify/notify.sock"
        wait_until(lambda: os.path.exists(path))
        directory = os.open(os.path.dirname(path), os.O_PATH)  # the path itself may be too long for a socket
        for word in words:
            sock.sendto(word, f"/proc/self/fd/{directory}/notify.sock")
        os.close(directory)


def test_a_notify_socket(lab: Laboratory) -> None:
    path = lab.directory / "notify.sock"
    manager = Manager(path)
    container = lab.make('test -S "$NOTIFY_SOCKET" && exec sleep 100', notify_socket=str(path))
    teller = threading.Thread(target=say, args=(lab, container, b"STATUS=no", b"READY=1\nSTATUS=neither"))
    teller.start()
    container.start(notify_socket=str(path))
    teller.join()
    manager.thread.join()
    assert manager.heard == [b"READY=1\n", b"MAINPID=%d\n" % container.pid, b"BARRIER=1"]
    assert container.status() == "running"
    container.delete(force=True)


def test_a_service_manager_that_is_gone_is_worth_a_warning(lab: Laboratory) -> None:
    said: list[tuple[str, str]] = []
    spec = lab.spec("exec sleep 100")
    container = lab.make(spec, notify_socket="/no/such/manager", log=lambda level, message, **_: said.append((level, message)))
    teller = threading.Thread(target=say, args=(lab, container, b"READY=1"))
    teller.start()
    container.start(notify_socket="/no/such/manager")
    teller.join()
    warnings = [message for level, message in said if level == "warning"]
    assert warnings == ["unable to notify the service manager: no such file or directory"]
    assert container.status() == "running"
    container.delete(force=True)


def test_a_service_manager_that_does_not_answer_is_worth_a_warning(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    from libcontainer import notify_socket

    monkeypatch.setattr(notify_socket, "BARRIER_MS", 100)
    said: list[tuple[str, str]] = []
    path = lab.directory / "notify.sock"
    manager = Manager(path, answers=False)
    container = lab.make(
        "exec sleep 100", notify_socket=str(path), log=lambda level, message, **_: said.append((level, message))
    )
    teller = threading.Thread(target=say, args=(lab, container, b"READY=1"))
    teller.start()
    container.start(notify_socket=str(path))
    teller.join()
    manager.thread.join()
    manager.close()
    assert [message for level, message in said if level == "warning"] == [
        "timeout waiting for the barrier of the notify socket"
    ]
    assert container.status() == "running"
    container.delete(force=True)


# -- what the container sees


def test_no_executable_of_the_host_is_in_reach(lab: Laboratory) -> None:
    """/proc/PID/exe of all that waits in a container is the sealed program (CVE-2019-5736)."""
    container = lab.make("exec sleep 100")
    exe = os.open(f"/proc/{container.pid}/exe", os.O_RDONLY)
    assert os.readlink(f"/proc/self/fd/{exe}").startswith("/memfd:pyrunc-init")
    seals = ctypes.CDLL(None).fcntl(exe, 1034)  # F_GET_SEALS
    assert seals & 0xF == 0xF
    os.close(exe)
    container.delete(force=True)


def test_what_waits_for_its_start_holds_nothing_of_the_host(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    waiting = Path(f"/proc/{container.pid}/fd")

    def held() -> dict[str, str]:
        return {fd: target for fd, target in descriptors(container.pid).items() if fd not in "012"}

    # create does not wait for its last calls
    wait_until(lambda: not any(target.startswith("socket:") for target in held().values()))
    root = os.stat("/")
    for fd in held():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            info = (waiting / fd).stat()
            assert not stat.S_ISDIR(info.st_mode) or (info.st_dev, info.st_ino) != (root.st_dev, root.st_ino)
    container.delete(force=True)


def test_a_new_program_gets_only_what_is_passed(lab: Laboratory) -> None:
    container = lab.make("exec sleep 100")
    container.start()
    wait_until(lambda: Path(f"/proc/{container.pid}/cmdline").read_text() == "sleep\x00100\x00")
    assert sorted(os.listdir(f"/proc/{container.pid}/fd")) == ["0", "1", "2"]
    container.delete(force=True)


def test_the_kernels_view_of_credentials(lab: Laboratory) -> None:
    spec = lab.spec("grep -E '^(Uid|Gid|Groups|Cap|NoNew)' /proc/self/status")
    spec["process"]["user"] = {"uid": 11, "gid": 22, "additionalGids": [33, 44], "umask": 0o27}
    spec["process"]["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    _, output = lab.run(spec)
    words = {line.split(":")[0]: line.split()[1:] for line in output.splitlines()}
    assert (words["Uid"], words["Gid"], words["Groups"]) == (["11"] * 4, ["22"] * 4, ["33", "44"])
    assert [int(words[f"Cap{name}"][0], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [32, 32, 32, 33, 32]
    assert words["NoNewPrivs"] == ["1"]


def test_oom_and_affinity(lab: Laboratory) -> None:
    spec = lab.spec("cat /proc/self/oom_score_adj; grep Cpus_allowed: /proc/self/status")
    spec["process"]["oomScoreAdj"] = 321
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        _, output = lab.run(spec)
    finally:
        os.sched_setaffinity(0, before)
    score, allowed = output.splitlines()
    assert score == "321"
    assert int(allowed.split()[1].replace(",", ""), 16).bit_count() == len(before)


def test_a_caller_with_a_low_limit_of_descriptors(lab: Laboratory) -> None:
    """init's own numbers lie above it; the program gets the caller's limit all the same."""
    spec = lab.spec("ulimit -n")
    del spec["process"]["rlimits"]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        assert lab.run(spec) == (0, "100\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
