"""mounts[]: each entry becomes the system calls that make a detached mount and attach it to a descriptor.

File systems are made by init, so that they belong to the container's namespaces; bind mounts are clones made with
open_tree(2). Targets are resolved inside the root (inroot.py), and the mount goes onto the descriptor, by move_mount(2) or as
mount(2) on the directory that fchdir(2) has entered: no path is left that a hostile image could change in between.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from libcontainer import devices, inroot, mount_options, sysnr
from libcontainer.errors import Error
from libcontainer.mount_options import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_STRICTATIME,
    SUPERBLOCK_WORDS,
)
from libcontainer.remote import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE, Batch, StepError
from libcontainer.spec_process import selinux_enabled
from libcontainer.steps import Step, Talk
from libcontainer.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from libcontainer.plan import Plan
    from libcontainer.remote import Argument, Channel, Result

# What a bind remount replaces (mount(2), MS_REMOUNT|MS_BIND).
_REPLACED = (
    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW
)
ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME
# linux/magic.h
PROC_SUPER_MAGIC = 0x9FA0
# What a mount namespace may lock (mount_namespaces(7)): statfs(2)'s f_flags, mount(2)'s flag and its name.
_LOCKABLE = (
    (0x1, MS_RDONLY, "MS_RDONLY"),
    (0x2, MS_NOSUID, "MS_NOSUID"),
    (0x4, MS_NODEV, "MS_NODEV"),
    (0x8, MS_NOEXEC, "MS_NOEXEC"),
    (0x400, MS_NOATIME, "MS_NOATIME"),
    (0x800, MS_NODIRATIME, "MS_NODIRATIME"),
    (0x1000, MS_RELATIME, "MS_RELATIME"),
    (0, MS_STRICTATIME, "MS_STRICTATIME"),  # no flag reports it: neither of the other two
)
_STATFS_SIZE = 120
_STATFS_FLAGS = 80

# Files of procfs that may be covered: lxcfs and the like emulate them.
_PROC_FILES = frozenset(
    f"proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)


class Mount:
    """One entry of mounts[], with its options parsed.

    `target` is the destination relative to the root, cleaned. `bind` brings its source there; `bind_remount` only gives the
    mount that is there other flags. `source_in_root` is set when the source of a bind mount lies inside the rootfs: an
    earlier mount may have put it there.
    """

    __slots__ = (
        "bind",
        "bind_remount",
        "destination",
        "fstype",
        "gid_map",
        "locked",
        "options",
        "prepared",
        "source",
        "source_in_root",
        "target",
        "uid_map",
        "userns_fd",
    )

    def __init__(self, entry: dict[str, Any], bundle: str, rootfs: str) -> None:
        self.destination: str = entry["destination"]
        self.target = _target(self.destination, rootfs)
        self.options = mount_options.parse(entry.get("options") or [])
        binds = bool(self.options.flags & MS_BIND) or entry.get("type") == "bind"
        self.bind_remount = binds and bool(self.options.flags & MS_REMOUNT)
        self.bind = binds and not self.bind_remount
        self.fstype: str = "bind" if binds else entry.get("type") or ""
        self.source: str = entry.get("source") or ""
        self.source_in_root: str | None = None
        if self.bind:
            self.source = os.path.join(bundle, self.source)
            below = os.path.normpath(self.source)
            if below.startswith(rootfs.rstrip("/") + "/") and rootfs != "/":
                self.source_in_root = below[len(rootfs) :].strip("/")
        self.uid_map: list[dict[str, int]] = entry.get("uidMappings") or []
        self.gid_map: list[dict[str, int]] = entry.get("gidMappings") or []
        self.userns_fd = -1  # ours, of the namespace whose maps an id-mapped mount takes
        self.prepared = -1  # our descriptor of the detached mount, if the helper outside has made it
        self.locked = 0  # attributes that the source has locked: they stay

    @property
    def readonly(self) -> bool:
        """Is the mount itself read-only?"""
        return bool(self.options.flags & MS_RDONLY)

    @property
    def recursive(self) -> bool:
        """Does a bind mount bring along what is mounted below its source?"""
        return bool(self.options.flags & MS_REC)

    @property
    def late_readonly(self) -> bool:
        """Is it made read-only only when mountpoints and nodes have been made in it?"""
        return not self.bind and (self.fstype == "tmpfs" or self.target == "dev")

    @property
    def idmapped(self) -> bool:
        return bool(self.options.idmap or self.uid_map)

    @property
    def what(self) -> str:
        """The start of an error message about this mount."""
        return f'error mounting "{self.source}" to rootfs at "{self.destination}"'

    def attributes(self) -> int:
        """The per-mount flags as MOUNT_ATTR_*."""
        return mount_options.attributes(self.options.flags)


def _target(destination: str, rootfs: str) -> str:
    """Relative to the root; a destination that is the host's path of something below the rootfs means just that."""
    target = inroot.clean(destination)
    top = inroot.clean(rootfs)
    if top and target == top:
        return ""
    return target.removeprefix(f"{top}/") if top else target


