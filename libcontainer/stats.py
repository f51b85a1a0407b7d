"""The statistics of a container: its cgroups', and those of network interfaces that the host knows by name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.container import Container

_INTERFACES = "/sys/class/net"


def collect(container: Container) -> dict[str, Any]:
    """The `data` of a "stats" event."""
    found = container.cgroup.stats()
    return {**found, "network_interfaces": _interfaces(container.saved.raw.get("networks") or []) or None}


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
