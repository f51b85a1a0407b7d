"""A spec as the `config` member of runc's state.json, so that runc can work on our containers.

The member names and types are those of runc's Go structures: kinds, actions and operators are numbers, a list
that is absent is null or missing. saved_config reads it back.
"""

from __future__ import annotations

import os

from libcontainer import bitlist, devices, personality, saved_resources
from libcontainer.mount_options import MS_BIND, MS_RDONLY, PROPAGATION, parse
from libcontainer.saved_config import NAMESPACES
from libcontainer.spec_linux import (
    MEMORY_POLICIES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_OPERATORS,
    memory_policy,
)
from libcontainer.spec_schema import HOOK_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from libcontainer.oci import IDMapping, Linux, Mount, Process, Seccomp, Spec

OCI_VERSION = "1.3.0"
EXT_COPYUP = 1
_NANOSECONDS = 1_000_000_000
_ANY = -1
_MODE_BITS = 0o7777

_TERMINALS_AND_TUN = ((136, _ANY), (5, 2), (10, 200))  # /dev/pts/*, /dev/ptmx, /dev/net/tun


def to_runc(
    spec: Spec,
    *,
    id: str,
    bundle: str,
    rootfs: str,
    no_pivot: bool,
    no_new_keyring: bool,
    rootless_euid: bool,
    rootless_cgroups: bool,
    cgroup: Mapping[str, Any],
    systemd: bool,
) -> dict[str, Any]:
    """runc's configuration object for a validated spec.

    `cgroup` overrides members of the cgroup object (name, parent, path, scope_prefix, owner_uid) that follow
    from the spec and the id.
    """
    linux: Linux = spec.get("linux", {})
    config = {
        "no_pivot_root": no_pivot,
        "parent_death_signal": 0,
        "rootfs": rootfs,
        "readonlyfs": spec.get("root", {}).get("readonly", False),
        "rootPropagation": PROPAGATION.get(linux.get("rootfsPropagation", ""), 0),
        "mounts": [_mount(mount, linux, bundle) for mount in spec.get("mounts", ())],
        "devices": _devices(linux),
        # Here as in runc, before the labels: its keys are the user's (glance.py).
        **({"netDevices": linux["netDevices"]} if linux.get("netDevices") else {}),
        "mount_label": linux.get("mountLabel", ""),
        "hostname": spec.get("hostname", ""),
        "domainname": spec.get("domainname", ""),
        "namespaces": _namespaces(linux),
        "networks": _networks(linux),
        "routes": None,
        "cgroups": {
            **cgroup_location(spec, id, systemd),
            **_resources(linux),
            "Systemd": systemd,
            "Rootless": rootless_cgroups,
            **cgroup_owner(spec),
            **cgroup,
        },
        **id_maps(linux.get("uidMappings"), linux.get("gidMappings")),
        "mask_paths": linux.get("maskedPaths"),
        "readonly_paths": linux.get("readonlyPaths"),
        "sysctl": linux.get("sysctl"),
        "Hooks": _hooks(spec),
        "version": OCI_VERSION,
        "labels": _labels(spec, bundle),
        "no_new_keyring": no_new_keyring,
        "rootless_euid": rootless_euid,
        "rootless_cgroups": rootless_cgroups,
    }
    config.update(_process(spec.get("process", {})))
    config.update(_optional(linux))
    return config


def _mount(mount: Mount, linux: Linux, bundle: str) -> dict[str, Any]:
    options = parse(mount.get("options", []))
    bind = options.flags & MS_BIND
    source = mount.get("source", "")
    entry: dict[str, Any] = {
        "source": os.path.join(bundle, source) if bind else source,
        "destination": mount["destination"],
        "device": "bind" if bind else mount.get("type", ""),
        "flags": options.flags,
        "cleared_flags": options.cleared,
        "propagation_flags": options.propagation or None,
        "data": ",".join(options.data),
        "relabel": "",
        "rec_attr": None,
        "extensions": EXT_COPYUP if "tmpcopyup" in options.extensions else 0,
    }
    if options.rec_set or options.rec_clear:
        entry["rec_attr"] = {
            "Attr_set": options.rec_set,
            "Attr_clr": options.rec_clear,
            "Propagation": 0,
            "Userns_fd": 0,
        }
    if options.idmap or mount.get("uidMappings"):
        entry["id_mapping"] = _mount_id_mapping(mount, linux, options.idmap == "ridmap")
    return entry


def _mount_id_mapping(mount: Mount, linux: Linux, recursive: bool) -> dict[str, Any]:
    """The mount's own maps, or the container's, or the user namespace that the container joins."""
    mapping: dict[str, Any] = {"recursive": recursive}
    path = next((ns.get("path", "") for ns in linux.get("namespaces", ()) if ns.get("type") == "user"), "")
    if path and not mount.get("uidMappings"):
        return {**mapping, "userns_path": path}
    mapping["uid_mappings"] = _id_maps(mount.get("uidMappings") or linux.get("uidMappings"))
    mapping["gid_mappings"] = _id_maps(mount.get("gidMappings") or linux.get("gidMappings"))
    return mapping


