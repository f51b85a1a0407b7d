"""The resctrl file system: share of the L3 cache and of memory bandwidth (Documentation/filesystems/resctrl.rst).

Only what `update` does with a container that has a class there: a line a resource, written to its `schemata`.
"""

from __future__ import annotations

import os

from libcontainer.errors import Error, Unsupported

# member of linux.intelRdt -> (its directory in info/, name in state.json, runc's words for a kernel without it)
RESOURCES = {
    "l3CacheSchema": ("L3", "l3_cache_schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
    "memBwSchema": ("MB", "mem_bw_schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
}


def mount_point() -> str:
    """Where resctrl is mounted, "" if it is not."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            if tail.startswith("resctrl "):
                return head.split(" ")[4]
    return ""


def check(wanted: dict[str, str]) -> None:
    """Raise Unsupported unless the kernel can do what `wanted` names."""
    top = mount_point()
    for member in wanted:
        directory, _name, refusal = RESOURCES[member]
        if not top or not os.path.isdir(f"{top}/info/{directory}"):
            raise Unsupported(refusal)


def write(group: str, wanted: dict[str, str]) -> None:
    """Set the schemata of a group; the kernel's own words for a refusal are in info/last_cmd_status."""
    try:
        with open(f"{group}/schemata", "w", encoding="ascii") as file:
            file.write("".join(f"{text}\n" for text in wanted.values()))
    except OSError as error:
        raise Error(f"unable to set schemata of {group}{_reason(group)}") from error


def _reason(group: str) -> str:
    try:
        with open(f"{os.path.dirname(group)}/info/last_cmd_status", encoding="ascii") as file:
            return f" ({file.read().strip()})"
    except OSError:
        return ""
