"""The shape of config.json: every field of runtime-spec 1.3 that concerns Linux, as data.

    str, bool       a string, true or false
    (low, high)     an integer in this range
    [node]          an array
    {"": node}      an object with free keys
    {name: node}    an object with these fields

The types are those of the specification's Go structures, which is what every engine writes: where its JSON
schema is narrower (fileMode up to 0777, say) the rule is left to whoever uses the field.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = Any

INT32 = (-(1 << 31), (1 << 31) - 1)
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT16 = (0, (1 << 16) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT64 = (0, (1 << 64) - 1)
# The last number is no id: setresuid(2) would leave the process with the one it has, which is root's.
ID = (0, (1 << 32) - 2)

STRINGS: Node = [str]
STRING_MAP: Node = {"": str}

ID_MAPPINGS: Node = [{"containerID": UINT32, "hostID": UINT32, "size": UINT32}]
MOUNT: Node = {
    "destination": str,
    "type": str,
    "source": str,
    "options": STRINGS,
    "uidMappings": ID_MAPPINGS,
    "gidMappings": ID_MAPPINGS,
}
HOOKS: Node = [{"path": str, "args": STRINGS, "env": STRINGS, "timeout": INT64}]
HOOK_NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

PROCESS: Node = {
    "terminal": bool,
    "consoleSize": {"height": UINT64, "width": UINT64},
    "user": {"uid": ID, "gid": ID, "umask": UINT32, "additionalGids": [ID], "username": str},
    "args": STRINGS,
    "commandLine": str,
    "env": STRINGS,
    "cwd": str,
    "capabilities": {
        "bounding": STRINGS,
        "effective": STRINGS,
        "inheritable": STRINGS,
        "permitted": STRINGS,
        "ambient": STRINGS,
    },
    "rlimits": [{"type": str, "hard": UINT64, "soft": UINT64}],
    "noNewPrivileges": bool,
    "apparmorProfile": str,
    "oomScoreAdj": INT64,
    "scheduler": {
        "policy": str,
        "nice": INT32,
        "priority": INT32,
        "flags": STRINGS,
        "runtime": UINT64,
        "deadline": UINT64,
        "period": UINT64,
    },
    "selinuxLabel": str,
    "ioPriority": {"class": str, "priority": INT64},
    "execCPUAffinity": {"initial": str, "final": str},
}

_BLOCK_WEIGHTS: Node = [{"major": INT64, "minor": INT64, "weight": UINT16, "leafWeight": UINT16}]
_BLOCK_RATES: Node = [{"major": INT64, "minor": INT64, "rate": UINT64}]

RESOURCES: Node = {
    "devices": [{"allow": bool, "type": str, "major": INT64, "minor": INT64, "access": str}],
    "memory": {
        "limit": INT64,
        "reservation": INT64,
        "swap": INT64,
        "kernel": INT64,
        "kernelTCP": INT64,
        "swappiness": UINT64,
        "disableOOMKiller": bool,
        "useHierarchy": bool,
        "checkBeforeUpdate": bool,
    },
    "cpu": {
        "shares": UINT64,
        "quota": INT64,
        "burst": UINT64,
        "period": UINT64,
        "realtimeRuntime": INT64,
        "realtimePeriod": UINT64,
        "cpus": str,
        "mems": str,
        "idle": INT64,
    },
    "pids": {"limit": INT64},
    "blockIO": {
        "weight": UINT16,
        "leafWeight": UINT16,
        "weightDevice": _BLOCK_WEIGHTS,
        "throttleReadBpsDevice": _BLOCK_RATES,
        "throttleWriteBpsDevice": _BLOCK_RATES,
        "throttleReadIOPSDevice": _BLOCK_RATES,
        "throttleWriteIOPSDevice": _BLOCK_RATES,
    },
    "hugepageLimits": [{"pageSize": str, "limit": UINT64}],
    "network": {"classID": UINT32, "priorities": [{"name": str, "priority": UINT32}]},
    "rdma": {"": {"hcaHandles": UINT32, "hcaObjects": UINT32}},
    "unified": STRING_MAP,
}

SECCOMP: Node = {
    "defaultAction": str,
    "defaultErrnoRet": UINT32,
    "architectures": STRINGS,
    "flags": STRINGS,
    "listenerPath": str,
    "listenerMetadata": str,
    "syscalls": [
        {
            "names": STRINGS,
            "action": str,
            "errnoRet": UINT32,
            "args": [{"index": UINT32, "value": UINT64, "valueTwo": UINT64, "op": str}],
        }
    ],
}

LINUX: Node = {
    "uidMappings": ID_MAPPINGS,
    "gidMappings": ID_MAPPINGS,
    "sysctl": STRING_MAP,
    "resources": RESOURCES,
    "cgroupsPath": str,
    "namespaces": [{"type": str, "path": str}],
    "devices": [
        {
            "path": str,
            "type": str,
            "major": INT64,
            "minor": INT64,
            "fileMode": UINT32,
            "uid": UINT32,
            "gid": UINT32,
        }
    ],
    "netDevices": {"": {"name": str}},
    "seccomp": SECCOMP,
    "rootfsPropagation": str,
    "maskedPaths": STRINGS,
    "readonlyPaths": STRINGS,
    "mountLabel": str,
    "intelRdt": {
        "closID": str,
        "schemata": STRINGS,
        "l3CacheSchema": str,
        "memBwSchema": str,
        "enableMonitoring": bool,
    },
    "personality": {"domain": str, "flags": STRINGS},
    "memoryPolicy": {"mode": str, "nodes": str, "flags": STRINGS},
    "timeOffsets": {"": {"secs": INT64, "nanosecs": UINT32}},
}

SPEC: Node = {
    "ociVersion": str,
    "process": PROCESS,
    "root": {"path": str, "readonly": bool},
    "hostname": str,
    "domainname": str,
    "mounts": [MOUNT],
    "hooks": dict.fromkeys(HOOK_NAMES, HOOKS),
    "annotations": STRING_MAP,
    "linux": LINUX,
}
