"""The root of a container: attach the rootfs, hide and protect paths, pivot into it.

Every path inside is opened by descriptor below the root (inroot.py). Order: propagation of "/", the rootfs onto itself, mounts,
devices, console, then what makes things unreachable (masked, read-only), then pivot_root(2).
"""

from __future__ import annotations

import errno
import os

from libcontainer import devices, inroot, smallfile, sysnr
from libcontainer.errors import Error
from libcontainer.mount_options import (
    MOUNT_ATTR_RDONLY,
    MS_MOVE,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    PROPAGATION,
)
from libcontainer.mounts import PROC_SUPER_MAGIC
from libcontainer.remote import (
    ANY_ERROR,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    OPEN_TREE_CLONE,
    Batch,
    StepError,
    item,
)
from libcontainer.steps import Step
from libcontainer.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.plan import Plan, Slots
    from libcontainer.remote import Argument, Channel

MNT_DETACH = 2
AT_ONCE = 16  # paths in one step


def attach_step(plan: Plan) -> Step:
    """Make the rootfs a mount of its own in init's mount namespace, and keep it as descriptor `slots.root`."""

    def emit(batch: Batch) -> None:
        batch.call("umask", sysnr.UMASK, 0)
        if plan.has("mount"):
            _isolate(batch, plan)
            tree = batch.open_tree(AT_FDCWD, plan.rootfs, OPEN_TREE_CLONE | AT_RECURSIVE)
            place = batch.openat2(AT_FDCWD, plan.rootfs, os.O_PATH | os.O_DIRECTORY)
            batch.move_mount(tree, place, plan.rootfs)
        elif plan.on_host:
            _cover(batch, plan.rootfs)
        root = batch.openat2(AT_FDCWD, plan.rootfs, os.O_PATH | os.O_DIRECTORY)
        batch.call("dup3", sysnr.DUP3, root, plan.slots.root, os.O_CLOEXEC)

    return Step("error preparing rootfs", emit)


def _cover(batch: Batch, rootfs: str) -> None:
    """The rootfs onto itself on the host (host_root.py). It is private: what is mounted in a shared one shows in its peers
    too, which may be what lies below it. So is the one that it covers, if the host has a mount just there: its peers would
    get a copy of ours, and lose that mount with it."""
    tree = batch.open_tree(AT_FDCWD, rootfs, OPEN_TREE_CLONE | AT_RECURSIVE)
    place = batch.openat2(AT_FDCWD, rootfs, os.O_PATH | os.O_DIRECTORY)
    batch.tolerate(batch.mount_setattr(place, propagation=MS_PRIVATE, path=rootfs), errno.EINVAL)
    batch.move_mount(tree, place, rootfs)
    batch.mount_setattr(tree, propagation=MS_PRIVATE, recursive=True, path=rootfs)


def _isolate(batch: Batch, plan: Plan) -> None:
    """Propagation of the copied tree: rslave, or what linux.rootfsPropagation says. Below a shared parent nothing could be
    moved or pivoted, and unbindable mounts could not be cloned: shared and unbindable are set again after the pivot.
    What is moved onto a shared "/" shows on that of the host too, for good: without pivot_root, shared is set only then."""
    asked = PROPAGATION.get(plan.linux.get("rootfsPropagation") or "", MS_SLAVE | MS_REC)
    late = MS_UNBINDABLE | (MS_SHARED if plan.no_pivot else 0)
    batch.mount("", "/", "", MS_SLAVE | MS_REC if asked & late else asked)
    if asked & MS_SHARED or not asked & MS_REC:
        batch.mount("", parent_mount(plan.rootfs), "", MS_SLAVE if asked & MS_SLAVE else MS_PRIVATE)


def parent_mount(path: str) -> str:
    """The mountpoint of the mount that `path` lies on."""
    wanted = mount_id(path).decode()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return next((_unescape(line.split()[4]) for line in lines if line.split(None, 1)[0] == wanted), "/")


