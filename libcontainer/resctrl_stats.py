"""What resctrl says of a container's class: `intel_rdt` of a "stats" event, in the form of runc's types package."""

from __future__ import annotations

import os

from libcontainer import resctrl, smallfile
from libcontainer.cgroups.stats import sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CACHE, _BANDWIDTH = "L3", "MB"
_NUMBERS = {
    _CACHE: ("min_cbm_bits", "num_closids"),
    _BANDWIDTH: ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"),
}
# Member -> the counters that it has, of those that info/L3_MON/mon_features names.
_COUNTERS = {"mbm_stats": ("mbm_total_bytes", "mbm_local_bytes"), "cmt_stats": ("llc_occupancy",)}


def collect(group: str, monitor: str) -> dict[str, Any]:
    """Of the class, and what is counted in the container's own monitoring group or else in the class."""
    top = resctrl.mount_point()
    everybody, own = _lines(top), _lines(group)
    found: dict[str, Any] = {}
    if resctrl.has(top, _CACHE):
        info = {"cbm_mask": _word(f"{top}/info/{_CACHE}/cbm_mask"), **_info(top, _CACHE)}
        found.update(l3_cache_info=info, l3_cache_schema_root=_of(_CACHE, everybody), l3_cache_schema=_of(_CACHE, own))
    if resctrl.has(top, _BANDWIDTH):
        info = _info(top, _BANDWIDTH)
        found.update(mem_bw_info=info, mem_bw_schema_root=_of(_BANDWIDTH, everybody), mem_bw_schema=_of(_BANDWIDTH, own))
    return sparse({**found, "schemata": own, **_counted(top, monitor or group)})


def _info(top: str, resource: str) -> dict[str, Any]:
    return sparse({name: int(_word(f"{top}/info/{resource}/{name}")) for name in _NUMBERS[resource]})


def _counted(top: str, group: str) -> dict[str, Any]:
    """An entry for each cache that is watched, in the order of their numbers."""
    if not resctrl.has(top, resctrl.MONITORING):
        return {}
    features = smallfile.text(f"{top}/info/{resctrl.MONITORING}/mon_features").split()
    domains = [entry for entry in sorted(os.scandir(f"{group}/mon_data"), key=lambda entry: entry.name) if entry.is_dir()]
    found = {}
    for member, counters in _COUNTERS.items():
        known = [name for name in counters if name in features]
        if known:
            found[member] = [sparse({name: _count(f"{domain.path}/{name}") for name in known}) for domain in domains]
    return found


def _count(path: str) -> int:
    """Zero where the kernel has no value ("Unavailable", "Error")."""
    word = _word(path)
    return int(word) if word.isdecimal() else 0


def _lines(group: str) -> list[str]:
    return [line.strip() for line in smallfile.text(f"{group}/schemata").splitlines()]


def _of(resource: str, lines: list[str]) -> str:
    return next((line for line in lines if line.startswith(f"{resource}:")), "")


def _word(path: str) -> str:
    return smallfile.text(path).strip()
