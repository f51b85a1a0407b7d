"""pyrunc update: change the limits of a container that lives."""

from __future__ import annotations

import os

from libcontainer.errors import Error, InvalidSpec, SyscallError
from pyrunc import units
from pyrunc.options import NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.oci import Resources
    from pyrunc.options import Invocation


def _memory(text: str) -> int:
    return -1 if text == "-1" else units.size(text)


# Flag, section and member of linux.resources, how its text is read, help.
_TEXTS: tuple[tuple[str, str, str, Callable[[str], Any], str], ...] = (
    ("cpu-period", "cpu", "period", units.unsigned, "CPU CFS period to be used for hardcapping (in usecs); 0: system default"),
    ("cpu-quota", "cpu", "quota", units.signed, "CPU CFS hardcap limit (in usecs): allowed cpu time in a given period"),
    ("cpu-burst", "cpu", "burst", units.unsigned, "CPU CFS hardcap burst limit (in usecs): time saved up for a later period"),
    ("cpu-share", "cpu", "shares", units.unsigned, "CPU shares (relative weight vs. other containers)"),
    ("cpu-rt-period", "cpu", "realtimePeriod", units.unsigned, "CPU realtime period (in usecs); 0: system default"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", units.signed, "CPU realtime hardcap limit (in usecs) in a given period"),
    ("cpuset-cpus", "cpu", "cpus", str, "CPU(s) to use"),
    ("cpuset-mems", "cpu", "mems", str, "memory node(s) to use"),
    ("cpu-idle", "cpu", "idle", units.signed, "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"),
    ("memory", "memory", "limit", _memory, "memory limit (in bytes, or with a suffix as in 50M; -1: none)"),
    ("memory-reservation", "memory", "reservation", _memory, "memory reservation or soft limit (in bytes)"),
    ("memory-swap", "memory", "swap", _memory, "total memory usage (memory + swap); set '-1' to enable unlimited swap"),
)
_NUMBERS = (
    ("blkio-weight", "blockIO", "weight", "per cgroup weight, range is from 10 to 1000"),
    ("pids-limit", "pids", "limit", "maximum number of pids allowed in the container"),
)
_IGNORED = ("kernel-memory", "kernel-memory-tcp")
_RDT = (
    Flag("l3-cache-schema", TEXT, "the string of Intel RDT/CAT L3 cache schema"),
    Flag("mem-bw-schema", TEXT, "the string of Intel RDT/MBA memory bandwidth schema"),
)
_MAX_WEIGHT = (1 << 16) - 1

COMMAND = Command(
    "update",
    "update container resource constraints",
    arguments="<container-id>",
    count=(1, 1),
    flags=(
        Flag("resources", TEXT, "path of the file with the resources to update, or '-' for standard input", letter="r"),
        *(Flag(name, NUMBER, usage) for name, _, _, usage in _NUMBERS),
        *(Flag(name, TEXT, usage) for name, _, _, _, usage in _TEXTS),
        *(Flag(name, TEXT, "obsolete and without effect", hidden=True) for name in _IGNORED),
        *_RDT,
    ),
    description="""\
The file has the form of linux.resources in config.json; unchanged values can be left out:

{"memory": {"limit": 0, "reservation": 0, "swap": 0, "checkBeforeUpdate": true},
 "cpu": {"shares": 0, "quota": 0, "burst": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0,
         "cpus": "", "mems": "", "idle": 0},
 "pids": {"limit": 0}, "blockIO": {"weight": 0, "weightDevice": [], "throttleReadBpsDevice": []}, "unified": {}}

With a file (or standard input) all other options but those of Intel RDT are ignored.""",
)


def run(call: Invocation) -> int:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    source = call.text("resources")
    resources = _from_file(source) if source else _from_flags(call)
    container.update(resources, rdt=_schemata(call))
    return 0


def _from_file(source: str) -> Resources:
    from libcontainer import spec

    if source == "-":
        return _from_stdin()
    try:
        return spec.load_resources(os.path.abspath(source))
    except OSError as error:
        raise SyscallError("open", error.errno or 0, source) from None


def _from_stdin() -> Resources:
    from libcontainer import spec

    with open(0, "rb", buffering=0, closefd=False) as file:
        text = file.readall()
    try:
        return spec.load_resources(text)
    except InvalidSpec as error:
        raise InvalidSpec(error.path or "standard input", error.reason) from None


def _from_flags(call: Invocation) -> Resources:
    for name in _IGNORED:
        if call.text(name):
            call.log("warning", f"Setting --{name} is ignored and will be removed")
    found: dict[str, dict[str, Any]] = {}
    for name, section, member, convert, _usage in _TEXTS:
        if call.text(name):
            found.setdefault(section, {})[member] = _converted(name, call.text(name), convert)
    for name, section, member, _usage in _NUMBERS:
        if call.given(name):
            found.setdefault(section, {})[member] = call.number(name)
    _check_weight(found.get("blockIO", {}))
    given: Any = found
    resources: Resources = given
    return resources


def _check_weight(block: dict[str, int]) -> None:
    if not 0 <= block.get("weight", 0) <= _MAX_WEIGHT:
        raise Error(f"invalid value for blkio-weight: {block['weight']} is not in the range 10..1000")


def _converted(name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise Error(f"invalid value for {name}: {error}") from None


def _schemata(call: Invocation) -> dict[str, str]:
    """The Intel RDT settings that were given, by the names they have in linux.intelRdt."""
    values = {"l3CacheSchema": call.text("l3-cache-schema"), "memBwSchema": call.text("mem-bw-schema")}
    return {name: text for name, text in values.items() if text}
