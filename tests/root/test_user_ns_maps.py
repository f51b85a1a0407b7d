"""Id maps written to real user namespaces, with and without privilege."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libcontainer import user_ns
from libcontainer.errors import Error, describe
from tests.root.conftest import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NOBODY = 65534


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


@contextmanager
def namespace() -> Iterator[int]:
    """A process in a new user namespace without maps."""
    ours = os.readlink("/proc/self/ns/user")
    with subprocess.Popen(["unshare", "-U", "sleep", "1000"]) as process:
        try:
            wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/user") != ours)
            yield process.pid
        finally:
            process.kill()


def setgroups(pid: int) -> str:
    return Path(f"/proc/{pid}/setgroups").read_text().strip()


def test_privileged() -> None:
    uids, gids = [mapping(0, 100000, 1000), mapping(1000, 5, 1)], [mapping(0, 200000, 65536)]
    with namespace() as pid:
        user_ns.write_maps(pid, uids, gids, rootless_euid=False)
        assert user_ns.read_map(f"/proc/{pid}/uid_map") == uids
        assert user_ns.read_map(f"/proc/{pid}/gid_map") == gids
        assert setgroups(pid) == "allow"
        with pytest.raises(Error):  # only once
            user_ns.write_maps(pid, uids, gids, rootless_euid=False)


def test_what_validate_refuses_the_kernel_refuses() -> None:
    for maps in ([mapping(0, 0, 2), mapping(1, 5, 1)], [mapping(0, 0, 0)], [mapping(0xFFFFFFFF, 0, 1)]):
        with namespace() as pid, pytest.raises(Error) as caught:
            user_ns.write_maps(pid, maps, [], rootless_euid=False)
        assert describe(caught.value) == f"failed to update /proc/{pid}/uid_map: invalid argument"


def as_nobody(action: Callable[[], None]) -> str:
    """What `action` says, when it fails, in a child that has no privilege."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            action()
        except BaseException as err:
            os.write(writer, (describe(err) or repr(err)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_unprivileged_may_map_itself() -> None:
    def action() -> None:
        with namespace() as pid:
            user_ns.write_maps(pid, [mapping(0, NOBODY, 1)], [mapping(0, NOBODY, 1)], rootless_euid=True)
            assert user_ns.read_map(f"/proc/{pid}/uid_map") == [mapping(0, NOBODY, 1)]
            assert user_ns.read_map(f"/proc/{pid}/gid_map") == [mapping(0, NOBODY, 1)]
            assert setgroups(pid) == "deny"

    assert as_nobody(action) == ""


def test_unprivileged_needs_the_tool_for_more() -> None:
    def action() -> None:
        user_ns._candidates = lambda name: iter(())
        with namespace() as pid:
            user_ns.write_maps(pid, [mapping(0, 100000, 10)], [mapping(0, 100000, 10)], rootless_euid=True)

    said = as_nobody(action)
    assert "/uid_map: operation not permitted: newuidmap not found in $PATH" in said
