"""What exec, kill and delete need from the `config` member of a state.json, written by runc or by us.

Everything comes back in the form of the OCI specification, so that one code serves init and exec. Each member
is converted when it is asked for: most commands want two or three.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from libcontainer.oci import (
        Capabilities,
        CPUAffinity,
        Hook,
        Hooks,
        IDMapping,
        IOPriority,
        MemoryPolicy,
        Namespace,
        Personality,
        Process,
        Rlimit,
        Scheduler,
        Seccomp,
        Syscall,
    )

# The specification's types and runc's (configs.NamespaceType).
NAMESPACES = {
    "pid": "NEWPID",
    "network": "NEWNET",
    "mount": "NEWNS",
    "ipc": "NEWIPC",
    "uts": "NEWUTS",
    "user": "NEWUSER",
    "cgroup": "NEWCGROUP",
    "time": "NEWTIME",
}
_NANOSECONDS = 1_000_000_000
_BUNDLE = "bundle"


class SavedConfig:
    """A view of `raw`, the config object. An absent member is None, or empty where that says the same."""

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    def _list(self, name: str) -> list[Any]:
        return self.raw.get(name) or []

    @property
    def rootfs(self) -> str:
        return str(self.raw.get("rootfs", ""))

    @property
    def namespaces(self) -> list[Namespace]:
        """In the order of the config; `path` is "" for those that the container made."""
        kinds = {name: kind for kind, name in NAMESPACES.items()}
        return [
            {"type": kinds[entry["type"]], "path": entry.get("path", "")}
            for entry in self._list("namespaces")
        ]

    def has_namespace(self, kind: str) -> bool:
        """Whether the config lists a namespace of this type, new or joined."""
        return any(entry["type"] == NAMESPACES[kind] for entry in self._list("namespaces"))

    def namespace_path(self, kind: str) -> str | None:
        """The path that was joined, "" if the namespace was made, None if the config has none."""
        for entry in self._list("namespaces"):
            if entry["type"] == NAMESPACES[kind]:
                return str(entry.get("path", ""))
        return None

    @property
    def capabilities(self) -> Capabilities | None:
        sets = self.raw.get("capabilities")
        if sets is None:
            return None
        names: Any = {name.lower(): value for name, value in sets.items() if value is not None}
        capabilities: Capabilities = names
        return capabilities

    @property
    def no_new_privileges(self) -> bool:
        return bool(self.raw.get("no_new_privileges"))

    @property
    def umask(self) -> int | None:
        return self.raw.get("umask")

    @property
    def oom_score_adj(self) -> int | None:
        return self.raw.get("oom_score_adj")

    @property
    def process_label(self) -> str:
        return self.raw.get("process_label") or ""

    @property
    def apparmor_profile(self) -> str:
        return self.raw.get("apparmor_profile") or ""

    @property
    def mount_label(self) -> str:
        return self.raw.get("mount_label") or ""

    @property
    def no_new_keyring(self) -> bool:
        return bool(self.raw.get("no_new_keyring"))

    @property
    def rootless_euid(self) -> bool:
        return bool(self.raw.get("rootless_euid"))

    @property
    def rootless_cgroups(self) -> bool:
        return bool(self.raw.get("rootless_cgroups"))

    @property
    def cgroup(self) -> dict[str, Any]:
        """runc's cgroup object with the resources in it."""
        return self.raw.get("cgroups") or {}

    @property
    def systemd(self) -> bool:
        return bool(self.cgroup.get("Systemd"))

    @property
    def uid_mappings(self) -> list[IDMapping]:
        return _id_mappings(self._list("uid_mappings"))

    @property
    def gid_mappings(self) -> list[IDMapping]:
        return _id_mappings(self._list("gid_mappings"))

    @property
    def annotations(self) -> dict[str, str]:
        labels = dict(label.split("=", 1) for label in self._list("labels") if "=" in label)
        labels.pop(_BUNDLE, None)
        return labels

    @property
    def bundle(self) -> str | None:
        found = [label for label in self._list("labels") if label.startswith(f"{_BUNDLE}=")]
        return found[-1].partition("=")[2] if found else None

    @property
    def rlimits(self) -> list[Rlimit]:
        from libcontainer.rlimits import NAMES

        return [
            {"type": NAMES[entry["type"]], "hard": entry["hard"], "soft": entry["soft"]}
            for entry in self._list("rlimits")
        ]

    @property
    def scheduler(self) -> Scheduler | None:
        return self.raw.get("scheduler")

    @property
    def cpuset(self) -> str:
        """The CPUs of the container, "" for all."""
        return str((self.raw.get("cgroups") or {}).get("cpuset_cpus") or "")

    @property
    def io_priority(self) -> IOPriority | None:
        return self.raw.get("io_priority")

    @property
    def exec_cpu_affinity(self) -> CPUAffinity | None:
        from libcontainer import bitlist

        saved = self.raw.get("exec_cpu_affinity")
        if not saved:
            return None
        lists: Any = {
            when.lower(): bitlist.render(bitlist.from_words(words)) for when, words in saved.items() if words
        }
        affinity: CPUAffinity = lists
        return affinity

    @property
    def personality(self) -> Personality | None:
        saved = self.raw.get("personality")
        if saved is None:
            return None
        from libcontainer.personality import DOMAINS

        number = saved.get("domain", 0)
        return {"domain": next(name for name, value in DOMAINS.items() if value == number)}

    @property
    def memory_policy(self) -> MemoryPolicy | None:
        saved = self.raw.get("memory_policy")
        return None if saved is None else _memory_policy(saved)

    @property
    def hooks(self) -> Hooks:
        saved = self.raw.get("Hooks") or {}
        named: Any = {name: [_hook(hook) for hook in hooks] for name, hooks in saved.items() if hooks}
        hooks: Hooks = named
        return hooks

    @property
    def seccomp(self) -> Seccomp | None:
        saved = self.raw.get("seccomp")
        return None if saved is None else _seccomp(saved)

    def exec_process(self, process: Process) -> Process:
        """`process` with what it leaves out and a process in this container has nevertheless.

        Umask, personality, memory policy, seccomp and the OOM score are no part of it: exec asks this object.
        """
        saved = {
            "capabilities": self.capabilities,
            "selinuxLabel": self.process_label or None,
            "apparmorProfile": self.apparmor_profile or None,
            "rlimits": self.rlimits or None,
            "ioPriority": self.io_priority,
            "scheduler": self.scheduler,
            "execCPUAffinity": self.exec_cpu_affinity,
        }
        given = {name: value for name, value in process.items() if value != "" or name not in saved}
        merged: Any = {**{name: value for name, value in saved.items() if value is not None}, **given}
        whole: Process = merged
        return whole


