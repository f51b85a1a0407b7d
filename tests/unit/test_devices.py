"""Device nodes: which there are, what number they have, and the calls that make them."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from libcontainer import devices, sysnr
from libcontainer.devices import Node
from libcontainer.plan import Plan
from libcontainer.remote import Batch
from tests.unit.test_remote import Decoded

MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}]


def plan(*nodes: dict[str, Any], **linux: Any) -> Plan:
    linux = {"namespaces": [{"type": "mount"}], **linux, "devices": list(nodes)}
    document = {"root": {"path": "r"}, "process": {"args": ["x"], "cwd": "/"}, "linux": linux}
    document["mounts"] = [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]
    return Plan("id", document, "/bundle", passed_fds=3)


def in_user_namespace(*nodes: dict[str, Any]) -> Plan:
    return plan(*nodes, namespaces=[{"type": "mount"}, {"type": "user"}], uidMappings=MAPS, gidMappings=MAPS)


def device(path: str, kind: str = "c", **more: int) -> dict[str, Any]:
    return {"path": path, "type": kind, "major": 10, "minor": 200, **more}


@pytest.mark.parametrize(("major", "minor"), [(1, 3), (10, 200), (4095, 255), (7, 256), (259, 1048575), (0, 0)])
def test_numbers_are_those_of_the_kernel(major: int, minor: int) -> None:
    encoded = Node("/dev/x", stat.S_IFCHR, major, minor).device
    assert (os.major(encoded), os.minor(encoded)) == (major, minor)
    assert encoded == os.makedev(major, minor)


def test_defaults_and_what_replaces_them() -> None:
    nodes = {node.path: node for node in devices.nodes([])}
    assert {path: (node.major, node.minor) for path, node in nodes.items()} == {
        "/dev/null": (1, 3),
        "/dev/zero": (1, 5),
        "/dev/full": (1, 7),
        "/dev/random": (1, 8),
        "/dev/urandom": (1, 9),
        "/dev/tty": (5, 0),
    }
    assert {node.mode for node in nodes.values()} == {stat.S_IFCHR | 0o666}
    own = [node for node in devices.nodes([device("/dev/../dev/null", fileMode=0o100600)]) if node.path == "/dev/null"]
    assert [(node.major, node.mode) for node in own] == [(10, stat.S_IFCHR | 0o600)]


def test_ptmx_is_never_a_node() -> None:
    assert "/dev/ptmx" not in {node.path for node in devices.nodes([device("/dev/ptmx")])}


@pytest.mark.parametrize(("kind", "bits"), [("c", stat.S_IFCHR), ("u", stat.S_IFCHR), ("b", stat.S_IFBLK), ("p", stat.S_IFIFO)])
def test_types(kind: str, bits: int) -> None:
    (node,) = [node for node in devices.nodes([device("/dev/x", kind)]) if node.path == "/dev/x"]
    assert node.mode == bits | 0o666


def filled(made: Plan, uid: int, gid: int) -> list[tuple[str, ...]]:
    """The calls of fill(), as (call, name, ...)."""
    batch = Batch()
    devices.fill(batch, 5, made, uid=uid, gid=gid)
    request = Decoded(batch.encode())
    found: list[tuple[str, ...]] = []
    for _, nr, arguments in request.unrolled():
        if nr == sysnr.FCHOWNAT:
            found.append(("chown", request.text(arguments[1]).decode(), f"{arguments[2]}:{arguments[3]}"))
        elif nr == sysnr.SYMLINKAT:
            found.append(("link", request.text(arguments[2]).decode(), request.text(arguments[0]).decode()))
        elif nr in (sysnr.MKNODAT, sysnr.MKDIRAT):
            kind = "node" if nr == sysnr.MKNODAT else "directory"
            found.append((kind, request.text(arguments[1]).decode(), oct(arguments[2])))
    return found


def test_root_owns_what_nobody_else_does() -> None:
    calls = filled(plan(device("/dev/deep/er", uid=4, fileMode=0o640)), 0, 0)
    assert ("node", "deep/er", "0o20640") in calls
    assert calls.index(("directory", "deep", "0o755")) < calls.index(("node", "deep/er", "0o20640"))
    owned = [call for call in calls if call[0] == "chown" and call[2] != "0:0"]
    assert owned == [("chown", "deep/er", "4:0")]


def test_the_root_of_a_user_namespace_owns_everything_else() -> None:
    calls = filled(in_user_namespace(device("/dev/deep/er", uid=4), device("/dev/x", uid=70, gid=70)), 1000, 1000)
    owners = {name: owner for call, name, owner in calls if call == "chown"}
    made = {name for call, name, *_ in calls if call != "chown"}
    assert set(owners) == made
    assert owners.pop("deep/er") == "1004:1000"
    assert set(owners.values()) == {"1000:1000"}  # x too: the namespace has no id 70


def test_links() -> None:
    calls = filled(plan(), 0, 0)
    links = {name: target for call, name, target in calls if call == "link"}
    assert links.pop("core", "/proc/kcore") == "/proc/kcore"
    assert links == {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }
