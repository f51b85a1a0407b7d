"""update: new limits for a container that lives.

The whole set of limits is applied each time, because they depend on each other (memory and swap, quota and period):
what state.json has, with what is asked for merged into it by the rules of runc. Some limits are kept until they are
given again, some are forgotten (no longer managed: the kernel keeps the value, later updates do not know it) when they
are not.
"""

from __future__ import annotations

from libcontainer import saved_resources
from libcontainer.errors import ContainerNotRunning, Error, Unsupported, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.container import Container
    from libcontainer.oci import Resources

    Section = dict[str, Any]

UNLIMITED = -1
# Kept unless given. All other sections and members are kept always, as nothing can update them.
_KEPT = {
    "memory": ("limit", "reservation", "swap"),
    "cpu": ("shares", "realtimeRuntime", "realtimePeriod"),
    "blockIO": ("weight",),
}
# Forgotten unless given.
_FORGOTTEN = {"memory": ("checkBeforeUpdate",), "cpu": ("cpus", "mems", "burst", "idle"), "pids": ("limit",)}
_PER_DEVICE = (
    *("weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice"),
    *("throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
)


def update(container: Container, resources: Resources, rdt: dict[str, str]) -> None:
    """Apply `resources` and save them; if one limit is refused, or cannot be saved, the old set is applied again."""
    if container.status() == "stopped":
        raise ContainerNotRunning
    _check_rdt(container, rdt)
    saved = container.saved.cgroup
    old = saved_resources.from_saved(saved)
    new: Any = merged(old, resources)
    _refuse_without_cgroup(container.cgroup, new)
    before = container.cgroup.values(new)
    try:
        # Without device rules: others (nvidia's hook, say) may have added to them since.
        container.cgroup.set(new, devices=False)
        _set_rdt(container, rdt)
        container.state.config["cgroups"] = saved_resources.replaced(saved, new)
        container.save()
    except (OSError, Error):
        container.state.config["cgroups"] = saved
        _put_back(container, old, before)
        raise


def _check_rdt(container: Container, rdt: dict[str, str]) -> None:
    if not rdt:
        return
    from libcontainer import resctrl

    resctrl.check(rdt)
    if container.saved.raw.get("intel_rdt") is None or not container.state.intel_rdt_path:
        raise Unsupported("updating a non-existent Intel RDT configuration is not supported")


def _set_rdt(container: Container, rdt: dict[str, str]) -> None:
    if not rdt:
        return
    from libcontainer import resctrl

    resctrl.write(container.state.intel_rdt_path, list(rdt.values()))
    for member, text in rdt.items():
        container.saved.raw["intel_rdt"][resctrl.RESOURCES[member][1]] = text


def _refuse_without_cgroup(cgroup: Manager, resources: Resources) -> None:
    """A rootless container may have been made without one: nothing could hold the limit."""
    if resources and (cgroup.absent or not cgroup.paths):
        raise Unsupported("cannot set limits: the container has no cgroup (none could be made when it was created)")


def _put_back(container: Container, old: Resources, before: list[tuple[str, str]]) -> None:
    """The old set, for systemd's properties; and what the kernel had, for that may be more than state.json knows."""
    limits: Any = {**old, "memory": {**old.get("memory", {}), "checkBeforeUpdate": False}}
    try:
        container.cgroup.set(limits, devices=False)
        container.cgroup.put_back(before)
    except (OSError, Error) as error:
        container.log("warning", f"unable to restore the limits of before the update: {describe(error)}")


def merged(old: Resources, given: Resources) -> Resources:
    """The limits after an update of `old` by `given`."""
    before: Mapping[str, Any] = old
    asked: Mapping[str, Any] = given
    result: Section = {name: dict(section) for name, section in before.items() if name in ("memory", "cpu", "blockIO", "pids")}
    for section in ("memory", "cpu", "blockIO", "pids"):
        _merge(result.setdefault(section, {}), asked.get(section, {}), section)
    _bandwidth(result["cpu"], asked.get("cpu", {}))
    _implied(result, asked)
    _upsert_devices(result["blockIO"], asked.get("blockIO", {}))
    limits: Any = {**before, **result, "unified": asked.get("unified")}
    whole: Any = {name: value for name, value in limits.items() if value}
    resources: Resources = whole
    return resources


def _merge(section: Section, given: Section, name: str) -> None:
    for field in _FORGOTTEN.get(name, ()):
        section.pop(field, None)
    for field in (*_KEPT.get(name, ()), *_FORGOTTEN.get(name, ())):
        if field in given:
            section[field] = given[field]


def _bandwidth(cpu: Section, given: Section) -> None:
    """Quota and period: one alone changes that one; both, or neither, replace both."""
    names = ("quota", "period")
    if sum(name in given for name in names) != 1:
        for name in names:
            cpu.pop(name, None)
    cpu.update({name: given[name] for name in names if name in given})


def _implied(resources: Section, asked: Mapping[str, Any]) -> None:
    memory, cpu = asked.get("memory", {}), asked.get("cpu", {})
    if memory.get("limit") == UNLIMITED and "swap" not in memory:
        resources["memory"].pop("swap", None)  # unlimited too: resources.py
    if cpu.get("idle") and "shares" not in cpu:
        resources["cpu"].pop("shares", None)  # the kernel refuses a weight for an idle group


def _upsert_devices(block: Section, given: Section) -> None:
    for name in _PER_DEVICE:
        entries = _last_of_each([*block.get(name, ()), *given.get(name, ())])
        if entries:
            block[name] = entries


def _last_of_each(entries: Iterable[Section]) -> list[Section]:
    """One entry a device, the last that names it."""
    return list({(entry.get("major", 0), entry.get("minor", 0)): entry for entry in entries}.values())
