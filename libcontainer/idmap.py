"""Id-mapped mounts: the user namespaces whose maps they take (mount_setattr(2), MOUNT_ATTR_IDMAP)."""

from __future__ import annotations

import os

from libcontainer import namespaces, remote, user_ns
from libcontainer.child import reap
from libcontainer.errors import Error
from libcontainer.remote import OP_CLONE, Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.mounts import Mount
    from libcontainer.plan import Plan


def prepare(plan: Plan, init: int) -> None:
    """Open a namespace for each id-mapped mount; mounts with equal maps share one."""
    made: dict[str, int] = {}
    for mount in plan.mounts:
        if mount.idmapped:
            key = repr((mount.uid_map, mount.gid_map))
            if key not in made:
                made[key] = _namespace(plan, mount, init)
            mount.userns_fd = made[key]


def _namespace(plan: Plan, mount: Mount, init: int) -> int:
    if mount.uid_map:
        return make(mount.uid_map, mount.gid_map)
    if not plan.userns:
        raise Error(f"{mount.what}: id-mapped mounts need uidMappings and gidMappings, or a user namespace")
    return os.open(f"/proc/{init}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def make(uid_map: list[dict[str, int]], gid_map: list[dict[str, int]]) -> int:
    """A user namespace that only carries maps: its process lives until we hold a descriptor."""
    channel, pid = remote.spawn(())
    child = 0
    try:
        batch = Batch()
        cloned = batch.op(OP_CLONE, 0, (namespaces.CLONE_NEWUSER,), "clone3", "user namespace")
        child = channel.run(batch)[cloned]
        user_ns.write_maps(child, uid_map, gid_map, rootless_euid=False)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        channel.close()
        for process in (pid, child):
            if process:
                reap(process)
