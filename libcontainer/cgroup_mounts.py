"""Mounts of type cgroup: the container's own cgroups on v1, v2 and hybrid hosts (cgroup_namespaces(7)).

With a cgroup namespace a fresh cgroup mount shows the container's cgroup as root; without one its directories are
bind-mounted.
"""

from __future__ import annotations

import errno
import os

from libcontainer import sysnr
from libcontainer.mount_options import MOUNT_ATTR__ATIME, MOUNT_ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from libcontainer.mounts import ATIME_FLAGS, Mount, attach, open_target, set_propagation
from libcontainer.mounts import step as mount_step
from libcontainer.remote import AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE, Batch, StepError, item
from libcontainer.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from libcontainer.cgroups import Hierarchy
    from libcontainer.plan import Plan
    from libcontainer.remote import Channel, Result

CGROUP_ROOT = "/sys/fs/cgroup"


def steps(plan: Plan, mount: Mount) -> Sequence[Step]:
    """The calls for one mount of type cgroup."""
    if plan.cgroup_version == 2:
        return [_unified(plan, mount)]
    return [mount_step(plan, mount, lambda batch: _v1(batch, plan, mount))]


# -- v2


def _unified(plan: Plan, mount: Mount) -> Step:
    """cgroup2; where the kernel refuses it (user namespace without cgroup namespace) a bind mount, and for a rootless
    container without a cgroup an empty read-only directory, so that the host's stays unwritable (CVE-2023-25809)."""
    fallback = [_fresh_unified]

    def emit(batch: Batch) -> None:
        fallback[0](batch, plan, mount)

    step = mount_step(plan, mount, emit)
    make_target = step.repair

    def repair(channel: Channel, err: StepError) -> bool:
        if make_target and make_target(channel, err):
            return True
        if fallback[0] is _fresh_unified and err.errno in (errno.EPERM, errno.EBUSY):
            fallback[0] = _bound_unified
            return True
        if fallback[0] is _bound_unified and err.errno == errno.ENOENT and plan.rootless_cgroups:
            fallback[0] = _covered
            return True
        return False

    step.repair = repair
    return step


def _fresh_unified(batch: Batch, plan: Plan, mount: Mount) -> None:
    data = ",".join(mount.options.data)
    batch.mount_on(open_target(batch, plan, mount), mount.source or "cgroup", "cgroup2", mount.options.flags, data)
    set_propagation(batch, plan, mount)


def _bound_unified(batch: Batch, plan: Plan, mount: Mount) -> None:
    own = plan.cgroup_paths.get("") if plan.has("cgroup") else None
    detached = batch.open_tree(AT_FDCWD, own or CGROUP_ROOT, OPEN_TREE_CLONE | AT_RECURSIVE)
    _set_attributes(batch, mount, detached)
    attach(batch, plan, mount, detached)


def _set_attributes(batch: Batch, mount: Mount, detached: Result, names: list[str] | None = None) -> None:
    """The flags of the entry, for all that a bind mount has brought. Access time is a choice: what it was must be cleared."""
    cleared = MOUNT_ATTR__ATIME if mount.options.flags & ATIME_FLAGS else 0
    batch.mount_setattr(detached, attr_set=mount.attributes(), attr_clr=cleared, recursive=True, path=names)


def _covered(batch: Batch, plan: Plan, mount: Mount) -> None:
    flags = mount.options.flags | MS_RDONLY
    batch.mount_on(open_target(batch, plan, mount), "tmpfs", "tmpfs", flags, "mode=755")


# -- v1 and hybrid


def _v1(batch: Batch, plan: Plan, mount: Mount) -> None:
    """A tmpfs with one directory a hierarchy, and links for controllers that are mounted together."""
    flags = mount.options.flags & ~MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    batch.mount_on(open_target(batch, plan, mount), "tmpfs", "tmpfs", flags, "mode=755")
    top = open_target(batch, plan, mount)
    links = [(hierarchy.name, link) for hierarchy in plan.cgroup_hierarchies for link in hierarchy.links]
    if links:
        each = batch.each(links)
        batch.call("symlinkat", sysnr.SYMLINKAT, item(0), top, item(1), path=[link for _, link in links])
        batch.end_each(each)
    if plan.cgroup_hierarchies:
        _hierarchies(batch, plan, mount, top)
    if mount.readonly:
        batch.mount_setattr(top, attr_set=MOUNT_ATTR_RDONLY, path=mount.destination)
    set_propagation(batch, plan, mount)


def _directory(hierarchy: Hierarchy) -> str:
    """The container's directory, or where none could be made (rootless) the one that init is in: ours."""
    if os.path.isdir(hierarchy.directory):
        return hierarchy.directory
    from libcontainer.cgroups import own_cgroups

    own = own_cgroups()
    controller = (hierarchy.data or "").split(",")[0]
    return f"{CGROUP_ROOT}/{hierarchy.name}{own.get(controller, '/')}"


def _hierarchies(batch: Batch, plan: Plan, mount: Mount, top: Result) -> None:
    names = [hierarchy.name for hierarchy in plan.cgroup_hierarchies]
    fresh = plan.has("cgroup")
    each = batch.each([_fresh(h) if fresh else (h.name, _directory(h)) for h in plan.cgroup_hierarchies])
    batch.call("mkdirat", sysnr.MKDIRAT, top, item(0), 0o755, path=names)
    place = batch.openat2(top, item(0), os.O_PATH | os.O_DIRECTORY, name=names)
    if fresh:
        batch.mount_on(place, "cgroup", item(1), mount.options.flags, item(2), names)
    else:
        detached = batch.open_tree(AT_FDCWD, item(1), OPEN_TREE_CLONE | AT_RECURSIVE, names)
        _set_attributes(batch, mount, detached, names)
        batch.move_mount(detached, place, names)
    batch.end_each(each)


def _fresh(hierarchy: Hierarchy) -> tuple[str, str, str | int]:
    """Name, type of file system and mount data of one that is mounted anew."""
    return (hierarchy.name, "cgroup", hierarchy.data) if hierarchy.data is not None else (hierarchy.name, "cgroup2", 0)
