"""External mounts: what CRIU shall not dump but take from outside again, by key."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container

_FIELDS_BEFORE_OPTIONAL = 6  # proc_pid_mountinfo(5)


def keys(container: Container) -> list[str]:
    """CRIU's "mnt[MOUNTPOINT]:KEY" for the mounts of the (frozen) container; the key is the mountpoint, as in runc's images."""
    found = []
    masked = set(container.saved.raw.get("mask_paths") or ())
    bound = {mount["destination"] for mount in container.saved.raw.get("mounts") or () if mount.get("device") == "bind"}
    with open(f"/proc/{container.state.init_process_pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            point, fstype = fields[4], fields[fields.index("-", _FIELDS_BEFORE_OPTIONAL) + 1]
            if point in masked and not os.path.isdir(f"/proc/{container.state.init_process_pid}/root{point}"):
                found.append(f"mnt[{point}]:/dev/null")
            elif point in bound or (fstype in ("cgroup", "cgroup2") and fields[3] != "/"):
                found.append(f"mnt[{point}]:{point}")
    return found
