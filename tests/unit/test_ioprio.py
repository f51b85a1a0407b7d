"""process.ioPriority."""

from __future__ import annotations

import ctypes
import os

import pytest

from libcontainer import ioprio
from libcontainer.errors import InvalidSpec


@pytest.mark.parametrize(
    ("name", "level", "number"),
    [("IOPRIO_CLASS_RT", 0, 0x2000), ("IOPRIO_CLASS_BE", 7, 0x4007), ("IOPRIO_CLASS_IDLE", None, 0x6000)],
)
def test_value(name: str, level: int | None, number: int) -> None:
    assert ioprio.value({"class": name, "priority": level}) == number


def test_the_kernel_takes_it() -> None:
    number = ioprio.value({"class": "IOPRIO_CLASS_BE", "priority": 6})
    ioprio_set, ioprio_get = {"x86_64": (251, 252), "aarch64": (30, 31)}[os.uname().machine]
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None)
        done = libc.syscall(ioprio_set, ioprio.WHO_PROCESS, 0, number) == 0
        os._exit(done and libc.syscall(ioprio_get, ioprio.WHO_PROCESS, 0) == number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "class"),
        ({"class": "IOPRIO_CLASS_NONE"}, "class"),
        ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "priority"),
        ({"class": "IOPRIO_CLASS_BE", "priority": -1}, "priority"),
    ],
)
def test_refused(given: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidSpec, match="invalid ioPriority") as caught:
        ioprio.value(given)
    assert caught.value.path == f"process.ioPriority.{path}"
