"""A mount namespace for CRIU to restore from: the rootfs, and each external mount's source, at paths of our own.

CRIU takes paths, resolves them late, and once more in the container's user namespace. So it gets none of the host's: everything
is opened here by descriptor, checked, and attached to a tmpfs that only this namespace has. What a restore mounts is
therefore gone when CRIU has ended, however it ends; nothing has to be unmounted, and nothing propagates to the host. Below the
stage:

    root            the rootfs                                    (criu_opts.root)
    m0, m1, ...     the sources of the external mounts, with the flags that the mounts had
    ns-uts, ...     namespaces to join: of /proc/PID/ns a process in the container's user namespace may open nothing
    w0, w1, ...     mounts of the host that have several of them (mounts_wide.py)

Propagation: the namespace's mounts are slaves of the host's, so what CRIU makes a slave of a source gets the host's events. A
source that is private on this host becomes shared on the stage: then its slaves get none, and that is what the caller is told.
"""

from __future__ import annotations

import os
import stat

from libcontainer import child, devices, inroot, mount_options, mounts, remote, sysnr
from libcontainer.criu import mountinfo, mounts_peers, mounts_sources, mounts_wide
from libcontainer.criu.mounts_own import VANISHING
from libcontainer.errors import Error, describe
from libcontainer.mount_options import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE
from libcontainer.namespaces import CLONE_NEWNS
from libcontainer.remote import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE, Batch
from libcontainer.rootfs import MNT_DETACH
from libcontainer.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from libcontainer.criu.mountinfo import MountInfo
    from libcontainer.criu.mounts_image import ImageMount
    from libcontainer.criu.mounts_sources import Source
    from libcontainer.mounts import Mount
    from libcontainer.plan import Plan

ROOT = "root"
AT_REMOVEDIR = 0x200
OFTEN_EMPTY = ("/mnt", "/media", "/srv", "/opt", "/home")
_SEARCHABLE = 0o001
# What the images say of a mount's own flags replaces all of these.
_ATTRIBUTES = (
    mount_options.MOUNT_ATTR_RDONLY
    | mount_options.MOUNT_ATTR_NOSUID
    | mount_options.MOUNT_ATTR_NODEV
    | mount_options.MOUNT_ATTR_NOEXEC
    | mount_options.MOUNT_ATTR__ATIME
    | mount_options.MOUNT_ATTR_NODIRATIME
)
_RESTRICTIONS = (
    mount_options.MOUNT_ATTR_RDONLY
    | mount_options.MOUNT_ATTR_NOSUID
    | mount_options.MOUNT_ATTR_NODEV
    | mount_options.MOUNT_ATTR_NOEXEC
)
# Nothing is made below these: their content comes from the images, or from the kernel.
_FILLED_BY_CRIU = frozenset({"tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"})


