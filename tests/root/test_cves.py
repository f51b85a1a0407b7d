"""The known breakouts of container runtimes, tried on ours: a hostile image, or a hostile running container, and the
host beside it that must stay as it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer import capabilities, process_setup, remote, sysnr
from libcontainer.errors import Error
from tests.root.conftest import LIMIT, Bundle, Runtime, Sandbox, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

F_GET_SEALS = 1034
ALL_SEALS = 0xF  # linux/fcntl.h: F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
# linux/seccomp.h
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIF_CONTINUE = 1
SYSRQ = "/proc/sysrq-trigger"


@pytest.fixture
def bundle(sandbox: Sandbox) -> Bundle:
    """An image that can be written, as the hostile ones here need it."""
    made = sandbox.bundle()
    made.spec["root"]["readonly"] = False
    made.write()
    return made


@pytest.fixture
def outside(sandbox: Sandbox) -> Path:
    """A directory of the host with one file, which nothing may change."""
    directory = sandbox.directory / "outside"
    directory.mkdir()
    (directory / "victim").write_text("untouched")
    return directory


def assert_untouched(outside: Path) -> None:
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_text() == "untouched"


def without_mount(bundle: Bundle, *destinations: str) -> None:
    bundle.spec["mounts"] = [m for m in bundle.spec["mounts"] if m["destination"] not in destinations]


def bare_dev(bundle: Bundle) -> None:
    """The image's own /dev is what the container gets."""
    bundle.spec["mounts"] = [m for m in bundle.spec["mounts"] if not m["destination"].startswith("/dev")]


def replace(path: Path, target: str) -> None:
    """A symlink in place of what the image had there."""
    with contextlib.suppress(FileNotFoundError):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    path.symlink_to(target)


def refusal(runtime: Runtime, bundle: Bundle, verb: str = "run", *flags: str) -> str:
    """What is said where no container may come of it."""
    bundle.write()
    status, text = runtime.run(verb, *flags, "-b", str(bundle.path), "refused")
    assert status == 1, text
    return text


class Agent:
    """A seccomp agent that lets everything go on, but for what the process `held` does: that waits for release()."""

    def __init__(self, path: Path) -> None:
        self.seen = threading.Event()
        self._release = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                with peer:
                    _, fds, _, _ = socket.recv_fds(peer, 1 << 16, 1)
                self._connections += 1
                threading.Thread(target=self._serve, args=(fds[0], self._connections > 1), daemon=True).start()

    def _serve(self, listener: int, held: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                poller = select.poll()
                poller.register(listener, select.POLLIN)
                if any(event & select.POLLHUP for _, event in poller.poll()):
                    return
                request = bytearray(80)
                fcntl.ioctl(listener, NOTIF_RECV, request)
                if held:
                    self.seen.set()
                    self._release.wait(LIMIT)
                fcntl.ioctl(listener, NOTIF_SEND, bytes(request[:8]) + struct.pack("=qiI", 0, 0, NOTIF_CONTINUE))

    def release(self) -> None:
        self._release.set()

    def close(self) -> None:
        self.release()
        self._server.close()


@pytest.fixture
def agent(sandbox: Sandbox) -> Iterator[Agent]:
    served = Agent(sandbox.directory / "agent.sock")
    yield served
    served.close()


def notify_on_execve(bundle: Bundle, sandbox: Sandbox) -> None:
    bundle.spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(sandbox.directory / "agent.sock"),
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_NOTIFY"}],
    }


# Only what the shell does itself: a program would be an execve.
LOOK = (
    "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; "
    "[ -e $p/status ] && echo seen; [ -e $p/fd/0 ] && echo LEAK $p; [ -e $p/root/bin ] && echo LEAK $p; done; done"
)


