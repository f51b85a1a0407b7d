"""Device nodes and links of /dev: the default set, linux.devices, and how they come into a container.

Nodes are made with mknod(2) by a process of the initial user namespace, in a tmpfs that is not attached yet: owner, group
and mode are those of the config even in a user namespace. Where mknod is impossible (rootless, a device cgroup
that forbids it) the host's node of the same path is bind-mounted.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from libcontainer import inroot, sysnr
from libcontainer.errors import Error
from libcontainer.remote import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, OPEN_TREE_CLONE, Batch, item
from libcontainer.steps import Step
from libcontainer.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.plan import Plan
    from libcontainer.remote import Argument, Channel, StepError


_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
# Documentation/admin-guide/devices.txt
DEFAULTS = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


class Node:
    """One device node: `path` is absolute inside the container; `uid` and `gid` are the container's ids."""

    __slots__ = ("gid", "major", "minor", "mode", "path", "uid")

    def __init__(self, path: str, mode: int, major: int, minor: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.mode = mode  # with the type bits
        self.major = major
        self.minor = minor
        self.uid = uid
        self.gid = gid

    @property
    def device(self) -> int:
        """The number as mknod(2) takes it (linux/kdev_t.h, new_encode_dev)."""
        return (self.minor & 0xFF) | (self.major << 8) | ((self.minor & ~0xFF) << 12)


NULL = Node("/dev/null", stat.S_IFCHR | 0o666, 1, 3)


def nodes(devices: list[dict[str, object]]) -> list[Node]:
    """linux.devices, after the default nodes that it does not redefine. /dev/ptmx is always our link."""
    asked = [_node(device) for device in devices]
    paths = {node.path for node in asked}
    defaults = [Node(p, stat.S_IFCHR | 0o666, major, minor) for p, major, minor in DEFAULTS if p not in paths]
    return [*defaults, *(node for node in asked if node.path != "/dev/ptmx")]


def _node(device: dict[str, object]) -> Node:
    def number(key: str, default: int = 0) -> int:
        value = device.get(key)
        return value if isinstance(value, int) else default

    kind = _TYPES[str(device["type"])]
    path = "/" + inroot.clean(str(device["path"]))
    mode = kind | (number("fileMode", 0o666) & 0o7777)
    return Node(path, mode, number("major"), number("minor"), number("uid"), number("gid"))


def fill(batch: Batch, dev: Argument, plan: Plan, *, uid: int, gid: int) -> None:
    """Populate a /dev that is not attached yet. `uid` and `gid` are the owner ids of the container's root here."""
    inside = [node for node in plan.nodes if node.path.startswith("/dev/")]
    parents = dict.fromkeys(parent for node in inside for parent in _parents(node.path[5:]))
    _make_directories(batch, dev, [*parents], uid, gid)
    _make_nodes(batch, dev, inside, plan)
    link(batch, dev, uid, gid)
    _make_directories(batch, dev, plan.dev_directories, uid, gid)


def _parents(name: str) -> list[str]:
    """a, a/b for a/b/c."""
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _make_directories(batch: Batch, dev: Argument, names: list[str], uid: int, gid: int) -> None:
    if names:
        each = batch.each([(name,) for name in names])
        made = batch.call("mkdirat", sysnr.MKDIRAT, dev, item(), 0o755, path=names)
        _chown(batch, dev, uid, gid, names)
        batch.tolerate(made, errno.EEXIST, skip=batch.count_since(made))
        batch.end_each(each)


def _make_nodes(batch: Batch, dev: Argument, nodes: list[Node], plan: Plan) -> None:
    if not nodes:
        return
    uid, gid = plan.host_root()
    owners = [(_mapped(plan.host_uid, node.uid, uid), _mapped(plan.host_gid, node.gid, gid)) for node in nodes]
    rows = [(node.path[5:], node.mode, node.device, *owner) for node, owner in zip(nodes, owners, strict=True)]
    paths = [node.path for node in nodes]
    each = batch.each(rows)
    made = batch.call("mknodat", sysnr.MKNODAT, dev, item(0), item(1), item(2), path=paths)
    batch.tolerate(made, errno.EEXIST)  # listed twice
    if any(uid or gid for uid, gid in owners):
        _chown(batch, dev, item(3), item(4), paths)
    batch.end_each(each)


def _mapped(on_host: Callable[[int], int], wanted: int, root: int) -> int:
    """The owner's id on the host: the container's root if its user namespace does not have the one that is asked for."""
    try:
        return on_host(wanted)
    except Error:
        return root


def _chown(batch: Batch, dev: Argument, uid: int, gid: int, names: list[str]) -> None:
    """Give what the row of an each() names first to `uid` and `gid`; root's it is already."""
    if uid or gid:
        batch.call("fchownat", sysnr.FCHOWNAT, dev, item(), uid, gid, AT_SYMLINK_NOFOLLOW, path=names)


def link(batch: Batch, dev: Argument, uid: int = 0, gid: int = 0) -> None:
    """The standard links; what the image already has under these names stays, but for ptmx."""
    batch.tolerate(batch.call("unlinkat", sysnr.UNLINKAT, dev, "ptmx", 0, path="ptmx"), errno.ENOENT)
    links = [*LINKS, ("core", "/proc/kcore")] if os.path.exists("/proc/kcore") else LINKS
    names = [name for name, _ in links]
    each = batch.each(links)
    made = batch.call("symlinkat", sysnr.SYMLINKAT, item(1), dev, item(0), path=names)
    _chown(batch, dev, uid, gid, names)
    batch.tolerate(made, errno.EEXIST, skip=batch.count_since(made))
    batch.end_each(each)


def steps(plan: Plan) -> list[Step]:
    """Everything that fill() has not done: nodes elsewhere, a /dev that is no tmpfs of ours, bind fallback."""
    pending = plan.pending_nodes()
    if not plan.dev_filled and not plan.dev_bound:
        pending_links = [Step("error creating device links", lambda b: _link_in_root(b, plan), repair=_dev(plan))]
    else:
        pending_links = []
    return [_node_step(plan, node) for node in pending] + pending_links


def _dev(plan: Plan) -> Callable[[Channel, StepError], bool]:
    def repair(channel: Channel, err: StepError) -> bool:
        if err.errno != errno.ENOENT or err.filename != "dev":
            return False
        inroot.make(channel, plan.slots.root, "dev", directory=True)
        return True

    return repair


def _link_in_root(batch: Batch, plan: Plan) -> None:
    dev = batch.openat2(plan.slots.root, "dev", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
    link(batch, dev)


def _node_step(plan: Plan, node: Node) -> Step:
    name = inroot.clean(node.path)
    root = plan.slots.root

    def emit(batch: Batch) -> None:
        if plan.bind_devices:
            _bind_node(batch, root, name, node)
        else:
            _mknod_in_root(batch, root, name, node)

    def repair(channel: Channel, err: StepError) -> bool:
        if err.errno == errno.ENOENT and err.call == "openat2":
            directory = not plan.bind_devices
            inroot.make(channel, root, os.path.dirname(name) if directory else name, directory=directory)
            return True
        if err.errno == errno.EPERM and err.call == "mknodat" and not plan.bind_devices:
            plan.bind_devices = True
            return True
        if err.call == "expect":
            refuse_other(channel, root, name, node)
        return False

    return Step(f'error creating device node "{node.path}"', emit, repair=repair)


def _mknod_in_root(batch: Batch, root: int, name: str, node: Node) -> None:
    parent, base = os.path.split(name)
    directory = batch.openat2(root, parent or ".", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
    arguments = (directory, base, node.mode, node.device)
    batch.tolerate(batch.call("mknodat", sysnr.MKNODAT, *arguments, path=node.path), errno.EEXIST)
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    fd = batch.openat2(directory, base, os.O_PATH | os.O_NOFOLLOW, resolve=resolve)
    verify(batch, fd, node)
    batch.call("fchownat", sysnr.FCHOWNAT, fd, "", node.uid, node.gid, AT_EMPTY_PATH, path=node.path)


def verify(batch: Batch, fd: Argument, node: Node) -> None:
    """Refuse (EINVAL) an existing file of another type or device number: the image is hostile. 1:3 is also a block device."""
    place = batch.put(bytes(144))
    inroot.fstat_into(batch, fd, place)
    batch.expect(place, inroot.STAT_MODE, 4, stat.S_IFMT(node.mode), errno.EINVAL, ignore=0o7777)
    if stat.S_IFMT(node.mode) != stat.S_IFIFO:
        batch.expect(place, inroot.STAT_RDEV, 8, node.device, errno.EINVAL)


def refuse_other(channel: Channel, root: int, name: str, node: Node) -> None:
    """Say what is in the place of the node."""
    batch = Batch()
    place = batch.out(144)
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    inroot.fstat_into(batch, batch.openat2(root, name, os.O_PATH | os.O_NOFOLLOW, resolve=resolve), place)
    found = channel.run(batch).data
    (mode,) = struct.unpack_from("=I", found, inroot.STAT_MODE)
    (device,) = struct.unpack_from("=Q", found, inroot.STAT_RDEV)
    what = f'error creating device node "{node.path}": {node.path}'
    if stat.S_IFMT(mode) != stat.S_IFMT(node.mode):
        kinds = f"{stat.S_IFMT(mode):#x} doesn't match expected {stat.S_IFMT(node.mode):#x}"
        raise Error(f"{what} has incorrect ftype: {kinds}")
    number = f"{os.major(device)}:{os.minor(device)}"
    raise Error(f"{what} has incorrect major:minor: {number} doesn't match expected {node.major}:{node.minor}")


def _bind_node(batch: Batch, root: int, name: str, node: Node) -> None:
    mount = batch.open_tree(AT_FDCWD, node.path, OPEN_TREE_CLONE)
    target = batch.openat2(root, name, os.O_PATH, resolve=RESOLVE_IN_ROOT)
    batch.move_mount(mount, target, node.path)
