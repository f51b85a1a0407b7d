"""The cgroup2 mount, and what takes its place where the kernel refuses it."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from libcontainer import cgroup_mounts, sysnr
from libcontainer.mount_options import MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_NOSUID, MS_RDONLY
from libcontainer.plan import Plan
from libcontainer.remote import Batch, Channel, StepError
from libcontainer.steps import Step
from tests.unit.test_remote import Decoded, decoded

NOBODY: Any = None
OWN = "/sys/fs/cgroup/user/c"


def step(*namespaces: str, rootless: bool = True) -> Step:
    """The step for a mount of type cgroup, of a container with these namespaces on a v2 host."""
    document: dict[str, Any] = {
        "root": {"path": "r"},
        "process": {"args": ["x"], "cwd": "/"},
        "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", *namespaces)]},
    }
    plan = Plan("id", document, "/bundle", passed_fds=3, rootless_euid=rootless, rootless_cgroups=rootless)
    plan.cgroup_version, plan.cgroup_paths = 2, {"": OWN}
    (made,) = cgroup_mounts.steps(plan, plan.mounts[0])
    return made


def emitted(made: Step) -> Decoded:
    batch = Batch()
    made.emit(batch)
    return decoded(batch)


def refused(made: Step, call: str, error: int) -> bool:
    """Whether the step is worth another try after that error."""
    assert made.repair is not None
    return made.repair(cast("Channel", NOBODY), StepError(call, error, None, 0))


def mounted(made: Step) -> tuple[bytes, int]:
    """File system and flags of the mount(2) that it makes."""
    calls = emitted(made)
    (index,) = [i for i, call in enumerate(calls.calls) if call[4] == sysnr.MOUNT]
    _, _, fstype, flags, *_ = calls.arguments(index)
    return calls.text(fstype), flags


def bound(made: Step) -> tuple[bytes, int]:
    """Source and attributes of the bind mount that it makes."""
    calls = emitted(made)
    numbers = [call[4] for call in calls.calls]
    source = calls.text(calls.arguments(numbers.index(sysnr.OPEN_TREE))[1])
    attributes = calls.arguments(numbers.index(sysnr.MOUNT_SETATTR))[3]
    return source, int.from_bytes(calls.payload[attributes & 0xFFFFFFFF :][:8], "little")


def test_first_a_new_one() -> None:
    assert mounted(step("user", "cgroup")) == (b"cgroup2", MS_RDONLY | MS_NOSUID)


@pytest.mark.parametrize(
    ("namespaces", "source"), [(("user",), b"/sys/fs/cgroup"), (("user", "cgroup"), OWN.encode())]
)
@pytest.mark.parametrize("error", [errno.EPERM, errno.EBUSY])
def test_then_what_is_there_already(namespaces: tuple[str, ...], source: bytes, error: int) -> None:
    """As read-only as the mount was to be (CVE-2023-25809)."""
    made = step(*namespaces)
    assert refused(made, "mount", error)
    assert bound(made) == (source, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)
    assert not refused(made, "move_mount", error)


def test_then_nothing() -> None:
    """A rootless container has no cgroup at times: what the image or a mount of /sys has there must not show."""
    made = step("user", "cgroup")
    assert refused(made, "mount", errno.EPERM)
    assert refused(made, "open_tree", errno.ENOENT)
    assert mounted(made) == (b"tmpfs", MS_RDONLY | MS_NOSUID)
    assert not refused(made, "mount", errno.ENOENT)


def test_what_is_an_error() -> None:
    assert not refused(step(), "mount", errno.EINVAL)
    made = step("user", "cgroup", rootless=False)
    assert refused(made, "mount", errno.EPERM)
    assert not refused(made, "open_tree", errno.ENOENT)
