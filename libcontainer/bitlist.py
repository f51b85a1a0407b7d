"""Lists of CPUs and of memory nodes, cpuset(7) "List format" ("0-3,5"), as integers with one bit a member."""

from __future__ import annotations

HIGHEST = 65536
_WORD = 64


def parse(text: str) -> int:
    """The mask of "0-3, 5"; blanks and empty elements are allowed. Raises ValueError."""
    mask = 0
    for element in text.split(","):
        if element.strip():
            mask |= _range(element.strip())
    return mask


def _range(element: str) -> int:
    first, dash, last = element.partition("-")
    low = _number(first, element)
    high = _number(last, element) if dash else low
    if low > high:
        raise ValueError(f'invalid range "{element}"')
    return (1 << high + 1) - (1 << low)


def _number(digits: str, element: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'"{element}" is not a number or a range')
    digits = digits.lstrip("0") or "0"
    if len(digits) > len(str(HIGHEST)) or int(digits) > HIGHEST:
        raise ValueError(f'"{element}" is above {HIGHEST}')
    return int(digits)


def render(mask: int) -> str:
    """The shortest list of `mask`."""
    parts = []
    low = 0
    while mask >> low:
        low += _trailing_zeros(mask >> low)
        size = _trailing_zeros(~(mask >> low))
        parts.append(f"{low}-{low + size - 1}" if size > 1 else str(low))
        low += size
    return ",".join(parts)


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


def words(mask: int, at_least: int = 16) -> list[int]:
    """The mask as 64-bit words, lowest first: Go's unix.CPUSet, 1024 bits unless more are needed."""
    count = max(at_least, -(-mask.bit_length() // _WORD))
    return [mask >> _WORD * index & (1 << _WORD) - 1 for index in range(count)]


def from_words(array: list[int]) -> int:
    """The inverse of words()."""
    return sum(word << _WORD * index for index, word in enumerate(array))
