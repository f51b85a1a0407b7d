"""A member of config.json that is absent, null or empty is what Go's decoder makes of it: zero, or an error in words."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer import config, spec
from libcontainer.cgroups import devices, resources, systemd_properties
from libcontainer.errors import Error
from libcontainer.plan import Plan
from libcontainer.spec_schema import HOOK_NAMES

Step = str | int
MAPPINGS = [{"containerID": 0, "hostID": 1000, "size": 65536}]
RATES = [{"major": 8, "minor": 16, "rate": 1000}]
HOOK = {"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}
RESOURCES: dict[str, Any] = {
    "devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
    "memory": {"limit": 1 << 27, "reservation": 1 << 26, "swap": 1 << 28, "swappiness": 5, "disableOOMKiller": True},
    "cpu": {"shares": 512, "quota": 5000, "burst": 10, "period": 10000, "cpus": "0", "mems": "0", "idle": 1},
    "pids": {"limit": 9},
    "blockIO": {
        "weight": 100,
        "leafWeight": 100,
        "weightDevice": [{"major": 8, "minor": 16, "weight": 100, "leafWeight": 100}],
        **{f"throttle{name}Device": RATES for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")},
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 22}],
    "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
    "unified": {"memory.high": "1073741824"},
}
SPEC: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "hostname": "host",
    "domainname": "domain",
    "annotations": {"a": "b"},
    "root": {"path": "rootfs", "readonly": True},
    "hooks": {name: [HOOK] for name in HOOK_NAMES},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {
            "destination": "/mnt", "type": "bind", "source": "/", "options": ["rbind", "idmap"],
            "uidMappings": MAPPINGS, "gidMappings": MAPPINGS,
        },
    ],
    "process": {
        "terminal": False,
        "consoleSize": {"height": 3, "width": 4},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {name: ["CAP_KILL"] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_OTHER", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0"},
    },
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")],
        "uidMappings": MAPPINGS,
        "gidMappings": MAPPINGS,
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "cgroupsPath": "/x",
        "rootfsPropagation": "rprivate",
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 1, "gid": 2}],
        "netDevices": {"eth9": {"name": "eth0"}},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "",
        "personality": {"domain": "LINUX", "flags": []},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "intelRdt": {"closID": "guaranteed", "schemata": ["L3:0=7f0"], "l3CacheSchema": "L3:0=7f0", "memBwSchema": "MB:0=70"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
        "resources": RESOURCES,
    },
}


def places(document: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for step, inner in members:
        yield (*path, step)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, step))


PLACES = list(places(SPEC))


def without(path: tuple[Step, ...]) -> Any:
    document = copy.deepcopy(SPEC)
    parent: Any = document
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return document


def emptied(path: tuple[Step, ...]) -> Any:
    document = copy.deepcopy(SPEC)
    parent: Any = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = type(parent[path[-1]])()
    return document


def take(document: Any, bundle: Path) -> None:
    """All that is decided about a config before the first system call of a create."""
    read: Any = spec.normalize(document)
    spec.validate(read, rootless_euid=False, rootless_cgroups=False, bundle=str(bundle))
    Plan("id", read, str(bundle), passed_fds=3)
    config.to_runc(
        read,
        id="id", bundle=str(bundle), rootfs=str(bundle / "rootfs"), no_pivot=False, no_new_keyring=False,
        rootless_euid=False, rootless_cgroups=False, cgroup={}, systemd=False,
    )
    limits: Any = read.get("linux", {}).get("resources", {})
    devices.evaluate(devices.with_defaults(limits.get("devices", [])))
    for _name, plan in (*resources.V1, *resources.V2):
        if plan:
            plan(limits, resources.Imagined())
    systemd_properties.for_v1(limits)
    systemd_properties.for_v2(limits, lambda _text: None)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def test_the_whole_is_taken(bundle: Path) -> None:
    take(SPEC, bundle)


@pytest.mark.parametrize("change", [without, emptied])
def test_what_is_absent_or_empty_stumbles_over_nothing(change: Any, bundle: Path) -> None:
    assert len(PLACES) > 200
    for path in PLACES:
        try:
            take(change(path), bundle)
        except Error as error:
            assert str(error), path
        except Exception as error:
            raise AssertionError(f"{change.__name__} {path}: {error!r}") from error
