"""The image directory: who may search it, and what is read from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libcontainer.criu import images_dir, stdio
from libcontainer.errors import Error, SyscallError

USER = 100_000


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A directory with the images of a dump and those of its parent."""
    for name in ("one", "last"):
        (tmp_path / "chain" / name).mkdir(parents=True)
    return tmp_path / "chain"


def reachable(chain: Path, uid: int = USER, gid: int = USER) -> None:
    images = os.open(chain / "last", os.O_RDONLY)
    try:
        images_dir.check_reachable(images, "../one", uid, gid)
    finally:
        os.close(images)


@pytest.mark.parametrize(("between", "parent", "ok"), [(0o711, 0o711, True), (0o700, 0o711, False), (0o711, 0o700, False)])
def test_each_directory_on_the_way_to_the_parent_must_be_searchable(
    chain: Path, between: int, parent: int, ok: bool
) -> None:
    chain.chmod(between)
    (chain / "one").chmod(parent)
    if ok:
        reachable(chain)
        return
    closed = chain if between == 0o700 else chain / "one"
    with pytest.raises(Error) as caught:
        reachable(chain)
    assert f"(user {USER}) may not search {closed}, and could not be restored: chmod o+x" in str(caught.value)


def test_the_host_s_root_may_search_everything(chain: Path) -> None:
    chain.chmod(0o700)
    reachable(chain, uid=0, gid=0)


def test_the_first_class_that_fits_decides(chain: Path) -> None:
    """Its group may search, or its owner; a group that may not is worse than none."""
    (chain / "one").chmod(0o710)
    reachable(chain, gid=os.getegid())
    (chain / "one").chmod(0o701)
    with pytest.raises(Error):
        reachable(chain, gid=os.getegid())
    (chain / "one").chmod(0o100)
    reachable_as_owner = os.stat(chain).st_uid
    if reachable_as_owner:  # root needs no bit
        reachable(chain, uid=reachable_as_owner)


def test_a_directory_is_made_with_its_parents_for_its_owner(tmp_path: Path) -> None:
    os.close(images_dir.make(str(tmp_path / "a/b/images")))
    assert (tmp_path / "a/b/images").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a/b/images").chmod(0o755)
    os.close(images_dir.make(str(tmp_path / "a/b/images")))  # one that is there stays as it is
    assert (tmp_path / "a/b/images").stat().st_mode & 0o777 == 0o755


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SyscallError):
        images_dir.make(str(tmp_path / "file"))


def descriptors(tmp_path: Path, content: bytes) -> list[str]:
    (tmp_path / images_dir.DESCRIPTORS).write_bytes(content)
    images = os.open(tmp_path, os.O_RDONLY)
    try:
        return images_dir.read_descriptors(images)
    finally:
        os.close(images)


def test_descriptors_come_back(tmp_path: Path) -> None:
    assert descriptors(tmp_path, b'["/dev/null","pipe:[1]","file[1b:2a]"]') == ["/dev/null", "pipe:[1]", "file[1b:2a]"]


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ("pipe:[17]", ["pipe:[17]"]),
        ("file[1b:2a]", ["ile[1b:2a]", "file[1b:2a]"]),
        ("tty[8800:19]", ["ty[8800:19]", "tty[8800:19]"]),
        *(("/dev/null", []), ("/a/pipe:[1]", []), ("pipe:[]", []), ("pipe:[1]\0", []), ("pipe:[1]\n", [])),
        *(("pipe:[\u0663]", []), ("file[x:y]", []), ("file[1:2", []), ("pipe:[" + "1" * 100_000 + "]", [])),
        ("\ud800pipe:[1]", []),
    ],
)
def test_criu_is_told_names_of_its_own_alone(entry: str, keys: list[str]) -> None:
    assert stdio.inherit_keys(entry) == keys


HOSTILE = [b"", b"{}", b"[1]", b"[[]]", b"\xff", b"[" * 100_000, b'["' + b"x" * (1 << 20) + b'"]']


@pytest.mark.parametrize("content", HOSTILE, ids=len)
def test_hostile_descriptors_are_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Error):
        descriptors(tmp_path, content)


def test_a_symlink_in_place_of_descriptors_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('["a","b","c"]')
    (tmp_path / images_dir.DESCRIPTORS).symlink_to("elsewhere")
    images = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SyscallError):
            images_dir.read_descriptors(images)
        images_dir.write_descriptors(images, ["x", "y", "z"])
    finally:
        os.close(images)
    assert (tmp_path / "elsewhere").read_text() == '["a","b","c"]'
    assert not (tmp_path / images_dir.DESCRIPTORS).is_symlink()
