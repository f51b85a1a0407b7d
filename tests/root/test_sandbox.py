"""The sandbox of the tests finds what a test leaves, and kills nobody else for it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.root.conftest import LIMIT, Sandbox

pytestmark = pytest.mark.root

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program that says when it is there."""
    started: list[subprocess.Popen[bytes]] = []

    def do(*command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*command, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
        return process

    yield do
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def host() -> Iterator[str]:
    """A mount namespace that shares its mounts with those made of it, as on a machine with systemd."""
    share = "mount --make-rshared /; echo; exec sleep 1000"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", share]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield str(process.pid)
        process.kill()


def test_a_mount_that_is_left_is_no_reason_to_kill_who_sees_it(start: Start, host: str, pyrunc: str, tmp_path: Path) -> None:
    there = ["nsenter", "--target", host, "--mount"]
    service = start(*there, "unshare", "--mount", "--propagation", "slave")
    time.sleep(0.05)  # who started in the tick in which the sandbox was made could be its own: proc_pid_stat(5), starttime
    sandbox = Sandbox(pyrunc, tmp_path)
    subprocess.run([*there, "mount", "-t", "tmpfs", "left", str(tmp_path)], check=True)
    assert str(tmp_path) in Path(f"/proc/{service.pid}/mountinfo").read_text()
    sandbox.scrub()
    assert service.poll() is None


def test_a_process_with_mounts_of_the_sandbox_is_found(start: Start, pyrunc: str, tmp_path: Path) -> None:
    sandbox = Sandbox(pyrunc, tmp_path)
    mount = f'mount -t tmpfs mounted {tmp_path}; exec "$@"'
    own = start("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh")
    assert any(f"process {own.pid}:" in found for found in sandbox.leaks(0))
    sandbox.scrub()
    assert own.wait(LIMIT) == -signal.SIGKILL
