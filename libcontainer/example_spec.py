"""The config.json that `spec` writes: a shell in `rootfs`, for root or for a user without privileges."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.oci import Capabilities, IDMapping, Linux, Mount, Namespace, Process, Resources, Spec

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)
_HOST_SYS = ("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")


def example(rootless: bool) -> Spec:
    """The example for this host: with a cgroup namespace where cgroup v2 makes it useful."""
    return {
        "ociVersion": "1.3.0",
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": _rootless_mounts() if rootless else [_mount(*row) for row in _MOUNTS],
        "linux": _rootless_linux() if rootless else _linux(),
    }


def _process() -> Process:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": _capabilities(),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _capabilities() -> Capabilities:
    names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {"bounding": names, "effective": names, "permitted": names}


def _mount(destination: str, kind: str, source: str, options: str) -> Mount:
    mount: Mount = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = options.split()
    return mount


def _rootless_mounts() -> list[Mount]:
    """Without privileges there is no sysfs of somebody's network namespace, and no id that is not mapped."""
    mounts = [_mount(*(_HOST_SYS if row[0] == "/sys" else row)) for row in _MOUNTS]
    for mount in mounts:
        if "options" in mount:
            mount["options"] = [word for word in mount["options"] if not word.startswith(("uid=", "gid="))]
    return mounts


def _linux() -> Linux:
    resources: Resources = {"devices": [{"allow": False, "access": "rwm"}]}
    spaces = _namespaces("pid", "network", "ipc", "uts", "mount")
    return {"resources": resources, "namespaces": spaces, **_paths()}


def _rootless_linux() -> Linux:
    return {
        "uidMappings": _only(os.geteuid()),
        "gidMappings": _only(os.getegid()),
        "namespaces": [*_namespaces("pid", "ipc", "uts", "mount"), {"type": "user"}],
        **_paths(),
    }


def _paths() -> Linux:
    return {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READONLY)}


def _only(host_id: int) -> list[IDMapping]:
    return [{"containerID": 0, "hostID": host_id, "size": 1}]


def _namespaces(*kinds: str) -> list[Namespace]:
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # cgroup v2
        kinds = (*kinds, "cgroup")
    return [{"type": kind} for kind in kinds]