def _id_mappings(saved: Iterable[Mapping[str, int]]) -> list[IDMapping]:
    return [
        {"containerID": m.get("container_id", 0), "hostID": m.get("host_id", 0), "size": m.get("size", 0)}
        for m in saved
    ]


def _hook(saved: Mapping[str, Any]) -> Hook:
    hook: Hook = {"path": saved["path"]}
    if saved.get("args"):
        hook["args"] = saved["args"]
    if saved.get("env") is not None:
        hook["env"] = saved["env"]
    if saved.get("timeout") is not None:
        hook["timeout"] = saved["timeout"] // _NANOSECONDS
    return hook


def _memory_policy(saved: Mapping[str, Any]) -> MemoryPolicy:
    from libcontainer import bitlist
    from libcontainer.spec_linux import MEMORY_POLICIES, MEMORY_POLICY_FLAGS

    mode, flags = saved.get("mode", 0), saved.get("flags", 0)
    return {
        "mode": next(name for name, value in MEMORY_POLICIES.items() if value == mode),
        "flags": [name for name, value in MEMORY_POLICY_FLAGS.items() if flags & value],
        "nodes": bitlist.render(bitlist.from_words(saved.get("nodes") or [])),
    }


def _seccomp(saved: Mapping[str, Any]) -> Seccomp:
    from libcontainer.spec_linux import SECCOMP_ACTIONS, SECCOMP_ARCHITECTURES

    names = {short: name for name, short in SECCOMP_ARCHITECTURES.items()}
    profile: Seccomp = {
        "defaultAction": SECCOMP_ACTIONS[saved["default_action"] - 1],
        "architectures": [names[short] for short in saved.get("architectures") or ()],
        "syscalls": _syscalls(saved.get("syscalls") or ()),
    }
    if "flags" in saved:  # null: it was an empty list; runc before 1.2 does not know flags
        profile["flags"] = saved["flags"] or []
    if saved.get("default_errno_ret") is not None:
        profile["defaultErrnoRet"] = saved["default_errno_ret"]
    if saved.get("listener_path"):
        profile["listenerPath"] = saved["listener_path"]
    if saved.get("listener_metadata"):
        profile["listenerMetadata"] = saved["listener_metadata"]
    return profile


def _syscalls(saved: Iterable[Mapping[str, Any]]) -> list[Syscall]:
    """Neighbours that differ in nothing but the name are one rule again."""
    from libcontainer.spec_linux import SECCOMP_ACTIONS

    rules: list[Syscall] = []
    last = None
    for entry in saved:
        rest = (entry["action"], entry.get("errnoRet"), entry.get("args") or [])
        if rest == last:
            rules[-1]["names"].append(entry["name"])
            continue
        last = rest
        rule: Syscall = {"names": [entry["name"]], "action": SECCOMP_ACTIONS[entry["action"] - 1]}
        if rest[1] is not None:
            rule["errnoRet"] = rest[1]
        if rest[2]:
            rule["args"] = [_argument(argument) for argument in rest[2]]
        rules.append(rule)
    return rules


def _argument(saved: Mapping[str, int]) -> Any:
    from libcontainer.spec_linux import SECCOMP_OPERATORS

    return {
        "index": saved["index"],
        "value": saved["value"],
        "valueTwo": saved.get("value_two", 0),
        "op": SECCOMP_OPERATORS[saved["op"] - 1],
    }
