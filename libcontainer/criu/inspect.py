"""What is in a directory of checkpoint images: `pyrunc checkpoint inspect`, and whoever wants to know before a restore.

The images are not trusted, nor is what they say: text is given as it stands there, and whoever prints it must see to
control characters (`pyrunc/commands/checkpoint_inspect.py` does).
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from libcontainer.criu import regular, stats
from libcontainer.criu.chain import target_of
from libcontainer.criu.images import BadImage, open_chain, strict, text
from libcontainer.criu.inspect_files import Files
from libcontainer.criu.inspect_mounts import mounts
from libcontainer.criu.inspect_processes import memory_only, processes, shared_memory
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from libcontainer.criu.images import Images, Message

_LSM = ("", "selinux", "apparmor")
_NAMESPACES = ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time")
_EXTERNAL = {"net": ("netns", "NETNS"), "pid": ("pidns", "PIDNS")}
_HEAD = 4096  # of a log: where CRIU says what it is
_LARGEST_JSON = 1 << 16


def inspect(path: str, *, work: str | None = None) -> dict[str, Any]:
    """Everything that is worth knowing of the images in a directory, as JSON has it.

    `work` is the directory of the log and the statistics, if it is another one. Error or OSError if these are no images.
    """
    with ExitStack() as stack:
        strict(stack)
        chain = open_chain(stack, path)
        logs = chain[0].fd if work is None else _open(stack, work)
        if "inventory.img" not in chain[0].names:
            raise Error(f"{path} is no directory of checkpoint images: it has no inventory.img")
        found = _overview(chain, logs)
        found.update(_contents(chain) if "pstree.img" in chain[0].names else _memory(chain[0]))
        return found


def _open(stack: ExitStack, path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _overview(chain: Sequence[Images], logs: int) -> dict[str, Any]:
    images = chain[0]
    inventory = images.only("inventory.img", "INVENTORY")
    complete = "pstree.img" in images.names
    return {
        "directory": os.path.abspath(images.path),
        "kind": "checkpoint" if complete else "pre-dump",
        "created": _created(images),
        "criu": _criu(logs, inventory),
        "size": images.size(),
        "timings": {"dump": stats.read(stats.DUMP, logs), "restore": stats.read(stats.RESTORE, logs)},
        "parents": [_parent(chain, depth) for depth in range(1, len(chain))],
        "stdio": _stdio(images),
    }


def _created(images: Images) -> str | None:
    seconds = os.stat("inventory.img", dir_fd=images.fd, follow_symlinks=False).st_mtime
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):  # a time that no calendar has
        return None


def _criu(logs: int, inventory: Message) -> dict[str, Any]:
    """Its version is not in the images, only in its log."""
    words = _log_head(logs)
    return {
        "version": words.get("Version"),
        "host": words.get("Running on"),
        "imageVersion": int(inventory.img_version),
        "lsm": _LSM[inventory.lsmtype] if inventory.lsmtype < len(_LSM) else "",
        "runId": text(getattr(inventory, "dump_criu_run_id", "")),
    }


def _log_head(directory: int) -> dict[str, str]:
    """From lines like "(00.000086) Version: 4.2.1 (gitid 0)" and "(00.000095) Running on HOST Linux ..."."""
    try:
        with open(regular.open_file(directory, "dump.log"), "rb") as file:
            lines = file.read(_HEAD).decode(errors="replace").splitlines()
    except (Error, OSError):
        return {}
    pairs = [(key, line.partition(f") {key}")) for line in lines for key in ("Version", "Running on")]
    return {key: value.lstrip(": ") for key, (_, found, value) in pairs if found}


def _parent(chain: Sequence[Images], depth: int) -> dict[str, Any]:
    images = chain[depth]
    return {
        "directory": target_of(chain[depth - 1].fd),
        "size": images.size(),
        "timings": {"dump": stats.read(stats.DUMP, images.fd)},
        "processes": memory_only(images),
    }


def _stdio(images: Images) -> list[str]:
    """What descriptors 0 to 2 of init were, as runc notes it."""
    import json

    if "descriptors.json" not in images.names:
        return []
    with images.open("descriptors.json") as file:
        data = file.read(_LARGEST_JSON)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise BadImage("descriptors.json is damaged") from err
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _memory(images: Images) -> dict[str, Any]:
    return {"processes": memory_only(images), "sharedMemory": shared_memory(images)}


def _contents(chain: Sequence[Images]) -> dict[str, Any]:
    images = chain[0]
    files = Files(images)
    tree = processes(chain, files.names)
    for process in tree:
        if "memory" in process:
            process["files"] = files.of(process["pid"])
    return {
        "namespaces": _namespaces(images, tree),
        "processes": tree,
        "sharedMemory": shared_memory(images),
        "mounts": mounts(images),
        "sockets": files.sockets(tree),
        "cgroups": _cgroups(images),
    }


def _namespaces(images: Images, tree: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Those of init that are not the host's, with what is kept of them."""
    host = images.only("inventory.img", "INVENTORY").root_ids
    init = next((process["pid"] for process in tree if "memory" in process), None)
    if init is None:
        return {}
    ids = images.only(f"ids-{init}.img", "IDS")
    numbers = {kind: int(getattr(ids, f"{kind}_ns_id", 0)) for kind in _NAMESPACES}
    own = {kind: number for kind, number in numbers.items() if number and number != int(getattr(host, f"{kind}_ns_id", 0))}
    return {kind: {"id": number, **_namespace(images, kind, number)} for kind, number in own.items()}


def _namespace(images: Images, kind: str, number: int) -> dict[str, Any]:
    if kind == "uts" and f"utsns-{number}.img" in images.names:
        names = images.only(f"utsns-{number}.img", "UTSNS")
        return {"hostname": text(names.nodename), "domainname": text(names.domainname)}
    if kind == "user" and f"userns-{number}.img" in images.names:
        maps = images.only(f"userns-{number}.img", "USERNS")
        return {"uidMappings": _mappings(maps.uid_map), "gidMappings": _mappings(maps.gid_map)}
    prefix, image = _EXTERNAL.get(kind, ("", ""))
    if prefix and f"{prefix}-{number}.img" in images.names:
        key = text(images.only(f"{prefix}-{number}.img", image).ext_key)
        return {"external": key} if key else {}
    return {}


def _mappings(extents: Any) -> list[dict[str, int]]:
    """As config.json has them."""
    return [{"containerID": int(e.first), "hostID": int(e.lower_first), "size": int(e.count)} for e in extents]


def _cgroups(images: Images) -> list[dict[str, str]]:
    """Where the processes were; the first set is CRIU's own."""
    if "cgroup.img" not in images.names:
        return []
    found = images.only("cgroup.img", "CGROUP").sets
    return [{text(member.name): text(member.path) for member in group.ctls} for group in found]
