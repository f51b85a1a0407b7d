"""CRIU's configuration file, which it reads from 3.11 on: what it says overrides what the RPC says.

The annotation org.criu.config names it. We add what the RPC cannot say: the address that the page server of a lazy dump
listens on (criu/cr-service.c drops it, and listens on all addresses).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ANNOTATION = "org.criu.config"
DEFAULT = "/etc/criu/runc.conf"


def of(annotations: Mapping[str, str]) -> str | None:
    """The path for CRIU; an empty annotation means none."""
    return annotations.get(ANNOTATION, DEFAULT) or None


def exists(path: str | None) -> bool:
    """Whether CRIU has one to read."""
    return path is not None and os.path.exists(path)


def with_address(base: str | None, address: str) -> int:
    """A memory file with the line for the address and then the content of `base`, which overrides it."""
    fd = os.memfd_create("criu.conf")
    with open(os.dup(fd), "wb") as file:
        file.write(f"address {address}\n".encode())
        if base is not None:
            file.write(_content(base))
    return fd


def _content(path: str) -> bytes:
    """CRIU too goes without a file that is missing."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def path_of(fd: int) -> str:
    """How another process names our descriptor."""
    return f"/proc/{os.getpid()}/fd/{fd}"
