"""/proc/PID/mountinfo (proc_pid_mountinfo(5)), and the questions about it that are not of one mount alone.

The rule of this file: pure, text in. What it reads may be written by a hostile container: names hold anything but NUL.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DELETED = "//deleted"  # after a root that is unlinked (fs/d_path.c)


class MountInfo:
    """One line. `device` is "major:minor"; `shared` and `master` are peer groups (0: none); `deleted`: root is unlinked."""

    __slots__ = (
        "deleted",
        "device",
        "fstype",
        "id",
        "master",
        "mountpoint",
        "options",
        "parent",
        "root",
        "shared",
        "source",
        "super_options",
    )

    def __init__(self, line: str) -> None:
        before, _, after = line.rstrip("\n").partition(" - ")
        number, parent, self.device, root, mountpoint, self.options, *tags = before.split(" ")
        self.id = int(number)
        self.parent = int(parent)
        root = unescape(root)
        self.deleted = root.endswith(DELETED)
        self.root = root.removesuffix(DELETED) or "/"
        self.mountpoint = unescape(mountpoint)
        self.shared = _tag(tags, "shared:")
        self.master = _tag(tags, "master:")
        # A source may be empty: two blanks then.
        fstype, source, self.super_options = after.split(" ", 2)
        self.fstype = unescape(fstype)
        self.source = unescape(source)

    @property
    def whole(self) -> bool:
        """Does it show its file system from the top?"""
        return self.root == "/"


def _tag(tags: Iterable[str], name: str) -> int:
    return next((int(tag[len(name) :]) for tag in tags if tag.startswith(name)), 0)


def unescape(text: str) -> str:
    """Octal escapes of blank, tab, newline, backslash and # (mangle() in fs/proc_namespace.c)."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def parse(text: str) -> list[MountInfo]:
    """All mounts, in the kernel's order: what is mounted on another comes after it."""
    return [MountInfo(line) for line in text.split("\n") if line]


def read(pid: int | str = "self") -> list[MountInfo]:
    """The mounts of a process, or our own."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def below(path: str, top: str) -> bool:
    """Whether `path` is `top` or under it."""
    return path == top or path.startswith("/" if top == "/" else top + "/")


def relative(path: str, top: str) -> str:
    """`path`, which is below `top`, seen from there: "" or "a/b"."""
    return path[len(top) :].lstrip("/")


def join(top: str, rest: str) -> str:
    """The path of `rest` below `top`."""
    return f"{top.rstrip('/')}/{rest}" if rest else top


def root_of(mounts: Sequence[MountInfo]) -> MountInfo | None:
    """The mount at the bottom of the tree: its parent is not among them."""
    ids = {mount.id for mount in mounts}
    return next((mount for mount in mounts if mount.parent not in ids or mount.parent == mount.id), None)


def containing(mounts: Sequence[MountInfo], path: str) -> MountInfo | None:
    """The visible mount that `path` (of these mounts' namespace, without symlinks) lies on."""
    found = None
    for mount in mounts:
        longer = found is None or len(mount.mountpoint) >= len(found.mountpoint)
        if longer and below(path, mount.mountpoint):
            found = mount
    return found


def path_of(mounts: Sequence[MountInfo], other: MountInfo) -> str | None:
    """Where these mounts show what `other`, of another namespace, shows; None if nowhere (hidden mounts do not count)."""
    for mount in mounts:
        if mount.device == other.device and below(other.root, mount.root):
            path = join(mount.mountpoint, relative(other.root, mount.root))
            if containing(mounts, path) is mount:
                return path
    return None
