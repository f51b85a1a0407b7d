"""The open files of a checkpoint: every descriptor of every process, and sockets by themselves."""

from __future__ import annotations

import os
import sys

from libcontainer.criu.images import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from libcontainer.criu.images import Images, Message

_ACCESS = ("r", "w", "rw", "")
_TYPES = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 136: "udplite"}
_TCP, _TCP_ESTABLISHED = 6, 1
# include/net/tcp_states.h, by the names of ss(8)
_STATES = (
    "unknown",
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "unconnected",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
    "new-syn-recv",
)
_SOCKETS = ("isk", "usk", "psk", "nlsk")
_PLAIN = {  # those of which the kind says all
    "sgfd": "signalfd",
    "tfd": "timerfd",
    "ffy": "fanotify",
    "ext": "external file",
    "tunf": "tun",
    "bpf": "bpf map",
}


class Files:
    """files.img: what is behind the descriptors. `names` are the paths of regular files, by id."""

    __slots__ = ("_by_id", "_deleted", "_images", "_memfds", "names")

    def __init__(self, images: Images) -> None:
        self._images = images
        self._by_id = {int(entry.id): entry for entry in images.entries("files.img", "FILES")}
        self.names = {number: text(entry.reg.name) for number, entry in self._by_id.items() if entry.HasField("reg")}
        self._deleted = {int(entry.orig_id) for entry in _optional(images, "remap-fpath.img", "REMAP_FPATH")}
        self._memfds = {int(entry.inode_id): text(entry.name) for entry in _optional(images, "memfd.img", "MEMFD_INODE")}

    def of(self, pid: int) -> list[dict[str, Any]]:
        """The descriptors of a process."""
        ids = self._images.only(f"ids-{pid}.img", "IDS")
        image = f"fdinfo-{int(ids.files_id)}.img"
        return [self._descriptor(image, entry) for entry in self._images.entries(image, "FDINFO")]

    def _descriptor(self, image: str, entry: Message) -> dict[str, Any]:
        found = {"fd": int(entry.fd), "id": int(entry.id), **self._describe(entry)}
        self._images.allowance.again(image, found["name"])
        return found

    def _describe(self, entry: Message) -> dict[str, Any]:
        file = self._by_id.get(int(entry.id))
        kinds = [field.name for field, _ in file.ListFields() if field.message_type] if file is not None else []
        if not kinds:
            return {"type": "unknown", "name": f"number {int(entry.id)}"}
        kind = kinds[0]
        description = getattr(self, f"_describe_{kind}", None)
        if description is not None:
            found: dict[str, Any] = description(getattr(file, kind))
            return found
        return {"type": _PLAIN.get(kind, kind), "name": ""}

    def _describe_reg(self, file: Message) -> dict[str, Any]:
        access = _ACCESS[file.flags & os.O_ACCMODE]
        found = {"type": "file", "name": text(file.name), "access": access, "position": int(file.pos)}
        return {**found, "deleted": True} if int(file.id) in self._deleted else found

    def _describe_pipe(self, file: Message) -> dict[str, Any]:
        return {"type": "pipe", "name": f"pipe:[{int(file.pipe_id)}]", "access": _ACCESS[file.flags & os.O_ACCMODE]}

    def _describe_fifo(self, file: Message) -> dict[str, Any]:
        return {"type": "fifo", "name": self.names.get(int(file.regf_id), "")}

    def _describe_tty(self, file: Message) -> dict[str, Any]:
        return {"type": "terminal", "name": self.names.get(int(file.regf_id), f"number {int(file.tty_info_id)}")}

    def _describe_memfd(self, file: Message) -> dict[str, Any]:
        return {"type": "memfd", "name": self._memfds.get(int(file.inode_id), ""), "position": int(file.pos)}

    def _describe_efd(self, file: Message) -> dict[str, Any]:
        return {"type": "eventfd", "name": f"count {int(file.counter)}"}

    def _describe_epfd(self, file: Message) -> dict[str, Any]:
        return {"type": "epoll", "name": "watches " + (", ".join(str(int(watch.tfd)) for watch in file.tfd[:32]) or "nothing")}

    def _describe_ify(self, file: Message) -> dict[str, Any]:
        return {"type": "inotify", "name": f"{len(file.wd)} watches"}

    def _describe_nsf(self, file: Message) -> dict[str, Any]:
        return {"type": "namespace", "name": f"number {int(file.ns_id)}"}

    def _describe_pidfd(self, file: Message) -> dict[str, Any]:
        return {"type": "pidfd", "name": f"process {int(file.nspid)}"}

    def _describe_isk(self, file: Message) -> dict[str, Any]:
        socket = self._inet(file)
        return {"type": "socket", "name": f"{socket['protocol']} {socket['local']} -> {socket['remote']} {socket['state']}"}

    def _describe_usk(self, file: Message) -> dict[str, Any]:
        socket = self._unix(file)
        return {"type": "socket", "name": " ".join(filter(None, ("unix", socket["type"], socket["local"], socket["state"])))}

    def _describe_psk(self, file: Message) -> dict[str, Any]:
        return {"type": "socket", "name": f"packet protocol {int(file.protocol)}"}

    def _describe_nlsk(self, file: Message) -> dict[str, Any]:
        return {"type": "socket", "name": f"netlink protocol {int(file.protocol)}"}

    def sockets(self, processes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each socket once, with the descriptors that are it."""
        owners: dict[int, list[dict[str, int]]] = {}
        for process in processes:
            for file in process.get("files", ()):
                owners.setdefault(file["id"], []).append({"pid": process["pid"], "fd": file["fd"]})
        found = ((number, self._socket(entry)) for number, entry in self._by_id.items())
        return [{**socket, "owners": owners.get(number, [])} for number, socket in found if socket is not None]

    def _socket(self, entry: Message) -> dict[str, Any] | None:
        kind = next((kind for kind in _SOCKETS if entry.HasField(kind)), None)
        if kind is None:
            return None
        file = getattr(entry, kind)
        if kind == "isk":
            return self._inet(file)
        if kind == "usk":
            return self._unix(file)
        family = "packet" if kind == "psk" else "netlink"
        return {"family": family, "protocol": str(int(file.protocol)), "type": "", "state": "", "local": "", "remote": ""}

    def _inet(self, file: Message) -> dict[str, Any]:
        found: dict[str, Any] = {
            "family": "inet6" if file.family == 10 else "inet",
            "protocol": _PROTOCOLS.get(file.proto, str(int(file.proto))),
            "type": _TYPES.get(file.type, str(int(file.type))),
            "state": _state(file.state),
            "local": _address(file.src_addr, file.src_port),
            "remote": _address(file.dst_addr, file.dst_port),
        }
        name = f"tcp-stream-{int(file.ino):x}.img"
        if file.proto == _TCP and file.state == _TCP_ESTABLISHED and name in self._images.names:
            stream = self._images.only(name, "TCP_STREAM")
            found.update(unread=int(stream.inq_len), unsent=int(stream.outq_len))
        return found

    def _unix(self, file: Message) -> dict[str, Any]:
        return {
            "family": "unix",
            "protocol": "unix",
            "type": _TYPES.get(file.type, str(int(file.type))),
            "state": _state(file.state),
            "local": _unix_name(file.name),
            "remote": f"socket:[{int(file.peer)}]" if file.peer else "",
            "inode": int(file.ino),
        }


def _optional(images: Images, name: str, kind: str) -> Iterable[Message]:
    return images.entries(name, kind) if name in images.names else ()


def _state(number: int) -> str:
    return _STATES[number] if number < len(_STATES) else "unknown"


def _address(words: Any, port: int) -> str:
    """The words of an address are in the order of the network, stored as the machine's integers."""
    import socket

    data = b"".join(int(word).to_bytes(4, sys.byteorder) for word in words[:5])
    where = "*" if int(port) == 0 else str(int(port))
    if len(data) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, data)}:{where}"
    if len(data) == 16:
        return f"[{socket.inet_ntop(socket.AF_INET6, data)}]:{where}"
    return f"?:{where}"


def _unix_name(name: bytes) -> str:
    """An abstract one begins with a zero byte, a path may end with one."""
    return ("@" if name[:1] == b"\0" else "") + os.fsdecode(name.strip(b"\0"))
