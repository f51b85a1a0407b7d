"""Capability names, masks, and what exec may add."""

from __future__ import annotations

import os

import pytest

from libcontainer import capabilities, syscalls
from libcontainer.errors import SyscallError

HEADER = "/usr/include/linux/capability.h"
ALL = (1 << 41) - 1
CHOWN, KILL, NET_RAW, SYS_ADMIN = 1 << 0, 1 << 5, 1 << 13, 1 << 21


def status_of_self(field: str) -> str:
    with open("/proc/thread-self/status", encoding="ascii") as f:
        return next(line.split()[1] for line in f if line.startswith(field + ":"))


@pytest.mark.skipif(not os.path.exists(HEADER), reason=f"no {HEADER}")
def test_the_table_is_the_kernels() -> None:
    with open(HEADER, encoding="utf-8") as f:
        words = [line.split() for line in f if line.startswith("#define CAP_")]
    numbers = {word[1]: int(word[2]) for word in words if len(word) == 3 and word[2].isdigit()}
    assert len(numbers) >= 41
    assert {name: number for number, name in enumerate(capabilities.NAMES)} == {
        name: number for name, number in numbers.items() if number < 41
    }


def test_each_set_has_its_own_mask() -> None:
    masks = capabilities.masks(
        {
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_ADMIN"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "ambient": None,
        },
        ALL,
    )
    assert masks.bounding == CHOWN | KILL | NET_RAW | SYS_ADMIN
    assert masks.effective == CHOWN | KILL
    assert masks.inheritable == NET_RAW
    assert masks.permitted == CHOWN | KILL | NET_RAW
    assert masks.ambient == 0
    assert masks.unknown == []
    assert masks.warning() == ""


def test_no_object_members_mean_empty_sets() -> None:
    masks = capabilities.masks({})
    assert (masks.bounding, masks.effective, masks.inheritable, masks.permitted, masks.ambient) == (
        0,
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize("name", ["chown", "cap_chown", "CHOWN", "CAP_CHOWNS", "", "CAP_41"])
def test_only_exact_names_count(name: str) -> None:
    masks = capabilities.masks({"bounding": [name, "CAP_KILL"]}, ALL)
    assert masks.bounding == KILL
    assert masks.unknown == [name]


def test_one_warning_names_each_ignored_capability_once_in_order() -> None:
    masks = capabilities.masks({"bounding": ["UNKNOWN", "CAP_BPF"], "permitted": ["CAP_BPF", "A"]}, CHOWN)
    assert masks.warning() == "ignoring unknown or unavailable capabilities: [A CAP_BPF UNKNOWN]"


def test_by_default_the_callers_bounding_set_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def prctl(option: int, number: int) -> int:
        assert option == 23
        return int(number != 5)

    monkeypatch.setattr(syscalls, "prctl", prctl)
    masks = capabilities.masks({"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"]})
    assert (masks.bounding, masks.effective, masks.unknown) == (CHOWN, 0, ["CAP_KILL"])


def test_capabilities_above_the_kernels_last_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def prctl(_option: int, number: int) -> int:
        if number > 37:
            raise SyscallError("prctl", 22)
        return 1

    monkeypatch.setattr(syscalls, "prctl", prctl)
    assert capabilities.last_cap() == 37
    assert capabilities.supported() == (1 << 38) - 1
    assert capabilities.bounding_set() == (1 << 38) - 1
    assert capabilities.masks({"bounding": ["CAP_CHOWN", "CAP_BPF"]}).unknown == ["CAP_BPF"]


def test_a_kernel_newer_than_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def prctl(_option: int, number: int) -> int:
        if number > 43:
            raise SyscallError("prctl", 22)
        return 1

    monkeypatch.setattr(syscalls, "prctl", prctl)
    assert capabilities.last_cap() == 43


def test_the_kernel_and_procfs_agree() -> None:
    assert capabilities.bounding_set() == int(status_of_self("CapBnd"), 16)
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as f:
        assert capabilities.last_cap() == int(f.read())


def test_exec_raises_bounding_effective_permitted() -> None:
    base = {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}
    assert capabilities.raise_exec(base, ["CAP_KILL", "CAP_CHOWN"]) == {
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
    }
    assert base["bounding"] == ["CAP_CHOWN"]


@pytest.mark.parametrize("inheritable", [[], ["CAP_KILL"]])
def test_exec_raises_ambient_only_beside_an_inheritable_set_and_never_that(inheritable: list[str]) -> None:
    raised = capabilities.raise_exec({"inheritable": inheritable}, ["CAP_NET_RAW"])
    assert raised["ambient"] == ["CAP_NET_RAW"]
    assert raised["inheritable"] == inheritable


def test_exec_leaves_ambient_alone_where_inheritable_is_null() -> None:
    raised = capabilities.raise_exec({"inheritable": None, "ambient": ["CAP_KILL"]}, ["CAP_NET_RAW"])
    assert raised["ambient"] == ["CAP_KILL"]
    assert "inheritable" not in raised
