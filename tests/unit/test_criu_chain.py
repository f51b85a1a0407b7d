"""The chain of directories that images build on."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from libcontainer.criu import chain, images_dir
from libcontainer.errors import Error
from tests.root.laboratory import Snapshot


def directories(tmp_path: Path, *names: str) -> None:
    """Each with a link to the next."""
    for name, following in zip(names, [*names[1:], ""], strict=True):
        (tmp_path / name).mkdir()
        if following:
            (tmp_path / name / "parent").symlink_to(f"../{following}")


def parents(path: Path) -> list[tuple[str, str]]:
    """Where they are, and what they are called."""
    with ExitStack() as stack:
        fd = os.open(path, os.O_RDONLY)
        stack.callback(os.close, fd)
        found = chain.parents(stack, fd, "images")
        return [(os.path.basename(os.readlink(f"/proc/self/fd/{parent}")), name) for parent, name in found]


def test_nearest_first(tmp_path: Path) -> None:
    directories(tmp_path, "last", "second", "first")
    assert parents(tmp_path / "last") == [("second", "images/parent"), ("first", "images/parent/parent")]
    assert parents(tmp_path / "first") == []


def test_nothing_stays_open(tmp_path: Path) -> None:
    directories(tmp_path, "last", "second", "first")
    (tmp_path / "first/parent").symlink_to("../gone")
    before = Snapshot()
    with pytest.raises(Error, match="unable to open the parent images ../gone of images/parent/parent"):
        parents(tmp_path / "last")
    before.assert_unchanged()


@pytest.mark.parametrize("target", [".", "../last", "../second"])
def test_one_that_leads_back(tmp_path: Path, target: str) -> None:
    """CRIU would go round until it has no descriptors any more."""
    directories(tmp_path, "last", "second")
    (tmp_path / "second/parent").symlink_to(target)
    with pytest.raises(Error, match="lead back to where they come from"):
        parents(tmp_path / "last")


def test_a_directory_in_place_of_the_link(tmp_path: Path) -> None:
    """CRIU opens it as well."""
    directories(tmp_path, "last")
    (tmp_path / "last/parent").mkdir()
    assert parents(tmp_path / "last") == [("parent", "images/parent")]


def check(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        images_dir.check(fd)
    finally:
        os.close(fd)


def test_images_of_the_whole_chain_are_files(tmp_path: Path) -> None:
    directories(tmp_path, "last", "second", "first")
    check(tmp_path / "last")
    (tmp_path / "first/pages-1.img").symlink_to("/etc/shadow")
    with pytest.raises(Error, match=f"{tmp_path}/first is no directory of checkpoint images"):
        check(tmp_path / "last")


def test_a_new_dump_builds_on_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    directories(tmp_path, "last", "first")
    (tmp_path / "first/pages-1.img").write_text("of the parent")
    (tmp_path / "last/pages-1.img").symlink_to("../first/pages-1.img")
    (tmp_path / "last/mountpoints-9.img").touch()
    (tmp_path / "last/kept.json").touch()
    fd = os.open(tmp_path / "last", os.O_RDONLY)
    images_dir.clear(fd)
    os.close(fd)
    assert sorted(os.listdir(tmp_path / "last")) == ["kept.json"]
    assert (tmp_path / "first/pages-1.img").read_text() == "of the parent"