@pytest.fixture
def suid_dumpable() -> Iterator[Callable[[int], None]]:
    """Sets fs.suid_dumpable, for the time of the test."""
    sysctl = Path("/proc/sys/fs/suid_dumpable")
    before = sysctl.read_text()

    def set_to(value: int) -> None:
        try:
            sysctl.write_text(str(value))
        except OSError:
            pytest.skip("fs.suid_dumpable cannot be set here")

    yield set_to
    if sysctl.read_text() != before:
        sysctl.write_text(before)


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("dumpable", [0, 1])
def test_cve_2016_9962(
    sandbox: Sandbox,
    runtime: Runtime,
    bundle: Bundle,
    agent: Agent,
    suid_dumpable: Callable[[int], None],
    user: int,
    dumpable: int,
) -> None:
    """A process that joins, held at its very last step with the container's own privileges, cannot be looked into."""
    suid_dumpable(dumpable)
    notify_on_execve(bundle, sandbox)
    # Without capabilities: who has fewer than a process cannot look into it in any case.
    bundle.spec["process"].update(user={"uid": user, "gid": user}, capabilities={})
    bundle.args("sh", "-c", LOOK)
    seen = sandbox.directory / "seen"
    runtime.ok("run", "-d", "-b", str(bundle.path), "victim", out=seen)
    joining = runtime.popen("exec", "victim", "/bin/true", out=sandbox.directory / "exec")
    assert agent.seen.wait(LIMIT)
    before = seen.read_text()
    wait_until(lambda: seen.read_text().count("seen") > before.count("seen") + 2)  # it was held all the while
    found = seen.read_text()
    agent.release()
    assert joining.wait(LIMIT) == 0
    # With fs.suid_dumpable the kernel opens it for the moment between setuid(2) and prctl(2).
    assert "LEAK" not in found[len(before) * dumpable :]


def test_cve_2016_9962_user_namespace(sandbox: Sandbox, runtime: Runtime, bundle: Bundle) -> None:
    """Root of a user namespace, with all capabilities there, looks at processes from their first moment on."""
    linux, process = bundle.spec["linux"], bundle.spec["process"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    process["capabilities"] = {kind: list(capabilities.NAMES) for kind in ("bounding", "effective", "permitted")}
    bundle.args("sh", "-c", LOOK)
    seen = sandbox.directory / "seen"
    runtime.ok("run", "-d", "-b", str(bundle.path), "victim", out=seen)

    def join(times: int) -> bool:  # they come as far as the search for the program
        assert [runtime.run("exec", "victim", "/nonexistent")[0] for _ in range(times)] == [255] * times
        return "seen" in seen.read_text()

    join(20)
    wait_until(lambda: join(5))  # a shell that gets little of the processor may have seen none
    assert "LEAK" not in seen.read_text()


def test_cve_2019_5736(sandbox: Sandbox, runtime: Runtime, bundle: Bundle) -> None:
    """/proc/PID/exe of the runtime inside is a sealed file of its own; nor may its mode be changed for the next user."""
    (bundle.rootfs / "bin/evil").symlink_to("/proc/self/exe")
    attack = (
        "while ! read p < /tmp/pid; do :; done 2>/dev/null; exec 3< /proc/$p/exe; chmod 0 /proc/$p/exe && echo BAD chmod; "
        "kill -9 $p; while [ -e /proc/$p/exe ]; do :; done; "
        "echo evil > /proc/self/fd/3 && echo BAD write; echo done; sleep 100"
    )
    del bundle.spec["process"]["capabilities"]  # all of them
    bundle.args("sh", "-c", attack)
    said = sandbox.directory / "said"
    runtime.ok("run", "-d", "-b", str(bundle.path), "evil", out=said)
    ours, theirs = socket.socketpair()  # what this second init waits for
    command = [runtime.command, "--root", str(runtime.root), "exec", "-d", "evil", "/bin/evil", "x", "0"]
    with ours, theirs:
        subprocess.run(command, stdin=theirs.fileno(), check=True, timeout=LIMIT)
        pid = _joined(runtime, "evil", "memfd:")
        with open(f"/proc/{pid}/exe", "rb") as exe:
            assert fcntl.fcntl(exe, F_GET_SEALS) & ALL_SEALS == ALL_SEALS
        inner = Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].split()[1]
        (bundle.rootfs / "tmp/pid").write_text(inner + "\n")
        wait_until(lambda: "done" in said.read_text())
    assert "BAD" not in said.read_text()


def _joined(runtime: Runtime, name: str, exe: str) -> int:
    """A process of the container, besides init, that runs a file whose name holds `exe`."""
    init = runtime.state(name)["pid"]
    found: list[int] = []

    def look() -> bool:
        space = os.readlink(f"/proc/{init}/ns/pid")
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                inside = os.readlink(path / "ns/pid") == space and int(path.name) != init
                if inside and exe in os.readlink(path / "exe") and b"evil" in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return bool(found)

    wait_until(look)
    return found[0]


