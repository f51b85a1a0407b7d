"""process.ioPriority as the argument of ioprio_set(2)."""

from __future__ import annotations

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/ioprio.h
CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
CLASS_SHIFT = 13
LEVELS = 8
WHO_PROCESS = 1


def value(io_priority: Mapping[str, Any], path: str = "process.ioPriority") -> int:
    """Class and level in one number."""
    name, level = io_priority.get("class"), io_priority.get("priority") or 0
    if name not in CLASSES:
        raise InvalidSpec(f"{path}.class", f"invalid ioPriority.Class: {name} (known: {', '.join(CLASSES)})")
    if not 0 <= level < LEVELS:
        raise InvalidSpec(f"{path}.priority", f"invalid ioPriority.Priority: {level} (0 to {LEVELS - 1})")
    return CLASSES[name] << CLASS_SHIFT | level