def mount_id(path: str) -> bytes:
    """The id of the mount that `path` lies on (proc_pid_fdinfo(5))."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = smallfile.read(f"/proc/self/fdinfo/{fd}").splitlines()
    finally:
        os.close(fd)
    return next(line.split()[1] for line in lines if line.startswith(b"mnt_id:"))


def private_proc_step(slots: Slots, *, sysctls: bool) -> Step:
    """A procfs that only we have, as descriptor `slots.proc`: what is written there cannot be redirected by the image
    (CVE-2025-52881). Where no new one may be mounted the host's is cloned, and checked. Without `sysctls` it holds
    nothing but processes."""
    clone = [False]

    def emit(batch: Batch) -> None:
        if clone[0]:
            proc: Argument = batch.open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE)
            place = batch.put(bytes(120))
            batch.call("fstatfs", sysnr.FSTATFS, proc, place)
            batch.expect(place, 0, 8, PROC_SUPER_MAGIC, errno.EINVAL)
        else:
            proc = _new_proc(batch, sysctls=sysctls)
        batch.call("dup3", sysnr.DUP3, proc, slots.proc, os.O_CLOEXEC)

    def repair(_channel: Channel, err: StepError) -> bool:
        if clone[0] or err.errno != errno.EPERM:
            return False
        clone[0] = True
        return True

    return Step("error preparing a private procfs", emit, repair=repair)


def _new_proc(batch: Batch, *, sysctls: bool) -> Argument:
    context = batch.fsopen("proc")
    if not sysctls:
        batch.fsconfig(context, "subset", "pid")  # proc(5)
    return batch.fsmount(context, 0, "proc")


def restrict_proc_step(slots: Slots) -> Step:
    """When the sysctls are written: nothing but processes in the private procfs either. A created init keeps it open, where
    a process of the same user finds it (/proc/PID/fd), and it has no masked and no read-only paths."""
    refused = [False]

    def emit(batch: Batch) -> None:
        if not refused[0]:
            batch.call("dup3", sysnr.DUP3, _new_proc(batch, sysctls=False), slots.proc, os.O_CLOEXEC)

    def repair(_channel: Channel, err: StepError) -> bool:
        """Then ours is a clone of what the caller sees: the container's root may write no more in it than the caller."""
        refused[0] = err.errno == errno.EPERM
        return refused[0]

    return Step("error restricting the private procfs", emit, repair=repair)


# -- masked and read-only paths


def mask_steps(plan: Plan) -> list[Step]:
    """linux.maskedPaths: files get the container's own /dev/null, directories an empty read-only tmpfs, which they share:
    thousands of containers with a dozen file systems less each are felt by the host."""
    paths = list(dict.fromkeys(plan.linux.get("maskedPaths") or ()))
    if not paths:
        return []

    return [
        Step("can't mask paths", lambda batch: _null(batch, plan), words=null_words),
        *_each_step("can't mask path {!r}", paths, lambda batch, some: _mask(batch, plan.slots, some)),
    ]


def null_words(err: StepError) -> str | None:
    """What is said of a /dev/null that is none."""
    return "container's /dev/null is invalid" if err.call == "expect" or err.filename == "dev/null" else None


def _each_step(what: str, paths: list[str], emit: Callable[[Batch, list[str]], None]) -> list[Step]:
    """One step for all paths; a few, where they are so many that init would run out of descriptor numbers."""

    def step(some: list[str]) -> Step:
        return Step("", lambda batch: emit(batch, some), words=lambda err: what.format(err.filename))

    return [step(paths[at : at + AT_ONCE]) for at in range(0, len(paths), AT_ONCE)]