def id_maps(uids: Sequence[IDMapping] | None, gids: Sequence[IDMapping] | None) -> dict[str, Any]:
    """The members for the maps of the container's user namespace."""
    return {"uid_mappings": _id_maps(uids), "gid_mappings": _id_maps(gids)}


def _id_maps(mappings: Sequence[IDMapping] | None) -> list[dict[str, int]] | None:
    if mappings is None:
        return None
    return [
        {"container_id": m.get("containerID", 0), "host_id": m.get("hostID", 0), "size": m.get("size", 0)}
        for m in mappings
    ]


def _devices(linux: Linux) -> list[dict[str, Any]]:
    defaults = [
        {**_rule("c", major, minor, "rwm"), "path": path, "file_mode": 0o666, "uid": 0, "gid": 0}
        for path, major, minor in _default_devices(linux)
    ]
    return defaults + [
        {
            **_rule(device["type"], device.get("major", 0), device.get("minor", 0), "", False),
            "path": device["path"],
            "file_mode": device.get("fileMode", 0o666) & _MODE_BITS,
            "uid": device.get("uid", 0),
            "gid": device.get("gid", 0),
        }
        for device in linux.get("devices", ())
    ]


def _default_devices(linux: Linux) -> list[tuple[str, int, int]]:
    """A device of the spec with the same path takes the place of a default one."""
    own = {device.get("path") for device in linux.get("devices", ())}
    return [device for device in devices.DEFAULTS if device[0] not in own]


def device_rules(linux: Linux) -> list[dict[str, Any]]:
    """The cgroup's device rules in runc's form: the spec's, then those that every container needs."""
    rules = [
        _rule(
            rule.get("type") or "a",
            rule.get("major", _ANY),
            rule.get("minor", _ANY),
            rule.get("access", ""),
            rule.get("allow", False),
        )
        for rule in linux.get("resources", {}).get("devices", ())
    ]
    rules += [_rule("c", _ANY, _ANY, "m"), _rule("b", _ANY, _ANY, "m")]
    rules += [_rule("c", major, minor, "rwm") for _, major, minor in _default_devices(linux)]
    return rules + [_rule("c", major, minor, "rwm") for major, minor in _TERMINALS_AND_TUN]


def _rule(kind: str, major: int, minor: int, permissions: str, allow: bool = True) -> dict[str, Any]:
    return {"type": ord(kind), "major": major, "minor": minor, "permissions": permissions, "allow": allow}


def _namespaces(linux: Linux) -> list[dict[str, str]]:
    return [
        {"type": NAMESPACES[entry["type"]], "path": entry.get("path", "")}
        for entry in linux.get("namespaces", ())
    ]


def _networks(linux: Linux) -> list[dict[str, Any]] | None:
    """A new network namespace gets its loopback interface up."""
    new = any(ns.get("type") == "network" and not ns.get("path") for ns in linux.get("namespaces", ()))
    return [{"type": "loopback"}] if new else None


def cgroup_location(spec: Spec, id: str, systemd: bool) -> dict[str, str]:
    """Name, parent, path and scope prefix of the cgroup.

    linux.cgroupsPath is a path, or SLICE:PREFIX:NAME for systemd.
    """
    path = spec.get("linux", {}).get("cgroupsPath", "")
    if not systemd:
        return {"name": "" if path else id, "path": clean_path(path) if path else "", "scope_prefix": ""}
    from libcontainer.cgroups.systemd_names import locate

    location = locate(path, id)
    parent = {"parent": location.parent} if path else {}
    return {"name": location.name, **parent, "path": "", "scope_prefix": location.prefix}


def clean_path(path: str) -> str:
    """`path` without dots that would lead out of the place it is relative to."""
    if path.startswith("/"):
        return "/" + os.path.normpath(path).lstrip("/")
    return os.path.normpath("/" + path).lstrip("/")


def cgroup_owner(spec: Spec) -> dict[str, int]:
    """owner_uid: who may make cgroups below the container's, if its view of them is private and writable."""
    linux: Linux = spec.get("linux", {})
    private = any(ns.get("type") == "cgroup" and not ns.get("path") for ns in linux.get("namespaces", ()))
    if not private or not any(_is_writable_cgroup(mount) for mount in spec.get("mounts", ())):
        return {}
    uid = spec.get("process", {}).get("user", {}).get("uid", 0)
    if not any(ns.get("type") == "user" for ns in linux.get("namespaces", ())):
        return {"owner_uid": uid}
    for mapping in linux.get("uidMappings", ()):
        offset = uid - mapping.get("containerID", 0)
        if 0 <= offset < mapping.get("size", 0):
            return {"owner_uid": mapping.get("hostID", 0) + offset}
    return {}


