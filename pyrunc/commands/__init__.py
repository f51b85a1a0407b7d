"""The verbs: one module each, with COMMAND (what it takes) and run(call) (what it does, returning the exit status).

A module is imported only when its verb is called, or asked for help.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyrunc.options import Command, Invocation

    class Module(Protocol):
        COMMAND: Command

        def run(self, call: Invocation) -> int: ...


NAMES = (
    *("checkpoint", "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps"),
    *("restore", "resume", "run", "spec", "start", "state", "top", "update"),
)


def load(name: str) -> Module | None:
    """The module of a verb, or None if there is no such verb."""
    if name not in NAMES:
        return None
    module_name = f"{__name__}.{name}"
    __import__(module_name)
    import sys

    module: Module = sys.modules[module_name]
    return module
