"""linux.resources as properties of a systemd unit: what `systemctl show` says is what the cgroup files say.

The rule of this file: pure. See systemd.resource-control(5) and org.freedesktop.systemd1(5). A property is (name, D-Bus
signature, value). What systemd has no property for is left to the cgroup files, which are written afterwards.
"""

from __future__ import annotations

from libcontainer import bitlist
from libcontainer.cgroups.devices import ANY, letters
from libcontainer.cgroups.resources import CPU_PERIOD, cpu_weight, io_weight, swap_max
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.cgroups.devices import Emulator
    from libcontainer.cgroups.resources import Resources

    Property = tuple[str, str, Any]
    Warn = Callable[[str], None]

INFINITY = 2**64 - 1  # and USEC_INFINITY, CGROUP_LIMIT_MAX; as a weight: not set
# The version of systemd that a property came with; an older one gets along by the cgroup files alone.
SINCE = {"CPUQuotaPeriodUSec": 242, "AllowedCPUs": 244, "AllowedMemoryNodes": 244, "OOMPolicy": 253}
_IDLE = 0  # as CPUWeight: cpu.idle
_IDLE_SINCE = 252
_PERCENT = 10_000  # microseconds of a second
_SECOND = 1_000_000
_IDLE_WINS = "unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight"
_KINDS = {"b": "block", "c": "char"}


def known(properties: list[Property], version: int) -> list[Property]:
    """Those that this version of systemd has."""
    old = version < _IDLE_SINCE
    return [p for p in properties if SINCE.get(p[0], 0) <= version and not (old and p[0] == "CPUWeight" and p[2] == _IDLE)]


# --- limits ---


def for_v2(resources: Resources, warn: Warn) -> list[Property]:
    """All limits but devices."""
    if _is_idle(resources) and _has_weight(resources):
        warn(_IDLE_WINS)
        resources = _weightless(resources)
    properties = [*_memory(resources), *_cpu(resources), *_tasks(resources), *_cpuset(resources), *_io(resources)]
    return properties + _unified(resources.get("unified") or {})


def for_v1(resources: Resources) -> list[Property]:
    """The names that systemd has for the controllers of v1."""
    limit = _section(resources, "memory").get("limit") or 0
    cpu, weight = _section(resources, "cpu"), _section(resources, "blockIO").get("weight") or 0
    properties = [("MemoryLimit", "t", _limit(limit)), ("CPUShares", "t", cpu.get("shares") or 0)]
    properties = [p for p in properties if p[2]] + quota(cpu.get("quota") or 0, cpu.get("period") or 0)
    if weight:
        properties.append(("BlockIOWeight", "t", weight))
    return properties + _tasks(resources) + _cpuset(resources)


