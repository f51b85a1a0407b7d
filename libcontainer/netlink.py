"""rtnetlink(7): requests about links, addresses and routes to the kernel, for one network namespace.

A body is a fixed structure with attributes behind it; what they mean is for the callers to know (net_devices.py).
"""

from __future__ import annotations

import _socket
import os
import struct

from libcontainer import child, sysnr
from libcontainer.errors import Error, strerror
from libcontainer.remote import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AF_UNSPEC, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE = 0, 16, 3, 0
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTMGRP_LINK = 1
# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_ACK_TLVS = 0x1, 0x4, 0x10, 0x200
NLM_F_DUMP = 0x300  # of a request for something; of one that makes something:
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
NLA_TYPE_MASK = 0x3FFF  # without the bits for "nested" and "network byte order"

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = _INDEX = struct.Struct("=i")
_ROOM = 1 << 16  # no message of the kernel's is longer: it makes dumps in pieces of 32 KiB
_TRIES = 10  # of a dump during which something changed


class NetlinkError(Error):
    """The kernel refuses a request; some refusals have a reason in words."""

    def __init__(self, number: int, reason: str = "") -> None:
        self.errno = number
        super().__init__(f"{strerror(number)} ({reason})" if reason else strerror(number))


# -- the wire format


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """struct nlattr and its value: bytes, a string, or a 32-bit number."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = os.fsencode(value) + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + _padding(len(value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Kind -> value; where one is given twice the last counts, as for the kernel."""
    found = {}
    at = 0
    while len(data) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & NLA_TYPE_MASK] = _payload(data, at, length, _ATTRIBUTE.size)
        at += length + len(_padding(length))
    return found


def edited(data: bytes, changes: Mapping[int, bytes | int | None]) -> bytes:
    """Encoded attributes with some replaced, where they are there, and those left out that become None."""
    kept = ((kind, changes.get(kind, value)) for kind, value in attributes(data).items())
    return b"".join(attribute(kind, value) for kind, value in kept if value is not None)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """struct nlmsghdr and the body."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + _padding(len(body))


def messages(data: bytes) -> Iterator[tuple[int, int, tuple[int, int], bytes]]:
    """Type, flags, (sequence number, port) and body of each message."""
    at = 0
    while len(data) - at >= _HEADER.size:
        length, kind, flags, *origin = _HEADER.unpack_from(data, at)
        yield kind, flags, (origin[0], origin[1]), _payload(data, at, length, _HEADER.size)
        at += length + len(_padding(length))


def _payload(data: bytes, at: int, length: int, head: int) -> bytes:
    if not head <= length <= len(data) - at:
        raise Error("malformed netlink message")
    return data[at + head : at + length]


def _padding(length: int) -> bytes:
    return bytes(-length % 4)


# -- talking


class Netlink:
    """A routing socket. `watch`: it also takes note of the links that leave its namespace."""

    __slots__ = ("_gone", "_port", "_sequence", "_socket")

    def __init__(self, fd: int, *, watch: bool = False) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._sequence = 0
        self._gone: list[int] = []
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, RTMGRP_LINK if watch else 0))
        self._port = self._socket.getsockname()[0]

    @classmethod
    def here(cls) -> Netlink:
        """In our own network namespace."""
        return cls(_socket.socket(AF_NETLINK, SOCK_RAW | _socket.SOCK_CLOEXEC, NETLINK_ROUTE).detach())

    @classmethod
    def within(cls, namespace: str) -> Netlink:
        """In the network namespace at this path. It stays with the socket, and exists as long as that is open."""
        batch = Batch()
        opened = batch.call("socket", sysnr.SOCKET, AF_NETLINK, SOCK_RAW | os.O_CLOEXEC, NETLINK_ROUTE, path="netlink")
        batch.send_back(opened)
        return cls(child.run_in("network", namespace, batch).fds[0], watch=True)

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """A request that is answered by success or a NetlinkError."""
        self._send(kind, NLM_F_ACK | flags, body)
        for answer, _flags, _body in self._answers():
            if answer == NLMSG_ERROR:
                return

    def ask(self, kind: int, body: bytes) -> bytes:
        """The one thing that is asked for; NetlinkError if it is not there."""
        self._send(kind, 0, body)
        return next(self._answers())[2]

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All there are."""
        for _ in range(_TRIES):
            found, interrupted = self._dump(kind, body)
            if not interrupted:
                return found
        raise Error("the kernel's list of links, addresses or routes changes all the time")

    def gone(self, index: int) -> int:
        """How often a link with this index has left the namespace."""
        try:
            while True:
                self._note(self._socket.recv(_ROOM, _socket.MSG_DONTWAIT))
        except BlockingIOError:
            return self._gone.count(index)

    def close(self) -> None:
        self._socket.close()

    def _dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        self._send(kind, NLM_F_DUMP, body)
        found = []
        interrupted = False
        for answer, flags, content in self._answers():
            interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
            if answer == NLMSG_DONE:
                break
            found.append(content)
        return found, interrupted

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(message(kind, NLM_F_REQUEST | flags, self._sequence, body))

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            data = self._socket.recv(_ROOM)
            self._note(data)
            for kind, flags, origin, body in messages(data):
                if origin == (self._sequence, self._port):
                    _raise_refusal(kind, flags, body)
                    yield kind, flags, body

    def _note(self, data: bytes) -> None:
        """News, from whoever caused it; that of the family AF_BRIDGE only says that a link is no longer in a bridge."""
        for kind, _flags, _origin, body in messages(data):
            if kind == RTM_DELLINK and body[0] == AF_UNSPEC:
                self._gone.append(_INDEX.unpack_from(body, 4)[0])


def _raise_refusal(kind: int, flags: int, body: bytes) -> None:
    if kind != NLMSG_ERROR:
        return
    code = -_ERROR.unpack_from(body)[0]
    if code:
        # Behind the code comes the header of the request (NETLINK_CAP_ACK).
        details = attributes(body[_ERROR.size + _HEADER.size :]) if flags & NLM_F_ACK_TLVS else {}
        raise NetlinkError(code, details.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace"))
