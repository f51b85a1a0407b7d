"""What a process object (of config.json, or of exec --process) must satisfy; runtime-spec, "Process". Pure but for SELinux.

Each rule gets the process and raises InvalidSpec with the JSON path. The texts are those that engines know from runc.
"""

from __future__ import annotations

import os

from libcontainer import bitlist
from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from libcontainer.oci import Process

# asm-generic/resource.h
RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
# linux/sched.h
SCHED_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# linux/ioprio.h
IOPRIO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
NICEST, LEAST_NICE = 19, -20
LOWEST_IO_PRIORITY = 7


def validate_process(process: Process | None, *, rootless_euid: bool) -> None:
    """Check everything about `process` that does not depend on the container."""
    if not process:
        raise InvalidSpec("process", "process property must not be empty")
    _cwd(process)
    _args(process)
    _env(process.get("env", ()))
    _groups(process, rootless_euid)
    _rlimits(process.get("rlimits", ()))
    _scheduler(process.get("scheduler"))
    _io_priority(process.get("ioPriority"))
    _affinity(process.get("execCPUAffinity", {}))
    _labels(process)


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


def _rlimits(rlimits: Iterable[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for index, limit in enumerate(rlimits):
        name = limit.get("type", "")
        path = f"process.rlimits[{index}]"
        if name not in RLIMITS:
            raise InvalidSpec(f"{path}.type", f"wrong rlimit value: {name}")
        if name in seen:
            raise InvalidSpec(f"{path}.type", f"{name} is given twice")
        if limit.get("soft", 0) > limit.get("hard", 0):
            raise InvalidSpec(
                f"{path}.soft", f"{limit['soft']} is above the hard limit {limit.get('hard', 0)}"
            )
        seen.add(name)


def _scheduler(scheduler: Mapping[str, Any] | None) -> None:
    if scheduler is None:
        return
    policy = scheduler.get("policy", "")
    if not policy:
        raise InvalidSpec("process.scheduler.policy", "scheduler policy is required")
    if policy not in SCHED_POLICIES:
        raise InvalidSpec("process.scheduler.policy", f"invalid scheduler policy: {policy}")
    for index, flag in enumerate(scheduler.get("flags", ())):
        if flag not in SCHED_FLAGS:
            raise InvalidSpec(f"process.scheduler.flags[{index}]", f"invalid scheduler flag: {flag}")
    _scheduler_numbers(policy, scheduler)


def _scheduler_numbers(policy: str, scheduler: Mapping[str, Any]) -> None:
    nice = scheduler.get("nice", 0)
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not LEAST_NICE <= nice <= NICEST:
        raise InvalidSpec("process.scheduler.nice", f"invalid scheduler.nice: {nice}")
    if scheduler.get("priority") and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise InvalidSpec(
            "process.scheduler.priority",
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        )
    if policy != "SCHED_DEADLINE" and any(scheduler.get(name) for name in ("runtime", "deadline", "period")):
        raise InvalidSpec(
            "process.scheduler",
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        )


def _io_priority(priority: Mapping[str, Any] | None) -> None:
    if priority is None:
        return
    name = priority.get("class", "")
    if name not in IOPRIO_CLASSES:
        raise InvalidSpec("process.ioPriority.class", f"invalid ioPriority.Class: {name}")
    level = priority.get("priority", 0)
    if not 0 <= level <= LOWEST_IO_PRIORITY:
        raise InvalidSpec("process.ioPriority.priority", f"invalid ioPriority.Priority: {level}")


def _affinity(affinity: Mapping[str, Any]) -> None:
    for when, cpus in affinity.items():
        try:
            empty = cpus and not bitlist.parse(cpus)
        except ValueError as error:
            raise InvalidSpec(f"process.execCPUAffinity.{when}", f"invalid CPU list: {error}") from None
        if empty:
            raise InvalidSpec(f"process.execCPUAffinity.{when}", f'no CPUs found in "{cpus}"')


def _labels(process: Process) -> None:
    without_null_bytes("process.apparmorProfile", process.get("apparmorProfile", ""))
    label = process.get("selinuxLabel", "")
    without_null_bytes("process.selinuxLabel", label)
    if label and not os.path.exists("/sys/fs/selinux/enforce"):
        raise InvalidSpec(
            "process.selinuxLabel",
            "selinux label is specified in config, but selinux is disabled or not supported",
        )