class Stage:
    """`namespace` is a descriptor of the mount namespace, `place` the path of the tmpfs in it, `root` that of the rootfs.

    `apart`, after prepare(), are slaves that CRIU has no source for that would do.
    """

    __slots__ = ("_channel", "_fds", "_log", "_pid", "_plan", "_trees", "apart", "namespace", "place", "root")

    def __init__(self, plan: Plan, directory: str, log: Callable[..., None]) -> None:
        self._plan = plan
        self._log = log
        self.place = _place(directory) if plan.userns else directory
        self.root = f"{self.place}/{ROOT}"
        self.namespace = -1
        self.apart: list[ImageMount] = []
        self._fds: dict[str, int] = {}  # key -> our descriptor of the detached source
        self._trees: list[int] = []  # two detached clones of the rootfs
        self._channel, self._pid = remote.spawn(())
        try:
            self._isolate()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the namespace; CRIU may still be in it."""
        self._channel.close()
        child.reap(self._pid)
        for fd in (*self._fds.values(), *self._trees, self.namespace):
            if fd >= 0:
                os.close(fd)
        self._fds, self._trees, self.namespace = {}, [], -1
        mounts.close_prepared(self._plan)

    # -- the sequence

    def open(self, sources: Sequence[Source]) -> None:
        """Make the namespace, and open all sources in it; Error names all that are not there, or of another kind."""
        self._trees = [self._clone_rootfs(), self._clone_rootfs()]
        self._id_maps()
        problems = [words for source in sources if (words := self._open(source)) is not None]
        self._attach_root(self._trees[0])
        problems += [words for source in sources if (words := self._open_in_root(source)) is not None]
        problems += [words for source in sources for words in self._mismatches(source)]
        if problems:
            raise Error("external mounts: " + "; ".join(problems))

    def directory(self, fd: int) -> int:
        """Our descriptor of a directory as the namespace has it: CRIU works in it, and mounts there. Before open()."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        batch = Batch()
        batch.send_back(batch.openat2(AT_FDCWD, path, os.O_RDONLY | os.O_DIRECTORY))
        found = self._channel.run(batch).fds[0]
        if not os.path.samestat(os.fstat(fd), os.fstat(found)):
            os.close(found)
            raise Error(f"{path} is not the directory any more that it was")
        return found

    def cover(self, directory: int, name: str, content: bytes) -> None:
        """Let a file of a directory that is the namespace's have another content there. After open()."""
        path = f"{self.place}/{name}"
        batch = Batch()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        batch.send_back(batch.openat2(AT_FDCWD, path, flags, mode=0o644))
        with open(self._channel.run(batch).fds[0], "wb") as file:
            file.write(content)
        batch = Batch()
        tree = batch.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        batch.move_mount(tree, batch.openat2(batch.local(directory), name, os.O_PATH | os.O_NOFOLLOW), name)
        batch.close_range(*self._plan.slots.scratch)
        self._channel.run(batch)

    def prepare(self, sources: Sequence[Source], images: Sequence[ImageMount]) -> dict[str, str]:
        """Make missing mountpoints in the rootfs, and attach it and all sources; key -> path for CRIU."""
        self._make_mountpoints(sources)
        self._detach_root()
        self._attach_root(self._trees[1])
        paths = {source.key: self._attach(number, source) for number, source in enumerate(sources)}
        mapped = {source.key for source in sources if source.mount is not None and source.mount.idmapped}
        for number, group in enumerate(mounts_wide.groups(images)):
            parts = mounts_wide.members(group, paths, self.root)
            if len(parts) > 1 and (mapped.intersection(parts) or not self._widen(number, parts, paths)):
                self.apart += group
        return paths

    def _widen(self, number: int, parts: dict[str, str], paths: dict[str, str]) -> bool:
        """Move the sources of a group to where one mount has them all, if the host has one."""
        known = mountinfo.read(self._pid)
        staged = {mount.mountpoint: mount for mount in known}
        if not all(path in staged for path in parts.values()):  # another group's mount has one of them already
            return False
        ours = {key: staged[path] for key, path in parts.items()}
        host = [mount for mount in known if not mountinfo.below(mount.mountpoint, self.place)]
        for whole in mounts_wide.covers(host, list(ours.values())):
            ways = {key: mounts_wide.inside(part, whole) for key, part in ours.items()}
            place = self._attach_whole(f"{self.place}/w{number}", whole, ways.values())
            if place is not None:
                found = {key: place + way for key, way in ways.items()}
                self.root = found.pop("", self.root)
                paths.update(found)
                return True
        return False

    def _attach_whole(self, path: str, whole: MountInfo, ways: Iterable[str]) -> str | None:
        """Clone a mount of the host by itself; None if another one covers it, or if the container's root may not go there."""
        batch = Batch()
        batch.send_back(batch.openat2(AT_FDCWD, whole.mountpoint, os.O_PATH))
        fd = self._channel.run(batch).fds[0]
        try:
            if mounts_wide.mount_id(fd) != whole.id:
                return None
            if self._plan.userns and not all(mounts_wide.searchable(fd, way) for way in ways):
                return None
            batch = Batch()
            batch.call("mkdirat", sysnr.MKDIRAT, AT_FDCWD, path, 0o755, path=path)
            tree = batch.open_tree(batch.local(fd), "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
            # Flags that are locked cannot be taken away in a user namespace, but CRIU adds what each mount had.
            batch.mount_setattr(tree, attr_clr=_RESTRICTIONS, path=path)
            batch.move_mount(tree, batch.openat2(AT_FDCWD, path, os.O_PATH), path)
            batch.close_range(*self._plan.slots.scratch)
            self._channel.run(batch)
            return path
        finally:
            os.close(fd)

    def namespaces(self, joins: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """(kind, path for CRIU) of namespace files."""
        return [(kind, self._attach_namespace(kind, path)) for kind, path in joins]

    def _attach_namespace(self, kind: str, path: str) -> str:
        place = f"{self.place}/ns-{kind}"
        batch = Batch()
        batch.call("mknodat", sysnr.MKNODAT, AT_FDCWD, place, stat.S_IFREG | 0o644, 0, path=place)
        tree = batch.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        batch.move_mount(tree, batch.openat2(AT_FDCWD, place, os.O_PATH), place)
        batch.close_range(*self._plan.slots.scratch)
        try:
            self._channel.run(batch)
        except OSError as err:
            raise Error(f"{kind} namespace {path}") from err
        return place

    def share(
        self, images: Sequence[ImageMount], paths: Mapping[str, str], sources: Sequence[Source], *, ignore: bool
    ) -> None:
        """Make possible what the images say of propagation from the host; `ignore`: without a word, and without events."""
        found = {mount.mountpoint: mount for mount in mountinfo.read(self._pid)}
        wheres = {source.key: source.where for source in sources}
        givers = _by_master(images)
        for mount in mounts_sources.far_slaves(images):
            path, where = self._giver(mount, givers, paths, wheres)
            path = _mountpoint_of(path, found)
            staged = found.get(path)
            if staged is None:
                continue
            if ignore:
                self._set_propagation(path, MS_PRIVATE)
            if ignore or not (staged.shared or staged.master):
                self._set_propagation(path, MS_SHARED)
            if not ignore and not (staged.shared or staged.master):
                self._log("warning", mounts_peers.slave_without_events(mount.mountpoint, where))

    def _giver(
        self,
        mount: ImageMount,
        givers: Mapping[int, Sequence[ImageMount]],
        paths: Mapping[str, str],
        wheres: Mapping[str, str],
    ) -> tuple[str, str]:
        """Which of our mounts CRIU will take the group from (resolve_shared_mounts_v2() in criu/mount-v2.c), and the host's
        path of that."""
        if mount.key is not None:
            return paths[mount.key], wheres[mount.key]
        for other in givers.get(mount.master, ()):
            if other.key is not None and mountinfo.below(mount.root, other.root):
                return paths[other.key], wheres[other.key]
        return self.root, self._plan.rootfs

    # -- the namespace

    def _isolate(self) -> None:
        batch = Batch()
        batch.call("unshare", sysnr.UNSHARE, CLONE_NEWNS, path="mount namespace")
        batch.call("umask", sysnr.UMASK, 0)
        batch.mount("", "/", "", MS_SLAVE | MS_REC)
        self._channel.run(batch)
        self.namespace = os.open(f"/proc/{self._pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def _clone_rootfs(self) -> int:
        batch = Batch()
        batch.send_back(batch.open_tree(AT_FDCWD, self._plan.rootfs, OPEN_TREE_CLONE | AT_RECURSIVE))
        return self._channel.run(batch).fds[0]

    def _attach_root(self, tree: int) -> None:
        """On a tmpfs of its own the first time; as descriptor `slots.root`."""
        batch = Batch()
        if tree is self._trees[0]:
            top = _tmpfs(batch)
            batch.call("mkdirat", sysnr.MKDIRAT, top, ROOT, 0o755)
            batch.move_mount(top, batch.openat2(AT_FDCWD, self.place, os.O_PATH | os.O_DIRECTORY), self.place)
        path = f"{self.place}/{ROOT}"
        batch.move_mount(batch.local(tree), batch.openat2(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY), path)
        root = batch.openat2(AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY)
        batch.call("dup3", sysnr.DUP3, root, self._plan.slots.root, os.O_CLOEXEC)
        batch.close_range(*self._plan.slots.scratch)
        self._channel.run(batch)

    def _detach_root(self) -> None:
        batch = Batch()
        batch.call("umount2", sysnr.UMOUNT2, f"{self.place}/{ROOT}", MNT_DETACH)
        self._channel.run(batch)

    # -- sources

    def _id_maps(self) -> None:
        """For id-mapped mounts; the container's user namespace is not there yet, one with the same maps does."""
        from libcontainer import idmap

        for mount in self._plan.mounts:
            if mount.idmapped:
                maps = (mount.uid_map or self._plan.uid_map, mount.gid_map or self._plan.gid_map)
                mount.userns_fd = idmap.make(*maps)

    def _open(self, source: Source) -> str | None:
        """Clone the source; what is wrong if that cannot be."""
        return None if _comes_late(source) else self._try(source)

    def _open_in_root(self, source: Source) -> str | None:
        return self._try(source) if _comes_late(source) else None

    def _try(self, source: Source) -> str | None:
        batch = Batch()
        batch.send_back(self._clone(batch, source))
        try:
            self._fds[source.key] = self._channel.run(batch).fds[0]
        except OSError as err:
            return f"{describe(err)} (for {_points(source)})"
        return None

    def _clone(self, batch: Batch, source: Source) -> int:
        if source.dev:
            return self._new_dev(batch)
        if source.new is not None:
            return self._new_file_system(batch, source.new)
        if source.mount is None:
            resolve = RESOLVE_NO_SYMLINKS if source.real else 0
            place = batch.openat2(AT_FDCWD, source.path, os.O_PATH, resolve=resolve)
            return batch.open_tree(place, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        if not source.rest:
            return mounts.clone_source(batch, self._plan, source.mount)
        top = batch.openat2(AT_FDCWD, source.mount.source, os.O_PATH)
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS  # the key may be hostile
        inner = batch.openat2(top, source.rest, os.O_PATH, resolve=resolve)
        return batch.open_tree(inner, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)

    def _new_file_system(self, batch: Batch, mount: Mount) -> int:
        """Of a kind that CRIU does not mount; its root is the container's, as it would be if the container had mounted it.

        By mount(2), in which a list of lower directories may be long, and so on the stage first.
        """
        path = f"{self.place}/new"
        data = ",".join(mounts.labelled(self._plan, mount))
        batch.call("mkdirat", sysnr.MKDIRAT, AT_FDCWD, path, 0o755, path=path)
        batch.mount(mount.source or mount.fstype, path, mount.fstype, mount.options.flags, data, path=mount.destination)
        if self._plan.userns and mount.fstype in VANISHING:
            batch.call("fchownat", sysnr.FCHOWNAT, AT_FDCWD, path, *self._plan.host_root(), 0, path=mount.destination)
        detached = batch.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        batch.call("umount2", sysnr.UMOUNT2, path, MNT_DETACH)
        batch.call("unlinkat", sysnr.UNLINKAT, AT_FDCWD, path, AT_REMOVEDIR)
        return detached

    def _new_dev(self, batch: Batch) -> int:
        """As create makes it for a user namespace."""
        plan = self._plan
        mount = next(mount for mount in plan.mounts if mount.target == "dev")
        uid, gid = plan.host_root()
        owner = [f"uid={uid}", f"gid={gid}"]
        detached = mounts.detached_tmpfs(batch, mount, [*owner, *mounts.labelled(plan, mount)])
        devices.fill(batch, detached, plan, uid=uid, gid=gid)
        return detached

    def _mismatches(self, source: Source) -> list[str]:
        """A directory does not go onto a file."""
        fd = self._fds.get(source.key)
        if fd is None:
            return []
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        wrong = []
        for user in source.users:
            there = inroot.stat_at(self._channel, self._plan.slots.root, inroot.clean(user.mountpoint))
            if there is not None and stat.S_ISDIR(there) != directory:
                has, wants = ("a directory", "a file") if directory else ("a file", "a directory")
                wrong.append(f"{source.where} is {has}, the container has {wants} at {user.mountpoint!r}")
        return wrong

    def _attach(self, number: int, source: Source) -> str:
        path = f"{self.place}/m{number}"
        fd = self._fds[source.key]
        batch = Batch()
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            batch.call("mkdirat", sysnr.MKDIRAT, AT_FDCWD, path, 0o755, path=path)
        else:
            batch.call("mknodat", sysnr.MKNODAT, AT_FDCWD, path, stat.S_IFREG | 0o644, 0, path=path)
        tree = batch.local(fd)
        # In a user namespace CRIU cannot change the flags any more: they are locked (mount_namespaces(7)).
        wanted = mount_options.attributes(source.users[0].flags)
        batch.mount_setattr(tree, attr_set=wanted, attr_clr=_ATTRIBUTES, path=path)
        batch.move_mount(tree, batch.openat2(AT_FDCWD, path, os.O_PATH), path)
        batch.close_range(*self._plan.slots.scratch)
        self._channel.run(batch)
        return path

    def _set_propagation(self, path: str, flag: int) -> None:
        batch = Batch()
        tree = batch.openat2(AT_FDCWD, path, os.O_PATH)
        batch.mount_setattr(tree, propagation=flag & ~MS_REC, path=path)
        batch.close(tree)
        self._channel.run(batch)

    # -- mountpoints

    def _make_mountpoints(self, sources: Sequence[Source]) -> None:
        """What is missing of them in the rootfs, as create makes it: in the config's order, and with the bind mounts in place,
        since a mountpoint may lie in the source of another."""
        filled: list[str] = []
        for mount in self._plan.mounts:
            if any(mountinfo.below(mount.target, top) for top in filled):
                continue
            self._make_mountpoint(mount)
            if not mount.bind and mount.fstype in _FILLED_BY_CRIU:
                filled.append(mount.target)
        for source in sources:
            if source.mount is None or source.rest:
                self._make_points_of(source, filled)

    def _make_points_of(self, source: Source, filled: Sequence[str]) -> None:
        """For what is not in the config."""
        directory = stat.S_ISDIR(os.fstat(self._fds[source.key]).st_mode)
        for user in source.users:
            target = inroot.clean(user.mountpoint)
            if not any(mountinfo.below(target, top) for top in filled):
                self._make(target, directory)

    def _make_mountpoint(self, mount: Mount) -> None:
        if not mount.bind:
            self._make(mount.target, directory=True)
            return
        if mount.source_in_root is not None:
            mode = inroot.stat_at(self._channel, self._plan.slots.root, mount.source_in_root)
            self._make(mount.target, directory=mode is None or stat.S_ISDIR(mode))
            return
        batch = Batch()
        batch.send_back(batch.open_tree(AT_FDCWD, mount.source, OPEN_TREE_CLONE))
        try:
            tree = self._channel.run(batch).fds[0]
        except OSError:
            return  # gone; what the images need of it has been told already
        try:
            self._make(mount.target, directory=stat.S_ISDIR(os.fstat(tree).st_mode))
            self._mount_for_now(mount, tree)
        finally:
            os.close(tree)

    def _make(self, target: str, directory: bool) -> None:
        if inroot.stat_at(self._channel, self._plan.slots.root, target) is None:
            inroot.make(self._channel, self._plan.slots.root, target, directory=directory)

    def _mount_for_now(self, mount: Mount, tree: int) -> None:
        batch = Batch()
        target = mounts.open_target(batch, self._plan, mount)
        batch.move_mount(batch.local(tree), target, mount.destination)
        batch.close_range(*self._plan.slots.scratch)
        self._channel.run(batch)


def _by_master(images: Sequence[ImageMount]) -> dict[int, list[ImageMount]]:
    """The external mounts of each peer group's slaves."""
    found: dict[int, list[ImageMount]] = {}
    for mount in images:
        if mount.key is not None:
            found.setdefault(mount.master, []).append(mount)
    return found


def _comes_late(source: Source) -> bool:
    """It is opened when the rootfs and the stage are there."""
    return source.new is not None or (source.mount is not None and source.mount.source_in_root is not None)


def _mountpoint_of(path: str, mounts: Mapping[str, object]) -> str:
    """The mount on the stage that a path is on."""
    while path not in mounts and path.strip("/"):
        path = path.rpartition("/")[0]
    return path


def _tmpfs(batch: Batch) -> int:
    context = batch.fsopen("tmpfs")
    batch.fsconfig(context, "source", "stage")
    batch.fsconfig(context, "mode", "0711")
    return batch.fsmount(context, 0, "tmpfs")


def _place(directory: str) -> str:
    """The directory, if all may go there: CRIU opens the sources as the user that the container's root is on the host.

    Else another. In a namespace of our own any may be covered; what is in it is not seen then, be it CRIU itself.
    """
    closed = _closed(directory)
    if closed is None:
        return directory
    return next((path for path in OFTEN_EMPTY if _is_empty(path)), closed)


def _closed(directory: str) -> str | None:
    """The first directory on the way that others may not search."""
    path = ""
    for part in directory.strip("/").split("/"):
        path = f"{path}/{part}"
        if not os.stat(path).st_mode & _SEARCHABLE:
            return path
    return None


def _is_empty(path: str) -> bool:
    try:
        return not os.path.islink(path) and not os.listdir(path)
    except OSError:
        return False


def _points(source: Source) -> str:
    return ", ".join(repr(user.mountpoint) for user in source.users)
