"""linux.resources as members of the cgroup object in runc's state.json, and back.

The rule of this file: both directions read one table. Device rules are another matter (config.py): they hold the
defaults too, and no verb changes them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from libcontainer.oci import Resources

# Section, member, name in runc's cgroup object.
MEMBERS = (
    ("memory", "limit", "memory"),
    ("memory", "reservation", "memory_reservation"),
    ("memory", "swap", "memory_swap"),
    ("memory", "swappiness", "memory_swappiness"),
    ("memory", "disableOOMKiller", "oom_kill_disable"),
    ("memory", "checkBeforeUpdate", "memory_check_before_update"),
    ("cpu", "shares", "cpu_shares"),
    ("cpu", "quota", "cpu_quota"),
    ("cpu", "burst", "cpu_burst"),
    ("cpu", "period", "cpu_period"),
    ("cpu", "realtimeRuntime", "cpu_rt_quota"),
    ("cpu", "realtimePeriod", "cpu_rt_period"),
    ("cpu", "cpus", "cpuset_cpus"),
    ("cpu", "mems", "cpuset_mems"),
    ("cpu", "idle", "cpu_idle"),
    ("pids", "limit", "pids_limit"),
    ("blockIO", "weight", "blkio_weight"),
    ("blockIO", "leafWeight", "blkio_leaf_weight"),
    ("blockIO", "weightDevice", "blkio_weight_device"),
    ("blockIO", "throttleReadBpsDevice", "blkio_throttle_read_bps_device"),
    ("blockIO", "throttleWriteBpsDevice", "blkio_throttle_write_bps_device"),
    ("blockIO", "throttleReadIOPSDevice", "blkio_throttle_read_iops_device"),
    ("blockIO", "throttleWriteIOPSDevice", "blkio_throttle_write_iops_device"),
    ("network", "classID", "net_cls_classid_u"),
)
# Those whose zero is a value; for the others runc writes 0 where nothing is set.
_ZERO_COUNTS = ("memory_swappiness", "cpu_burst", "cpu_idle")
_RDMA = {"hcaHandles": "hca_handles", "hcaObjects": "hca_objects"}
# Not in the table: lists and maps whose elements have other names, and what is computed.
_OTHERS = ("hugetlb_limit", "net_prio_ifpriomap", "rdma", "unified", "cpu_weight")


def to_saved(resources: Resources) -> dict[str, Any]:
    """The members for what `resources` gives."""
    members: dict[str, Any] = {}
    sections: Mapping[str, Any] = resources
    for section, field, name in MEMBERS:
        value = sections.get(section, {}).get(field)
        if value is not None:
            members[name] = value
    members.update(_others_to_saved(resources))
    if "cpu_shares" in members:
        from libcontainer.cgroups.resources import cpu_weight

        members["cpu_weight"] = cpu_weight(members["cpu_shares"])
    return members


def _others_to_saved(resources: Resources) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if resources.get("hugepageLimits"):
        members["hugetlb_limit"] = [
            {"page_size": entry.get("pageSize", ""), "limit": entry.get("limit", 0)}
            for entry in resources["hugepageLimits"]
        ]
    if resources.get("network", {}).get("priorities"):
        members["net_prio_ifpriomap"] = [
            {"interface": entry.get("name", ""), "priority": entry.get("priority", 0)}
            for entry in resources["network"]["priorities"]
        ]
    if resources.get("rdma"):
        sections: Mapping[str, Any] = resources["rdma"]
        members["rdma"] = {
            card: {_RDMA[field]: value for field, value in limits.items()} for card, limits in sections.items()
        }
    if resources.get("unified"):
        members["unified"] = resources["unified"]
    return members


def from_saved(cgroup: Mapping[str, Any]) -> Resources:
    """What a cgroup object limits."""
    resources: dict[str, Any] = {}
    for section, field, name in MEMBERS:
        value = cgroup.get(name)
        if value or (value is not None and name in _ZERO_COUNTS):
            resources.setdefault(section, {})[field] = value
    _others_from_saved(cgroup, resources)
    limits: Any = resources
    found: Resources = limits
    return found


def _others_from_saved(cgroup: Mapping[str, Any], resources: dict[str, Any]) -> None:
    if cgroup.get("hugetlb_limit"):
        resources["hugepageLimits"] = [
            {"pageSize": entry["page_size"], "limit": entry["limit"]} for entry in cgroup["hugetlb_limit"]
        ]
    if cgroup.get("net_prio_ifpriomap"):
        resources.setdefault("network", {})["priorities"] = [
            {"name": entry["interface"], "priority": entry["priority"]} for entry in cgroup["net_prio_ifpriomap"]
        ]
    if cgroup.get("rdma"):
        fields = {saved: field for field, saved in _RDMA.items()}
        resources["rdma"] = {
            card: {fields[name]: value for name, value in limits.items() if value is not None}
            for card, limits in cgroup["rdma"].items()
        }
    if cgroup.get("unified"):
        resources["unified"] = cgroup["unified"]


def replaced(cgroup: Mapping[str, Any], resources: Resources) -> dict[str, Any]:
    """The cgroup object with `resources` in place of its own; all other members stay."""
    names = {*(name for _, _, name in MEMBERS), *_OTHERS}
    return {**{name: value for name, value in cgroup.items() if name not in names}, **to_saved(resources)}
