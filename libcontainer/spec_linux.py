"""What the linux section of config.json must satisfy, but for namespaces and maps; runtime-spec, "Linux".

`spaces` maps the type of each namespace of the container to its path ("" for a new one).
"""

from __future__ import annotations

import os

from libcontainer import bitlist, personality, sysctl
from libcontainer.errors import InvalidSpec
from libcontainer.mount_options import MS_PRIVATE, PROPAGATION
from libcontainer.spec_process import without_null_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from libcontainer.oci import IntelRdt, Linux, MemoryPolicy, NetDevice

# linux/mempolicy.h
MEMORY_POLICIES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_POLICY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
_MAY_HAVE_NODES = ("MPOL_PREFERRED",)
_REFUSED = ": set_mempolicy: invalid argument"  # what the kernel would have said

SECCOMP_ARCHITECTURES = {  # the specification's names and libseccomp's
    "SCMP_ARCH_X86": "x86",
    "SCMP_ARCH_X86_64": "amd64",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_ARM": "arm",
    "SCMP_ARCH_AARCH64": "arm64",
    "SCMP_ARCH_MIPS": "mips",
    "SCMP_ARCH_MIPS64": "mips64",
    "SCMP_ARCH_MIPS64N32": "mips64n32",
    "SCMP_ARCH_MIPSEL": "mipsel",
    "SCMP_ARCH_MIPSEL64": "mipsel64",
    "SCMP_ARCH_MIPSEL64N32": "mipsel64n32",
    "SCMP_ARCH_PPC": "ppc",
    "SCMP_ARCH_PPC64": "ppc64",
    "SCMP_ARCH_PPC64LE": "ppc64le",
    "SCMP_ARCH_RISCV64": "riscv64",
    "SCMP_ARCH_S390": "s390",
    "SCMP_ARCH_S390X": "s390x",
    "SCMP_ARCH_LOONGARCH64": "loong64",
}
# In this order runc numbers them from 1 in its state.json.
SECCOMP_ACTIONS = (
    "SCMP_ACT_KILL",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
)
SECCOMP_OPERATORS = (
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_GT",
    "SCMP_CMP_GE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_MASKED_EQ",
)
SECCOMP_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
_MAX_SYSCALL_ARGUMENTS = 6

_IPC_SYSCTLS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)
_DEVICE_NAME_ROOM = 16  # IFNAMSIZ, with the NUL
_NOT_IN_DEVICE_NAMES = frozenset(b"\0/:\t\n\v\f\r \xa0")  # / : and what isspace() of lib/ctype.c holds for blank
_DOTTED = {ord("/"): ".", ord("."): "/"}


def validate_linux(linux: Linux, spaces: Mapping[str, str], *, no_pivot: bool, rootless: bool) -> None:
    """Check the fields of the linux section one by one. `rootless`: in either sense."""
    for name, value in linux.get("sysctl", {}).items():
        _sysctl(name, value, spaces)
    _restricted_paths(linux, spaces)
    _devices(linux.get("devices", ()))
    if linux.get("netDevices"):
        _net_devices(linux["netDevices"], spaces, rootless)
    _device_rules(linux.get("resources", {}).get("devices", ()))
    _propagation(linux.get("rootfsPropagation", ""), no_pivot)
    if "personality" in linux:
        personality.value(linux["personality"])
    if linux.get("memoryPolicy"):  # an empty object asks for nothing
        memory_policy(linux["memoryPolicy"])
    if "seccomp" in linux:
        _seccomp(linux["seccomp"])
    if "intelRdt" in linux:
        _intel_rdt(linux["intelRdt"])
    without_null_bytes("linux.cgroupsPath", linux.get("cgroupsPath", ""))
    without_null_bytes("linux.mountLabel", linux.get("mountLabel", ""))


def _sysctl(name: str, value: str, spaces: Mapping[str, str]) -> None:
    where = f'linux.sysctl["{name}"]'
    without_null_bytes(where, value)
    reason = _sysctl_objection(sysctl.normalise(name, where).translate(_DOTTED), spaces)
    if reason:
        raise InvalidSpec(where, reason)


def _sysctl_objection(key: str, spaces: Mapping[str, str]) -> str | None:
    if key in _IPC_SYSCTLS or key.startswith("fs.mqueue."):
        return None if "ipc" in spaces else f'sysctl "{key}" is not allowed in the hosts ipc namespace'
    if key.startswith("net."):
        return f'sysctl "{key}" not allowed in host network namespace' if _is_host_network(spaces) else None
    if key.startswith("user."):
        return None if "user" in spaces else f"setting ucounts without a user namespace not allowed: {key}"
    if "uts" in spaces and key == "kernel.domainname":
        return None
    if "uts" in spaces and key == "kernel.hostname":
        return f'sysctl "{key}" is not allowed as it conflicts with the OCI "hostname" field'
    return f'sysctl "{key}" is not in a separate kernel namespace'


