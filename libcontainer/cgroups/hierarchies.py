"""Where cgroup v1 hierarchies are mounted, and which directory of each is our own.

The rule of this file: few system calls. /proc/self/cgroup and one stat(2) a hierarchy have to do;
/proc/self/mountinfo is read only where a mount shows just a part of one.
"""

from __future__ import annotations

import os

from libcontainer.cgroups.files import ROOT, clean

# The order in which they are created, joined and set; "" is the unified hierarchy of a hybrid machine.
CONTROLLERS = (
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
    "",
)


def find_mounts(own: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Controller -> (where its hierarchy is mounted, our own cgroup in it), in the order of CONTROLLERS."""
    home = os.stat(ROOT).st_dev
    shared = {name: (hierarchy, path) for hierarchy, path in own.items() for name in hierarchy.split(",")}
    found = {}
    for controller in CONTROLLERS:
        if controller in shared:
            hierarchy, path = shared[controller]
            place = _mount(controller, hierarchy, path, home)
            if place:
                found[controller] = place
    return found


def _mount(controller: str, hierarchy: str, own: str, home: int) -> tuple[str, str] | None:
    """None: not mounted. The top directory of a whole hierarchy has inode 1 (kernfs); others show only a part
    of it."""
    top = f"{ROOT}/{controller.removeprefix('name=') or 'unified'}"
    if "," in hierarchy:
        top = _shared_directory(top, hierarchy)
    try:
        status = os.stat(top)
    except FileNotFoundError:
        return None
    if status.st_dev == home:
        return None
    return top, own if status.st_ino == 1 else _within_mount(top, own)


def _shared_directory(link: str, hierarchy: str) -> str:
    """Where co-mounted controllers are: behind the link that each has ("cpu"), or named as the kernel names
    them."""
    try:
        return f"{ROOT}/{os.path.basename(os.readlink(link))}"
    except OSError:
        return link if os.path.isdir(link) else f"{ROOT}/{hierarchy}"


def _within_mount(top: str, own: str) -> str:
    """Our own cgroup as this mount shows it: a container without a cgroup namespace sees the host's names in
    /proc."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        roots = [fields[3] for fields in (line.split(" ", 5) for line in file) if fields[4] == top]
    relative = os.path.relpath(own, roots[-1]) if roots else "."
    return "/" if relative == ".." or relative.startswith("../") else clean(f"/{relative}")
