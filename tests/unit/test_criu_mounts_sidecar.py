"""mounts.json: only what this state root has sealed, for this bundle, is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer.criu import mountinfo, mounts_sidecar
from libcontainer.errors import Error

SOURCES = {"/added": "/srv/data", "/odd\udcff": "/srv/\udcff"}


@pytest.fixture
def images(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "images").mkdir()
    (tmp_path / "state").mkdir()
    fd = os.open(tmp_path / "images", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def test_what_was_written_is_believed(images: int, root: str) -> None:
    mounts_sidecar.write(images, SOURCES, root, "/b")
    found = mounts_sidecar.read(images, root, "/b")
    assert (found.sources, found.trusted) == (SOURCES, True)


def test_runcs_images_have_none(images: int, root: str) -> None:
    found = mounts_sidecar.read(images, root, "/b")
    assert (found.sources, found.trusted) == ({}, False)


def test_nothing_to_say_removes_what_an_earlier_dump_has_said(images: int, root: str, tmp_path: Path) -> None:
    mounts_sidecar.write(images, SOURCES, root, "/b")
    mounts_sidecar.write(images, {}, root, "/b")
    assert os.listdir(tmp_path / "images") == []


def test_the_key_is_kept_and_is_nobody_elses(images: int, root: str, tmp_path: Path) -> None:
    mounts_sidecar.write(images, SOURCES, root, "/b")
    key = tmp_path / "state" / mounts_sidecar.KEY_FILE
    first = key.read_bytes()
    mounts_sidecar.write(images, SOURCES, root, "/b")
    assert key.read_bytes() == first
    assert key.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "state") == [mounts_sidecar.KEY_FILE]


def test_another_bundle_host_or_text_is_not_believed(images: int, root: str, tmp_path: Path) -> None:
    mounts_sidecar.write(images, SOURCES, root, "/b")
    assert not mounts_sidecar.read(images, root, "/other").trusted
    path = tmp_path / "images" / mounts_sidecar.NAME
    document = json.loads(path.read_text())
    for changed in ({"/added": "/etc"}, {**SOURCES, "/more": "/etc"}, {"/added": "/srv/data"}):
        path.write_text(json.dumps({**document, "sources": changed}))
        assert not mounts_sidecar.read(images, root, "/b").trusted
    path.write_text(json.dumps(document))
    (tmp_path / "state" / mounts_sidecar.KEY_FILE).write_bytes(b"")
    assert not mounts_sidecar.read(images, root, "/b").trusted
    (tmp_path / "state" / mounts_sidecar.KEY_FILE).unlink()
    assert not mounts_sidecar.read(images, root, "/b").trusted


@pytest.mark.parametrize("seal", ["", "\ud800", "\u00e9", "0" * 128])
def test_a_seal_that_is_none(images: int, root: str, tmp_path: Path, seal: str) -> None:
    mounts_sidecar.write(images, SOURCES, root, "/b")
    document = {"sources": SOURCES, "seal": seal}
    (tmp_path / "images" / mounts_sidecar.NAME).write_text(json.dumps(document))
    assert not mounts_sidecar.read(images, root, "/b").trusted


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sources": [], "seal": ""}', '{"sources": {"a": 1}, "seal": ""}', "[" * 5000, "\xff"]
)
def test_noise_is_an_error_in_words(images: int, root: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "images" / mounts_sidecar.NAME).write_text(text)
    with pytest.raises(Error, match="invalid mounts.json in the checkpoint"):
        mounts_sidecar.read(images, root, "/b")


def test_origins_are_paths_of_the_host(tmp_path: Path) -> None:
    ours = mountinfo.containing(mountinfo.read(), os.path.realpath(tmp_path))
    assert ours is not None
    inside = mountinfo.join(ours.root, mountinfo.relative(os.path.realpath(tmp_path), ours.mountpoint))
    line = f"9 8 {ours.device} {inside} /added rw - x x rw"
    told = {"/added": mountinfo.MountInfo(line), "/gone": mountinfo.MountInfo("9 8 0:9999 / /gone rw - x x rw")}
    found = mounts_sidecar.origins(told, {"/added": "key", "/gone": "other"})
    assert list(found) == ["key"]
    assert os.path.samefile(found["key"], tmp_path)
