"""Lists of CPUs and of memory nodes in the two forms that system calls want: a set of ids, a bitmap in bytes."""

from __future__ import annotations

import sys

from libcontainer import bitlist
from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LONG = 8  # sizeof(unsigned long)


def parse(text: str, path: str = "") -> set[int]:
    """The ids of a list like "0-3, 5", for sched_setaffinity(2). "" is "not given": the empty set.

    `path` is the JSON path for the error.
    """
    try:
        bits = bitlist.parse(text)
    except ValueError as err:
        raise InvalidSpec(path, str(err)) from None
    if text and not bits:
        raise InvalidSpec(path, f'no CPUs found in "{text}"')
    return {number for number in range(bits.bit_length()) if bits >> number & 1}


def mask(ids: Iterable[int]) -> bytes:
    """The bitmap for set_mempolicy(2): whole longs, at least one."""
    bits = sum(1 << number for number in set(ids))
    longs = max(1, -(-bits.bit_length() // (8 * LONG)))
    return bits.to_bytes(longs * LONG, sys.byteorder)
