"""Plans are pure: from the configs of real engines, without privilege."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from libcontainer import namespaces, spec
from libcontainer.errors import Error
from libcontainer.plan import Plan, Slots

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "engine-configs").glob("*.json"))
MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5, "size": 1}]


def plan(document: dict[str, Any], **options: Any) -> Plan:
    return Plan("id", document, "/bundle", **{"passed_fds": 3, **options})


def minimal(**linux: Any) -> dict[str, Any]:
    return {"root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/"}, "linux": linux}


def spaces(*entries: str) -> list[dict[str, str]]:
    pairs = (entry.partition("=") for entry in entries)
    return [{"type": kind, "path": path} if path else {"type": kind} for kind, _, path in pairs]


def engine_configs() -> list[Path]:
    return [path for path in CONFIGS if "linux" in json.loads(path.read_text())]


@pytest.mark.parametrize("path", engine_configs(), ids=lambda path: path.stem)
def test_configs_of_engines(path: Path) -> None:
    document: Any = spec.load(str(path))
    made = plan(document)
    entries = document["linux"].get("namespaces", [])
    assert made.joins == [(entry["type"], entry["path"]) for entry in entries if entry.get("path")]
    assert made.new == sum(namespaces.FLAGS[entry["type"]] for entry in entries if not entry.get("path"))
    assert [mount.destination for mount in made.mounts] == [mount["destination"] for mount in document.get("mounts", [])]
    assert all(not mount.target.startswith("/") for mount in made.mounts)
    assert made.userns == any(entry["type"] == "user" for entry in entries)
    assert "user" in made.process
    if not made.dev_bound:
        assert {"/dev/null", "/dev/tty"} <= {node.path for node in made.nodes}


def test_there_are_configs() -> None:
    if not CONFIGS:
        pytest.skip("no configs of engines")
    assert len(engine_configs()) > 10


def test_slots_lie_above_everything_that_is_opened() -> None:
    for passed in (3, 40):
        slots = Slots(passed)
        numbers = {slots.root, slots.proc, slots.fifo, slots.userns, slots.null}
        assert len(numbers) == 5
        first, last = slots.scratch
        assert passed < first <= last < min(numbers)
        assert first == passed + 1  # `passed` is the socket
        assert slots.proc + 1 == slots.fifo == max(slots.proc, slots.fifo)  # what is kept longest lies side by side


def test_paths() -> None:
    assert plan(minimal()).rootfs == "/bundle/rootfs"
    assert plan({**minimal(), "root": {"path": "/a/../b/"}}).rootfs == "/b"


def test_namespaces() -> None:
    made = plan(minimal(namespaces=spaces("pid", "network=/run/netns/a", "mount")))
    assert made.new == namespaces.CLONE_NEWPID | namespaces.CLONE_NEWNS
    assert [made.has(kind) for kind in ("pid", "network", "mount", "user", "ipc")] == [True, True, True, False, False]
    assert (made.joined("network"), made.joined("pid")) == ("/run/netns/a", None)
    assert not made.userns


def test_ids() -> None:
    without = plan(minimal())
    assert (without.host_uid(7), without.host_gid(8)) == (7, 8)
    mapped = plan(minimal(namespaces=spaces("user", "mount"), uidMappings=MAPS, gidMappings=MAPS[:1]))
    assert [mapped.host_uid(uid) for uid in (0, 9, 10)] == [1000, 1009, 5]
    with pytest.raises(Error, match="cannot use unmapped gid 10 in user namespace"):
        mapped.host_gid(10)


def test_who_sets_the_container_up() -> None:
    """Its root, or its user where one of root's ids is not mapped."""
    assert plan(minimal()).host_root() == (0, 0)
    some, root = [{"containerID": 5, "hostID": 1000, "size": 1}], [{"containerID": 0, "hostID": 2000, "size": 6}]
    for uids, gids, expected in ((root, root, (2000, 2000)), (some, root, (1000, 2005)), (some, some, (1000, 1000))):
        document = minimal(namespaces=spaces("user"), uidMappings=uids, gidMappings=gids)
        document["process"]["user"] = {"uid": 5, "gid": 5}
        assert plan(document).host_root() == expected


def test_who_makes_devices() -> None:
    linux = {"namespaces": spaces("user", "mount"), "uidMappings": MAPS, "gidMappings": MAPS}
    assert not plan(minimal()).bind_devices
    assert not plan(minimal(**linux)).bind_devices
    assert plan(minimal(**linux)).reach
    rootless = plan(minimal(**linux), rootless_euid=True)
    assert rootless.bind_devices
    assert not rootless.reach
    assert not rootless.may_set_groups()
    assert plan(minimal(), in_userns=True).bind_devices


DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
HOST_DEV = {"destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"]}


@pytest.mark.parametrize(
    ("mounts", "filled", "bound"),
    [
        ([], False, False),
        ([DEV], True, False),
        ([HOST_DEV], False, True),
        ([DEV, DEV], False, False),
        ([DEV, HOST_DEV], False, True),
    ],
)
def test_dev(mounts: list[dict[str, Any]], filled: bool, bound: bool) -> None:
    made = plan({**minimal(), "mounts": mounts})
    assert (made.dev_filled, made.dev_bound) == (filled, bound)
    assert bool(made.nodes) != bound


def test_mountpoints_below_dev_are_made_with_it() -> None:
    below = [
        {"destination": "/dev/shm", "type": "tmpfs"},
        {"destination": "/dev/./pts/", "type": "devpts"},
        {"destination": "/dev/log", "type": "bind", "source": "/x", "options": ["bind"]},
        {"destination": "/device", "type": "tmpfs"},
    ]
    assert plan({**minimal(), "mounts": [DEV, *below]}).dev_directories == ["shm", "pts"]


def test_pending_nodes() -> None:
    devices = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2}, {"path": "/srv/y", "type": "c", "major": 1, "minor": 2}]
    document = {**minimal(devices=devices), "mounts": [DEV]}
    assert [node.path for node in plan(document).pending_nodes()] == ["/srv/y"]
    assert {"/dev/x", "/srv/y", "/dev/null"} <= {node.path for node in plan(minimal(devices=devices)).pending_nodes()}


def test_the_caller_keeps_its_spec() -> None:
    document = minimal(namespaces=spaces("mount"))
    before = json.dumps(document)
    plan(document)
    assert json.dumps(document) == before
