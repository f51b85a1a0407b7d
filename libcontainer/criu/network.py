"""How the network is held still while TCP connections are dumped.

CRIU puts rules into the container's network namespace, whatever is in it, by iptables or nft: that takes longer than the
rest of a small dump. Without a TCP socket there is nothing to hold.
"""

from __future__ import annotations

from libcontainer.criu import features, messages
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container

LOCKS = {"iptables": messages.LOCK_IPTABLES, "nftables": messages.LOCK_NFTABLES, "skip": messages.LOCK_SKIP}


def check(name: str) -> str:
    """The value of --network-lock; "" leaves the choice to us."""
    if name and name not in LOCKS:
        raise Error(f'invalid network-lock value "{name}": it is one of {", ".join(LOCKS)}')
    return name


def choose(name: str, pid: int, version: int, *, tcp_established: bool) -> int | None:
    """The method to ask CRIU for; None for the one that it was built with."""
    if name:
        skip = name == "skip"
        features.require(version, features.NETWORK_LOCK_SKIP if skip else features.NETWORK_LOCK, "--network-lock")
        return LOCKS[name]
    if version < features.NETWORK_LOCK_SKIP or tcp_established or has_tcp_sockets(pid):
        return None
    return messages.LOCK_SKIP


def warn(container: Container, lock: int, version: int) -> None:
    """A network namespace by path stays, and with it the lock: restore must be able to lock what is locked."""
    if lock == messages.LOCK_NFTABLES and version < features.NFT_AGAIN and container.saved.namespace_path("network"):
        container.log(
            "warning",
            "CRIU before 4.2 cannot restore into a network namespace that it has locked with nft: on this host it will fail; "
            "with --network-lock iptables it would not",
        )


def has_tcp_sockets(pid: int) -> bool:
    """Whether there is one, listening or connected, in the network namespace of the process.

    The kernel counts them; to list them it walks through tables of all sockets there could be, which takes milliseconds.
    """
    return any(_counts(f"/proc/{pid}/net/{table}") for table in ("sockstat", "sockstat6"))


def _counts(path: str) -> bool:
    """Whether its line for TCP, "TCP: inuse 2 orphan 0 tw 1 ...", has sockets that are in use, or that wait for their end."""
    try:
        with open(path, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:  # no IPv6
        return False
    words = next((words for words in lines if words[0] in ("TCP:", "TCP6:")), [])
    known = dict(zip(words[1::2], words[2::2], strict=False))
    return any(int(known.get(name, "0")) for name in ("inuse", "tw"))
