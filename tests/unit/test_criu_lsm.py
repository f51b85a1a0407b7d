"""Restore: which AppArmor profiles the images need, and that all of them must be loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer.criu import lsm
from libcontainer.errors import Error
from tests.images import Maker


@pytest.fixture
def checkpoint(tmp_path: Path) -> Maker:
    """Two processes under "the-profile"."""
    maker = Maker(tmp_path / "images")
    maker.inventory()
    maker.process(1)
    maker.process(7)
    return maker


@pytest.fixture
def images(checkpoint: Maker) -> Iterator[int]:
    fd = os.open(checkpoint.directory, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel says of its profiles."""
    path = tmp_path / "profiles"
    path.write_text("other (enforce)\nthe profile (x) (complain)\n")
    monkeypatch.setattr(lsm, "LOADED", str(path))
    return path


@pytest.mark.parametrize("mode", ["enforce", "complain", "unconfined"])
def test_a_profile_that_is_loaded_will_do(images: int, loaded: Path, mode: str) -> None:
    loaded.write_text(f"other (enforce)\nthe-profile ({mode})\n")
    lsm.require_profiles(images, "")


def test_a_profile_that_is_not_is_named(images: int, loaded: Path) -> None:
    with pytest.raises(Error, match=r"^AppArmor profiles are not loaded: 'the-profile': load them, or use --lsm-profile"):
        lsm.require_profiles(images, "")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("apparmor:other", ""),
        ("apparmor:the profile (x)", ""),
        ("apparmor:unconfined", ""),
        ("apparmor::ns://theirs", ""),
        ("apparmor:gone", "'gone'"),
        ("apparmor:other//&gone//&away", "'away', 'gone'"),
        ("selinux:label", "'the-profile'"),
    ],
)
def test_another_one_in_its_place(images: int, loaded: Path, given: str, missing: str) -> None:
    if not missing:
        lsm.require_profiles(images, given)
        return
    with pytest.raises(Error, match=f"not loaded: {missing}: "):
        lsm.require_profiles(images, given)


def test_where_the_kernel_does_not_tell_criu_will(images: int, loaded: Path) -> None:
    loaded.unlink()
    lsm.require_profiles(images, "")


def test_images_of_a_host_without_apparmor_need_none(checkpoint: Maker, images: int, loaded: Path) -> None:
    for kind in ("NO_LSM", "SELINUX"):
        ids = dict.fromkeys(("vm_id", "files_id", "fs_id", "sighand_id"), 1)
        checkpoint.write("inventory.img", "INVENTORY", {"img_version": 2, "root_ids": ids, "lsmtype": kind})
        lsm.require_profiles(images, "")


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes.fromhex("1943565447380555ff0000")])
def test_an_image_that_is_none_is_refused(checkpoint: Maker, images: int, loaded: Path, content: bytes) -> None:
    (checkpoint.directory / "core-7.img").write_bytes(content)
    with pytest.raises(Error, match=r"invalid checkpoint image core-7\.img"):
        lsm.require_profiles(images, "")


def test_a_field_of_another_type_is_no_profile(checkpoint: Maker, images: int, loaded: Path) -> None:
    for number in (1, 7):
        head = bytes.fromhex("1943565447380555")
        (checkpoint.directory / f"core-{number}.img").write_bytes(head + b"\x02\0\0\0" + b"\x28\x01")  # thread_core: 1
    lsm.require_profiles(images, "")
