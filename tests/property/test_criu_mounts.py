"""external() against the rules of CRIU's validate_mounts() and resolve_shared_mounts(), told again here mount by mount."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libcontainer.criu import mountinfo, mounts
from libcontainer.criu.mountinfo import MountInfo, below
from libcontainer.errors import Error

names = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, max_size=3).map(lambda parts: "/" + "/".join(parts))
tame = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d", "/d/e"])


def escape(text: str) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in text)


def line(
    number: int, parent: int, device: str, root: str, mountpoint: str, tags: Sequence[str], fstype: str, source: str
) -> str:
    tail = "".join(f" {tag}" for tag in tags)
    return (
        f"{number} {parent} {device} {escape(root)} {escape(mountpoint)} rw,relatime{tail} - {fstype} {escape(source)} rw\n"
    )


@given(paths, paths, names, st.integers(0, 9), st.integers(0, 9))
def test_a_line_is_read_back(root: str, mountpoint: str, source: str, shared: int, master: int) -> None:
    tags = [f"{kind}:{number}" for kind, number in (("shared", shared), ("master", master)) if number]
    text = line(7, 6, "0:5", root, mountpoint, tags, "tmpfs", source)
    (found,) = mountinfo.parse(text)
    assert (found.root, found.mountpoint, found.source) == (root, mountpoint, source)
    assert (found.shared, found.master, found.id, found.parent) == (shared, master, 7, 6)


@st.composite
def trees(draw: st.DrawFn) -> list[MountInfo]:
    """Mounts of a container: a root, and others of a few file systems."""
    devices = {"0:1": "ext4", "0:2": "tmpfs", "0:3": "proc", "0:4": "tmpfs", "0:5": "fuse.x", "0:6": "cgroup", "0:7": "sysfs"}
    master = draw(st.sampled_from([0, 0, 5]))
    lines = [line(1, 0, "0:1", "/srv/a", "/", [f"master:{master}"] if master else [], "ext4", "ext4")]
    for number in range(2, draw(st.integers(2, 9))):
        device = draw(st.sampled_from(sorted(devices)))
        root = draw(st.one_of(tame, st.just("/srv/a/sub"), st.just("/")))
        mountpoint = draw(st.one_of(tame.filter(lambda p: p != "/"), st.sampled_from(["/dev", "/x y"])))
        tags = draw(st.sampled_from([[], [], ["shared:3"], ["master:3"], ["master:5"], ["shared:4", "master:5"]]))
        lines.append(line(number, 1, device, root, mountpoint, tags, devices[device], devices[device]))
    return mountinfo.parse("".join(lines))


facts = st.builds(
    mounts.Facts,
    binds=st.sets(tame.filter(lambda p: p != "/"), max_size=2),
    namespaces=st.sets(st.sampled_from(["user", "pid", "network", "ipc", "cgroup"])),
    host=st.sampled_from([[], [MountInfo("9 1 0:2 / /run rw - tmpfs run rw")]]),
)


class Criu:
    """What criu/mount.c says of a tree in which the mounts with these ids are external."""

    def __init__(self, tree: list[MountInfo], external: set[int], facts: mounts.Facts) -> None:
        self.tree = tree
        self.external = external
        self.fake = "cgroup" in facts.namespaces

    def same(self, a: MountInfo, b: MountInfo) -> bool:
        """mounts_sb_equal()"""
        if a.device != b.device or a.super_options != b.super_options:
            return False
        return a.id in self.external or b.id in self.external or (a.source, a.fstype) == (b.source, b.fstype)

    def top(self, m: MountInfo) -> str:
        """cgroup_parse()"""
        return "/" if m.fstype == "cgroup" and self.fake else m.root

    def valid(self, m: MountInfo) -> bool:
        """validate_mounts()"""
        root, tree = self.tree[0], self.tree
        if any(t.id in self.external and self.same(m, t) and below(self.top(m), self.top(t)) for t in tree):
            return True
        if self.same(m, root) and below(m.root, root.root):
            return True
        if self.top(m) == "/":
            return m.fstype not in ("ext4", "fuse.x")
        return any(self.same(m, t) and self.top(t) == "/" for t in tree if t is not m)

    def givers(self, m: MountInfo) -> Iterator[MountInfo]:
        """can_receive_master_from_external(), can_receive_master_from_root()"""
        for t in self.tree:
            giver = t is self.tree[0] or t.id in self.external
            if giver and t.master == m.master and self.same(m, t) and below(m.root, t.root):
                yield t

    def shareable(self, m: MountInfo) -> bool:
        """resolve_shared_mounts()"""
        return not m.master or any(t.shared == m.master for t in self.tree) or any(self.givers(m))


@given(trees(), facts)
def test_criu_can_dump_what_is_left(tree: list[MountInfo], facts: mounts.Facts) -> None:
    try:
        chosen = mounts.external(tree, facts, {})
    except Error as error:
        assert "hidden" in str(error)
        return
    external = {m.id for m in tree[1:] if m.mountpoint in chosen}
    criu = Criu(tree, external, facts)
    assert all(criu.valid(m) for m in tree)
    assert all(criu.shareable(m) for m in tree)
    for m in tree[1:]:
        if m.mountpoint in facts.binds:
            assert chosen[m.mountpoint] == m.mountpoint


@given(trees(), facts)
def test_a_mount_of_the_containers_own_stays_in_the_images(tree: list[MountInfo], facts: mounts.Facts) -> None:
    """A tmpfs that the host does not have, not bound by the config and nobody's slave, must be dumped with its content."""
    try:
        chosen = mounts.external(tree, facts, {})
    except Error:
        return
    for m in tree:
        own = m.fstype == "tmpfs" and m.whole and m.device not in facts.host_devices
        alone = sum(t.mountpoint == m.mountpoint for t in tree) == 1
        if own and alone and not m.master and m.mountpoint not in facts.binds:
            assert m.mountpoint not in chosen


@given(paths, st.sampled_from(["]:", "\udcff", "]:/etc"]))
def test_a_name_that_criu_would_misread_is_refused(path: str, poison: str) -> None:
    assume(path != "/")
    text = line(1, 0, "0:1", "/r", "/", [], "ext4", "d") + line(2, 1, "0:9", "/z", path + poison, [], "xfs", "d")
    with pytest.raises(Error, match="cannot checkpoint mounts"):
        mounts.external(mountinfo.parse(text), mounts.Facts(), {})


@given(st.lists(st.tuples(paths, paths), min_size=1, max_size=4), paths)
def test_the_hosts_path_of_a_mount_shows_it(shown: list[tuple[str, str]], wanted: str) -> None:
    """path_of() names a place that really shows that directory."""
    tree = [MountInfo(line(n, 1, "0:1", root, at, [], "ext4", "d")) for n, (root, at) in enumerate(shown, 1)]
    other = MountInfo(line(99, 1, "0:1", wanted, "/", [], "ext4", "d"))
    found = mountinfo.path_of(tree, other)
    if found is not None:
        on = mountinfo.containing(tree, found)
        assert on is not None
        assert mountinfo.join(on.root, mountinfo.relative(found, on.mountpoint)) == wanted
