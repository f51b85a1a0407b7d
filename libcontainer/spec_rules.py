"""What a whole config.json must satisfy before anything is made; runtime-spec and what runc adds to it.

A rule raises InvalidSpec with the JSON path. What this runtime does not do is refused here, never dropped.
The file system is asked only where the rule is about it: the rootfs, namespace files, SELinux. Limits on
resources depend on the cgroup version and are checked by the cgroups package.
"""

from __future__ import annotations

import os

from libcontainer.errors import Error, InvalidSpec
from libcontainer.mount_options import MS_BIND, MS_REMOUNT, MountOptions, parse
from libcontainer.saved_config import NAMESPACES
from libcontainer.spec_linux import validate_linux
from libcontainer.spec_process import check_user, is_mapped, validate_process, without_null_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from libcontainer.oci import IDMapping, Linux, Mount, Spec


def validate(
    spec: Spec, *, rootless_euid: bool, rootless_cgroups: bool, bundle: str, no_pivot: bool = False
) -> None:
    """Raise InvalidSpec (or Error, where a file is missing) unless a container can be made of `spec`."""
    validate_process(spec.get("process"), rootless_euid=rootless_euid)
    _root(spec, bundle)
    linux: Linux = spec.get("linux", {})
    spaces = _namespaces(linux)
    _names(spec, spaces)
    _id_mappings(linux, spaces)
    check_user(spec.get("process", {}), linux.get("uidMappings", []), linux.get("gidMappings", []))
    if rootless_euid:
        _rootless(linux, spaces)
    _time_offsets(linux, spaces)
    for index, mount in enumerate(spec.get("mounts", ())):
        _mount(f"mounts[{index}]", mount, linux, rootless_euid)
    _hooks(spec)
    if no_pivot and "mount" not in spaces:  # it would take /proc and /sys from the host, and its root
        raise InvalidSpec("linux.namespaces", "unable to use no-pivot without a private MNT namespace")
    validate_linux(linux, spaces, no_pivot=no_pivot, rootless=rootless_euid or rootless_cgroups)


def warnings(spec: Spec) -> list[str]:
    """What of a valid `spec` will not be done as it is written."""
    found = [
        f"mounts[{index}].destination: {mount['destination']} is not absolute, and taken to be below /"
        for index, mount in enumerate(spec.get("mounts", ()))
        if not mount["destination"].startswith("/")
    ]
    flags = spec.get("linux", {}).get("personality", {}).get("flags")
    if flags:  # the specification defines none yet
        found.append(f"linux.personality.flags: ignoring unsupported personality flags: {flags}")
    return found


def check_joined_mappings(linux: Linux, uids: Sequence[IDMapping], gids: Sequence[IDMapping]) -> None:
    """A user namespace that is joined may be described, but as it is: `uids` and `gids` are its real maps."""
    for field, given, real in (
        ("uidMappings", linux.get("uidMappings"), uids),
        ("gidMappings", linux.get("gidMappings"), gids),
    ):
        if given and _triples(given) != _triples(real):
            raise InvalidSpec(
                f"linux.{field}",
                "user namespaces enabled, but both namespace path and non-matching mapping specified"
                " -- you may only provide one",
            )


def _triples(mappings: Sequence[IDMapping]) -> list[tuple[int, int, int]]:
    return sorted((m.get("containerID", 0), m.get("hostID", 0), m.get("size", 0)) for m in mappings)


def _root(spec: Spec, bundle: str) -> None:
    root = spec.get("root")
    if root is None:
        raise InvalidSpec("root", "root must be specified")
    without_null_bytes("root.path", root.get("path", ""))
    rootfs = os.path.normpath(os.path.join(bundle, root.get("path", "")))
    try:
        os.stat(rootfs)
    except OSError as error:
        raise Error("invalid rootfs") from error
    if not rootfs.startswith("/") or os.path.realpath(rootfs) != rootfs:
        raise InvalidSpec("root.path", "invalid rootfs: not an absolute path, or a symlink")


def _namespaces(linux: Linux) -> dict[str, str]:
    """Type and path ("" for a new one) of each namespace asked for."""
    spaces: dict[str, str] = {}
    for index, entry in enumerate(linux.get("namespaces", ())):
        kind, path = entry.get("type", ""), entry.get("path", "")
        where = f"linux.namespaces[{index}]"
        if kind not in NAMESPACES:
            raise InvalidSpec(f"{where}.type", f'namespace "{kind}" does not exist')
        if kind in spaces:
            raise InvalidSpec(where, f"malformed spec file: duplicated ns {kind}")
        _namespace_path(f"{where}.path", path)
        spaces[kind] = path
    return spaces


def _namespace_path(where: str, path: str) -> None:
    without_null_bytes(where, path)
    if "," in path:
        raise InvalidSpec(where, f"invalid namespace path {path}")
    if path:
        try:
            os.lstat(path)
        except OSError as error:
            raise Error("namespace path") from error


def _names(spec: Spec, spaces: Mapping[str, str]) -> None:
    hostname, domainname = spec.get("hostname", ""), spec.get("domainname", "")
    without_null_bytes("hostname", hostname)
    without_null_bytes("domainname", domainname)
    if hostname and "uts" not in spaces:
        raise InvalidSpec("hostname", "unable to set hostname without a private UTS namespace")
    if domainname and "uts" not in spaces:
        raise InvalidSpec("domainname", "unable to set domainname without a private UTS namespace")


