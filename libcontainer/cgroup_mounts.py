"""Mounts of type cgroup: the container's own cgroups on v1, v2 and hybrid hosts (cgroup_namespaces(7)).

With a cgroup namespace a fresh cgroup mount shows the container's cgroup as root; without one its directories are
bind-mounted.
"""

from __future__ import annotations

import errno
import os

from libcontainer import sysnr
from libcontainer.mount_options import MOUNT_ATTR_RDONLY, MS_REC
from libcontainer.mounts import OPEN_TREE_CLONE, Mount, attach, open_target
from libcontainer.mounts import _step as mount_step
from libcontainer.remote import AT_FDCWD, AT_RECURSIVE, Batch, StepError
from libcontainer.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from libcontainer.cgroups import Hierarchy
    from libcontainer.plan import Plan
    from libcontainer.remote import Argument, Channel, Result

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
    context = batch.fsopen("cgroup2")
    batch.fsconfig(context, "source", mount.source or "cgroup")
    detached = batch.fsmount(context, mount.attributes(), "cgroup2")
    attach(batch, plan, mount, detached)


def _bound_unified(batch: Batch, plan: Plan, mount: Mount) -> None:
    own = plan.cgroup_paths.get("") if plan.has("cgroup") else None
    detached = batch.open_tree(AT_FDCWD, own or CGROUP_ROOT, OPEN_TREE_CLONE | AT_RECURSIVE)
    batch.mount_setattr(detached, attr_set=mount.attributes(), recursive=True)
    attach(batch, plan, mount, detached)


def _covered(batch: Batch, plan: Plan, mount: Mount) -> None:
    context = batch.fsopen("tmpfs")
    batch.fsconfig(context, "mode", "755")
    detached = batch.fsmount(context, mount.attributes() | MOUNT_ATTR_RDONLY, "tmpfs")
    attach(batch, plan, mount, detached)


# -- v1 and hybrid


def _v1(batch: Batch, plan: Plan, mount: Mount) -> None:
    """A tmpfs with one directory a hierarchy, and links for controllers that are mounted together."""
    context = batch.fsopen("tmpfs")
    for key, value in (("source", "tmpfs"), ("mode", "755")):
        batch.fsconfig(context, key, value)
    top = batch.fsmount(context, mount.attributes() & ~MOUNT_ATTR_RDONLY, "tmpfs")
    for hierarchy in plan.cgroup_hierarchies:
        batch.call("mkdirat", sysnr.MKDIRAT, top, hierarchy.name, 0o755, path=hierarchy.name)
        for link in hierarchy.links:
            batch.call("symlinkat", sysnr.SYMLINKAT, hierarchy.name, top, link, path=link)
    target = open_target(batch, plan, mount)
    batch.move_mount(top, target, mount.destination)
    for hierarchy in plan.cgroup_hierarchies:
        _hierarchy(batch, plan, mount, top, hierarchy)
    if mount.readonly:
        batch.mount_setattr(top, attr_set=MOUNT_ATTR_RDONLY, path=mount.destination)
    for flags in mount.options.propagation:
        batch.mount_setattr(top, propagation=flags & ~MS_REC, recursive=bool(flags & MS_REC))


def _directory(hierarchy: Hierarchy) -> str:
    """The container's directory, or where none could be made (rootless) the one that init is in: ours."""
    if os.path.isdir(hierarchy.directory):
        return hierarchy.directory
    from libcontainer.cgroups import own_cgroups

    own = own_cgroups()
    controller = (hierarchy.data or "").split(",")[0]
    return f"{CGROUP_ROOT}/{hierarchy.name}{own.get(controller, '/')}"


def _hierarchy(batch: Batch, plan: Plan, mount: Mount, top: Result, hierarchy: Hierarchy) -> None:
    name = hierarchy.name
    if plan.has("cgroup"):
        detached: Argument = _fresh_hierarchy(batch, mount, hierarchy.data)
    else:
        detached = batch.open_tree(AT_FDCWD, _directory(hierarchy), OPEN_TREE_CLONE | AT_RECURSIVE)
        batch.mount_setattr(detached, attr_set=mount.attributes(), recursive=True, path=name)
    place = batch.openat2(top, name, os.O_PATH | os.O_DIRECTORY)
    batch.move_mount(detached, place, name)


def _fresh_hierarchy(batch: Batch, mount: Mount, data: str | None) -> Result:
    fstype = "cgroup2" if data is None else "cgroup"
    context = batch.fsopen(fstype)
    batch.fsconfig(context, "source", "cgroup")
    for word in (data or "").split(","):
        if word:
            key, equals, value = word.partition("=")
            batch.fsconfig(context, key, value if equals else None)
    detached = batch.fsmount(context, mount.attributes(), fstype)
    return detached