@pytest.mark.parametrize("target", ["/evil", "../evil", "evil"])
def test_cve_2019_19921(runtime: Runtime, bundle: Bundle, target: str) -> None:
    """/proc led to a directory of the image, where writes to procfs would go: refused."""
    (bundle.rootfs / "evil").mkdir()
    replace(bundle.rootfs / "proc", target)
    assert "must be mounted on ordinary directory" in refusal(runtime, bundle)
    assert not list((bundle.rootfs / "evil").iterdir())


def test_cve_2021_43784(runtime: Runtime, bundle: Bundle) -> None:
    """Nothing that is longer than 16 bits wraps around and becomes other instructions for init."""
    long = "x" * 66_000
    bundle.spec["process"]["env"] += [f"V{i}={long}" for i in range(20)]
    bundle.args("sh", "-c", 'echo ${#V0} ${#V19} ${#1}; id -u', "sh", long)
    assert runtime.ok("run", "-b", str(bundle.path), "c").split() == ["66000", "66000", "66000", "0"]
    bundle.args("echo", "a\0b")
    assert "null byte" in refusal(runtime, bundle)


def test_cve_2022_29162(runtime: Runtime, bundle: Bundle) -> None:
    """exec --cap gives no inheritable capability, and without one no ambient one."""
    process = bundle.spec["process"]
    process["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    bundle.write()
    runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    text = runtime.ok("exec", "--cap", "CAP_NET_RAW", "c", "grep", "Cap", "/proc/self/status")
    sets = dict(line.split(":\t") for line in text.splitlines())
    assert int(sets["CapEff"], 16) == 1 << 13 | 1 << 5
    assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_cve_2023_25809(sandbox: Sandbox, bundle: Bundle, version: int) -> None:
    """Rootless without a cgroup namespace: the host's hierarchy is read-only in the container."""
    linux = bundle.spec["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "cgroup"]
    evil = f"evil-{sandbox.name}"
    attack = f"for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/{evil}; done"
    bundle.args("sh", "-c", f"grep ' /sys/fs/cgroup' /proc/self/mounts; {attack}")
    runtime = sandbox.runtime()
    prepare = "mount --make-rprivate /; " + ("mount -t cgroup2 cgroup2 /sys/fs/cgroup; " if version == 2 else "")
    command = [runtime.command, "--root", str(runtime.root), "--rootless", "true", "run", "-b", str(bundle.path), "c"]
    text = subprocess.run(
        ["unshare", "-m", "sh", "-c", prepare + 'exec "$@"', "sh", *command],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT,
    )  # fmt: skip
    # Other cgroups may go while find walks; that is no failure.
    find = ["find", "/sys/fs/cgroup", "-name", evil, "-type", "d"]
    made = subprocess.run(find, capture_output=True, text=True, check=False).stdout.split()
    for path in made:
        os.rmdir(path)
    assert not made
    mounts = [line.split() for line in text.stdout.splitlines() if line]
    assert mounts, text.stderr
    assert all("ro" in fields[3].split(",") for fields in mounts), mounts
    assert text.stderr.count("Read-only file system") >= len(mounts)


def test_cve_2023_27561(runtime: Runtime, bundle: Bundle, outside: Path) -> None:
    """/sys led out: refused, and nothing outside is covered."""
    replace(bundle.rootfs / "sys", f"../../../../../../..{outside}")
    assert "must be mounted on ordinary directory" in refusal(runtime, bundle)
    assert_untouched(outside)


def test_cve_2023_28642(runtime: Runtime, bundle: Bundle) -> None:
    """An image whose /proc is a link onto a volume, where the label would be "written" to a file of its own."""
    volume = bundle.path / "volume"
    (volume / "self/attr").mkdir(parents=True)
    (volume / "self/attr/exec").write_text("")
    mount = {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["bind"]}
    bundle.spec["mounts"].insert(0, mount)
    replace(bundle.rootfs / "proc", "/volume")
    bundle.write()
    assert "must be mounted on ordinary directory" in refusal(runtime, bundle)
    assert (volume / "self/attr/exec").read_text() == ""


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_cve_2024_21626(sandbox: Sandbox, runtime: Runtime, bundle: Bundle, outside: Path, verb: str) -> None:
    """No descriptor of ours, nor one that the caller leaked, is a way out: not as working directory, not as program."""
    host = os.open("/", os.O_RDONLY)
    program = outside / "victim"
    program.write_text("#!/bin/busybox sh\necho ESCAPED\n")
    program.chmod(0o755)
    if verb == "exec":
        runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    try:
        for number in (host, *range(3, 12), *range(200, 210)):
            way = f"/proc/self/fd/{number}"
            up = f"{way}/../../../../..{outside}/victim"
            for cwd, args in ((way, ["sh", "-c", f"cat ../../../../..{outside}/victim .{outside}/victim"]), ("/", [up])):
                text = _run_there(runtime, bundle, verb, cwd, args, host)
                assert "ESCAPED" not in text, (number, cwd, text)
    finally:
        os.close(host)


def _run_there(runtime: Runtime, bundle: Bundle, verb: str, cwd: str, args: list[str], leaked: int) -> str:
    process = {**bundle.spec["process"], "cwd": cwd, "args": args}
    if verb == "run":
        (bundle.path / "config.json").write_text(json.dumps({**bundle.spec, "process": process}))
        words = ["run", "-b", str(bundle.path), "other"]
    else:
        (bundle.path / "process.json").write_text(json.dumps(process))
        words = ["exec", "-p", str(bundle.path / "process.json"), "c"]
    done = subprocess.run(
        [runtime.command, "--root", str(runtime.root), *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, pass_fds=[leaked], timeout=LIMIT,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("cwd", ["/", "."])
def test_cve_2024_21626_working_directory(tmp_path: Path, cwd: str) -> None:
    """Should a descriptor ever lead out: a working directory outside of the root is noticed."""
    channel, pid = remote.spawn(())
    batch = remote.Batch()
    batch.call("chroot", sysnr.CHROOT, str(tmp_path))
    batch.call("chdir", sysnr.CHDIR, cwd)  # "." is where we are
    lookup = process_setup.Lookup(batch, "program", None)
    reply = channel.run(batch)
    channel.close()
    os.waitpid(pid, 0)
    if cwd == "/":
        lookup.check_cwd(reply)
    else:
        with pytest.raises(Error, match="possible container breakout detected"):
            lookup.check_cwd(reply)


def test_cve_2024_45310(runtime: Runtime, bundle: Bundle, outside: Path) -> None:
    """A mountpoint on a shared volume that has become a link out: what is missing is made inside."""
    volume = bundle.path / "volume"
    volume.mkdir()
    (volume / "dir").symlink_to(f"../../../../../../..{outside}")
    entry: dict[str, Any] = {"type": "bind", "options": ["bind"]}
    bundle.spec["mounts"] += [
        {**entry, "destination": "/volume", "source": str(volume)},
        {**entry, "destination": "/volume/dir/made/here", "source": str(volume)},
        {**entry, "destination": "/volume/dir/file", "source": "/dev/null"},
    ]
    bundle.args("true")
    runtime.ok("run", "-b", str(bundle.path), "c")
    assert_untouched(outside)
    inside = bundle.rootfs / str(outside).lstrip("/")
    assert (inside / "made/here").is_dir()
    assert (inside / "file").is_file()


@pytest.mark.parametrize("place", ["image", "volume"])
@pytest.mark.parametrize("fake", [SYSRQ, "/proc/sys/kernel/core_pattern", "regular"])
def test_cve_2025_31133(runtime: Runtime, bundle: Bundle, place: str, fake: str) -> None:
    """What the image, or a volume that is its /dev, calls /dev/null must not be bound over a masked path."""
    bare_dev(bundle)
    null = bundle.rootfs / "dev/null"
    if place == "volume":
        null = bundle.path / "null"
        bundle.spec["mounts"].append({"destination": "/dev", "type": "bind", "source": str(bundle.path)})
    null.write_text("evil") if fake == "regular" else null.symlink_to(fake)
    bundle.spec["linux"]["maskedPaths"] = ["/proc/keys"]
    bundle.args("cat", "/proc/keys")
    assert "null" in refusal(runtime, bundle)


@pytest.fixture
def console(sandbox: Sandbox) -> Iterator[str]:
    """The path of a console socket that nobody reads from."""
    path = sandbox.directory / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        yield str(path)


@pytest.mark.parametrize("fake", ["link", "regular", "fifo", "host's"])
def test_cve_2025_52565(runtime: Runtime, bundle: Bundle, outside: Path, console: str, fake: str) -> None:
    """The terminal comes from a devpts or not at all, in create and in exec."""
    bare_dev(bundle)
    ptmx = bundle.rootfs / "dev/pts/ptmx"
    ptmx.parent.mkdir()
    if fake == "fifo":
        os.mkfifo(ptmx)
    elif fake == "regular":
        ptmx.write_text("evil")
    else:
        target = f"{outside}/victim" if fake == "link" else "/dev/pts/ptmx"
        ptmx.symlink_to(f"../../../../../../..{target}")
    bundle.write()
    runtime.ok("run", "-d", "-b", str(bundle.path), "c")
    status, text = runtime.run("exec", "-d", "-t", "--console-socket", console, "c", "tty")
    assert status == 255, text
    assert "dev/pts/ptmx" in text or "no such device" in text, text
    runtime.ok("delete", "-f", "c")
    bundle.spec["process"]["terminal"] = True
    bundle.write()
    assert "console" in refusal(runtime, bundle, "create", "--console-socket", console)
    assert_untouched(outside)


def test_cve_2025_52565_console(runtime: Runtime, bundle: Bundle, console: str) -> None:
    """/dev/console of the image is a link to a file of procfs: the slave does not cover that."""
    without_mount(bundle, "/dev", "/dev/shm", "/dev/mqueue")
    (bundle.rootfs / "dev/console").symlink_to("/proc/version")
    bundle.spec["process"]["terminal"] = True
    bundle.write()
    runtime.ok("create", "--console-socket", console, "-b", str(bundle.path), "c")
    assert "Linux version" in runtime.ok("exec", "c", "cat", "/proc/version")


@pytest.mark.parametrize("mounted", [True, False])
def test_cve_2025_52881(runtime: Runtime, bundle: Bundle, *, mounted: bool) -> None:
    """Sysctls reach the kernel, not what an image or a volume shows in their place, and not what that leads to."""
    fake = bundle.path / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("fake")
    without_mount(bundle, "/proc")
    if mounted:
        proc = {"destination": "/proc", "type": "proc", "source": "proc"}
        cover = {"destination": "/proc/sys", "type": "bind", "source": str(fake / "sys"), "options": ["bind"]}
        bundle.spec["mounts"] += [proc, cover]
        assert "inside /proc" in refusal(runtime, bundle)
        bundle.spec["mounts"] = [m for m in bundle.spec["mounts"] if m is not cover and m is not proc]
    else:
        replace(bundle.rootfs / "proc", "/fake")
        fake.rename(bundle.rootfs / "fake")
        fake = bundle.rootfs / "fake"
    bundle.spec["linux"].update(maskedPaths=[], readonlyPaths=[], sysctl={"net.ipv4.ip_forward": "1"})
    real = "mount -t proc p /mnt; cat /mnt/sys/net/ipv4/ip_forward"
    bundle.spec["process"]["capabilities"] = {
        kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")
    }
    bundle.args("sh", "-c", real)
    assert runtime.ok("run", "-b", str(bundle.path), "c") == "1\n"
    assert (fake / "sys/net/ipv4/ip_forward").read_text() == "fake"


@pytest.mark.parametrize("mounted", [True, False])
def test_cve_2026_41579(runtime: Runtime, bundle: Bundle, outside: Path, *, mounted: bool) -> None:
    """/dev of the image is a link out: nodes, links and the console's file are made inside."""
    bare_dev(bundle)
    if mounted:
        bundle.spec["mounts"].append({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"})
    replace(bundle.rootfs / "dev", f"../../../../../../..{outside}")
    bundle.args("sh", "-c", "ls /dev/; [ -c /dev/null ] && echo node")
    text = runtime.run("run", "-b", str(bundle.path), "c")[1]
    assert "node" in text or "error during container init" in text, text
    assert_untouched(outside)
