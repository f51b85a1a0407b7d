"""CPU lists as sets, and as bitmaps for the kernel."""

from __future__ import annotations

import pytest

from libcontainer import cpuset_list
from libcontainer.errors import InvalidSpec


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", set()),
        ("0", {0}),
        ("0-3,5", {0, 1, 2, 3, 5}),
        (" 1 ,, 3-4,", {1, 3, 4}),
        ("65536", {65536}),
        ("2,2-2", {2}),
    ],
)
def test_parse(text: str, ids: set[int]) -> None:
    assert cpuset_list.parse(text) == ids


@pytest.mark.parametrize(
    "text", [" ", ",", "a", "3-1", "1-", "-1", "65537", "0-65537", "1_0", "+1", "\u0661", "1-2-3", "9" * 5000]
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        cpuset_list.parse(text, "process.execCPUAffinity.initial")
    assert caught.value.path == "process.execCPUAffinity.initial"


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        (set(), bytes(8)),
        ({0, 9}, b"\x01\x02" + bytes(6)),
        ({63}, bytes(7) + b"\x80"),
        ({64}, bytes(8) + b"\x01" + bytes(7)),
    ],
)
def test_mask(ids: set[int], mask: bytes) -> None:
    assert cpuset_list.mask(ids) == mask
