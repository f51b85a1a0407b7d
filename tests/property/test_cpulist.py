"""CPU lists: reading what was written gives the set back, however it is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import cpuset_list
from libcontainer.errors import InvalidSpec

RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), min_size=1, max_size=8)


@given(RANGES, st.lists(st.sampled_from(["", " ", "\t"]), min_size=2, max_size=2))
def test_round_trip(ranges: list[tuple[int, int]], blanks: list[str]) -> None:
    elements = [f"{low}-{low + extra}" if extra else str(low) for low, extra in ranges]
    text = ",".join(blanks[0] + element + blanks[1] for element in elements)
    assert cpuset_list.parse(text) == {i for low, extra in ranges for i in range(low, low + extra + 1)}


@given(st.sets(st.integers(0, 1000)))
def test_mask_has_the_bits_and_no_others(ids: set[int]) -> None:
    mask = cpuset_list.mask(ids)
    assert len(mask) % 8 == 0
    assert {i for i in range(len(mask) * 8) if mask[i // 8] >> i % 8 & 1} == ids


@given(st.text(alphabet="0123456789-, x", max_size=12))
def test_any_text_is_a_set_or_refused(text: str) -> None:
    try:
        ids = cpuset_list.parse(text, "p")
    except InvalidSpec as err:
        assert err.path == "p"
    else:
        assert all(0 <= i <= 65536 for i in ids)
        assert bool(ids) == bool(text)