def steps(plan: Plan, clone_outside: Callable[[Mount], None]) -> list[Step | Talk]:
    """All mounts, in the order of the config; read-only tmpfs and /dev come in late_steps().

    `clone_outside` prepares a mount, now, by a process of the initial user namespace.
    """
    out: list[Step | Talk] = []
    for mount in plan.mounts:
        if mount.target == "proc" and mount.fstype not in ("proc", "bind"):
            raise Error(f'"{mount.destination}" cannot be mounted because it is not of type proc')
        if mount.target == "":
            raise Error(f'mountpoint "{mount.destination}" is on the top of rootfs "{plan.rootfs}"')
        if mount.idmapped and mount.source_in_root is not None and plan.reach:
            # Its source is there only now, and container root may not id-map it.
            out.append(_talk_outside(clone_outside, mount))
        out.extend(_steps_of(plan, mount))
    return out


def _talk_outside(clone_outside: Callable[[Mount], None], mount: Mount) -> Talk:
    return Talk("", lambda _channel: clone_outside(mount))


def _steps_of(plan: Plan, mount: Mount) -> Sequence[Step | Talk]:
    if mount.bind:
        return [step(plan, mount, lambda batch: _bind(batch, plan, mount))]
    if mount.bind_remount:
        return [Step(mount.what, lambda batch: _bind_remount(batch, plan, mount), words=lambda err: _words(mount, err))]
    if plan.shows_cgroups(mount):
        from libcontainer import cgroup_mounts

        return cgroup_mounts.steps(plan, mount)
    if mount.fstype == "tmpfs":
        return _tmpfs_steps(plan, mount)
    return [step(plan, mount, lambda batch: _new(batch, plan, mount))]


def step(plan: Plan, mount: Mount, emit: Any) -> Step:
    """The step of one mount: a missing mountpoint is made, what fails is worded."""

    def repair(channel: Channel, err: StepError) -> bool:
        if err.call == "openat2" and err.errno == errno.ENOENT and err.filename == mount.target:
            make_target(channel, plan, mount)
            return True
        if err.call == "move_mount" and err.errno == errno.EINVAL and mount.bind:
            refuse_mismatch(channel, plan, mount)
        if err.call == "mount_setattr" and err.errno == errno.EPERM and mount.bind and not mount.locked:
            return keep_locked(channel, mount, err)
        return False

    return Step(mount.what, emit, repair=repair, words=lambda err: _words(mount, err))


def _words(mount: Mount, err: StepError) -> str | None:
    if err.call == "openat2" and mount.fstype in ("proc", "sysfs") and err.errno in (errno.ELOOP, errno.ENOTDIR):
        return f'filesystem "{mount.fstype}" must be mounted on ordinary directory'
    if err.call == "expect" and mount.target == "proc":
        return f'"{mount.destination}" cannot be mounted because it is not of type proc'
    if err.call == "expect":
        return f'"{mount.destination}" cannot be mounted because it is inside /proc'
    return None


