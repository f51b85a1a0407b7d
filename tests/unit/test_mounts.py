"""Entries of mounts[]: what they mean, before any call is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from libcontainer import mounts, sysnr
from libcontainer.errors import Error
from libcontainer.mounts import Mount
from libcontainer.plan import Plan
from libcontainer.remote import Batch
from libcontainer.steps import Step
from tests.unit.test_remote import Decoded


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


# -- data of file systems

LABEL = "system_u:object_r:container_file_t:s0:c715,c811"


def emitted(emit: Callable[[Batch], object]) -> Decoded:
    batch = Batch()
    emit(batch)
    return Decoded(batch.encode())


def data(made: Plan) -> str:
    """What mount(2) is given for the plan's one file system."""
    (step,) = mounts.steps(made, lambda _mount: None)
    assert isinstance(step, Step)
    request = emitted(step.emit)
    ((_, _, arguments),) = [call for call in request.unrolled() if call[1] == sysnr.MOUNT]
    return request.text(arguments[4]).decode() if arguments[4] else ""


def labelled(kind: str, *options: str) -> Plan:
    made = plan({"destination": "/x", "type": kind, "source": "s", "options": list(options)})
    made.linux["mountLabel"] = LABEL
    return made


def test_a_label_is_quoted_as_its_categories_have_commas() -> None:
    assert data(labelled("devpts", "gid=5", "mode=620")) == f'gid=5,mode=620,context="{LABEL}"'
    assert data(labelled("tmpfs", "mode=700")) == f'mode=700,context="{LABEL}"'
    for kind in ("proc", "sysfs", "mqueue"):
        assert data(labelled(kind)) == ""


def test_a_message_queue_is_labelled_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def labels(made: Plan) -> list[bytes]:
        (step,) = mounts.steps(made, lambda _mount: None)
        assert isinstance(step, Step)
        request = emitted(step.emit)
        calls = [arguments for _, nr, arguments in request.unrolled() if nr == sysnr.FSETXATTR]
        assert all(request.text(name) == b"security.selinux" for _, name, *_ in calls)
        return [request.text(value)[:size] for _, _, value, size, *_ in calls]

    assert labels(labelled("mqueue")) == []  # no SELinux here
    monkeypatch.setattr(mounts, "selinux_enabled", lambda: True)
    assert labels(labelled("mqueue")) == [LABEL.encode()]
    assert labels(labelled("devpts")) == []


def test_options_one_by_one() -> None:
    words = ["size=1m,mode=700,", "", "noswap", f'context="{LABEL}"', "uid="]
    assert list(mounts.parameters(words)) == [
        ("size", "1m"), ("mode", "700"), ("noswap", None), ("context", LABEL), ("uid", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(("version", "kind", "shown"), [(1, "cgroup", True), (1, "cgroup2", False), (2, "cgroup2", True)])
def test_cgroup2_is_the_containers_cgroups_on_hosts_with_nothing_else(version: int, kind: str, shown: bool) -> None:
    made = plan({"destination": "/x", "type": kind})
    made.cgroup_version = version
    assert made.shows_cgroups(made.mounts[0]) is shown


def test_late_steps_are_for_what_must_be_written_to_first() -> None:
    def late(destination: str, kind: str, *options: str) -> int:
        return len(mounts.late_steps(plan({"destination": destination, "type": kind, "source": "s", "options": list(options)})))

    assert late("/t", "tmpfs", "ro") == late("/dev", "devtmpfs", "ro") == 1
    assert late("/t", "tmpfs") == late("/t", "proc", "ro") == late("/t", "bind", "bind", "ro") == 0
