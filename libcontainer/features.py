"""What this runtime knows: the document of the features verb (runtime-spec features.md)."""

from __future__ import annotations

from libcontainer.saved_config import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
MEMORY_POLICY_MODES = (
    *("MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED"),
    *("MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"),
)
MEMORY_POLICY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")
# Annotations of a config that change more than the container; a trailing dot means "all that begin so".
UNSAFE_ANNOTATIONS = ("bundle", "org.systemd.property.", "org.criu.config")


def document(version: str, commit: str = "") -> dict[str, Any]:
    """The features of this runtime, of release `version` built from `commit`."""
    from libcontainer.mount_options import known_options

    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": list(HOOKS),
        "mountOptions": known_options(),
        "linux": _linux(),
        "annotations": _annotations(version, commit),
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _linux() -> dict[str, Any]:
    from libcontainer.capabilities import NAMES

    return {
        "namespaces": sorted(NAMESPACES),
        "capabilities": list(NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(),
        # Of these two the specification asks what was built, not what the host has switched on.
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": list(MEMORY_POLICY_MODES), "flags": list(MEMORY_POLICY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _seccomp() -> dict[str, Any]:
    from libcontainer import seccomp_compiler

    if libseccomp_version() is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(seccomp_compiler.ACTIONS),
        "operators": sorted(seccomp_compiler.OPERATORS),
        "archs": sorted(seccomp_compiler.known_architectures()),
        "knownFlags": sorted(seccomp_compiler.FLAGS),
        "supportedFlags": sorted(filter(seccomp_compiler.kernel_knows, seccomp_compiler.FLAGS)),
    }


def _annotations(version: str, commit: str) -> dict[str, str]:
    annotations = {
        "org.opencontainers.runc.version": version,
        "org.opencontainers.runc.commit": commit,
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    libseccomp = libseccomp_version()
    if libseccomp is not None:
        annotations["io.github.seccomp.libseccomp.version"] = libseccomp
    return annotations


def libseccomp_version() -> str | None:
    """The version of the libseccomp in use ("2.5.4"); None if there is none."""
    try:
        from nsexec._seccomp import lib
    except ImportError:
        return None
    version = lib.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"
