"""Conversions between the units of cgroup v1 and v2 keep order and range."""

from __future__ import annotations

import os.path

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.cgroups import inside
from libcontainer.cgroups.files import clean
from libcontainer.cgroups.resources import cpu_weight, io_weight, swap_max
from libcontainer.errors import Error

PATHS = st.text(alphabet="ab./", max_size=20)


@given(st.integers(1, 300000), st.integers(1, 300000))
def test_cpu_weight_is_monotonic_and_in_range(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= cpu_weight(low) <= cpu_weight(high) <= 10000


@given(st.integers(10, 1000), st.integers(10, 1000))
def test_io_weight_is_monotonic_and_in_range(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= io_weight(low) <= io_weight(high) <= 10000


@given(st.integers(1, 2**62), st.integers(1, 2**62))
def test_swap_adds_up(limit: int, swap: int) -> None:
    try:
        alone = swap_max(limit, swap)
    except Error:
        assert swap < limit
    else:
        assert limit + alone == swap


@given(PATHS)
def test_clean_neither_climbs_nor_changes_twice(path: str) -> None:
    cleaned = clean(path)
    assert clean(cleaned) == cleaned
    assert ".." not in cleaned.split("/")
    assert cleaned.startswith("/") == path.startswith("/")


@given(PATHS)
def test_inside_is_inside(sub: str) -> None:
    try:
        path = inside("/base/a", sub)
    except Error:
        assert os.path.relpath(os.path.normpath(f"/base/a/{sub}"), "/base/a").startswith("..")
    else:
        assert os.path.commonpath([path, "/base/a"]) == "/base/a"