def make_target(channel: Channel, plan: Plan, mount: Mount) -> None:
    """The mountpoint is missing: make a directory, or for a bind mount what its source is."""
    directory = True
    if mount.bind:
        directory = stat.S_ISDIR(_source_mode(channel, plan, mount))
    inroot.make(channel, plan.slots.root, mount.target, directory=directory)


def refuse_mismatch(channel: Channel, plan: Plan, mount: Mount) -> None:
    """move_mount(2) has EINVAL for much; that a directory goes only onto a directory is worth words of its own."""
    target = inroot.stat_at(channel, plan.slots.root, mount.target) or 0
    if stat.S_ISDIR(target) != stat.S_ISDIR(_source_mode(channel, plan, mount)):
        raise Error(f"{mount.what}: not a directory: are you trying to mount a directory onto a file (or vice-versa)?")


def _source_mode(channel: Channel, plan: Plan, mount: Mount) -> int:
    if mount.source_in_root is not None:
        return inroot.stat_at(channel, plan.slots.root, mount.source_in_root) or 0
    batch = Batch()
    place = batch.out(144)
    if mount.prepared >= 0:
        inroot.fstat_into(batch, batch.local(mount.prepared), place)
    else:
        batch.call("stat", sysnr.NEWFSTATAT, AT_FDCWD, mount.source, place, 0, path=mount.source)
    (mode,) = struct.unpack_from("=I", channel.run(batch).data, inroot.STAT_MODE)
    return int(mode)


# -- the target


def open_target(batch: Batch, plan: Plan, mount: Mount) -> Result:
    """Resolve the destination inside the root, and refuse to cover what must not be covered."""
    flags, resolve = os.O_PATH, RESOLVE_IN_ROOT
    if mount.fstype in ("proc", "sysfs"):
        # Through a symlink the image could put procfs elsewhere (CVE-2019-19921, CVE-2023-27561).
        flags, resolve = flags | os.O_DIRECTORY, resolve | RESOLVE_NO_SYMLINKS
    target = batch.openat2(plan.slots.root, mount.target, flags, resolve=resolve)
    if mount.fstype != "proc" and mount.target not in _PROC_FILES and mount.target != "proc":
        _expect_proc(batch, target, equal=False)
    return target


def _expect_proc(batch: Batch, fd: Argument, *, equal: bool) -> None:
    place = batch.put(bytes(_STATFS_SIZE))
    batch.call("fstatfs", sysnr.FSTATFS, fd, place)
    batch.expect(place, 0, 8, PROC_SUPER_MAGIC, errno.EPERM, equal=equal)


def attach(batch: Batch, plan: Plan, mount: Mount, detached: Argument) -> None:
    """Move a detached mount to its destination and set its propagation."""
    target = open_target(batch, plan, mount)
    batch.move_mount(detached, target, mount.destination)
    _propagate(batch, mount, detached)


def set_propagation(batch: Batch, plan: Plan, mount: Mount) -> None:
    """The propagation that the options ask for, of what is now mounted at the destination."""
    if mount.options.propagation:
        _propagate(batch, mount, open_target(batch, plan, mount))


def _propagate(batch: Batch, mount: Mount, fd: Argument) -> None:
    """One call for each word, as later ones may change what earlier ones did."""
    for flags in mount.options.propagation:
        batch.mount_setattr(fd, propagation=flags & ~MS_REC, recursive=bool(flags & MS_REC), path=mount.destination)


# -- bind mounts


def _bind(batch: Batch, plan: Plan, mount: Mount) -> None:
    detached: Argument = batch.local(mount.prepared) if mount.prepared >= 0 else clone_source(batch, plan, mount)
    attach(batch, plan, mount, detached)


