"""The statistics of a container: of its cgroups, its resctrl group, and network interfaces that the host knows by name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.container import Container

_INTERFACES = "/sys/class/net"


def collect(container: Container) -> dict[str, Any]:
    """The `data` of a "stats" event."""
    found = container.cgroup.stats()
    interfaces = _interfaces(container.saved.raw.get("networks") or []) or None
    return {**found, "intel_rdt": _rdt(container), "network_interfaces": interfaces}


def _rdt(container: Container) -> dict[str, Any]:
    if container.saved.raw.get("intel_rdt") is None:
        return {}
    from libcontainer import resctrl_stats
    from libcontainer.errors import Error

    try:
        return resctrl_stats.collect(container.state.intel_rdt_path, container.state.intel_rdt_mon_path)
    except OSError as err:
        raise Error("unable to get container Intel RDT stats") from err


def _interfaces(networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of veth pairs that a program configured with the container; the networks of engines are not among them."""
    names = [network.get("host_interface_name", "") for network in networks if network.get("type") == "veth"]
    return [_interface(name) for name in names if name]


def _interface(name: str) -> dict[str, Any]:
    """What the host's end receives the container has sent."""
    counts: dict[str, Any] = {"Name": name}
    for here, there in (("tx", "Rx"), ("rx", "Tx")):
        for what in ("bytes", "packets", "errors", "dropped"):
            with open(f"{_INTERFACES}/{name}/statistics/{here}_{what}", encoding="ascii") as file:
                counts[f"{there}{what.capitalize()}"] = int(file.read())
    return counts
