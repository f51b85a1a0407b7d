"""process.rlimits: their numbers, and setting them from outside (prlimit(2))."""

from __future__ import annotations

from libcontainer.errors import Error, InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# In the order of asm-generic/resource.h, which x86-64 and arm64 use.
NAMES = (
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
)
NOFILE = NAMES.index("RLIMIT_NOFILE")
INFINITY = (1 << 64) - 1  # RLIM64_INFINITY


def parse(rlimits: Sequence[Mapping[str, Any]], path: str = "process.rlimits") -> list[tuple[int, int, int]]:
    """(resource, soft, hard) of each; the values as unsigned 64 bit numbers, all ones for "no limit"."""
    parsed: dict[int, tuple[int, int, int]] = {}
    for index, limit in enumerate(rlimits):
        name = limit.get("type")
        if name not in NAMES:
            raise InvalidSpec(f"{path}[{index}].type", f"wrong rlimit value: {name}")
        number = NAMES.index(name)
        if number in parsed:
            raise InvalidSpec(f"{path}[{index}].type", f"{name} is given twice")
        values = (_value(limit, key, f"{path}[{index}]") for key in ("soft", "hard"))
        parsed[number] = (number, *values)  # type: ignore[assignment]  # two values
    return list(parsed.values())


def _value(limit: Mapping[str, Any], key: str, path: str) -> int:
    value: int = limit.get(key) or 0
    if not 0 <= value <= INFINITY:
        raise InvalidSpec(f"{path}.{key}", f"{value} does not fit in 64 bits")
    return value


def make_room(pid: int, descriptors: int) -> None:
    """Raise the soft RLIMIT_NOFILE of a process that we started, as far as its hard limit goes."""
    from libcontainer import syscalls

    _, hard = syscalls.getrlimit(NOFILE)
    syscalls.prlimit(pid, NOFILE, min(descriptors, hard), hard)


def give_back(pid: int) -> None:
    """The RLIMIT_NOFILE that make_room() raised becomes ours again."""
    from libcontainer import syscalls

    syscalls.prlimit(pid, NOFILE, *syscalls.getrlimit(NOFILE))


def apply(pid: int, limits: Sequence[tuple[int, int, int]]) -> None:
    """Set the parsed limits of process `pid`."""
    from libcontainer import syscalls

    for number, soft, hard in limits:
        try:
            syscalls.prlimit(pid, number, soft, hard)
        except OSError as err:
            raise Error(f"error setting rlimit type {number} ({NAMES[number]} to {soft}:{hard})") from err
