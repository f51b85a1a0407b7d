"""protobuf's wire format: what its library has written is read as it reads it, and any bytes are decoded or refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcontainer.criu import wire

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
numbers = st.integers(1, (1 << 29) - 1)
words = st.integers(0, (1 << 64) - 1)
values = st.one_of(
    st.tuples(st.just(VARINT), words),
    st.tuples(st.just(BYTES), st.binary(max_size=40)),
    st.tuples(st.just(FIXED64), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(FIXED32), st.binary(min_size=4, max_size=4)),
)


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def encode(number: int, kind: int, value: Any) -> bytes:
    body = varint(value) if kind == VARINT else value
    return varint(number << 3 | kind) + (varint(len(value)) if kind == BYTES else b"") + body


@given(st.lists(st.tuples(numbers, values), max_size=8))
def test_what_was_written(fields: list[tuple[int, tuple[int, Any]]]) -> None:
    message = b"".join(encode(number, kind, value) for number, (kind, value) in fields)
    assert list(wire.fields(message)) == [(number, value) for number, (_, value) in fields]


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_within_their_length_or_refused(message: bytes) -> None:
    size = 0
    try:
        for number, value in wire.fields(message):
            assert 0 <= number < 1 << 61
            size += 1 + (len(value) if isinstance(value, bytes) else 1)
            assert isinstance(value, bytes) or 0 <= value < 1 << 64
    except ValueError:
        return
    assert size <= len(message)


@given(st.lists(st.tuples(numbers, values), min_size=1, max_size=4), st.data())
def test_what_is_cut_off_is_no_more_than_a_beginning(fields: list[tuple[int, tuple[int, Any]]], data: st.DataObject) -> None:
    message = b"".join(encode(number, kind, value) for number, (kind, value) in fields)
    cut = data.draw(st.integers(0, len(message) - 1))
    expected = [(number, value) for number, (_, value) in fields]
    found: list[tuple[int, int | bytes]] = []
    try:
        found.extend(wire.fields(message[:cut]))
    except ValueError as err:
        assert str(err) == "it is cut off"
    assert found == expected[: len(found)]
    assert len(found) < len(expected)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\x08" + b"\xff" * 10 + b"\x01", "a number is too long"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0a" + varint((1 << 64) - 1), "it is cut off"),
        (b"\x09" + struct.pack("<I", 1), "it is cut off"),
    ],
)
def test_what_is_none(message: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(wire.fields(message))