def _bind_remount(batch: Batch, plan: Plan, mount: Mount) -> None:
    """mount(2), MS_REMOUNT|MS_BIND: EINVAL where nothing is mounted."""
    place = open_target(batch, plan, mount)
    _bind_attributes(batch, mount, place)
    _propagate(batch, mount, place)


def clone_source(batch: Batch, plan: Plan, mount: Mount) -> Result:
    """A detached clone of the source with the attributes that the options ask for."""
    recursive = AT_RECURSIVE if mount.options.flags & MS_REC else 0
    if mount.source_in_root is not None:
        source = batch.openat2(plan.slots.root, mount.source_in_root or ".", os.O_PATH, resolve=RESOLVE_IN_ROOT)
        detached = batch.open_tree(source, "", OPEN_TREE_CLONE | recursive | AT_EMPTY_PATH)
    else:
        detached = batch.open_tree(AT_FDCWD, mount.source, OPEN_TREE_CLONE | recursive)
    if mount.target == "proc":
        _expect_proc(batch, detached, equal=True)
    if mount.idmapped:
        _idmap(batch, plan, mount, detached)
    _bind_attributes(batch, mount, detached)
    return detached


def _bind_attributes(batch: Batch, mount: Mount, detached: Argument) -> None:
    options = mount.options
    if options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT) or options.cleared:
        replaced = _REPLACED
        if options.flags & ATIME_FLAGS:
            replaced |= MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME
        wanted = mount.attributes() | mount.locked
        if mount.late_readonly:
            wanted &= ~MOUNT_ATTR_RDONLY
        batch.mount_setattr(
            detached, attr_set=wanted, attr_clr=replaced & ~mount.locked, path=mount.destination
        )
    if options.rec_set or options.rec_clear:
        batch.mount_setattr(
            detached, attr_set=options.rec_set, attr_clr=options.rec_clear, recursive=True, path=mount.destination
        )


def _idmap(batch: Batch, plan: Plan, mount: Mount, detached: Argument) -> None:
    """Id-map the clone; the namespace's descriptor must have a number that the struct can name."""
    batch.call("dup3", sysnr.DUP3, batch.local(mount.userns_fd), plan.slots.userns, os.O_CLOEXEC)
    batch.mount_setattr(
        detached,
        attr_set=MOUNT_ATTR_IDMAP,
        userns_fd=plan.slots.userns,
        recursive=mount.options.idmap == "ridmap",
        path=mount.destination,
    )


def keep_locked(channel: Channel, mount: Mount, err: StepError) -> bool:
    """In a user namespace flags of the source are locked (mount_namespaces(7)): keep them, unless told to clear them."""
    batch = Batch()
    place = batch.out(_STATFS_SIZE)
    batch.call("fstatfs", sysnr.FSTATFS, batch.openat2(AT_FDCWD, mount.source, os.O_PATH), place)
    (reported,) = struct.unpack_from("=Q", channel.run(batch).data, _STATFS_FLAGS)
    flags = sum(flag for bit, flag, _ in _LOCKABLE if reported & bit)
    if not flags & (MS_NOATIME | MS_RELATIME):
        flags |= MS_STRICTATIME
    cleared = _names(flags & mount.options.cleared)
    if cleared:
        raise Error(f"{mount.what}: cannot clear locked flags {cleared}") from err
    if mount.options.flags & ATIME_FLAGS not in (0, flags & ATIME_FLAGS):
        raise Error(f"{mount.what}: cannot change locked atime flags {_names(flags & ATIME_FLAGS)}") from err
    mount.locked = mount_options.attributes(flags & ~ATIME_FLAGS)
    return bool(mount.locked)


def _names(flags: int) -> str:
    return "|".join(name for _, flag, name in _LOCKABLE if flags & flag)


def prepare_outside(channel: Channel, plan: Plan) -> None:
    """Let the helper in the initial user namespace clone the sources of all bind mounts; we keep the descriptors.

    It sees what the container's root may not reach, and it works in the container's mount namespace, so flags that the
    host has locked stay locked.
    """
    for mount in plan.mounts:
        if mount.bind and mount.source_in_root is None:
            mount.prepared = clone_outside(channel, plan, mount)


