"""restore with the real CRIU: each flag's effect on a container that needs it."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.root.conftest import LIMIT, Runtime, criu, wait_until
from tests.root.criu_case import ANSWERING, ECHO, Case, allow_network, ask, case
from tests.root.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["case", "criu"]
pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]

def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("given", [True, False])
def test_file_locks(case: Case, given: bool) -> None:
    """Without the flag CRIU leaves them out, without a word of its own."""
    case.python("f = open('/lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)")
    lock = case.bundle.rootfs / "lock"
    assert is_locked(lock)
    case.dump("--file-locks")
    wait_until(lambda: not is_locked(lock))
    status, text = case.restore(*(["--file-locks"] if given else []))
    assert status == 0
    assert ("the file locks in the images are not restored" in text) != given
    assert is_locked(lock) == given


@pytest.mark.parametrize("detach", [True, False])
def test_detach(case: Case, detach: bool) -> None:
    """With it the command has ended when the processes go on; without it, when they have ended."""
    case.sh("")
    case.dump()
    command = [case.runtime.command, "--root", str(case.runtime.root), "restore", "--image-path", str(case.images)]
    command += ["--bundle", str(case.bundle.path), *(["--detach"] if detach else []), case.name]
    with case.out.open("ab") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process:
        try:
            wait_until(lambda: case.runtime.run("state", case.name)[0] == 0 and case.runtime.status(case.name) == "running")
            wait_until(lambda: (process.poll() is not None) == detach)
            case.assert_runs()
            case.runtime.ok("kill", case.name, "KILL")
            assert process.wait(LIMIT) == (0 if detach else 128 + signal.SIGKILL)
        finally:
            process.kill()


def test_tcp_established(case: Case) -> None:
    allow_network(case)
    case.python(ECHO)
    assert ask(case, "before") == "before"
    case.dump("--tcp-established")
    assert "--tcp-established" in case.restore_refused()
    case.restored("--tcp-established")
    assert ask(case, "after") == "after"


@pytest.mark.parametrize("dumped", ["--tcp-established", "--tcp-close"])
def test_tcp_close(case: Case, dumped: str) -> None:
    allow_network(case)
    case.python(ECHO)
    case.dump(dumped)
    assert "--tcp-close" in case.restore_refused()
    case.restored("--tcp-close")
    assert ask(case, "after") == "BrokenPipeError"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with a line for each call of iptables-restore, with which CRIU sets rules."""
    real, log = shutil.which("iptables-restore"), tmp_path / "calls"
    if real is None:
        pytest.skip("needs iptables")
    script = tmp_path / "bin/iptables-restore"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho >>{log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return log


@pytest.mark.parametrize("dumped", ["iptables", "skip"])
@pytest.mark.parametrize("method", ["", "iptables", "nftables", "skip"])
def test_network_lock(case: Case, calls: Path, dumped: str, method: str) -> None:
    """In place of the method of the dump, of which the programs may be missing on this host. It is the inventory that CRIU
    believes, and only where the network is not new: there connections are held until they are restored."""
    network = next(entry for entry in case.bundle.spec["linux"]["namespaces"] if entry["type"] == "network")
    allow_network(case)
    with network_namespace(f"{case.name}-a") as network["path"]:
        case.python(ECHO)
        case.dump("--tcp-established", "--network-lock", dumped)
    calls.unlink(missing_ok=True)
    inventory = (case.images / "inventory.img").read_bytes()
    with network_namespace(f"{case.name}-b") as network["path"]:
        case.bundle.write()
        case.restored("--tcp-established", *(["--network-lock", method] if method else []))
        assert calls.exists() == ((method or dumped) == "iptables")
        assert ask(case, "after") == "after"
        case.runtime.ok("delete", "--force", case.name)
    assert (case.images / "inventory.img").read_bytes() == inventory


@contextmanager
def network_namespace(name: str) -> Iterator[str]:
    """The path of one in which a program can speak to itself."""
    host = Host(name, "127.0.0.1")
    try:
        host.make()
        host("ip", "link", "set", "lo", "up")
        yield host.path
    finally:
        host.close()


def test_ext_unix_sk(case: Case) -> None:
    """CRIU connects it by its name, which is the same inside and outside, as that of a log."""
    place = case.sandbox.directory / "log"
    place.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outside:
        outside.bind(str(place / "socket"))
        outside.settimeout(LIMIT)
        mount = {"destination": str(place), "type": "bind", "source": str(place), "options": ["bind"]}
        case.bundle.spec["mounts"].append(mount)
        case.bundle.spec["linux"]["namespaces"].remove({"type": "network"})
        case.python(
            f"{ANSWERING}\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect({str(place / 'socket')!r})\n"
            "serve(lambda word: str(s.send(word.encode())))"
        )
        assert ask(case, "before") == "6"
        assert outside.recv(99) == b"before"
        case.dump("--ext-unix-sk")
        case.restored("--ext-unix-sk")
        assert ask(case, "after") == "5"
        assert outside.recv(99) == b"after"


def test_auto_dedup(case: Case) -> None:
    """The pages are gone from the images when they are in the process."""

    def blocks() -> int:
        return sum(path.stat().st_blocks for path in case.images.glob("pages-*.img"))

    case.sh("")
    case.dump()
    before = blocks()
    case.restored()
    assert blocks() == before > 0
    case.runtime.ok("delete", "--force", case.name)
    case.restored("--auto-dedup")
    assert blocks() == 0


def test_lazy_pages_without_their_daemon(case: Case) -> None:
    case.sh("")
    case.dump()
    assert "no lazy-pages daemon answers: start it first" in case.restore_refused("--lazy-pages")
    case.restored()


class Terminal:
    """One of the host's, and what is written to it."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.master)
        os.close(self.slave)

    def run(self, runtime: Runtime, *arguments: str) -> int:
        command = [runtime.command, "--root", str(runtime.root), *arguments]
        return subprocess.run(command, stdin=self.slave, stdout=self.slave, stderr=self.slave, check=False).returncode

    def says(self, text: str) -> bool:
        """Whether that comes."""
        end = time.monotonic() + LIMIT
        seen = b""
        while text.encode() not in seen and (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                seen += os.read(self.master, 4096)
        return text.encode() in seen


@pytest.mark.parametrize("by", ["pyrunc", "runc"])
def test_shell_job(case: Case, by: str) -> None:
    """The terminal of whoever restores it takes the place of the one that it had; in runc's images that has no name."""
    if by == "runc" and shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    dumper = case.runtime if by == "pyrunc" else case.sandbox.runtime("runc", "runc-state")
    case.bundle.args("/bin/sh", "-c", "while read line; do echo said $line; done")
    case.bundle.write()
    bundle, images = ("--bundle", str(case.bundle.path)), ("--image-path", str(case.images))
    with Terminal() as first:
        assert first.run(dumper, "run", "--detach", *bundle, case.name) == 0
        os.write(first.master, b"one\n")
        assert first.says("said one")
        assert first.run(dumper, "checkpoint", "--shell-job", *images, case.name) == 0
    with Terminal() as second:
        if by == "runc":
            assert second.run(case.runtime, "restore", "--detach", *bundle, *images, case.name) == 1
            assert second.says("use --shell-job")
        assert second.run(case.runtime, "restore", "--detach", *bundle, *images, "--shell-job", case.name) == 0
        os.write(second.master, b"two\n")
        assert second.says("said two")
