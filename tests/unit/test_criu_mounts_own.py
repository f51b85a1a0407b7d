"""Which mounts of a container nobody could give back."""

from __future__ import annotations

import os

import pytest

from libcontainer.criu import mountinfo, mounts, mounts_own
from libcontainer.errors import Error

ROOT = "100 50 8:1 /srv/rootfs / rw,relatime - ext4 /dev/sda1 rw\n"
HOST = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / /run rw - ramfs run rw\n"


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What is empty in the container."""
    found: dict[str, bool] = {}
    monkeypatch.setattr(mounts_own, "_is_empty", lambda _pid, mountpoint: found[mountpoint])
    return found


def refuse(line: str, *, config: dict[str, str] | None = None, found: tuple[str, ...] = ()) -> None:
    mounted = mountinfo.parse(f"{ROOT}120 100 {line}\n")
    facts = mounts.Facts(namespaces={"mount", "cgroup"}, host=mountinfo.parse(HOST), file_systems=config or {})
    keys = mounts.external(mounted, facts, {})
    assert list(keys) == ["/x"]
    mounts_own.refuse(7, mounted, keys, facts, found)


@pytest.mark.parametrize("fstype", ["ramfs", "hugetlbfs", "ext4", "overlay", "nfs"])
def test_what_the_config_has_mounted_is_mounted_again(fstype: str, empty: dict[str, bool]) -> None:
    empty["/x"] = True
    refuse(f"0:70 / /x rw - {fstype} none rw", config={"/x": fstype})


@pytest.mark.parametrize(("fstype", "lost"), [("ramfs", True), ("hugetlbfs", True), ("bpf", True), ("ext4", False)])
def test_unless_its_content_would_be_lost(fstype: str, lost: bool, empty: dict[str, bool]) -> None:
    empty["/x"] = False
    line, config = f"0:70 / /x rw - {fstype} none rw", {"/x": fstype}
    if not lost:
        refuse(line, config=config)
        return
    with pytest.raises(Error, match=f"'/x': what is in a {fstype} is not kept"):
        refuse(line, config=config)
    refuse(line, config=config, found=("/x",))  # somebody has said what takes its place


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("0:70 / /x rw - ext4 /dev/loop0 rw", {}),
        ("0:70 / /x rw - overlay o rw,lowerdir=/etc", {}),
        ("0:70 / /x rw - overlay o rw,lowerdir=/etc", {"/x": "ramfs"}),  # in place of it
        ("0:70 /sub /x rw - ext4 /dev/loop0 rw", {"/x": "ext4"}),  # a part of one
        ("0:70 /sub /x rw - tmpfs none rw", {"/x": "tmpfs"}),  # the rest of which is mounted nowhere
    ],
)
def test_what_the_container_has_mounted_is_refused(line: str, config: dict[str, str]) -> None:
    with pytest.raises(Error, match="cannot checkpoint mounts: '/x': nobody but the container has this"):
        refuse(line, config=config)
    refuse(line, config=config, found=("/x",))


@pytest.mark.parametrize(
    ("fstype", "strange"),
    [*((name, True) for name in ("ramfs", "ext4", "overlay")), *((name, False) for name in ("proc", "tmpfs", "cgroup2"))],
)
def test_what_restore_may_mount_in_criu_s_place(fstype: str, strange: bool) -> None:
    """A proc or sysfs that is mounted on the host would be the host's."""
    assert mounts_own.is_strange(fstype) == strange


@pytest.mark.parametrize(
    ("device", "fstype", "refused"), [("0:71", "overlay", True), ("0:70", "overlay", False), ("0:71", "ext4", False)]
)
def test_overlays_in_other_mount_namespaces(
    monkeypatch: pytest.MonkeyPatch, device: str, fstype: str, refused: bool
) -> None:
    """A copy of one that init has is known; of others than overlays CRIU says itself that it does not know them."""
    known = mountinfo.parse(f"{ROOT}120 100 0:70 / /x rw - overlay o rw\n")
    monkeypatch.setattr(mountinfo, "read", lambda pid: mountinfo.parse(f"9 8 {device} / /y rw - {fstype} o rw\n"))
    namespaces = {7: "init's", 8: "init's", 9: "its own", 10: None}
    monkeypatch.setattr(mounts_own, "_namespace", namespaces.get)
    if not refused:
        mounts_own.refuse_nested(7, namespaces, known)
        return
    with pytest.raises(Error, match="'/y', in a mount namespace that process 9 has made"):
        mounts_own.refuse_nested(7, namespaces, known)


def test_a_process_that_has_ended_has_no_namespace() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert mounts_own._namespace(pid) is None
    assert mounts_own._namespace(os.getpid()) == os.readlink("/proc/self/ns/mnt")