def _null(batch: Batch, plan: Plan) -> None:
    """Keep /dev/null of the container, verified: the image may have put something else there (CVE-2025-31133)."""
    flags = os.O_PATH | os.O_NOFOLLOW
    null = batch.openat2(plan.slots.root, "dev/null", flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    devices.verify(batch, null, devices.NULL)
    batch.call("dup3", sysnr.DUP3, null, plan.slots.null, os.O_CLOEXEC)


def _mask(batch: Batch, slots: Slots, paths: list[str]) -> None:
    """Cover each directory, or else file: which it is shows when it is opened as a directory."""
    each = batch.each([(inroot.clean(path),) for path in paths])
    directory = batch.openat2(slots.root, item(), os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT, name=paths)
    _cover_directory(batch, slots, paths, directory)
    done = batch.skip()
    batch.tolerate(directory, errno.ENOENT, errno.ENOTDIR, skip=batch.count_since(directory))
    file = batch.openat2(slots.root, item(), os.O_PATH, resolve=RESOLVE_IN_ROOT, name=paths)
    batch.move_mount(batch.open_tree(slots.null, "", OPEN_TREE_CLONE | AT_EMPTY_PATH, paths), file, paths)
    batch.tolerate(file, errno.ENOENT, errno.ENOTDIR, skip=batch.count_since(file))
    batch.end_skip(done)
    batch.end_each(each)


def _cover_directory(batch: Batch, slots: Slots, paths: list[str], directory: Argument) -> None:
    """A clone of the tmpfs that covers another, or else (EBADF) a new one, which is kept for the next."""
    clone = batch.open_tree(slots.empty, "", OPEN_TREE_CLONE | AT_EMPTY_PATH, paths)
    batch.move_mount(clone, directory, paths)
    cloned = batch.skip()
    batch.tolerate(clone, errno.EBADF, errno.EINVAL, skip=batch.count_since(clone))
    batch.mount_on(directory, "tmpfs", "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=2,mode=755", paths)
    covered = batch.openat2(slots.root, item(), os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT, name=paths)
    batch.call("dup3", sysnr.DUP3, covered, slots.empty, os.O_CLOEXEC, path=paths)
    batch.end_skip(cloned)


def readonly_steps(plan: Plan) -> list[Step]:
    """linux.readonlyPaths: each is bind-mounted onto itself, read-only; missing ones are skipped."""

    paths = list(plan.linux.get("readonlyPaths") or ())
    return _each_step("can't make path {!r} read-only", paths, lambda batch, some: _protect(batch, plan.slots.root, some))


def _protect(batch: Batch, root: int, paths: list[str]) -> None:
    each = batch.each([(inroot.clean(path),) for path in paths])
    target = batch.openat2(root, item(), os.O_PATH, resolve=RESOLVE_IN_ROOT, name=paths)
    clone = batch.open_tree(target, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH, paths)
    batch.mount_setattr(clone, attr_set=MOUNT_ATTR_RDONLY, path=paths)
    batch.move_mount(clone, target, paths)
    batch.tolerate(target, errno.ENOENT, errno.ENOTDIR, skip=batch.count_since(target))
    batch.end_each(each)


# -- entering the root


def pivot_step(plan: Plan) -> Step:
    """Make the rootfs the root: pivot_root(2), MS_MOVE with --no-pivot, chroot(2) without a mount namespace."""
    if not plan.has("mount"):
        return Step("chroot", lambda batch: _chroot(batch, plan))
    if plan.no_pivot:
        return Step("error moving the root mount", lambda batch: _move_root(batch, plan))
    return Step("pivot_root", lambda batch: _pivot(batch, plan))


def _chroot(batch: Batch, plan: Plan) -> None:
    batch.call("fchdir", sysnr.FCHDIR, plan.slots.root, path=plan.rootfs)
    batch.call("chroot", sysnr.CHROOT, ".", path=plan.rootfs)
    batch.call("chdir", sysnr.CHDIR, "/", path="/")


def _pivot(batch: Batch, plan: Plan) -> None:
    """pivot_root(".", "."): the old root ends on top of the new one, is made a slave (so that unmounting does not
    propagate to the host) and detached. See pivot_root(2), "pivot_root(".", ".")"."""
    old = batch.openat2(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY)
    batch.call("fchdir", sysnr.FCHDIR, plan.slots.root, path=plan.rootfs)
    batch.call("pivot_root", sysnr.PIVOT_ROOT, ".", ".", path=plan.rootfs)
    batch.call("fchdir", sysnr.FCHDIR, old, path="/")
    batch.mount("", ".", "", MS_SLAVE | MS_REC)
    batch.call("umount2", sysnr.UMOUNT2, ".", MNT_DETACH, path="/")
    batch.call("chdir", sysnr.CHDIR, "/", path="/")


def _move_root(batch: Batch, plan: Plan) -> None:
    """Without pivot_root the host's mounts stay underneath: all of procfs and sysfs are detached first, or covered,
    since a container could mount its own unmasked copy otherwise (mount_too_revealing in fs/namespace.c)."""
    for mountpoint in _revealing_mounts(plan.rootfs):
        slave = batch.mount("", mountpoint, "", MS_SLAVE | MS_REC)
        detached = batch.call("umount2", sysnr.UMOUNT2, mountpoint, MNT_DETACH, path=mountpoint)
        batch.tolerate(detached, errno.EINVAL, errno.EPERM)
        # What could not be detached is covered; where it was, the mountpoint may be gone.
        covered = batch.mount("tmpfs", mountpoint, "tmpfs", 0, path=mountpoint)
        batch.tolerate(covered, ANY_ERROR)
        batch.tolerate(slave, errno.EINVAL, errno.ENOENT, skip=2)  # the host has unmounted it meanwhile
    batch.call("fchdir", sysnr.FCHDIR, plan.slots.root, path=plan.rootfs)
    batch.mount(".", "/", "", MS_MOVE, path=plan.rootfs)
    batch.call("chroot", sysnr.CHROOT, ".", path=plan.rootfs)
    batch.call("chdir", sysnr.CHDIR, "/", path="/")


def _revealing_mounts(rootfs: str) -> list[str]:
    """Mountpoints of whole procfs and sysfs mounts outside the rootfs, deepest first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields, _, rest = line.partition(" - ")
            root, mountpoint = fields.split()[3:5]
            inside = mountpoint == rootfs or mountpoint.startswith(rootfs + "/")
            if rest.split()[0] in ("proc", "sysfs") and root == "/" and not inside:
                found.append(_unescape(mountpoint))
    return found[::-1]


def _unescape(path: str) -> str:
    """Octal escapes of mountinfo (proc_pid_mountinfo(5)): space, tab, newline, backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def propagation_step(plan: Plan) -> Step | None:
    """shared and unbindable apply to the new root only after the pivot, which refuses them."""
    flags = PROPAGATION.get(plan.linux.get("rootfsPropagation") or "", 0)
    if not plan.has("mount") or not flags & (MS_SHARED | MS_UNBINDABLE):
        return None
    return Step("error setting rootfs propagation", lambda batch: batch.mount("", "/", "", flags))


def readonly_root_step(plan: Plan) -> Step | None:
    """root.readonly, last, so that mountpoints could be made."""
    if not plan.spec["root"].get("readonly") or not plan.has("mount"):
        return None

    def emit(batch: Batch) -> None:
        root = batch.openat2(AT_FDCWD, "/", os.O_PATH | os.O_DIRECTORY)
        batch.mount_setattr(root, attr_set=MOUNT_ATTR_RDONLY, path="/")

    return Step("error setting rootfs as readonly", emit)


def check_no_restrictions_without_mount_namespace(plan: Plan) -> None:
    """Masking would happen on the host."""
    if not plan.has("mount") and (plan.linux.get("maskedPaths") or plan.linux.get("readonlyPaths")):
        raise Error("unable to restrict sys entries without a private MNT namespace")
