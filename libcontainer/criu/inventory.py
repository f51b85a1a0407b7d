"""The inventory: the image that says how the others were made. Restore believes it rather than what it is asked for."""

from __future__ import annotations

from libcontainer.criu import regular, wire
from libcontainer.errors import Error

FILE = "inventory.img"
MAGIC = 0x58313116  # criu/include/magic.h
LARGEST = 1 << 20
_NETWORK_LOCK_METHOD = 11  # of inventory_entry (images/inventory.proto)
# CRIU's own numbers (criu/include/cr_options.h), which are not those of its RPC
_METHODS = {"iptables": 0, "nftables": 1, "skip": 2}


def with_network_lock(images: int, method: str) -> bytes:
    """The image, but with this method by which the network is held still while connections are restored."""
    try:
        message = next(wire.entries(regular.read(images, FILE, LARGEST), MAGIC), b"")
    except ValueError as err:
        raise Error(f"invalid checkpoint image {FILE}: {err}") from None
    return wire.file([wire.replaced(message, _NETWORK_LOCK_METHOD, _METHODS[method])], MAGIC)
