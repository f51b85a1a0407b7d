"""Names of kernel parameters."""

from __future__ import annotations

import pytest

from libcontainer import sysctl
from libcontainer.errors import InvalidSpec


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
        ("single", "single"),
    ],
)
def test_paths(name: str, path: str) -> None:
    assert sysctl.normalise(name) == path


def test_targets_keep_order_and_values() -> None:
    assert sysctl.targets({"kernel.sem": "1 2 3", "fs/mqueue/msg_max": ""}) == [
        ("kernel/sem", "1 2 3"),
        ("fs/mqueue/msg_max", ""),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/",
        "net..x",
        "/net/x",
        ".net.x",
        "net.",
        "net/../kernel/x",
        "net.//.kernel",
        "net/./x",
        "a.\0",
    ],
)
def test_what_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="is not the name of a kernel parameter") as caught:
        sysctl.targets({name: "1"})
    assert caught.value.path.startswith("linux.sysctl[")
