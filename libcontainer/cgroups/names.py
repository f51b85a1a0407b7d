"""What cgroups are called: in /proc/PID/cgroup, and in the arguments of `exec --cgroup`."""

from __future__ import annotations

import os

from libcontainer import smallfile
from libcontainer.errors import Error


def own_cgroups() -> dict[str, str]:
    """/proc/self/cgroup: the controllers of a hierarchy, as the kernel spells them ("" for v2) -> this
    process's path."""
    return parse_own(smallfile.text("/proc/self/cgroup"))


def parse_own(text: str) -> dict[str, str]:
    """The lines "id:controllers:path"; the path may hold colons."""
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in text.splitlines())}


def inside(base: str, sub: str) -> str:
    """base/sub, refused if it is not below base."""
    path = os.path.normpath(f"{base}/{sub}")
    if path != base and not path.startswith(base + "/"):
        raise Error(f"bad sub cgroup path: {sub}")
    return path


def parse_sub(arguments: list[str]) -> dict[str, str]:
    """The values of `exec --cgroup`: controller -> path; a path without controllers is for all ("")."""
    found: dict[str, str] = {}
    for argument in arguments:
        controllers, colon, path = argument.partition(":")
        if not colon:
            if len(arguments) > 1:
                raise Error(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            return {"": argument}
        if ":" in path:
            raise Error(f"invalid --cgroup argument: {argument}")
        for controller in controllers.split(","):
            if not controller:
                raise Error(f"invalid --cgroup argument: {argument} (empty <controller> prefix)")
            if controller in found:
                raise Error(f"invalid --cgroup argument: {argument} (controller {controller} given twice)")
            found[controller] = path
    return found
