"""The stream of events of a container: statistics at regular moments, out of memory when it happens."""

from __future__ import annotations

import time

from libcontainer.errors import ContainerNotRunning, Error, Unsupported, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from libcontainer.cgroups.oom import Watch
    from libcontainer.container import Container


def check_running(container: Container) -> None:
    if container.status() == "stopped":
        raise ContainerNotRunning(f"container with id {container.id} is not running")


def stats_event(container: Container) -> dict[str, Any]:
    return {"type": "stats", "id": container.id, "data": container.stats()}


def stream(container: Container, interval: float) -> Iterator[dict[str, Any]]:
    """Events until the container has no process any more; the first statistics come after one interval."""
    check_running(container)
    if not container.cgroup.exists():
        raise Unsupported("the container has no cgroup: there is nothing to watch")
    watch = container.cgroup.watch()
    try:
        yield from _watched(container, watch, interval)
    finally:
        watch.close()


def _watched(container: Container, watch: Watch, interval: float) -> Iterator[dict[str, Any]]:
    due = time.monotonic() + interval
    while True:
        for _ in range(watch.wait(due - time.monotonic())):
            yield {"type": "oom", "id": container.id}
        if watch.ended():
            return
        if time.monotonic() >= due:
            yield from _statistics(container)
            due = max(due + interval, time.monotonic())


def _statistics(container: Container) -> Iterator[dict[str, Any]]:
    """Nothing if they cannot be had: the next ones may."""
    try:
        yield stats_event(container)
    except (OSError, Error) as error:
        container.log("error", describe(error))
