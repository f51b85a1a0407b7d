"""Netlink messages: what is written is read, and whatever is read ends."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcontainer import netlink
from libcontainer.errors import Error

KINDS = st.integers(0, netlink.NLA_TYPE_MASK)
VALUES = st.binary(max_size=40)
ATTRIBUTES = st.dictionaries(KINDS, VALUES, max_size=6)
NUMBERS = st.integers(0, (1 << 32) - 1)
HEADS = st.tuples(st.integers(0, 65535), st.integers(0, 65535), NUMBERS)


def encoded(attributes: dict[int, bytes]) -> bytes:
    return b"".join(netlink.attribute(kind, value) for kind, value in attributes.items())


@given(ATTRIBUTES)
def test_attributes(attributes: dict[int, bytes]) -> None:
    data = encoded(attributes)
    assert len(data) % 4 == 0
    assert netlink.attributes(data) == attributes
    assert list(netlink.attributes(data)) == list(attributes)


@given(KINDS, VALUES, st.sampled_from([0x8000, 0x4000, 0xC000]))
def test_the_flags_of_a_kind_are_none_of_it(kind: int, value: bytes, flags: int) -> None:
    assert netlink.attributes(netlink.attribute(kind | flags, value)) == {kind: value}


@given(ATTRIBUTES, st.dictionaries(KINDS, st.one_of(st.none(), VALUES, NUMBERS), max_size=4))
def test_edited(attributes: dict[int, bytes], changes: dict[int, bytes | int | None]) -> None:
    """The others stay as and where they are; nothing is added."""
    changes = {**changes, **dict.fromkeys(list(attributes)[::2])}
    wanted = {
        kind: struct.pack("=I", value) if isinstance(value, int) else value
        for kind, value in ((kind, changes.get(kind, value)) for kind, value in attributes.items())
        if value is not None
    }
    found = netlink.attributes(netlink.edited(encoded(attributes), changes))
    assert found == wanted
    assert list(found) == list(wanted)


@given(NUMBERS, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=15))
def test_numbers_and_strings(number: int, text: str) -> None:
    found = netlink.attributes(netlink.attribute(1, number) + netlink.attribute(2, text))
    assert found == {1: struct.pack("=I", number), 2: text.encode() + b"\0"}


@given(st.lists(st.tuples(HEADS, VALUES), max_size=5))
def test_messages(sent: list[tuple[tuple[int, int, int], bytes]]) -> None:
    data = b"".join(netlink.message(*head, body) for head, body in sent)
    assert list(netlink.messages(data)) == [(kind, flags, (sequence, 0), body) for (kind, flags, sequence), body in sent]


@given(st.binary(max_size=100))
def test_anything_is_read_to_its_end_or_refused(data: bytes) -> None:
    for read in (lambda: list(netlink.messages(data)), lambda: netlink.attributes(data)):
        try:
            read()
        except Error as error:
            assert str(error) == "malformed netlink message"


@given(HEADS, st.binary(min_size=1, max_size=40), st.data())
def test_a_message_that_is_cut_off_is_refused(head: tuple[int, int, int], body: bytes, data: st.DataObject) -> None:
    whole = netlink.message(*head, body)
    with pytest.raises(Error, match="^malformed netlink message$"):
        list(netlink.messages(whole[: data.draw(st.integers(16, 15 + len(body)))]))


# -- the kernel's


def everything_of(link: netlink.Netlink) -> tuple[list[bytes], list[tuple[int, str]]]:
    """All links, and their names, of a moment in which nobody makes or removes one."""
    while True:
        names = socket.if_nameindex()
        everything = list(link.dump(netlink.RTM_GETLINK, bytes(16)))
        if socket.if_nameindex() == names:
            return everything, names


def test_the_loopback_link() -> None:
    """What the kernel says of it, by name and by number, and among all."""
    link = netlink.Netlink.here()
    try:
        index = socket.if_nametoindex("lo")
        named = link.ask(netlink.RTM_GETLINK, bytes(16) + netlink.attribute(3, "lo"))
        numbered = link.ask(netlink.RTM_GETLINK, struct.pack("=4xiII", index, 0, 0))
        everything, names = everything_of(link)
    finally:
        link.close()
    for body in (named, numbered, next(body for body in everything if struct.unpack_from("=4xi", body) == (index,))):
        assert netlink.attributes(body[16:])[3] == b"lo\0"
    assert len(everything) == len(names)


def test_a_refusal() -> None:
    link = netlink.Netlink.here()
    try:
        with pytest.raises(netlink.NetlinkError, match="^no such device$") as raised:
            link.ask(netlink.RTM_GETLINK, bytes(16) + netlink.attribute(3, "not-there"))
        assert raised.value.errno == 19
        with pytest.raises(netlink.NetlinkError, match=r"^numerical result out of range \(.+\)$"):  # with the kernel's words
            link.ask(netlink.RTM_GETROUTE, b"\2\x20" + bytes(10) + netlink.attribute(1, b"too short"[:2]))
        assert link.gone(1) == 0
    finally:
        link.close()
