"""process.scheduler: checked against the kernel's own reading of the struct where no privilege is needed."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from libcontainer import scheduler
from libcontainer.errors import InvalidSpec


def test_layout() -> None:
    attr = scheduler.attr(
        {
            "policy": "SCHED_DEADLINE",
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"],
            "nice": -3,
            "runtime": 10,
            "deadline": 20,
            "period": 2**64 - 1,
        }
    )
    assert struct.unpack("=IIQiIQQQII", attr) == (56, 6, 5, -3, 0, 10, 20, 2**64 - 1, 0, 0)
    assert struct.unpack("=IIQiIQQQII", scheduler.attr({"policy": "SCHED_RR", "priority": 9}))[:5] == (
        56,
        2,
        0,
        0,
        9,
    )


@pytest.mark.parametrize(
    ("policy", "number"), [("SCHED_BATCH", os.SCHED_BATCH), ("SCHED_OTHER", os.SCHED_OTHER)]
)
def test_the_kernel_takes_it(policy: str, number: int) -> None:
    attr = scheduler.attr({"policy": policy, "nice": 5})
    syscall = {"x86_64": 314, "aarch64": 274}[os.uname().machine]
    pid = os.fork()
    if pid == 0:
        result = ctypes.CDLL(None).syscall(syscall, 0, attr, 0)
        os._exit(
            result == 0 and os.sched_getscheduler(0) == number and os.getpriority(os.PRIO_PROCESS, 0) == 5
        )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"policy": ""}, "policy", "scheduler policy is required"),
        ({}, "policy", "scheduler policy is required"),
        ({"policy": "SCHED_X"}, "policy", "invalid scheduler policy: SCHED_X"),
        (
            {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_RECLAIM", "X"]},
            "flags[1]",
            "invalid scheduler flag: X",
        ),
        (
            {"policy": "SCHED_OTHER", "nice": 20},
            "nice",
            "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER",
        ),
        ({"policy": "SCHED_BATCH", "nice": -21}, "nice", "invalid scheduler.nice: -21"),
        ({"policy": "SCHED_IDLE", "priority": 1}, "priority", "scheduler.priority can only be specified for"),
        ({"policy": "SCHED_RR", "runtime": 1}, "runtime", "scheduler runtime/deadline/period can only"),
        ({"policy": "SCHED_RR", "period": 1}, "period", "scheduler runtime/deadline/period can only"),
        ({"policy": "SCHED_DEADLINE", "deadline": 2**64}, "deadline", "18446744073709551616 is out of range"),
        ({"policy": "SCHED_RR", "priority": -1}, "priority", "-1 is out of range"),
        ({"policy": "SCHED_RR", "nice": 2**31}, "nice", "2147483648 is out of range"),
    ],
)
def test_refused(fields: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        scheduler.attr(fields)
    assert caught.value.path == f"process.scheduler.{path}"
    assert caught.value.reason.startswith(reason)


def test_nice_of_other_policies_is_the_kernels_matter() -> None:
    assert len(scheduler.attr({"policy": "SCHED_IDLE", "nice": 100})) == 56
