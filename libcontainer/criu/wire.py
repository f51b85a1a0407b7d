"""The wire format of protobuf, and of CRIU's image files, for the few fields that are read without its library. Pure.

Where a message comes from is not known here: whatever its bytes are, it is decoded within their length, or ValueError.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

IMG_COMMON = 0x54564319  # criu/include/magic.h
LARGEST_ENTRY = 1 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST = 10  # bytes of a number
_WORD = (1 << 64) - 1


def entries(data: bytes, *magics: int) -> Iterator[bytes]:
    """The messages in an image file that begins with these numbers: IMG_COMMON, but in the inventory, and that of its kind."""
    head = struct.pack(f"<{len(magics)}I", *magics)
    if not data.startswith(head):
        raise ValueError("it does not begin as such an image does")
    at = len(head)
    while at < len(data):
        (size,) = struct.unpack_from("<I", data.ljust(at + 4), at)
        at += 4
        if size > LARGEST_ENTRY or at + size > len(data):
            raise ValueError("it is cut off")
        yield data[at : at + size]
        at += size


def file(messages: Iterable[bytes], *magics: int) -> bytes:
    """The image file of these messages: what entries() reads."""
    return struct.pack(f"<{len(magics)}I", *magics) + b"".join(struct.pack("<I", len(each)) + each for each in messages)


def replaced(message: bytes, number: int, value: int) -> bytes:
    """With another value of a field; both less than 16, which is all that is needed.

    Of a field that is there twice the last one counts: protobuf.dev/programming-guides/encoding, "Last One Wins".
    """
    assert 0 < number < 16
    assert 0 <= value < 16
    return message + bytes([number << 3 | _VARINT, value])


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size, at = _size(kind, message, at)
        if at + size > len(message):
            raise ValueError("it is cut off")
        yield tag >> 3, message[at : at + size]
        at += size


def _size(kind: int, message: bytes, at: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, at)
    if kind in _FIXED:
        return _FIXED[kind], at
    raise ValueError(f"a field has the unknown wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST):
        if at >= len(message):
            raise ValueError("it is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value & _WORD, at
    raise ValueError("a number is too long")
