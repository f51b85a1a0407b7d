"""Namespaces that are not the container's own: CRIU does not dump them, restore joins those of its own config."""

from __future__ import annotations

import os

from libcontainer.criu import features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.saved_config import SavedConfig

# kind -> name in /proc/PID/ns, key that restore (runc's too) gives the descriptor, the first CRIU that knows it
EXTERNAL = {
    "network": ("net", "extRootNetNS", features.EXTERNAL_NET),
    "pid": ("pid", "extRootPidNS", features.EXTERNAL_PID),
}


def external(saved: SavedConfig, pid: int, version: int) -> list[str]:
    """"net[INODE]:extRootNetNS" and the like, for namespaces given by path.

    The inode is that of the one which init is in: the path may be gone.
    """
    found = []
    for kind, (name, key, least) in EXTERNAL.items():
        if saved.namespace_path(kind):
            features.require(version, least, f"external {kind} namespace")
            found.append(f"{name}[{os.stat(f'/proc/{pid}/ns/{name}').st_ino}]:{key}")
    return found