def _is_host_network(spaces: Mapping[str, str]) -> bool:
    """Whether the container's network namespace is our own."""
    if "network" not in spaces:
        return True
    path = spaces["network"]
    return bool(path) and os.path.samefile(path, "/proc/self/ns/net")


def _restricted_paths(linux: Linux, spaces: Mapping[str, str]) -> None:
    for field, paths in (
        ("maskedPaths", linux.get("maskedPaths", [])),
        ("readonlyPaths", linux.get("readonlyPaths", [])),
    ):
        if paths and "mount" not in spaces:
            raise InvalidSpec(
                f"linux.{field}", "unable to restrict sys entries without a private MNT namespace"
            )
        without_null_bytes(f"linux.{field}", *paths)


def _devices(devices: Iterable[Mapping[str, Any]]) -> None:
    for index, device in enumerate(devices):
        where = f"linux.devices[{index}]"
        if not device.get("path"):
            raise InvalidSpec(f"{where}.path", "must not be empty")
        without_null_bytes(f"{where}.path", device["path"])
        if device.get("type") not in ("c", "u", "b", "p"):
            raise InvalidSpec(f"{where}.type", f'invalid device type "{device.get("type", "")}"')
        for field, bits in (("major", 12), ("minor", 20)):  # MINORBITS, linux/kdev_t.h
            if device["type"] != "p" and not 0 <= device.get(field, 0) < 1 << bits:
                raise InvalidSpec(
                    f"{where}.{field}", f"{device[field]} is not in the range 0..{(1 << bits) - 1}"
                )


def _device_rules(rules: Iterable[Mapping[str, Any]]) -> None:
    for index, rule in enumerate(rules):
        where = f"linux.resources.devices[{index}]"
        access = rule.get("access", "")
        if (rule.get("type") or "a") not in ("a", "b", "c"):
            raise InvalidSpec(f"{where}.type", f'invalid cgroup device type "{rule["type"]}"')
        if not access:
            raise InvalidSpec(f"{where}.access", f"device access at {index} field cannot be empty")
        if access.strip("rwm"):
            raise InvalidSpec(f"{where}.access", f'"{access}" has letters other than r, w and m')


def _net_devices(devices: Mapping[str, NetDevice], spaces: Mapping[str, str], rootless: bool) -> None:
    if rootless:
        raise InvalidSpec("linux.netDevices", "network devices are not supported for rootless containers")
    if _is_host_network(spaces):
        raise InvalidSpec("linux.netDevices", "unable to move network devices without a NET namespace")
    targets = set()
    for name, device in devices.items():
        _net_device_name(f'linux.netDevices["{name}"]', name)
        target = device.get("name") or name
        where = f'linux.netDevices["{name}"].name'
        _net_device_name(where, target)
        if target.count("%") != target.count("%d") or target.count("%") > 1:
            raise InvalidSpec(where, f'invalid network device name "{target}": % is for one %d, which becomes a number')
        if target in targets and "%" not in target:
            raise InvalidSpec(where, f'another device is to be called "{target}" too')
        targets.add(target)


def _net_device_name(where: str, name: str) -> None:
    """What the kernel takes for one (dev_valid_name() in net/core/dev.c), which looks at bytes."""
    encoded = name.encode("utf-8", "surrogateescape")
    if not 0 < len(encoded) < _DEVICE_NAME_ROOM or encoded in (b".", b"..") or _NOT_IN_DEVICE_NAMES.intersection(encoded):
        raise InvalidSpec(
            where, f'invalid network device name "{name}": it has 1 to 15 bytes, is not . or .., and has no /, : or blank'
        )


def _intel_rdt(settings: IntelRdt) -> None:
    """What of it the processor and the kernel can do is asked later, of the resctrl file system (resctrl.py)."""
    group = settings.get("closID", "")
    if group in (".", "..") or "\0" in group or "\n" in group or (group != "/" and "/" in group):
        raise InvalidSpec("linux.intelRdt.closID", f'invalid intelRdt.ClosID "{group}"')
    if not (settings.get("memBwSchema") or "MB:").startswith("MB:"):
        raise InvalidSpec("linux.intelRdt.memBwSchema", 'must begin with "MB:"')
    lines = [("l3CacheSchema", settings.get("l3CacheSchema", "")), ("memBwSchema", settings.get("memBwSchema", ""))]
    lines += [(f"schemata[{index}]", line) for index, line in enumerate(settings.get("schemata", ()))]
    for member, line in lines:
        if "\n" in line or "\0" in line:
            raise InvalidSpec(f"linux.intelRdt.{member}", "must be one line")