def _id_mappings(linux: Linux, spaces: Mapping[str, str]) -> None:
    uids, gids = linux.get("uidMappings", []), linux.get("gidMappings", [])
    if "user" not in spaces:
        if uids or gids:
            raise InvalidSpec(
                "linux.uidMappings" if uids else "linux.gidMappings",
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            )
    elif not spaces["user"]:
        if not uids and not gids:
            raise InvalidSpec(
                "linux.namespaces",
                "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
            )
        _map("linux.uidMappings", uids)
        _map("linux.gidMappings", gids)


def _map(where: str, mappings: Sequence[IDMapping]) -> None:
    for index, mapping in enumerate(mappings):
        if not mapping.get("size"):
            raise InvalidSpec(f"{where}[{index}].size", "must be greater than 0")
    if not mappings:
        raise InvalidSpec(where, "a user namespace needs at least one mapping")


def _rootless(linux: Linux, spaces: Mapping[str, str]) -> None:
    if "user" not in spaces:
        raise InvalidSpec("linux.namespaces", "rootless container requires user namespaces")
    if not spaces["user"]:
        for kind in ("uidMappings", "gidMappings"):
            if not linux.get(kind):
                name = kind[:3].upper()
                raise InvalidSpec(
                    f"linux.{kind}", f"rootless containers requires at least one {name} mapping"
                )


def _time_offsets(linux: Linux, spaces: Mapping[str, str]) -> None:
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    if "time" not in spaces:
        raise InvalidSpec(
            "linux.timeOffsets",
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        )
    if spaces["time"]:
        raise InvalidSpec(
            "linux.timeOffsets",
            "time namespace enabled, but both namespace path and time offsets specified"
            " -- you may only provide one",
        )
    for clock, offset in offsets.items():
        _time_offset(clock, offset.get("nanosecs", 0))


def _time_offset(clock: str, nanoseconds: int) -> None:
    if clock not in ("monotonic", "boottime"):
        raise InvalidSpec(f"linux.timeOffsets.{clock}", "only monotonic and boottime have offsets")
    if nanoseconds >= 1_000_000_000:  # time_namespaces(7)
        raise InvalidSpec(f"linux.timeOffsets.{clock}.nanosecs", "must be below 1000000000")


def _mount(where: str, mount: Mount, linux: Linux, rootless_euid: bool) -> None:
    if not mount.get("destination"):
        raise InvalidSpec(f"{where}.destination", "must not be empty")
    for field in ("source", "destination", "type"):
        if "\0" in str(mount.get(field, "")):
            raise InvalidSpec(f"{where}.{field}", "mount field contains null byte")
    words = mount.get("options", [])
    options = parse(words)
    if "\0" in "".join(words):
        raise InvalidSpec(f"{where}.options", "mount field contains null byte")
    if options.flags & MS_BIND and options.data:
        reason = "bind mounts cannot have any filesystem-specific options applied"
        raise InvalidSpec(f"{where}.options", f"{reason}: {','.join(options.data)}")
    _id_mapped_mount(where, mount, options, linux, rootless_euid)
    if rootless_euid:
        _mount_owner(where, options, linux)


def _id_mapped_mount(
    where: str, mount: Mount, options: MountOptions, linux: Linux, rootless_euid: bool
) -> None:
    uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
    if not (options.idmap or uids or gids):
        return
    if not options.flags & MS_BIND:
        raise InvalidSpec(where, "id-mapped mounts are only supported for bind-mounts")
    if options.flags & MS_REMOUNT:
        raise InvalidSpec(f"{where}.options", "a mount that is there already cannot be id-mapped (mount_setattr(2))")
    if rootless_euid:
        raise InvalidSpec(where, "id-mapped mounts are not supported for rootless containers")
    if bool(uids) != bool(gids):
        raise InvalidSpec(where, "id-mapped mounts must have both uid and gid mappings specified")
    if not uids and not any(entry.get("type") == "user" for entry in linux.get("namespaces", ())):
        raise InvalidSpec(
            f"{where}.options",
            f"{options.idmap} needs mappings, and there is no user namespace to take them from",
        )


def _mount_owner(where: str, options: MountOptions, linux: Linux) -> None:
    for word in ",".join(options.data).split(","):
        kind, _, number = word.partition("=")
        mappings = linux.get("uidMappings") if kind == "uid" else linux.get("gidMappings")
        if kind not in ("uid", "gid") or not mappings or not (number.isascii() and number.isdigit()):
            continue
        if not is_mapped(int(number[:20]), mappings):
            reason = f"cannot specify {kind}={number} mount option for rootless container"
            raise InvalidSpec(f"{where}.options", f"{reason}: {kind} {number} is not mapped")


def _hooks(spec: Spec) -> None:
    hooks: Mapping[str, Any] = spec.get("hooks", {})
    for name, entries in hooks.items():
        for index, hook in enumerate(entries):
            _hook(f"hooks.{name}[{index}]", hook)


def _hook(where: str, hook: Mapping[str, Any]) -> None:
    if not hook.get("path"):
        raise InvalidSpec(f"{where}.path", "must not be empty")
    if hook.get("timeout", 1) <= 0:
        raise InvalidSpec(f"{where}.timeout", "must be greater than zero")
    without_null_bytes(where, hook["path"], *hook.get("args", ()), *hook.get("env", ()))