def _is_writable_cgroup(mount: Mount) -> bool:
    at_place = os.path.normpath(mount.get("destination", "")) == "/sys/fs/cgroup"
    return (
        at_place and mount.get("source") == "cgroup" and not parse(mount.get("options", [])).flags & MS_RDONLY
    )


def _resources(linux: Linux) -> dict[str, Any]:
    """Only what the spec gives: for runc an absent member is one that is not managed."""
    return {"devices": device_rules(linux), **saved_resources.to_saved(linux.get("resources", {}))}


def _hooks(spec: Spec) -> dict[str, list[dict[str, Any]] | None]:
    hooks: Mapping[str, Any] = spec.get("hooks", {})
    return {name: [_hook(hook) for hook in hooks.get(name, ())] or None for name in HOOK_NAMES}


def _hook(hook: Mapping[str, Any]) -> dict[str, Any]:
    timeout = hook.get("timeout")
    return {
        "path": hook["path"],
        "args": hook.get("args"),
        "env": hook.get("env"),
        "dir": "",
        "timeout": None if timeout is None else timeout * _NANOSECONDS,
    }


def _labels(spec: Spec, bundle: str) -> list[str]:
    return [f"{key}={value}" for key, value in spec.get("annotations", {}).items()] + [f"bundle={bundle}"]


def _process(process: Process) -> dict[str, Any]:
    """What a later exec takes from the container's first process."""
    user = process.get("user", {})
    members: dict[str, Any] = {
        "capabilities": _capabilities(process),
        "process_label": process.get("selinuxLabel", ""),
        "no_new_privileges": process.get("noNewPrivileges", False),
        "umask": user.get("umask"),
        "oom_score_adj": process.get("oomScoreAdj"),
        "scheduler": process.get("scheduler"),
        "io_priority": process.get("ioPriority"),
    }
    if process.get("execCPUAffinity"):
        members["exec_cpu_affinity"] = _affinity(process["execCPUAffinity"])
    return members


def _capabilities(process: Process) -> dict[str, list[str] | None] | None:
    if "capabilities" not in process:
        return None
    sets: Mapping[str, Any] = process["capabilities"]
    names = ("Bounding", "Effective", "Inheritable", "Permitted", "Ambient")
    return {name: sets.get(name.lower()) for name in names}


def _affinity(affinity: Mapping[str, Any]) -> dict[str, list[int] | None]:
    lists = {"Initial": affinity.get("initial"), "Final": affinity.get("final")}
    return {when: bitlist.words(bitlist.parse(text)) if text else None for when, text in lists.items()}


def _optional(linux: Linux) -> dict[str, Any]:
    members: dict[str, Any] = {}
    seccomp: Seccomp = linux.get("seccomp", {})
    if seccomp.get("defaultAction") or seccomp.get("syscalls"):
        members["seccomp"] = _seccomp(seccomp)
    if linux.get("timeOffsets"):
        members["time_offsets"] = linux["timeOffsets"]
    if "personality" in linux:
        members["personality"] = {"domain": personality.value(linux["personality"])}
    if linux.get("memoryPolicy"):
        bits, nodes = memory_policy(linux["memoryPolicy"])
        mode = MEMORY_POLICIES[linux["memoryPolicy"]["mode"]]
        members["memory_policy"] = {"mode": mode, "flags": bits - mode, "nodes": bitlist.words(nodes)}
    return members


def _seccomp(profile: Seccomp) -> dict[str, Any]:
    return {
        "default_action": _number(SECCOMP_ACTIONS, profile.get("defaultAction", "")),
        "architectures": [SECCOMP_ARCHITECTURES[name] for name in profile.get("architectures", ())],
        # Absent means the runtime's default, which runc writes out; every kernel we run on has it.
        "flags": profile.get("flags", ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        "syscalls": _syscalls(profile.get("syscalls", ())),
        "default_errno_ret": profile.get("defaultErrnoRet"),
        "listener_path": profile.get("listenerPath", ""),
        "listener_metadata": profile.get("listenerMetadata", ""),
    }


def _syscalls(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a system call, as runc has it."""
    entries: list[dict[str, Any]] = []
    for rule in rules:
        action = _number(SECCOMP_ACTIONS, rule["action"])
        errno = rule.get("errnoRet")
        arguments = [_argument(argument) for argument in rule.get("args", ())]
        entries.extend(
            {"name": name, "action": action, "errnoRet": errno, "args": arguments} for name in rule.get("names", ())
        )
    return entries


def _argument(argument: Mapping[str, Any]) -> dict[str, int]:
    return {
        "index": argument.get("index", 0),
        "value": argument.get("value", 0),
        "value_two": argument.get("valueTwo", 0),
        "op": _number(SECCOMP_OPERATORS, argument["op"]),
    }


def _number(names: tuple[str, ...], name: str) -> int:
    return names.index(name) + 1
