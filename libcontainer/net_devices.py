"""linux.netDevices: links of the runtime's network namespace that go into the container's.

One request moves and renames a link; the kernel sets it down for that, and drops its addresses. What the specification
wants kept is put on again: those that are permanent and of global scope. They are listed before, as a link that is set down
has already lost those of IPv6.

A container that fails later gives its links back. Who else is in a joined namespace may rename and replace links there, and
must not get one of its own into ours by that: so the link's number there is chosen, and links that leave are taken note of.
"""

from __future__ import annotations

import os
import struct
from errno import EEXIST, ENODEV

from libcontainer.errors import Error, describe
from libcontainer.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    edited,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from libcontainer.oci import NetDevice

TEMPLATE = "%d"
IFF_UP = 1
# linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h
IFLA_IFNAME, IFLA_MASTER, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX = 3, 10, 28, 49
IFA_LABEL, IFA_FLAGS = 3, 8
IFA_F_PERMANENT = 0x80
RT_SCOPE_UNIVERSE = 0
RTA_GATEWAY, RTA_OIF = 5, 4
RTPROT_KERNEL, RTPROT_RA = 2, 9
RTM_F_CLONED = 0x200
RTNH_F_ONLINK = 4
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change: struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index: struct ifaddrmsg
_ROUTE = struct.Struct("=8BI")  # struct rtmsg; 5 is the protocol, the last its flags
_PROTOCOL, _ROUTE_FLAGS = 5, 8


class Link:
    """A network device, as RTM_GETLINK describes it. `master`: the number of the bridge that it is a port of, or 0."""

    __slots__ = ("index", "master", "name", "up")

    def __init__(self, body: bytes) -> None:
        _family, _type, self.index, flags, _change = _LINK.unpack_from(body)
        self.up = bool(flags & IFF_UP)
        found = attributes(body[_LINK.size :])
        self.name = os.fsdecode(found[IFLA_IFNAME].rstrip(b"\0"))
        self.master = int.from_bytes(found.get(IFLA_MASTER, b""), "little")


class Address:
    """An address of a link."""

    __slots__ = ("_attributes", "_head", "index", "permanent", "scope")

    def __init__(self, body: bytes) -> None:
        *self._head, flags, self.scope, self.index = _ADDRESS.unpack_from(body)
        self._attributes = body[_ADDRESS.size :]
        wide = attributes(self._attributes).get(IFA_FLAGS)
        self.permanent = bool((int.from_bytes(wide, "little") if wide else flags) & IFA_F_PERMANENT)

    def request(self, index: int, *, label: bool) -> bytes:
        """The body of RTM_NEWADDR that puts it on a link. A label begins with the link's name, so it may not fit another."""
        changes = {} if label else {IFA_LABEL: None}
        return _ADDRESS.pack(*self._head, 0, self.scope, index) + edited(self._attributes, changes)


class Move:
    """A link on its way: what it is here, its number in the container, and what it is going to lose."""

    __slots__ = ("addresses", "index", "link", "routes")

    def __init__(self, link: Link, index: int, here: Netlink) -> None:
        self.link = link
        self.index = index
        self.addresses = _addresses(here, link.index)
        self.routes = _routes(here, link.index)


