"""Lists of CPUs or memory nodes as the kernel writes them: "0-3,5" (cpuset(7), "List format")."""

from __future__ import annotations

import sys

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

MAX_ID = 65536
LONG = 8  # sizeof(unsigned long)


def parse(text: str, path: str = "") -> set[int]:
    """The ids in a list; blanks around elements and empty elements are allowed, a list of nothing else is not.

    The empty string is the empty set: "not given". `path` is the JSON path for the error.
    """
    ids: set[int] = set()
    for element in text.split(","):
        element = element.strip()
        if element:
            ids |= _range(element, path)
    if text and not ids:
        raise InvalidSpec(path, f"no ids found in {text!r}")
    return ids


def _range(element: str, path: str) -> set[int]:
    first, dash, last = element.partition("-")
    start = _id(first, element, path)
    end = _id(last, element, path) if dash else start
    if start > end:
        raise InvalidSpec(path, f"invalid range: {element}")
    return set(range(start, end + 1))


def _id(digits: str, element: str, path: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidSpec(path, f"invalid element {element!r}: want a number or a range like 0-3")
    if len(digits.lstrip("0")) > len(str(MAX_ID)) or int(digits) > MAX_ID:
        raise InvalidSpec(path, f"values larger than {MAX_ID} are not supported: {element}")
    return int(digits)


def mask(ids: Set[int]) -> bytes:
    """The bitmap for set_mempolicy(2): whole longs."""
    bits = sum(1 << number for number in ids)
    longs = bits.bit_length() // (8 * LONG) + 1
    return bits.to_bytes(longs * LONG, sys.byteorder)
