"""linux.personality: the execution domain for personality(2)."""

from __future__ import annotations

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}  # PER_LINUX, PER_LINUX32 of linux/personality.h


def value(personality: Mapping[str, Any], path: str = "linux.personality") -> int:
    """The argument of personality(2)."""
    domain = personality.get("domain")
    if domain not in DOMAINS:
        known = ", ".join(DOMAINS)
        raise InvalidSpec(f"{path}.domain", f"invalid personality domain {domain} (known: {known})")
    return DOMAINS[domain]