def rounded(resources: Resources) -> Resources:
    """The resources with the quota that systemd makes of theirs, so that the cgroup file gets the same."""
    cpu = _section(resources, "cpu")
    asked, period = cpu.get("quota") or 0, cpu.get("period") or CPU_PERIOD
    if asked <= 0 or asked * _SECOND // period % _PERCENT == 0:
        return resources
    return {**resources, "cpu": {**cpu, "quota": _per_second(asked, period) * period // _SECOND}}


def without_idle_weight(resources: Resources) -> Resources:
    """The resources without the weight that an idle group cannot have."""
    return _weightless(resources) if _is_idle(resources) and _has_weight(resources) else resources


def _is_idle(resources: Resources) -> bool:
    """linux.resources.unified has the last word."""
    text: str | None = _section(resources, "unified").get("cpu.idle")
    return bool(_section(resources, "cpu").get("idle") == 1 if text is None else text.strip() == "1")


def _has_weight(resources: Resources) -> bool:
    return bool(_section(resources, "cpu").get("shares") or "cpu.weight" in _section(resources, "unified"))


def _weightless(resources: Resources) -> Resources:
    cpu = {name: value for name, value in _section(resources, "cpu").items() if name != "shares"}
    unified = {file: text for file, text in _section(resources, "unified").items() if file != "cpu.weight"}
    return {**resources, "cpu": cpu, "unified": unified}


def _per_second(asked: int, period: int) -> int:
    """systemd keeps whole per cents of a CPU: rounded up, or the container's own children could not have what it has."""
    exact = asked * _SECOND // period
    return -(-exact // _PERCENT) * _PERCENT


def quota(asked: int, period: int) -> list[Property]:
    """cpu.quota and cpu.period, of which 0 is "not given"; a quota below 0 is none."""
    properties: list[Property] = [("CPUQuotaPeriodUSec", "t", period)] if period else []
    if asked or period:
        value = _per_second(asked, period or CPU_PERIOD) if asked > 0 else INFINITY
        properties.append(("CPUQuotaPerSecUSec", "t", value))
    return properties


def _memory(resources: Resources) -> list[Property]:
    memory = _section(resources, "memory")
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    properties = [("MemoryMax", "t", _limit(limit)), ("MemoryLow", "t", _limit(memory.get("reservation") or 0))]
    properties = [p for p in properties if p[2]]
    alone = swap_max(limit, swap)
    if alone or swap > 0:  # 0 of a sum that is given: no swap at all
        properties.append(("MemorySwapMax", "t", _limit(alone)))
    return properties


def _cpu(resources: Resources) -> list[Property]:
    cpu = _section(resources, "cpu")
    weight = _IDLE if cpu.get("idle") == 1 else cpu_weight(cpu.get("shares") or 0) or None
    properties: list[Property] = [] if weight is None else [("CPUWeight", "t", weight)]
    return properties + quota(cpu.get("quota") or 0, cpu.get("period") or 0)


def _tasks(resources: Resources) -> list[Property]:
    limit = _section(resources, "pids").get("limit")
    if limit is None:
        return []
    return [("TasksMax", "t", INFINITY if limit < 0 else limit or 1)]


def _cpuset(resources: Resources) -> list[Property]:
    cpu = _section(resources, "cpu")
    properties = []
    for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if cpu.get(key):
            properties.append((name, "ay", _bitmap(cpu[key], f"linux.resources.cpu.{key}")))
    return properties


def _bitmap(text: str, what: str) -> bytes:
    try:
        mask = bitlist.parse(text)
    except ValueError as error:
        raise Error(f"{what}={text!r} conversion error") from error
    return mask.to_bytes(-(-mask.bit_length() // 8), "little")


def _io(resources: Resources) -> list[Property]:
    """Devices go by number: systemd looks behind /dev/block/MAJOR:MINOR."""
    block = _section(resources, "blockIO")
    properties: list[Property] = [("IOWeight", "t", io_weight(block["weight"]))] if block.get("weight") else []
    weights = [(_node(entry), io_weight(entry["weight"])) for entry in block.get("weightDevice") or [] if entry.get("weight")]
    if weights:
        properties.append(("IODeviceWeight", "a(st)", weights))
    for field, name in (
        ("throttleReadBpsDevice", "IOReadBandwidthMax"),
        ("throttleWriteBpsDevice", "IOWriteBandwidthMax"),
        ("throttleReadIOPSDevice", "IOReadIOPSMax"),
        ("throttleWriteIOPSDevice", "IOWriteIOPSMax"),
    ):
        rates = [(_node(entry), entry.get("rate") or INFINITY) for entry in block.get(field) or []]
        if rates:
            properties.append((name, "a(st)", rates))
    return properties


def _node(entry: Resources) -> str:
    return f"/dev/block/{entry.get('major', 0)}:{entry.get('minor', 0)}"


def _section(resources: Resources, name: str) -> Resources:
    section: Resources | None = resources.get(name)
    return section or {}


def _limit(value: int) -> int:
    return INFINITY if value < 0 else value


# --- linux.resources.unified ---

_UNIFIED_LIMITS = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_UNIFIED_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_SUFFIXES = "kmgtpe"  # lib/cmdline.c, memparse


def _unified(files: dict[str, str]) -> list[Property]:
    """The files that there is a property for."""
    properties: list[Property] = []
    for file, text in files.items():
        _check_unified(file)
        value = text.strip()
        if file in _UNIFIED_LIMITS:
            properties.append((_UNIFIED_LIMITS[file], "t", _unified_number(file, value)))
        elif file in _UNIFIED_SETS:
            properties.append((_UNIFIED_SETS[file], "ay", _bitmap(value, f'unified resource "{file}"')))
        elif file == "cpu.max":
            properties += _unified_quota(file, value)
        elif file == "cpu.idle" and value == "1":
            properties.append(("CPUWeight", "t", _IDLE))
        elif file == "cpu.weight":
            properties.append(("CPUWeight", "t", _unified_number(file, value)))
    return properties


def _check_unified(file: str) -> None:
    if "/" in file:
        raise Error(f'unified resource "{file}" must be a file name (no slashes)')
    if file.find(".") <= 0:
        raise Error(f'unified resource "{file}" must be in the form CONTROLLER.PARAMETER')


def _unified_number(file: str, value: str) -> int:
    if value == "max":
        return INFINITY
    digits = value
    factor = 1
    if file.startswith("memory.") and value[-1:].lower() in _SUFFIXES and value:
        digits, factor = value[:-1], 1 << 10 * (1 + _SUFFIXES.index(value[-1].lower()))
    if not (digits.isascii() and digits.isdigit()):
        raise Error(f'unified resource "{file}" value conversion error: "{value}" is not a number')
    return int(digits) * factor


def _unified_quota(file: str, value: str) -> list[Property]:
    """ "QUOTA PERIOD" or "QUOTA", which may be "max"."""
    words = value.split()
    if len(words) not in (1, 2):
        raise Error(f'unified resource "{file}" value invalid: "{value}"')
    period = _unified_number(file, words[1]) if len(words) == 2 else CPU_PERIOD
    return quota(-1 if words[0] == "max" else _unified_number(file, words[0]), period)


# --- devices ---


def devices(target: Emulator, warn: Warn) -> list[Property]:
    """The rules as a list of what is allowed; the list is emptied before it is filled."""
    if target.allows_all():
        return _device_policy("auto", [])
    if target.default_allow:
        warn("systemd doesn't support blacklist device rules -- applying temporary deny-all rule")
        return _device_policy("strict", [])
    allowed = []
    for (kind, major, minor), bits in target.exceptions.items():
        if major == ANY and minor != ANY:
            warn(f"systemd doesn't support '*:n' device rules -- temporarily ignoring rule: {kind} *:{minor}")
        else:
            allowed.append((_device(_KINDS[kind], major, minor), letters(bits)))
    return _device_policy("strict", allowed)


def _device_policy(policy: str, allowed: list[tuple[str, str]]) -> list[Property]:
    properties: list[Property] = [("DevicePolicy", "s", policy), ("DeviceAllow", "a(ss)", [])]
    return [*properties, ("DeviceAllow", "a(ss)", allowed)] if allowed else properties


def _device(kind: str, major: int, minor: int) -> str:
    """A group (all, or, since systemd 240, all of a major number) or a node, which need not exist."""
    if major == ANY:
        return f"{kind}-*"
    return f"{kind}-{major}" if minor == ANY else f"/dev/{kind}/{major}:{minor}"


# --- what is known only when the unit is started ---


def oom_policy(resources: Resources) -> list[Property]:
    """unified memory.oom.group; it cannot be changed later."""
    policy = {"0": "continue", "1": "kill"}.get((resources.get("unified") or {}).get("memory.oom.group", "").strip())
    return [("OOMPolicy", "s", policy)] if policy else []