class NetDevices:
    """The devices of one container. `namespace` is the path of its network namespace, which close() lets go."""

    __slots__ = ("_closes", "_here", "_log", "_moved", "_namespace", "_ours", "_there")

    def __init__(self, namespace: str, log: Callable[..., None]) -> None:
        self._log = log
        self._moved: list[Move] = []
        self._closes: list[Callable[[], None]] = []
        try:
            self._ours = self._open("/proc/thread-self/ns/net")
            self._namespace = self._open(namespace)
            self._here = self._keep(Netlink.here())
            self._there = self._keep(Netlink.within(namespace))
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._closes.append(lambda: os.close(fd))
        return fd

    def _keep(self, socket: Netlink) -> Netlink:
        self._closes.append(socket.close)
        return socket

    def close(self) -> None:
        while self._closes:
            self._closes.pop()()

    # -- into the container

    def move(self, wanted: Mapping[str, NetDevice], *, again: bool = False) -> None:
        """Move them all. `again`: the namespace may have them since the first time."""
        for name, device in wanted.items():
            try:
                self._move(name, device.get("name") or name, again)
            except (Error, OSError) as err:
                raise Error(f'unable to move network device "{name}" into the network namespace of the container') from err

    def _move(self, name: str, wanted: str, again: bool) -> None:
        there = _links(self._there)
        link = _find(self._here, name)
        if link is None:
            if again and any(_fits(other.name, wanted) for other in there):
                return
            raise Error("there is no such device in the network namespace of the runtime")
        new = _free_name(wanted, {other.name for other in there})
        if _find(self._there, new) is not None:  # alternative names count too
            raise Error(f'the network namespace of the container already has a device "{new}"')
        self._log("debug", f"moving network device {link.name} into the container as {new}")
        move = Move(link, _free_index(link.index, there), self._here)
        self._moved.append(move)  # even if it fails: the kernel may have moved it and not have renamed it
        _carry(self._here, link.index, self._namespace, new, move.index)
        self._set_up(move)

    def _set_up(self, move: Move) -> None:
        for address in move.addresses:
            if address.permanent and address.scope == RT_SCOPE_UNIVERSE:
                self._there.change(RTM_NEWADDR, address.request(move.index, label=False), NLM_F_CREATE | NLM_F_EXCL)
        self._there.change(RTM_NEWLINK, _LINK.pack(0, 0, move.index, IFF_UP, IFF_UP))

    # -- and back

    def put_back(self) -> None:
        """Undo: the last first. What cannot be undone is a warning."""
        while self._moved:
            move = self._moved.pop()
            try:
                self._put_back(move)
            except (Error, OSError) as err:
                self._log("warning", f"unable to give network device {move.link.name} back to the host: {describe(err)}")

    def _put_back(self, move: Move) -> None:
        if _find_index(self._here, move.link.index) is not None:
            return  # it has not been moved
        if self._there.gone(move.index):
            raise Error("somebody has removed it from the network namespace that it was moved to")
        _carry(self._there, move.index, self._ours, move.link.name, move.link.index)
        if self._there.gone(move.index) > 1:
            raise Error("somebody has put another device in its place; it is down, and has no address")
        self._restore(move)

    def _restore(self, move: Move) -> None:
        """What it was, but for what only its driver or its user knows: queueing, neighbours, sysctls."""
        index = move.link.index
        if move.link.master:
            self._here.change(RTM_NEWLINK, _LINK.pack(0, 0, index, 0, 0) + attribute(IFLA_MASTER, move.link.master))
        for address in move.addresses:
            self._again(RTM_NEWADDR, address.request(index, label=True))
        if not move.link.up:
            return
        self._here.change(RTM_NEWLINK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP))
        for route in move.routes:
            self._again(RTM_NEWROUTE, route)

    def _again(self, kind: int, body: bytes) -> None:
        """Setting it up has brought some of it back."""
        try:
            self._here.change(kind, body, NLM_F_CREATE | NLM_F_EXCL)
        except NetlinkError as err:
            if err.errno != EEXIST:
                raise


def _carry(socket: Netlink, index: int, namespace: int, name: str, new_index: int) -> None:
    """Move a link to the namespace behind a descriptor, renaming it there."""
    socket.change(
        RTM_NEWLINK,
        _LINK.pack(0, 0, index, 0, 0)
        + attribute(IFLA_IFNAME, name)
        + attribute(IFLA_NET_NS_FD, namespace)
        + attribute(IFLA_NEW_IFINDEX, new_index),
    )


# -- names and numbers


def _free_name(wanted: str, taken: Collection[str]) -> str:
    """The name itself, or what "eth%d" stands for: the first of eth0, eth1, ... that is free."""
    if TEMPLATE not in wanted:
        return wanted
    names = (wanted.replace(TEMPLATE, str(count), 1) for count in range(len(taken) + 1))
    return next(name for name in names if name not in taken)


def _fits(name: str, wanted: str) -> bool:
    """Is it what a link that was asked for by this name or template is called?"""
    before, template, after = wanted.partition(TEMPLATE)
    if not template:
        return name == wanted
    return name.startswith(before) and name.endswith(after) and name[len(before) : len(name) - len(after)].isdecimal()


def _free_index(wanted: int, links: Iterable[Link]) -> int:
    taken = {link.index for link in links}
    return wanted if wanted not in taken else max(taken) + 1


# -- what there is


def _find(socket: Netlink, name: str) -> Link | None:
    return _get(socket, _LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name))


def _find_index(socket: Netlink, index: int) -> Link | None:
    return _get(socket, _LINK.pack(0, 0, index, 0, 0))


def _get(socket: Netlink, which: bytes) -> Link | None:
    try:
        return Link(socket.ask(RTM_GETLINK, which))
    except NetlinkError as err:
        if err.errno != ENODEV:
            raise
        return None


def _links(socket: Netlink) -> list[Link]:
    return [Link(body) for body in socket.dump(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0))]


def _addresses(socket: Netlink, index: int) -> list[Address]:
    found = (Address(body) for body in socket.dump(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)))
    return [address for address in found if address.index == index]


def _routes(socket: Netlink, index: int) -> list[bytes]:
    """The routes over a link that it does not get by itself, those without a gateway first: a gateway has to be reached."""
    found = []
    for body in socket.dump(RTM_GETROUTE, _ROUTE.pack(*[0] * 9)):
        head = list(_ROUTE.unpack_from(body))
        has = attributes(body[_ROUTE.size :])
        ours = int.from_bytes(has.get(RTA_OIF, b""), "little") == index
        if ours and head[_PROTOCOL] not in (RTPROT_KERNEL, RTPROT_RA) and not head[_ROUTE_FLAGS] & RTM_F_CLONED:
            head[_ROUTE_FLAGS] &= RTNH_F_ONLINK  # the others are states
            found.append((RTA_GATEWAY in has, _ROUTE.pack(*head) + body[_ROUTE.size :]))
    return [route for _, route in sorted(found, key=lambda entry: entry[0])]
