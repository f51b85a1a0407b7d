"""checkpoint with the real CRIU: each flag's effect on a container that needs it, and that a refused one goes on running.

Restore is tested elsewhere; here the images, CRIU's log and the container that stays are looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer.criu.features import has_large_pipes
from tests.root.conftest import CAP_SYS_RESOURCE, LIMIT, criu, may, wait_until
from tests.root.criu_case import CONNECTED, ECHO, Case, allow_network, ask, case, free_port, freezer, listening
from tests.root.laboratory import MAPPED

__all__ = ["case", "criu"]
pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]


def test_a_checkpoint_ends_the_container_and_leaves_its_images(case: Case) -> None:
    case.sh("")
    status, text = case.checkpoint(leave=False)
    assert (status, text) == (0, "")
    assert {"inventory.img", "pstree.img", "core-1.img", "descriptors.json", "dump.log", "stats-dump"} <= case.files
    assert case.runtime.run("state", case.name)[0] == 1
    case.sandbox.assert_clean()


def test_leave_running_leaves_it_running(case: Case) -> None:
    case.sh("")
    for number in range(3):
        case.works(images=f"images{number}")
        case.assert_runs()


def test_a_paused_container_stays_paused(case: Case) -> None:
    case.sh("")
    case.runtime.ok("pause", case.name)
    status, text = case.checkpoint()
    assert status == 0, text
    assert case.runtime.status(case.name) == "paused"
    case.runtime.ok("resume", case.name)
    case.assert_runs()


def test_a_paused_container_ends_too(case: Case) -> None:
    case.sh("")
    case.runtime.ok("pause", case.name)
    status, text = case.checkpoint(leave=False)
    assert status == 0, text
    case.sandbox.assert_clean()


def test_created_and_stopped_containers_are_refused(case: Case) -> None:
    case.bundle.args("/bin/true")
    case.runtime.ok("create", "--bundle", str(case.bundle.path), case.name)
    assert "Container cannot be checkpointed in created state" in case.checkpoint()[1]
    case.runtime.ok("start", case.name)
    wait_until(lambda: case.runtime.status(case.name) == "stopped")
    assert "Container cannot be checkpointed in stopped state" in case.checkpoint()[1]


def test_work_files_go_to_the_work_path(case: Case) -> None:
    case.sh("")
    work = case.sandbox.directory / "work"
    case.works("--work-path", str(work))
    assert {path.name for path in work.iterdir()} == {"dump.log", "stats-dump"}
    assert not {"dump.log", "stats-dump"} & case.files


def test_the_images_are_in_the_working_directory_by_default(case: Case) -> None:
    case.sh("")
    case.runtime.ok("checkpoint", "--leave-running", case.name, cwd=case.sandbox.directory)
    assert (case.sandbox.directory / "checkpoint/inventory.img").exists()


def test_file_locks(case: Case) -> None:
    case.python("f = open('/tmp/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)")
    assert "the container holds file locks: use --file-locks" in case.refused()
    case.works("--file-locks")
    assert "filelocks.img" in case.files


OWNERLESS = {
    "flock of a child": "if os.fork() == 0: fcntl.flock(f, fcntl.LOCK_EX); os._exit(0)\nos.wait()",
    "lock of the open file": "fcntl.fcntl(f, 37, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))",  # F_OFD_SETLK
}


@pytest.mark.parametrize("take", OWNERLESS.values(), ids=OWNERLESS)
def test_a_lock_without_an_owner(case: Case, take: str) -> None:
    """It lasts as long as the open file, as `flock 9` of a shell does. CRIU looks for locks at their owners."""
    case.python(f"import struct; f = open('/tmp/lock', 'w')\n{take}")
    assert "the container holds file locks: use --file-locks" in case.refused()
    case.works("--file-locks")
    assert "filelocks.img" in case.files


def test_link_remap(case: Case) -> None:
    case.sh("exec 3<>/tmp/one; ln /tmp/one /tmp/two; rm /tmp/one")
    assert "the container has deleted files open: use --link-remap" in case.refused()
    case.works("--link-remap")
    assert "remap-fpath.img" in case.files


def test_ghost_limit(case: Case) -> None:
    case.sh("dd if=/dev/zero of=/tmp/big bs=1M count=2; exec 3<>/tmp/big; rm /tmp/big")
    assert "a deleted file that is open is larger than --ghost-limit" in case.refused()
    case.works("--ghost-limit", "3M")
    case.refused("--ghost-limit", "1K")


def test_timeout(case: Case) -> None:
    """A process that somebody else traces cannot be stopped; without the flag that is tried for ten seconds."""
    case.sh("")
    init = case.runtime.state(case.name)["pid"]
    seize = "import ctypes, sys; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None), flush=True); input()"
    command = [sys.executable, "-c", seize, str(init)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stdout is not None
            assert tracer.stdout.readline() == "0\n"
            status, text = case.checkpoint("--timeout", "2")
        finally:
            tracer.kill()
    assert status == 1
    assert "a process could not be stopped: somebody traces it" in text.splitlines()[-1]
    assert 2 <= float(re.findall(r"^\(([0-9.]+)\)", case.log, re.MULTILINE)[-1]) < 10
    case.works()


def test_several_checkpoints_at_once(case: Case) -> None:
    """One of them is made, and those that come too early are told so."""
    case.sh("")
    base = [case.runtime.command, "--root", str(case.runtime.root), "checkpoint", "--leave-running", "--image-path"]
    commands = [[*base, f"{case.images}{number}", case.name] for number in range(4)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in running]
    assert any(status == 0 for _, status in ends)
    assert all("another checkpoint of this container is being made" in text for text, status in ends if status)
    case.assert_runs()


def test_ext_unix_sk(case: Case) -> None:
    path = case.sandbox.directory / "outside"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outside:
        outside.bind(str(path))
        case.bundle.spec["mounts"].append(
            {"destination": "/outside", "type": "bind", "source": str(path), "options": ["bind"]}
        )
        case.bundle.spec["linux"]["namespaces"].remove({"type": "network"})
        case.python("s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect('/outside')")
        assert "a socket is connected to outside: use --ext-unix-sk" in case.refused()
        case.works("--ext-unix-sk")


def test_tcp_established(case: Case) -> None:
    allow_network(case)
    case.python(f"{CONNECTED}\np, _ = s.accept()")
    assert "the container has established TCP connections: use --tcp-established or --tcp-close" in case.refused()
    case.works("--tcp-established")
    assert any(name.startswith("tcp-stream-") for name in case.files)


def test_tcp_close(case: Case) -> None:
    allow_network(case)
    case.python(f"{CONNECTED}\np, _ = s.accept()")
    case.works("--tcp-close")
    assert not any(name.startswith("tcp-stream-") for name in case.files)


def test_tcp_skip_in_flight(case: Case) -> None:
    allow_network(case)
    case.python(CONNECTED)
    assert "--tcp-skip-in-flight" in case.refused("--tcp-established")
    case.works("--tcp-established", "--tcp-skip-in-flight")


@pytest.mark.parametrize(("method", "runs"), [("iptables", True), ("nftables", False), ("skip", False)])
def test_the_network_is_locked_as_asked(case: Case, monkeypatch: pytest.MonkeyPatch, method: str, runs: bool) -> None:
    """An iptables-restore before the others in PATH tells whether CRIU has called it (nft it has as a library)."""
    programs = case.sandbox.directory / "bin"
    programs.mkdir()
    called = case.sandbox.directory / "called"
    for name in ("iptables-restore", "ip6tables-restore"):
        (programs / name).write_text(f"#!/bin/sh\ncat >> {called}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    allow_network(case)
    case.python(CONNECTED.replace("c =", "# c ="))
    case.works("--network-lock", method)
    assert (called.exists() and "-A CRIU" in called.read_text()) == runs


def test_a_missing_iptables_is_said_so(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = case.sandbox.directory / "bin"
    programs.mkdir()
    for name in ("iptables-restore", "ip6tables-restore"):
        (programs / name).write_text("#!/bin/sh\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    case.sh("")
    assert "CRIU could not lock the network" in case.refused("--network-lock", "iptables")


def test_manage_cgroups_mode(case: Case) -> None:
    case.sh("")
    case.works("--manage-cgroups-mode", "ignore")
    ignored = (case.images / "cgroup.img").stat().st_size
    case.works()
    assert (case.images / "cgroup.img").stat().st_size > ignored
    assert "invalid manage-cgroups-mode value" in case.refused("--manage-cgroups-mode", "none")


def test_empty_ns(case: Case) -> None:
    case.sh("")
    case.works("--empty-ns", "network")
    assert not any(name.startswith(("netdev", "route", "iptables")) for name in case.files)
    assert "is not supported" in case.refused("--empty-ns", "mount")


def test_shell_job(case: Case) -> None:
    """A terminal of the host as stdio."""
    master, slave = os.openpty()
    case.bundle.args("/bin/sh", "-c", "echo ready; while :; do sleep 1; done")
    case.bundle.write()
    command = [case.runtime.command, "--root", str(case.runtime.root), "run", "--detach"]
    command += ["--bundle", str(case.bundle.path), case.name]
    subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, check=True)
    os.close(slave)
    assert b"ready" in os.read(master, 100)
    assert "--shell-job" in case.refused()
    case.works("--shell-job")
    os.close(master)


def test_a_file_of_the_host_as_stdio_is_external(case: Case) -> None:
    case.sh("")
    case.works()
    entries = json.loads((case.images / "descriptors.json").read_text())
    inode = case.out.stat().st_ino
    assert entries[0] == "/dev/null"
    assert entries[1] == entries[2]
    assert entries[1].startswith("file[")
    assert entries[1].endswith(f":{inode:x}]")


def test_a_page_server_takes_the_memory(case: Case, criu: str) -> None:
    case.sh("")
    pages = case.sandbox.directory / "pages"
    pages.mkdir()
    port = free_port()
    server = subprocess.Popen([criu, "page-server", "--images-dir", str(pages), "--address", "127.0.0.1", "--port", str(port)])
    try:
        wait_until(lambda: listening(port))
        case.works("--page-server", f"127.0.0.1:{port}")
        assert server.wait(LIMIT) == 0
    finally:
        server.kill()
        server.wait()
    assert {path.name for path in pages.glob("pages-*.img")}
    assert not any(name.startswith("pages-") for name in case.files)


def test_the_annotation_s_configuration_overrides(case: Case) -> None:
    config = case.sandbox.directory / "criu.conf"
    config.write_text("file-locks\n")
    case.bundle.spec["annotations"] = {"org.criu.config": str(config)}
    case.python("f = open('/tmp/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)")
    case.works()


def test_a_wrong_configuration_is_quoted(case: Case) -> None:
    config = case.sandbox.directory / "criu.conf"
    config.write_text("no-such-option\n")
    case.bundle.spec["annotations"] = {"org.criu.config": str(config)}
    case.sh("")
    assert "no-such-option" in case.refused()


def test_processes_that_exec_has_started_are_named(case: Case) -> None:
    """CRIU dumps the tree of init."""
    case.sh("sleep 1001 &")
    case.runtime.ok("exec", "--detach", case.name, "sleep", "1002", out=case.out)
    wait_until(lambda: "sleep 1002" in case.runtime.ok("exec", case.name, "ps"))
    assert case.checkpoint()[1] == ""
    status, text = case.checkpoint(leave=False)
    assert status == 0
    assert re.search(r"not in the checkpoint, since they were started by exec: processes \d+ \(sleep\)\"", text), text
    case.sandbox.assert_clean()


def test_the_freezer_is_the_container_s(case: Case) -> None:
    case.sh("")
    case.works()
    assert f"freezing cgroup {freezer(case.name).parent}" in case.log


def test_external_namespaces(case: Case) -> None:
    with subprocess.Popen(["unshare", "--net", "--pid", "--fork", "sleep", "1000"]) as owner:
        try:
            children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children")
            wait_until(children.read_text)
            child = int(children.read_text())
            paths = {"network": f"/proc/{child}/ns/net", "pid": f"/proc/{child}/ns/pid"}
            for entry in case.bundle.spec["linux"]["namespaces"]:
                if entry["type"] in paths:
                    entry["path"] = paths[entry["type"]]
            case.sh("")
            inodes = {name: os.stat(path).st_ino for name, path in paths.items()}
            arguments = ("--leave-running", "--image-path", str(case.images), case.name)
            text = case.runtime.ok("--debug", "checkpoint", *arguments)
            assert f"net[{inodes['network']}]:extRootNetNS" in text
            assert f"pid[{inodes['pid']}]:extRootPidNS" in text
        finally:
            os.kill(child, signal.SIGKILL)


def test_in_a_user_namespace_its_root_may_search_the_images_and_nobody_else(case: Case) -> None:
    linux: dict[str, Any] = case.bundle.spec["linux"]
    linux["namespaces"].append({"type": "user"})
    linux.update(uidMappings=MAPPED, gidMappings=MAPPED)
    subprocess.run(["chown", "-R", "100000:100000", str(case.bundle.rootfs)], check=True)
    case.sh("")
    status, text = case.checkpoint()
    assert status == 0, text
    assert "runc checkpoint is untested with rootless containers" in text
    info = case.images.stat()
    assert (info.st_mode & 0o777, info.st_uid, info.st_gid) == (0o750, 0, 100_000)


def test_pre_dump_says_that_this_kernel_cannot(case: Case) -> None:
    if soft_dirty():
        pytest.skip("this kernel can")
    case.sh("")
    assert "criu is missing features: [MemTrack]: this kernel does not track written memory" in case.refused("--pre-dump")


def soft_dirty() -> bool:
    """Whether a page that has just been written has bit 55 (Documentation/admin-guide/mm/soft-dirty.rst)."""
    import ctypes
    import mmap

    area = mmap.mmap(-1, mmap.PAGESIZE)
    area[0] = 1
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // mmap.PAGESIZE * 8)
        return bool(int.from_bytes(file.read(8), "little") >> 55 & 1)


def test_processes_of_other_users_need_a_capability(case: Case) -> None:
    """prlimit(2) of a process with other ids."""
    if may(CAP_SYS_RESOURCE):
        pytest.skip("we have CAP_SYS_RESOURCE")
    case.bundle.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
    case.sh("")
    assert "without CAP_SYS_RESOURCE: run as root with all capabilities" in case.refused()


def test_lazy_pages_say_that_pipes_are_too_small(case: Case) -> None:
    if has_large_pipes():
        pytest.skip("they are not")
    case.sh("")
    assert "raise sysctl fs.pipe-max-size to 4194304" in case.refused("--lazy-pages", "--page-server", "127.0.0.1:1")


@pytest.mark.skipif(not has_large_pipes(), reason="no large pipes")
@pytest.mark.parametrize(
    ("whom", "signum", "words"),
    [
        ("criu", signal.SIGKILL, "CRIU crashed (signal: killed)"),
        ("runtime", signal.SIGTERM, "interrupted by a signal: terminated"),
    ],
)
def test_lazy_pages_tell_when_the_server_listens_and_what_ends_it_frees_the_container(
    case: Case, whom: str, signum: int, words: str
) -> None:
    """The container is stopped until the other side has it; when that will never be, it goes on here."""
    case.sh("")
    port = free_port()
    read, write = os.pipe()
    command = [case.runtime.command, "--root", str(case.runtime.root), "checkpoint", "--image-path", str(case.images)]
    flags = ["--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(write)]
    runtime = subprocess.Popen([*command, *flags, case.name], pass_fds=[write], stderr=subprocess.PIPE, text=True)
    os.close(write)
    try:
        assert select.select([read], [], [], LIMIT)[0], "nobody has said that the server listens"
        assert os.read(read, 1) == b"\0"
        assert os.read(read, 1) == b""  # closed, also in CRIU
        assert (case.images / "inventory.img").exists()
        wait_until(lambda: listening(port))
        (server,) = (int(pid) for pid in Path(f"/proc/{runtime.pid}/task/{runtime.pid}/children").read_text().split())
        os.kill(server if whom == "criu" else runtime.pid, signum)
        _, errors = runtime.communicate(timeout=LIMIT)
        assert (runtime.returncode, words in errors) == (1, True), errors
        assert not Path(f"/proc/{server}").exists()
    finally:
        os.close(read)
        runtime.kill()
        runtime.wait()
    case.assert_runs()


# Preloaded into CRIU: it stops itself when it is about to write the first process, which it is inside of then.
STOP = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int openat64(int directory, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    if ((flags & O_CREAT) && !strcmp(path, "core-1.img"))
        kill(getpid(), SIGSTOP);
    return syscall(SYS_openat, directory, path, flags, mode);
}
int openat(int, const char *, int, ...) __attribute__((alias("openat64")));
"""


