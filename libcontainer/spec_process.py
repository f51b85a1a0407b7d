"""What a process object, of config.json or of exec --process, must satisfy; runtime-spec, "Process".

A rule raises InvalidSpec with the JSON path. The texts are those that engines know from runc. Pure, but for
the question whether SELinux is there.
"""

from __future__ import annotations

import os

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from libcontainer.oci import IDMapping, Process


def validate_process(process: Process | None, *, rootless_euid: bool) -> None:
    """Check everything about `process` that does not depend on the container."""
    if not process:
        raise InvalidSpec("process", "process property must not be empty")
    _cwd(process)
    _args(process)
    _env(process.get("env", ()))
    _groups(process, rootless_euid)
    _rlimits(process)
    _scheduling(process)
    _labels(process)


def check_user(process: Process, uids: Sequence[IDMapping], gids: Sequence[IDMapping]) -> None:
    """The user must exist in the user namespace with these maps (none: no namespace, or unknown)."""
    user = process.get("user", {})
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    if uids and not is_mapped(uid, uids):
        raise InvalidSpec("process.user.uid", f"cannot setuid to unmapped uid {uid} in user namespace")
    if gids and not is_mapped(gid, gids):
        raise InvalidSpec("process.user.gid", f"cannot setgid to unmapped gid {gid} in user namespace")


def is_mapped(number: int, mappings: Sequence[IDMapping]) -> bool:
    """Whether the container's id `number` exists outside."""
    for mapping in mappings:
        first = mapping.get("containerID", 0)
        if first <= number < first + mapping.get("size", 0):
            return True
    return False


def without_null_bytes(path: str, *texts: str) -> None:
    """A NUL ends a string for the kernel: what follows it would silently be lost."""
    if "\0" in "".join(texts):
        raise InvalidSpec(path, "contains a null byte")


def _cwd(process: Process) -> None:
    cwd = process.get("cwd", "")
    if not cwd:
        raise InvalidSpec("process.cwd", "Cwd property must not be empty")
    if not cwd.startswith("/"):
        raise InvalidSpec("process.cwd", "Cwd must be an absolute path")
    without_null_bytes("process.cwd", cwd)


def _args(process: Process) -> None:
    args = process.get("args")
    if not args:
        raise InvalidSpec("process.args", "args must not be empty")
    without_null_bytes("process.args", *args)


def _env(env: Sequence[str]) -> None:
    for index, entry in enumerate(env):
        name, equals, _ = entry.partition("=")
        if not equals:
            raise _bad_env(index, "missing '='")
        if not name:
            raise _bad_env(index, "name cannot be empty")
        if "\0" in entry:
            raise _bad_env(index, r"contains nul byte (\x00)")


def _bad_env(index: int, reason: str) -> InvalidSpec:
    return InvalidSpec(f"process.env[{index}]", f"invalid environment variable: {reason}")


def _groups(process: Process, rootless_euid: bool) -> None:
    if rootless_euid and process.get("user", {}).get("additionalGids"):
        raise InvalidSpec(
            "process.user.additionalGids", "cannot set any additional groups in a rootless container"
        )


def _rlimits(process: Process) -> None:
    if not process.get("rlimits"):
        return
    from libcontainer import rlimits

    for index, (_, soft, hard) in enumerate(rlimits.parse(process["rlimits"])):
        if soft > hard:
            raise InvalidSpec(f"process.rlimits[{index}].soft", f"{soft} is above the hard limit {hard}")


def _scheduling(process: Process) -> None:
    """What the kernel's forms of these are made of is checked where they are made."""
    if "scheduler" in process:
        from libcontainer import scheduler

        scheduler.attr(process["scheduler"])
    if "ioPriority" in process:
        from libcontainer import ioprio

        ioprio.value(process["ioPriority"])
    if "execCPUAffinity" in process:
        from libcontainer import cpuset_list

        affinity = process["execCPUAffinity"]
        cpuset_list.parse(affinity.get("initial", ""), "process.execCPUAffinity.initial")
        cpuset_list.parse(affinity.get("final", ""), "process.execCPUAffinity.final")


def selinux_enabled() -> bool:
    """Whether the kernel has SELinux, and it is not switched off."""
    return os.path.exists("/sys/fs/selinux/enforce")


def _labels(process: Process) -> None:
    without_null_bytes("process.apparmorProfile", process.get("apparmorProfile", ""))
    label = process.get("selinuxLabel", "")
    without_null_bytes("process.selinuxLabel", label)
    if label and not selinux_enabled():
        raise InvalidSpec(
            "process.selinuxLabel",
            "selinux label is specified in config, but selinux is disabled or not supported",
        )
