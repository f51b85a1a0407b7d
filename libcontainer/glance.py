"""Many containers' states, quickly: without parsing the whole of each state.json (mounts, a seccomp profile).

The rule of this file: both runtimes write state.json without blanks and in one order; any other text is parsed as a whole.
Searching finds keys only: in `,"name":` the quote follows a comma, and a quote within a string follows a backslash.
"""

from __future__ import annotations

from libcontainer import cgroups, jsonfast
from libcontainer.cgroups.files import BENEATH, Tree
from libcontainer.saved_config import SavedConfig
from libcontainer.state import State, check_id
from libcontainer.status import document_of, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CONFIG, _AFTER = ',"config":{', '},"rootless":'
_NAMESPACES = ',"namespace_paths":'
_ROOTFS, _LABELS = ',"rootfs":', ',"labels":'


class Glance:
    """The containers of one state root, to look at only."""

    __slots__ = ("_root", "_tree")

    def __init__(self, root: str) -> None:
        self._root = root
        self._tree = Tree(BENEATH)  # one handle for all

    def state(self, container_id: str) -> dict[str, Any]:
        """What Container.load(container_id).to_state() returns."""
        check_id(container_id)
        directory = f"{self._root}/{container_id}"
        state = State.load(directory, parse)
        status = status_of(directory, state, cgroups.frozen(self._tree, state.cgroup_paths))
        return document_of(container_id, status, state, SavedConfig(state.config))


def parse(text: str) -> Any:
    """jsonfast.loads(text) with those parts of `config` and `cgroup_paths` that make the state."""
    head, _, rest = text.partition(_CONFIG)
    config, end, tail = f",{rest}".partition(_AFTER)
    rootfs = config.find(_ROOTFS)  # it is always there, before any object whose keys are the user's
    labels = config.rfind(_LABELS)  # they too, behind all of those
    if not end or _AFTER in tail or rootfs < 0 or labels < 0:
        return jsonfast.loads(text)
    document: dict[str, Any] = jsonfast.loads(head + "}")
    document["config"] = {
        "rootfs": jsonfast.loads(config, rootfs + len(_ROOTFS)),
        "labels": jsonfast.loads(config, labels + len(_LABELS)),
    }
    document["cgroup_paths"] = _freezer(tail.partition(_NAMESPACES)[0])
    return document


def _freezer(text: str) -> dict[str, str]:
    """The path that tells whether a container is paused: of the v1 controller, else of the unified hierarchy."""
    for name in ("freezer", ""):
        at = text.find(f'"{name}":')
        if at >= 0:
            return {name: jsonfast.loads(text, at + len(name) + 3)}
    return {}
