"""What holds a container's network still while its connections are dumped, undone where CRIU cannot: it has been killed.

CRIU has put rules into the container's network namespace (criu/netfilter.c): as a chain of iptables, by the programs of that
name, or as a table of nftables, by a library. And its sockets are under repair (TCP_REPAIR of tcp(7)), in which state they
neither send nor receive. Without this the container would go on, and reach nobody.
"""

from __future__ import annotations

import _socket
import os
import struct

from libcontainer import child, netlink, program, syscalls, sysnr
from libcontainer.criu.process import find, search_path
from libcontainer.errors import Error
from libcontainer.remote import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "CRIU"
PROGRAMS = ("iptables-restore", "ip6tables-restore")
# The first undoes what was one transaction; the second cannot be in it, as the chain is in use till then.
RULES = (
    f"*filter\n:{NAME} - [0:0]\n-D INPUT -j {NAME}\n-D OUTPUT -j {NAME}\nCOMMIT\n",
    f"*filter\n:{NAME} - [0:0]\n-X {NAME}\nCOMMIT\n",
)
# linux/netfilter/nfnetlink.h, nf_tables.h
NETLINK_NETFILTER = 12
BATCH_BEGIN, BATCH_END, NFTABLES = 16, 17, 10
GET_TABLE, DELETE_TABLE = NFTABLES << 8 | 1, NFTABLES << 8 | 2
TABLE_NAME = 1
# linux/tcp.h; off without a window probe, which would be for a connection that has been moved
TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP = 6, 19, -1
_HEAD = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource
_ROOM = 1 << 16


def release(init: int, pids: Iterable[int]) -> None:
    """The network of the container with these processes."""
    for pid in pids:
        _end_repairs(pid)
    path = f"/proc/{init}/ns/net"
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for name in PROGRAMS:
            found = find(name)
            if found is not None:
                program.in_network_namespace(namespace, lambda found=found: _remove_chain(found))  # type: ignore[misc]
    finally:
        os.close(namespace)
    _remove_tables(path)


def _end_repairs(pid: int) -> None:
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
        pidfd = os.pidfd_open(pid)
    except OSError:  # it has ended
        return
    try:
        for fd in descriptors:
            _end_repair(pid, pidfd, int(fd))
    finally:
        os.close(pidfd)


def _end_repair(pid: int, pidfd: int, fd: int) -> None:
    try:
        if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
            return
        socket = _socket.socket(fileno=syscalls.pidfd_getfd(pidfd, fd))
    except OSError:  # closed meanwhile
        return
    try:
        if socket.getsockopt(TCP, TCP_REPAIR):
            socket.setsockopt(TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
    except OSError:
        pass  # no TCP
    finally:
        socket.close()


def _remove_chain(path: str) -> int:
    """Fails where there is none."""
    environment = {"PATH": ":".join(search_path())}
    for rules in RULES:
        try:
            program.run(path, [path, "-w", "--noflush"], environment, stdin=rules.encode(), timeout=10)
        except (Error, OSError):
            break
    return 0


def _remove_tables(namespace: str) -> None:
    """Each table has the number of a process, or of a run, in its name."""
    batch = Batch()
    kind = _socket.SOCK_RAW | os.O_CLOEXEC
    batch.send_back(batch.call("socket", sysnr.SOCKET, netlink.AF_NETLINK, kind, NETLINK_NETFILTER, path="netlink"))
    channel = _socket.socket(fileno=child.run_in("network", namespace, batch).fds[0])
    try:
        for family, name in _tables(channel):
            if name.startswith(f"{NAME}-"):
                _delete(channel, family, name)
    finally:
        channel.close()


def _tables(channel: _socket.socket) -> list[tuple[int, str]]:
    """Family and name; none where the kernel has no nftables."""
    channel.send(netlink.message(GET_TABLE, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, 1, _HEAD.pack(0, 0, 0)))
    found: list[tuple[int, str]] = []
    while True:
        for kind, _flags, _origin, body in netlink.messages(channel.recv(_ROOM)):
            if kind in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                return found
            name = netlink.attributes(body[_HEAD.size :])[TABLE_NAME]
            found.append((body[0], os.fsdecode(name.rstrip(b"\0"))))


def _delete(channel: _socket.socket, family: int, name: str) -> None:
    parts = (
        (BATCH_BEGIN, 0, _HEAD.pack(0, 0, NFTABLES)),
        (DELETE_TABLE, netlink.NLM_F_ACK, _HEAD.pack(family, 0, 0) + netlink.attribute(TABLE_NAME, name)),
        (BATCH_END, 0, _HEAD.pack(0, 0, NFTABLES)),
    )
    channel.send(b"".join(netlink.message(kind, netlink.NLM_F_REQUEST | flags, 1, body) for kind, flags, body in parts))
    channel.recv(_ROOM)
