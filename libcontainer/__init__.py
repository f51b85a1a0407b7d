"""Start, enter, signal, inspect and delete containers from Python, without a daemon.

Public names load on first use (PEP 562): importing the package costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container as Container
    from libcontainer.errors import ContainerExists as ContainerExists
    from libcontainer.errors import ContainerNotExist as ContainerNotExist
    from libcontainer.errors import ContainerNotPaused as ContainerNotPaused
    from libcontainer.errors import ContainerNotRunning as ContainerNotRunning
    from libcontainer.errors import ContainerPaused as ContainerPaused
    from libcontainer.errors import ContainerRunning as ContainerRunning
    from libcontainer.errors import Error as Error
    from libcontainer.errors import HookError as HookError
    from libcontainer.errors import InitError as InitError
    from libcontainer.errors import InvalidID as InvalidID
    from libcontainer.errors import InvalidSpec as InvalidSpec
    from libcontainer.errors import Unsupported as Unsupported
    from libcontainer.process import Process as Process

_HOME = {
    "Container": "libcontainer.container",
    "Process": "libcontainer.process",
    "Error": "libcontainer.errors",
    "InvalidID": "libcontainer.errors",
    "InvalidSpec": "libcontainer.errors",
    "ContainerExists": "libcontainer.errors",
    "ContainerNotExist": "libcontainer.errors",
    "ContainerNotRunning": "libcontainer.errors",
    "ContainerRunning": "libcontainer.errors",
    "ContainerPaused": "libcontainer.errors",
    "ContainerNotPaused": "libcontainer.errors",
    "HookError": "libcontainer.errors",
    "InitError": "libcontainer.errors",
    "Unsupported": "libcontainer.errors",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
