"""Lists, masks and words say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import bitlist

NUMBERS = st.sets(st.integers(0, 2000))


def mask_of(numbers: set[int]) -> int:
    return sum(1 << number for number in numbers)


@given(NUMBERS)
def test_any_order_reads_the_same(numbers: set[int]) -> None:
    assert bitlist.parse(",".join(map(str, numbers))) == mask_of(numbers)


@given(NUMBERS)
def test_render_is_read_back_and_is_shortest(numbers: set[int]) -> None:
    text = bitlist.render(mask_of(numbers))
    assert bitlist.parse(text) == mask_of(numbers)
    runs = sum(number - 1 not in numbers for number in numbers)
    assert len(text.split(",") if text else []) == runs


@given(NUMBERS)
def test_words(numbers: set[int]) -> None:
    words = bitlist.words(mask_of(numbers))
    assert len(words) >= 16
    assert {i for i in range(64 * len(words)) if words[i // 64] >> i % 64 & 1} == numbers
    assert bitlist.from_words(words) == mask_of(numbers)