def clone_outside(channel: Channel, plan: Plan, mount: Mount) -> int:
    """Our descriptor of a clone of the source, made by that helper."""
    while True:
        batch = Batch()
        batch.send_back(clone_source(batch, plan, mount))
        try:
            return channel.run(batch).fds[0]
        except StepError as err:
            locked = err.call == "mount_setattr" and err.errno == errno.EPERM and not mount.locked
            if not (locked and keep_locked(channel, mount, err)):
                words = _words(mount, err)
                raise (Error(words) if words else Error(mount.what)) from err


# -- file systems


def detached_tmpfs(batch: Batch, mount: Mount, data: Sequence[str]) -> Result:
    """fsopen .. fsmount: a tmpfs to be filled before anybody sees it."""
    context = batch.fsopen(mount.fstype)
    batch.fsconfig(context, "source", mount.source or mount.fstype)
    for flag, word in SUPERBLOCK_WORDS:
        if mount.options.flags & flag:
            batch.fsconfig(context, word)
    for key, value in parameters(data):
        batch.fsconfig(context, key, value)
    return batch.fsmount(context, mount.attributes() & ~MOUNT_ATTR_RDONLY, mount.fstype)


def parameters(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The words of a data string as fsconfig(2) takes them: one by one, and a label without its quotes."""
    for word in words:
        for part in [word] if '"' in word else filter(None, word.split(",")):
            key, equals, value = part.partition("=")
            yield key, value.strip('"') if equals else None


def labelled(plan: Plan, mount: Mount) -> list[str]:
    """The file system's own options, with linux.mountLabel as SELinux context: in quotes, as its categories have commas."""
    label = plan.linux.get("mountLabel")
    return [*mount.options.data, f'context="{label}"'] if label else mount.options.data


def _new(batch: Batch, plan: Plan, mount: Mount, data: Sequence[str] | None = None) -> None:
    """A new file system, mounted on the directory that the target's descriptor refers to."""
    words = file_system_options(plan, mount) if data is None else data
    flags = mount.options.flags & ~(MS_RDONLY if mount.late_readonly else 0)
    source, text = mount.source or mount.fstype, ",".join(words)
    name = f"{source}, data: {text}" if text else source
    batch.mount_on(open_target(batch, plan, mount), source, mount.fstype, flags, text, name)
    if mount.fstype == "mqueue" and plan.linux.get("mountLabel") and selinux_enabled():
        _label_root(batch, plan, mount, plan.linux["mountLabel"])
    set_propagation(batch, plan, mount)


def _label_root(batch: Batch, plan: Plan, mount: Mount, label: str) -> None:
    """mqueue knows no option for it, but files in it can be labelled, and its root."""
    root = batch.openat2(plan.slots.root, mount.target, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
    content = os.fsencode(label)
    batch.call("fsetxattr", sysnr.FSETXATTR, root, "security.selinux", content, len(content), 0, path=mount.destination)
    batch.close(root)


def file_system_options(plan: Plan, mount: Mount) -> list[str]:
    """The data string's words. Labels of procfs and sysfs are the kernel's business."""
    return mount.options.data if mount.fstype in ("proc", "sysfs", "mqueue") else labelled(plan, mount)


def _tmpfs_steps(plan: Plan, mount: Mount) -> Sequence[Step | Talk]:
    if "tmpcopyup" in mount.options.extensions:
        from libcontainer import copy_up

        return [Talk(mount.what, lambda channel: copy_up.mount(channel, plan, mount))]
    if mount.target == "dev" and plan.dev_filled:
        return [step(plan, mount, lambda batch: _dev(batch, plan, mount))]
    if any(word.startswith("mode=") for word in mount.options.data):
        return [step(plan, mount, lambda batch: _new(batch, plan, mount))]
    return [Talk("", lambda channel: _tmpfs_like_target(channel, plan, mount))]


def target_mode(channel: Channel, plan: Plan, mount: Mount) -> list[str]:
    """A tmpfs without mode= takes the mode of the directory that it covers, if there is one."""
    if any(word.startswith("mode=") for word in mount.options.data):
        return []
    mode = inroot.stat_at(channel, plan.slots.root, mount.target)
    return [] if mode is None else [f"mode={mode & 0o7777:04o}"]


def _tmpfs_like_target(channel: Channel, plan: Plan, mount: Mount) -> None:
    from libcontainer.steps import run

    data = [*target_mode(channel, plan, mount), *labelled(plan, mount)]
    run(channel, [step(plan, mount, lambda batch: _new(batch, plan, mount, data))], plan.slots.scratch)


def _dev(batch: Batch, plan: Plan, mount: Mount) -> None:
    """The tmpfs for /dev, filled before anybody else can see it."""
    if mount.prepared >= 0:
        attach(batch, plan, mount, batch.local(mount.prepared))
        return
    detached = detached_tmpfs(batch, mount, labelled(plan, mount))
    if not plan.bind_devices:
        devices.fill(batch, detached, plan, uid=0, gid=0)
    else:
        devices.link(batch, detached)
    attach(batch, plan, mount, detached)


def prepare_dev_outside(channel: Channel, plan: Plan) -> None:
    """Make and fill the tmpfs for /dev in the initial user namespace, where mknod(2) works."""
    for mount in plan.mounts:
        if mount.target == "dev" and plan.dev_filled and not plan.bind_devices:
            uid, gid = plan.host_root()
            batch = Batch()
            batch.call("umask", sysnr.UMASK, 0)
            owner = [f"uid={uid}", f"gid={gid}"]
            detached = detached_tmpfs(batch, mount, [*owner, *labelled(plan, mount)])
            devices.fill(batch, detached, plan, uid=uid, gid=gid)
            batch.send_back(detached)
            mount.prepared = channel.run(batch).fds[0]


def late_steps(plan: Plan) -> list[Step]:
    """Read-only tmpfs and /dev: only now, so that mountpoints and nodes could be made in them.

    So too what rro and the like ask of a new file system, where they mean the same as ro: there is nothing below it.
    """
    readonly = [_readonly_step(plan, mount) for mount in plan.mounts if mount.readonly and mount.late_readonly]
    others = [m for m in plan.mounts if m.fstype != "bind" and (m.options.rec_set or m.options.rec_clear)]
    return [*readonly, *(_attributes_step(plan, mount) for mount in others)]


def _readonly_step(plan: Plan, mount: Mount) -> Step:
    def emit(batch: Batch) -> None:
        fd = batch.openat2(plan.slots.root, mount.target, os.O_PATH, resolve=RESOLVE_IN_ROOT)
        batch.mount_setattr(fd, attr_set=MOUNT_ATTR_RDONLY, path=mount.destination)

    return Step(f'error remounting "{mount.destination}" as readonly', emit)


def _attributes_step(plan: Plan, mount: Mount) -> Step:
    options = mount.options

    def emit(batch: Batch) -> None:
        fd = batch.openat2(plan.slots.root, mount.target, os.O_PATH, resolve=RESOLVE_IN_ROOT)
        batch.mount_setattr(fd, attr_set=options.rec_set, attr_clr=options.rec_clear, path=mount.destination)

    return Step(mount.what, emit)


def close_prepared(plan: Plan) -> None:
    """Close our descriptors of prepared mounts and of id-map namespaces."""
    for mount in plan.mounts:
        if mount.prepared >= 0:
            os.close(mount.prepared)
            mount.prepared = -1
    for fd in {mount.userns_fd for mount in plan.mounts if mount.userns_fd >= 0}:
        os.close(fd)
    for mount in plan.mounts:
        mount.userns_fd = -1
