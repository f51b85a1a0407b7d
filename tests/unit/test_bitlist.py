"""Lists of CPUs and memory nodes."""

from __future__ import annotations

import pytest

from libcontainer import bitlist


@pytest.mark.parametrize(
    ("text", "mask"),
    [("", 0), ("0", 1), ("0-3,5", 0b101111), (" 1 ,, 3-3 ,", 0b1010), ("63-64", 3 << 63), ("007", 1 << 7)],
)
def test_parse(text: str, mask: int) -> None:
    assert bitlist.parse(text) == mask


@pytest.mark.parametrize("text", ["a", "3-1", "1-", "-1", "0x1", "1-2-3", "65537", "٣", "9" * 5000, "1;2"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|range|above"):
        bitlist.parse(text)


def test_the_highest_number() -> None:
    assert bitlist.parse("65536") == 1 << 65536


@pytest.mark.parametrize(
    ("mask", "text"), [(0, ""), (1, "0"), (0b101111, "0-3,5"), (1 << 70, "70"), (3, "0-1")]
)
def test_render(mask: int, text: str) -> None:
    assert bitlist.render(mask) == text


def test_words_are_those_of_a_cpu_set() -> None:
    assert bitlist.words(0b101) == [5] + [0] * 15
    assert bitlist.words(1 << 1024) == [0] * 16 + [1]
    assert bitlist.from_words([1, 2]) == 1 | 2 << 64
