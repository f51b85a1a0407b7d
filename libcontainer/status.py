"""What a container does, and the document that tells it. Derived from the kernel each time it is asked for, never stored."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.saved_config import SavedConfig
    from libcontainer.state import State

CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"
FIFO = "exec.fifo"
OCI_VERSION = "1.3.0"


def status_of(directory: str, state: State, frozen: bool) -> str:
    """The status word, from the state directory, the process and whether the cgroup is frozen."""
    if frozen:
        return PAUSED
    if not state.is_alive():
        return STOPPED
    return CREATED if os.path.exists(f"{directory}/{FIFO}") else RUNNING


def document_of(container_id: str, status: str, state: State, saved: SavedConfig) -> dict[str, Any]:
    """The document that `state` prints, of a container with this status."""
    annotations = saved.annotations
    document: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "id": container_id,
        "pid": 0 if status == STOPPED else state.init_process_pid,
        "status": status,
        "bundle": saved.bundle or "",
        "rootfs": saved.rootfs,
        "created": state.created,
    }
    if annotations:
        document["annotations"] = annotations
    document["owner"] = ""
    return document
