"""Spec -> Plan: everything about a container that can be decided without a system call in it.

The plan is pure: it reads no file and asks no kernel (what it must know of the host comes in as arguments), so it is
tested without root.
"""

from __future__ import annotations

import os

from libcontainer import devices, namespaces
from libcontainer.errors import Error
from libcontainer.mounts import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups import Hierarchy, Manager


class Slots:
    """Descriptor numbers in init that are known to both sides beforehand; far above the ones the kernel hands out."""

    __slots__ = ("empty", "fifo", "null", "proc", "root", "scratch", "userns")

    def __init__(self, control: int) -> None:
        base = control + 200
        self.proc, self.fifo, self.root, self.userns, self.null, self.empty = range(base, base + 6)
        # What a step opens lies below the slots, and is closed after it.
        self.scratch = (control + 1, base - 1)


class Plan:
    """What create will do. Attributes are facts; the modules named after kernel features turn them into calls."""

    __slots__ = (
        "bind_devices",
        "bundle",
        "cgroup_hierarchies",
        "cgroup_paths",
        "cgroup_version",
        "dev_bound",
        "dev_directories",
        "dev_filled",
        "gid_map",
        "id",
        "joins",
        "linux",
        "mounts",
        "new",
        "no_new_keyring",
        "no_pivot",
        "nodes",
        "on_host",
        "process",
        "reach",
        "rootfs",
        "rootless_cgroups",
        "rootless_euid",
        "setgroups_denied",
        "slots",
        "spec",
        "uid_map",
        "userns",
    )

    def __init__(
        self,
        container_id: str,
        spec: dict[str, Any],
        bundle: str,
        *,
        passed_fds: int,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        rootless_euid: bool = False,
        rootless_cgroups: bool = False,
        in_userns: bool = False,
        setgroups_denied: bool = False,
    ) -> None:
        self.id = container_id
        self.spec = spec
        self.bundle = bundle
        self.linux: dict[str, Any] = spec.get("linux") or {}
        self.process: dict[str, Any] = {"user": {}, **spec["process"]}
        self.rootfs = os.path.normpath(os.path.join(bundle, spec["root"].get("path", "")))
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.rootless_euid = rootless_euid
        self.rootless_cgroups = rootless_cgroups
        # A new user namespace has it from ours; a joined one is asked: Creation._adopt_maps().
        self.setgroups_denied = setgroups_denied
        self.slots = Slots(passed_fds)
        self._plan_namespaces()
        self._plan_mounts()
        self._plan_devices(in_userns)

    def _plan_namespaces(self) -> None:
        self.new = 0
        self.joins: list[tuple[str, str]] = []
        for entry in self.linux.get("namespaces") or ():
            if entry.get("path"):
                self.joins.append((entry["type"], entry["path"]))
            else:
                self.new |= namespaces.FLAGS[entry["type"]]
        self.userns = bool(self.new & namespaces.CLONE_NEWUSER) or self.joined("user") is not None
        self.uid_map: list[dict[str, int]] = self.linux.get("uidMappings") or []
        self.gid_map: list[dict[str, int]] = self.linux.get("gidMappings") or []
        # A helper in the initial user namespace reaches what the container's root may not (mknod, private paths).
        self.reach = self.userns and not self.rootless_euid and self.has("mount")
        # Without a mount namespace the mounts are the host's; the root of a user namespace can make none there.
        self.on_host = not self.has("mount") and not self.userns

    def _plan_mounts(self) -> None:
        self.mounts = [
            Mount(entry, self.bundle, self.rootfs) for entry in self.spec.get("mounts") or ()
        ]
        on_dev = [m for m in self.mounts if m.target == "dev"]
        self.dev_bound = any(m.bind for m in on_dev)
        self.dev_filled = len(on_dev) == 1 and on_dev[0].fstype == "tmpfs" and not self.dev_bound
        self.dev_directories = [
            m.target[4:] for m in self.mounts if m.target.startswith("dev/") and m.fstype != "bind"
        ]

    def _plan_devices(self, in_userns: bool) -> None:
        self.nodes = [] if self.dev_bound else devices.nodes(self.linux.get("devices") or [])
        # mknod(2) is not for user namespaces; with a helper outside it is, unless we are in one ourselves.
        self.bind_devices = in_userns or (self.userns and not self.reach)

    def adopt_cgroup(self, manager: Manager) -> None:
        """Learn what mounts of type cgroup need to know."""
        self.cgroup_version = manager.version
        self.cgroup_paths = manager.paths
        shown = any(map(self.shows_cgroups, self.mounts))
        self.cgroup_hierarchies: list[Hierarchy] = manager.own_mounts() if shown else []

    def shows_cgroups(self, mount: Mount) -> bool:
        """Is this the view of the container's cgroups? On hosts with v1, cgroup2 is a file system like others."""
        return mount.fstype == "cgroup" or (mount.fstype == "cgroup2" and self.cgroup_version == 2)

    def may_set_groups(self) -> bool:
        """setgroups(2) is denied for good where an unprivileged process has written the maps (user_namespaces(7))."""
        return not (self.rootless_euid or self.setgroups_denied)

    def joined(self, kind: str) -> str | None:
        """The path of the namespace that is joined, None if it is new or shared with the runtime."""
        return next((path for joined, path in self.joins if joined == kind), None)

    def has(self, kind: str) -> bool:
        """Does the config name this namespace (new or joined)?"""
        return bool(self.new & namespaces.FLAGS[kind]) or self.joined(kind) is not None

    def host_root(self) -> tuple[int, int]:
        """The host's uid and gid of who sets the container up: its root, or its user where root is not mapped."""
        try:
            return self.host_uid(0), self.host_gid(0)
        except Error:
            user = self.process["user"]
            return self.host_uid(user.get("uid", 0)), self.host_gid(user.get("gid", 0))

    def host_uid(self, uid: int) -> int:
        """The host's uid for the container's."""
        return self._host_id(self.uid_map, uid, "uid")

    def host_gid(self, gid: int) -> int:
        """The host's gid for the container's."""
        return self._host_id(self.gid_map, gid, "gid")

    def _host_id(self, mappings: list[dict[str, int]], wanted: int, kind: str) -> int:
        if not self.userns:
            return wanted
        for mapping in mappings:
            offset = wanted - mapping["containerID"]
            if 0 <= offset < mapping["size"]:
                return mapping["hostID"] + offset
        raise Error(f"cannot use unmapped {kind} {wanted} in user namespace")

    def pending_nodes(self) -> list[devices.Node]:
        """Device nodes that are not in the prepared tmpfs for /dev."""
        if self.dev_filled and not self.bind_devices:
            return [node for node in self.nodes if not node.path.startswith("/dev/")]
        return self.nodes
