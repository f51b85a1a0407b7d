"""Which mounts of a checkpoint are restored from one source, and which mount of the host can be that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libcontainer.criu import mounts_wide
from libcontainer.criu.mountinfo import MountInfo
from libcontainer.criu.mounts_image import ImageMount
from libcontainer.criu.mounts_stage import Stage


def image(point: str, root: str, master: int, key: str | None = None, shared: int = 0) -> ImageMount:
    mount = ImageMount({1: 0, 2: 0, 4: 0, 5: 0, 6: b"", 7: b""})  # what CRIU always writes
    mount.mountpoint, mount.root, mount.master, mount.shared, mount.key = point, root, master, shared, key
    return mount


def host(point: str, root: str = "/", tag: str = "master:2", device: str = "8:1") -> MountInfo:
    return MountInfo(f"30 1 {device} {root} {point} rw {tag} - ext4 /dev/sda rw")


def names(groups: list[list[ImageMount]]) -> list[list[str]]:
    return [[mount.mountpoint for mount in group] for group in groups]


def test_mounts_with_one_foreign_master_are_a_group() -> None:
    found = mounts_wide.groups([image("/", "/r", 2), image("/a", "/a", 2, "/a"), image("/b", "/b", 3, "/b")])
    assert names(found) == [["/", "/a"]]


def test_those_whose_master_is_in_the_container_are_none() -> None:
    assert mounts_wide.groups([image("/", "/", 0, shared=2), image("/a", "/a", 2), image("/b", "/b", 2)]) == []


def test_those_with_the_same_root_need_nothing() -> None:
    assert mounts_wide.groups([image("/a", "/x", 2, "/a"), image("/b", "/x", 2, "/b")]) == []


def test_members_are_the_keys_and_the_rootfs() -> None:
    group = [image("/", "/r", 2), image("/a", "/a", 2, "/a"), image("/c", "/a/c", 2)]
    assert mounts_wide.members(group, {"/a": "/stage/m0", "/z": "/stage/m1"}, "/stage/root") == {
        "": "/stage/root",
        "/a": "/stage/m0",
    }


def test_the_narrowest_that_has_all() -> None:
    parts = [host("/stage/m0", "/srv/a"), host("/stage/m1", "/srv/b")]
    known = [host("/"), host("/srv", "/srv"), host("/srv/a", "/srv/a"), host("/elsewhere", "/other")]
    assert [mount.mountpoint for mount in mounts_wide.covers(known, parts)] == ["/srv", "/"]


@pytest.mark.parametrize(
    "other", [host("/", device="8:2"), host("/", tag="master:3"), host("/", tag="shared:2"), host("/", "/srv/aa")]
)
def test_another_file_system_or_peer_group_does_not_do(other: MountInfo) -> None:
    assert mounts_wide.covers([other], [host("/stage/m0", "/srv/a"), host("/stage/m1", "/srv/b")]) == []


def test_parts_of_two_groups_have_none() -> None:
    parts = [host("/stage/m0", "/a"), host("/stage/m1", "/b", "master:3")]
    assert mounts_wide.covers([host("/"), host("/x", tag="master:3")], parts) == []


def test_a_part_that_is_unlinked() -> None:
    assert mounts_wide.covers([host("/")], [host("/m0", "/a//deleted"), host("/m1", "/b")]) == []


@pytest.mark.parametrize(
    ("part", "whole", "way"), [("/srv/a", "/", "/srv/a"), ("/srv/a", "/srv", "/a"), ("/srv", "/srv", ""), ("/", "/", "")]
)
def test_the_way_inside(part: str, whole: str, way: str) -> None:
    assert mounts_wide.inside(host("/x", part), host("/y", whole)) == way


def test_a_way_that_not_everybody_may_go(tmp_path: Path) -> None:
    (tmp_path / "open/closed/end").mkdir(parents=True)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "open/closed").chmod(0o700)
    top = os.open(tmp_path, os.O_PATH)
    try:
        assert mounts_wide.searchable(top, "/open/closed")
        assert not mounts_wide.searchable(top, "/open/closed/end")
        assert mounts_wide.searchable(top, "")
    finally:
        os.close(top)


def test_a_source_that_another_group_has_moved_is_left_there() -> None:
    """A key, or the rootfs, may be in two groups; after the first it is below a mount on the stage, and is none itself."""
    stage = object.__new__(Stage)
    stage._pid, stage.place = os.getpid(), "/stage"
    paths = {"/a": "/stage/w0/a", "/b": "/stage/m1"}
    assert not stage._widen(1, dict(paths), paths)
    assert paths == {"/a": "/stage/w0/a", "/b": "/stage/m1"}
