"""Id maps: the text form loses nothing, and the two lookups are inverse for every map that is valid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcontainer import user_ns
from libcontainer.errors import InvalidSpec

MAPPING = st.fixed_dictionaries(
    {"containerID": st.integers(0, 60), "hostID": st.integers(0, 60), "size": st.integers(1, 12)}
)
MAPS = st.lists(MAPPING, max_size=6)


@given(
    st.lists(
        st.fixed_dictionaries(dict.fromkeys(("containerID", "hostID", "size"), st.integers(0, 2**32 - 1)))
    )
)
def test_text_round_trip(maps: list[dict[str, int]]) -> None:
    assert user_ns.parse_map(user_ns.map_lines(maps).decode()) == maps


def pairs(maps: list[dict[str, int]]) -> list[tuple[int, int]]:
    return [(m["containerID"] + i, m["hostID"] + i) for m in maps for i in range(m["size"])]


@given(MAPS)
def test_valid_maps_are_one_to_one(maps: list[dict[str, int]]) -> None:
    ids = pairs(maps)
    if len({inside for inside, _ in ids}) == len({outside for _, outside in ids}) == len(ids):
        user_ns.validate(maps, "m")
        for inside, outside in ids:
            assert user_ns.host_id(maps, inside) == outside
            assert user_ns.container_id(maps, outside) == inside
    else:
        with pytest.raises(InvalidSpec, match="overlaps"):
            user_ns.validate(maps, "m")


@given(MAPS, st.integers(0, 80))
def test_unmapped_is_none(maps: list[dict[str, int]], number: int) -> None:
    assert (user_ns.host_id(maps, number) is None) == (number not in dict(pairs(maps)))
