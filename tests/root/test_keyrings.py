"""Session keyrings: whose a container's is. Keys are not namespaced, but by user namespace (keyrings(7))."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libcontainer import sysnr
from tests.root.conftest import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.root.conftest import Bundle, Runtime, Sandbox

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/proc/keys"), reason="a kernel without keys"),
    pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc"),
]

# Who root of a user namespace is here: nobody else's, as keys are counted on the whole machine.
USER = (1_000 + os.getpid() % 10_000) * 100_000
# A process with a session keyring of this name, that everybody may find, until its stdin ends; as `uid`, which has no room
# for further keys if "full".
OTHER = f"""
import ctypes, errno, os, sys
name, uid, full = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3] == "full"
libc = ctypes.CDLL(None, use_errno=True)
os.setresuid(uid, uid, uid)
ring = libc.syscall({sysnr.KEYCTL}, 1, name)
assert ring > 0, os.strerror(ctypes.get_errno())
assert libc.syscall({sysnr.KEYCTL}, 5, ring, 0x3f3f3f3f) == 0
number = 0
while full and libc.syscall({sysnr.ADD_KEY}, b"user", b"%d" % number, b"x", 1, ring) > 0:
    number += 1
print(ring, ctypes.get_errno() == errno.EDQUOT, flush=True)
sys.stdin.read()
"""
# Prints serial and description of its session keyring (-3).
PROBE = """
#include <linux/keyctl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void)
{
    char text[512] = {0};
    long ring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0);
    syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, text, sizeof text);
    printf("%ld %s\\n", ring, text);
    return 0;
}
"""


@contextmanager
def other(name: str, uid: int = 0, *, full: bool = False) -> Iterator[int]:
    """The serial number of somebody else's keyring."""
    command = [sys.executable, "-c", OTHER, name, str(uid), "full" if full else ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ring, out_of_room = process.stdout.readline().split()
        assert out_of_room == str(full)
        yield int(ring)
        process.stdin.close()
    if full:
        wait_for_room(uid)


def wait_for_room(uid: int) -> None:
    """Until the kernel has collected a user's dead keys, which are counted up to then: /proc/key-users, proc(5)."""
    end = time.monotonic() + LIMIT
    while keys_of(uid) > 10:
        assert time.monotonic() < end, f"user {uid} still has {keys_of(uid)} keys"
        time.sleep(0.01)


def keys_of(uid: int) -> int:
    lines = [line.split() for line in Path("/proc/key-users").read_text().splitlines()]
    return next((int(quota.partition("/")[0]) for user, _usage, _keys, quota, _bytes in lines if user == f"{uid}:"), 0)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("probe")
    (directory / "probe.c").write_text(PROBE)
    subprocess.run(["gcc", "-static", "-o", str(directory / "probe"), str(directory / "probe.c")], check=True)
    return directory / "probe"


@pytest.fixture
def bundle(sandbox: Sandbox, probe: Path) -> Bundle:
    made = sandbox.bundle()
    shutil.copy(probe, made.rootfs / "bin/probe")
    return made


@pytest.fixture
def name() -> str:
    """A container's id that nobody else has: keyrings are found by it."""
    return f"c-{uuid.uuid4().hex}"


def with_user_namespace(bundle: Bundle) -> None:
    linux = bundle.spec["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": USER, "size": 65_536}]
    bundle.write()


def ring_of(text: str, name: str) -> int:
    serial, description = text.split()
    assert description.split(";")[0::4] == ["keyring", name], text
    return int(serial)


@pytest.mark.parametrize("userns", [False, True])
def test_exec_has_the_containers(runtime: Runtime, bundle: Bundle, name: str, *, userns: bool) -> None:
    """With the same permissions that runc's have."""
    bundle.args("sh", "-c", "probe; exec sleep 1000")
    if userns:
        with_user_namespace(bundle)
    out = bundle.path / "out"
    runtime.ok("run", "-d", "-b", str(bundle.path), name, out=out)
    wait_until(lambda: out.read_text().endswith("\n"))
    for user in ("0", "1000"):
        text = runtime.ok("exec", "--user", user, name, "probe")
        assert text == out.read_text()
        assert text.split(";")[3] == "3f1b0000"
        ring_of(text, f"_ses.{name}")


def test_each_container_has_its_own(runtime: Runtime, bundle: Bundle, name: str) -> None:
    """One that comes after another of the same id, whose processes are hardly gone, too."""
    bundle.args("probe")
    assert len({ring_of(runtime.ok("run", "-b", str(bundle.path), name), f"_ses.{name}") for _ in range(5)}) == 5


def test_one_that_was_laid_out_for_it(runtime: Runtime, bundle: Bundle, name: str) -> None:
    """A container of the same user has a keyring of the name that the new one is going to have: that is not joined."""
    bundle.args("probe")
    with other(f"_ses.{name}") as foreign:
        assert ring_of(runtime.ok("run", "-b", str(bundle.path), name), f"_ses.{name}") != foreign


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_no_room_for_keys(runtime: Runtime, bundle: Bundle, name: str, verb: str) -> None:
    """A user's keys are counted: who uses them up gets no process that has the caller's keyring instead."""
    with_user_namespace(bundle)
    if verb == "exec":
        runtime.ok("run", "-d", "-b", str(bundle.path), name)
    with other("hoard", USER, full=True):
        arguments = ("-b", str(bundle.path), name) if verb == "run" else (name, "probe")
        status, text = runtime.run(verb, *arguments)
    if verb == "exec":  # which joins what is there
        assert status == 0
        ring_of(text, f"_ses.{name}")
    else:
        assert status == 1
        assert "kernel.keys.maxkeys" in text
        assert "disk quota exceeded" in text