def in_the_middle(case: Case, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Let a shell do something while CRIU ($child) stands still in the middle of a dump."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    directory = case.sandbox.directory / "bin"
    directory.mkdir()
    (directory / "stop.c").write_text(STOP)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", directory / "stop.so", directory / "stop.c"], check=True)
    (directory / "criu").write_text(
        f'#!/bin/sh\nLD_PRELOAD={directory}/stop.so {shutil.which("criu")} "$@" & child=$!\n'
        f"while ! grep -q '^State:.T' /proc/$child/status; do sleep 0.01; done; {command}\n"
    )
    (directory / "criu").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def let_criu_be_killed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_middle(case, monkeypatch, "kill -KILL $child; wait $child; kill -KILL $$")


def test_a_criu_that_is_killed_leaves_the_container_running(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.sh("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done")
    let_criu_be_killed(case, monkeypatch)
    assert "CRIU crashed (signal: killed)" in case.refused()
    time.sleep(0.2)
    case.assert_runs()
    assert "ready" in case.runtime.ok("exec", case.name, "echo", "ready")


@pytest.mark.parametrize(
    ("name", "words"), [("TERM", "terminated"), ("INT", "interrupt"), ("HUP", "hangup")]
)
def test_a_signal_in_the_middle_leaves_the_container_running(
    case: Case, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """To the command, not to CRIU, which ends with it."""
    case.sh("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done")
    in_the_middle(case, monkeypatch, f"kill -{name} $PPID; wait $child")
    assert f"interrupted by a signal: {words}" in case.refused()
    assert "ready" in case.runtime.ok("exec", case.name, "echo", "ready")


@pytest.mark.parametrize("method", ["iptables", "nftables"])
def test_a_criu_that_is_killed_leaves_the_network_open(case: Case, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """It had locked it: what goes on must reach others."""
    allow_network(case)
    case.python(ECHO)
    let_criu_be_killed(case, monkeypatch)
    assert "CRIU crashed (signal: killed)" in case.refused("--tcp-established", "--network-lock", method)
    assert ask(case, "after") == "after"


@pytest.fixture
def small(case: Case) -> Iterator[Path]:
    """A file system with room for some images, where those of the case shall be."""
    case.images = case.sandbox.directory / "small/images"
    case.images.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "small", str(case.images.parent)], check=True)
    yield case.images.parent
    subprocess.run(["umount", str(case.images.parent)], check=True)


@pytest.mark.parametrize("free", [200 << 10, 16 << 10, 0])
def test_a_disk_that_is_full_loses_no_container(case: Case, small: Path, free: int) -> None:
    """Whoever notices it: CRIU, or we when it asks for what is mounted."""
    case.sh("")
    with contextlib.suppress(OSError), (small / "filling").open("wb", buffering=0) as filling:
        filling.write(bytes((200 << 10) - free))
    status, text = case.runtime.run("checkpoint", "--image-path", str(case.images), case.name)
    assert status == 1
    said = text.strip().splitlines()[-1]
    assert "a file system is full: make room" in said or f"write {case.images}/descriptors.json: no space left" in said, text
    case.assert_runs()


def test_a_directory_that_cannot_be_written_to(case: Case, small: Path) -> None:
    case.sh("")
    case.images.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    status, text = case.runtime.run("checkpoint", "--image-path", str(case.images), case.name)
    assert status == 1
    assert "CRIU cannot write where its log belongs" in text.strip().splitlines()[-1]
    case.assert_runs()


def test_a_page_server_that_nobody_knows(case: Case) -> None:
    case.sh("")
    assert "--page-server: that host has no address here" in case.refused("--page-server", "nobody.invalid:1")


def test_no_criu(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(os.access(f"{directory}/criu", os.X_OK) for directory in ("/usr/sbin", "/usr/local/sbin", "/usr/bin")):
        pytest.skip("CRIU is installed on this machine")
    case.sh("")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "criu is not installed: no executable criu in $PATH" in case.refused()