def _propagation(word: str, no_pivot: bool) -> None:
    if word and word not in PROPAGATION:
        raise InvalidSpec("linux.rootfsPropagation", f"rootfsPropagation={word} is not supported")
    if no_pivot and word and PROPAGATION[word] & MS_PRIVATE:
        raise InvalidSpec(
            "linux.rootfsPropagation", "rootfsPropagation of [r]private is not safe without pivot_root"
        )


def memory_policy(policy: MemoryPolicy) -> tuple[int, int]:
    """The mode (with its flags) and the node mask that set_mempolicy(2) takes."""
    mode = policy.get("mode", "")
    if mode not in MEMORY_POLICIES:
        raise InvalidSpec("linux.memoryPolicy.mode", f'invalid memory policy mode "{mode}"')
    bits = MEMORY_POLICIES[mode]
    for index, flag in enumerate(policy.get("flags", ())):
        if flag not in MEMORY_POLICY_FLAGS:
            raise InvalidSpec(f"linux.memoryPolicy.flags[{index}]", f'invalid memory policy flag "{flag}"')
        bits |= MEMORY_POLICY_FLAGS[flag]
    return bits, _nodes(mode, policy.get("nodes", ""))


def _nodes(mode: str, text: str) -> int:
    try:
        nodes = bitlist.parse(text)
    except ValueError as error:
        raise InvalidSpec(
            "linux.memoryPolicy.nodes", f'invalid memory policy nodes "{text}": {error}'
        ) from None
    if mode in _WITHOUT_NODES and nodes:
        count = nodes.bit_count()
        raise InvalidSpec("linux.memoryPolicy.nodes", f"memory policy mode requires 0 nodes but got {count}{_REFUSED}")
    if not nodes and mode not in _WITHOUT_NODES + _MAY_HAVE_NODES:
        raise InvalidSpec(
            "linux.memoryPolicy.nodes", f"memory policy mode requires at least one node but got 0{_REFUSED}"
        )
    return nodes


def _seccomp(profile: Mapping[str, Any]) -> None:
    """Without a default action and system calls the section asks for nothing."""
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return
    _seccomp_head(profile)
    notify = False
    for index, rule in enumerate(profile.get("syscalls", ())):
        _seccomp_rule(f"linux.seccomp.syscalls[{index}]", rule)
        notify = notify or rule["action"] == "SCMP_ACT_NOTIFY"
    if notify and not profile.get("listenerPath"):
        raise InvalidSpec("linux.seccomp.listenerPath", "seccomp listenerPath is not set")


def _seccomp_head(profile: Mapping[str, Any]) -> None:
    default = profile.get("defaultAction", "")
    _one_of("linux.seccomp.defaultAction", default, SECCOMP_ACTIONS, "action")
    if default == "SCMP_ACT_NOTIFY":
        raise InvalidSpec("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    for index, name in enumerate(profile.get("architectures", ())):
        _one_of(f"linux.seccomp.architectures[{index}]", name, SECCOMP_ARCHITECTURES, "arch")
    for index, flag in enumerate(profile.get("flags", ())):
        if flag not in SECCOMP_FLAGS:
            raise InvalidSpec(f"linux.seccomp.flags[{index}]", f"seccomp flag {flag} is not known to runc")


def _seccomp_rule(where: str, rule: Mapping[str, Any]) -> None:
    action = rule.get("action", "")
    _one_of(f"{where}.action", action, SECCOMP_ACTIONS, "action")
    # The listener's descriptor is handed over with write(2): waiting for the agent there would never end.
    if action == "SCMP_ACT_NOTIFY" and "write" in rule.get("names", ()):
        raise InvalidSpec(f"{where}.names", "SCMP_ACT_NOTIFY cannot be used for the write syscall")
    for index, argument in enumerate(rule.get("args", ())):
        path = f"{where}.args[{index}]"
        _one_of(f"{path}.op", argument.get("op", ""), SECCOMP_OPERATORS, "operator")
        if argument.get("index", 0) >= _MAX_SYSCALL_ARGUMENTS:
            raise InvalidSpec(f"{path}.index", f"{argument['index']} is not in the range 0..5")


def _one_of(path: str, value: str, known: Iterable[str], what: str) -> None:
    if value not in known:
        raise InvalidSpec(path, f"string {value} is not a valid {what} for seccomp")
