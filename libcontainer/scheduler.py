"""process.scheduler as the struct sched_attr of sched_setattr(2)."""

from __future__ import annotations

import struct

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/sched.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max (linux/sched/types.h)
SCHED_ATTR = struct.Struct("=IIQiIQQQII")
DEADLINE_FIELDS = ("runtime", "deadline", "period")
# In the order of the struct.
BITS = {"nice": 31, "priority": 31, "runtime": 64, "deadline": 64, "period": 64}


def attr(scheduler: Mapping[str, Any], path: str = "process.scheduler") -> bytes:
    """The struct; what the kernel would refuse without a word is refused with one."""
    policy = _policy(scheduler, path)
    values = {name: scheduler.get(name) or 0 for name in BITS}
    _check(scheduler["policy"], values, path)
    flags = _flags(scheduler.get("flags") or [], path)
    numbers = [values[name] for name in BITS]
    return SCHED_ATTR.pack(SCHED_ATTR.size, policy, flags, *numbers, 0, 0)


def _policy(scheduler: Mapping[str, Any], path: str) -> int:
    name = scheduler.get("policy")
    if not name:
        raise InvalidSpec(f"{path}.policy", "scheduler policy is required")
    if name not in POLICIES:
        known = ", ".join(POLICIES)
        raise InvalidSpec(f"{path}.policy", f"invalid scheduler policy: {name} (known: {known})")
    return POLICIES[name]


def _flags(names: list[str], path: str) -> int:
    flags = 0
    for index, name in enumerate(names):
        if name not in FLAGS:
            known = ", ".join(FLAGS)
            raise InvalidSpec(f"{path}.flags[{index}]", f"invalid scheduler flag: {name} (known: {known})")
        flags |= FLAGS[name]
    return flags


def _check(policy: str, values: Mapping[str, int], path: str) -> None:
    for name, bits in BITS.items():
        low = -(1 << bits) if name == "nice" else 0
        if not low <= values[name] < 1 << bits:
            raise InvalidSpec(f"{path}.{name}", f"{values[name]} is out of range")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= values["nice"] <= 19:
        reason = f"invalid scheduler.nice: {values['nice']} when scheduler.policy is {policy}"
        raise InvalidSpec(f"{path}.nice", reason)
    if values["priority"] and policy not in ("SCHED_FIFO", "SCHED_RR"):
        reason = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy"
        raise InvalidSpec(f"{path}.priority", reason)
    for name in DEADLINE_FIELDS:
        if values[name] and policy != "SCHED_DEADLINE":
            reason = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
            raise InvalidSpec(f"{path}.{name}", reason)
