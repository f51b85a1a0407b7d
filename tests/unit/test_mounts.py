"""Entries of mounts[]: what they mean, before any call is made."""

from __future__ import annotations

from typing import Any

import pytest

from libcontainer import mounts
from libcontainer.errors import Error
from libcontainer.mounts import Mount
from libcontainer.plan import Plan


def entry(destination: str = "/x", kind: str = "tmpfs", source: str = "s", *options: str, **more: Any) -> Mount:
    document = {"destination": destination, "type": kind, "source": source, "options": list(options), **more}
    return Mount(document, "/bundle", "/bundle/rootfs")


@pytest.mark.parametrize(
    ("destination", "target"),
    [("/a/b", "a/b"), ("a", "a"), ("/a/../../b", "b"), ("//a/./b/", "a/b"), ("/", ""), ("/..", "")],
)
def test_targets_lie_in_the_root(destination: str, target: str) -> None:
    assert entry(destination).target == target


@pytest.mark.parametrize(
    ("kind", "options", "bind"),
    [("bind", [], True), ("none", ["bind"], True), ("", ["rbind"], True), ("tmpfs", [], False), ("tmpfs", ["bind"], True)],
)
def test_what_is_a_bind_mount(kind: str, options: list[str], bind: bool) -> None:
    assert entry("/x", kind, "s", *options).bind is bind


@pytest.mark.parametrize(
    ("source", "path", "in_root"),
    [
        ("relative", "/bundle/relative", None),
        ("/abs", "/abs", None),
        ("rootfs/data", "/bundle/rootfs/data", "data"),
        ("/bundle/rootfs/a/../b", "/bundle/rootfs/a/../b", "b"),
        ("/bundle/rootfs-other", "/bundle/rootfs-other", None),
        ("/bundle/rootfs/../x", "/bundle/rootfs/../x", None),
    ],
)
def test_sources(source: str, path: str, in_root: str | None) -> None:
    mount = entry("/x", "bind", source)
    assert (mount.source, mount.source_in_root) == (path, in_root)


def test_sources_of_file_systems_are_left_alone() -> None:
    assert entry("/x", "tmpfs", "rootfs/data").source == "rootfs/data"


def test_id_maps() -> None:
    assert not entry().idmapped
    assert entry("/x", "bind", "s", "idmap").idmapped
    assert entry("/x", "bind", "s", uidMappings=[{"containerID": 0, "hostID": 0, "size": 1}]).idmapped


def test_read_only() -> None:
    assert entry("/x", "tmpfs", "s", "ro").readonly
    assert not entry("/x", "tmpfs", "s", "ro", "rw").readonly


def plan(*entries: dict[str, Any]) -> Plan:
    document = {"root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/"}, "mounts": list(entries)}
    return Plan("id", document, "/bundle", passed_fds=3)


@pytest.mark.parametrize("destination", ["/", ".", "/a/..", "//"])
def test_nothing_is_mounted_on_the_root(destination: str) -> None:
    with pytest.raises(Error) as caught:
        mounts.steps(plan({"destination": destination, "type": "tmpfs"}), lambda _mount: None)
    assert str(caught.value) == f'mountpoint "{destination}" is on the top of rootfs "/bundle/rootfs"'


@pytest.mark.parametrize(
    ("destination", "target"),
    [("/bundle/rootfs/a", "a"), ("/bundle/rootfs/a/../b/", "b"), ("/bundle/rootfsx", "bundle/rootfsx"), ("/bundle", "bundle")],
)
def test_the_hosts_path_of_a_place_in_the_rootfs_means_that_place(destination: str, target: str) -> None:
    assert plan({"destination": destination, "type": "tmpfs"}).mounts[0].target == target


def test_the_hosts_path_of_the_rootfs_is_its_top() -> None:
    with pytest.raises(Error, match="is on the top of rootfs"):
        mounts.steps(plan({"destination": "/bundle/rootfs/", "type": "tmpfs"}), lambda _mount: None)


def test_late_steps_are_for_what_must_be_written_to_first() -> None:
    def late(destination: str, kind: str, *options: str) -> int:
        return len(mounts.late_steps(plan({"destination": destination, "type": kind, "source": "s", "options": list(options)})))

    assert late("/t", "tmpfs", "ro") == late("/dev", "devtmpfs", "ro") == 1
    assert late("/t", "tmpfs") == late("/t", "proc", "ro") == late("/t", "bind", "bind", "ro") == 0
