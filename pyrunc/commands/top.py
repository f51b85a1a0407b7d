"""pyrunc top: what containers use, live on a terminal, once in a pipe."""

from __future__ import annotations

import time

from libcontainer import jsonfast
from libcontainer.errors import Error
from pyrunc import usage
from pyrunc.log import out
from pyrunc.options import DURATION, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from libcontainer.container import Container
    from pyrunc import screen
    from pyrunc.options import Invocation

COMMAND = Command(
    "top",
    "show what containers use: cpu, memory, processes, io, pressure",
    arguments="[container-id...]",
    count=(0, None),
    flags=(
        Flag("interval", DURATION, "time between two looks (default: 1s)", default=1.0),
        Flag("format", TEXT, "select one of: table or json (json: once, not live)", letter="f", default="table"),
    ),
    description="""\
Without ids, all containers of the state root that run. On a terminal the table is live; q or ^C ends it. Elsewhere it is
printed once, after one interval. CPU % is of one CPU; MEMORY is without page cache that can be dropped; PRESSURE is the
share of the last ten seconds, in per cent, in which some process had to wait for cpu, memory and io.""",
)
_SIGINT = 2


def run(call: Invocation) -> int:
    layout, interval = call.text("format"), call.seconds("interval")
    if layout not in ("table", "json"):
        raise Error("invalid format option")
    if interval <= 0:
        raise Error("duration interval must be greater than 0")
    view = View(call)
    from pyrunc import screen  # not above: help is for every system

    if layout == "table" and screen.usable():
        return _live(view, interval)
    view.look()
    time.sleep(interval)
    records = view.look()
    out(jsonfast.dumps(records) + "\n" if layout == "json" else "".join(f"{line}\n" for line in usage.table(records)))
    return 0


class View:
    """The containers that are shown, and the last look at each."""

    __slots__ = ("_call", "_last")

    def __init__(self, call: Invocation) -> None:
        self._call = call
        self._last: dict[tuple[str, str], usage.Look] = {}
        for container_id in call.arguments:
            self._load(container_id)

    @property
    def named(self) -> bool:
        """Whether the command line says which containers."""
        return bool(self._call.arguments)

    def _load(self, container_id: str) -> Container:
        from libcontainer.container import Container

        return Container.load(container_id, root=self._call.root, log=self._call.log)

    def look(self) -> list[dict[str, Any]]:
        """The figures of those that there are now; others take the place of those that have gone."""
        last, self._last = self._last, {}
        return [record for container in self._present() if (record := self._record(container, last)) is not None]

    def _present(self) -> list[Container]:
        """The names are asked for anew each time."""
        found = []
        for container_id in self._call.arguments or self._ids():
            try:
                found.append(self._load(container_id))
            except (Error, OSError):
                continue  # it has gone, or is not finished
        return found

    def _ids(self) -> Sequence[str]:
        from libcontainer.container import list_ids

        try:
            return list_ids(self._call.root)
        except FileNotFoundError:
            return ()

    def _record(self, container: Container, last: dict[tuple[str, str], usage.Look]) -> dict[str, Any] | None:
        try:
            status = container.status()
            if status == "stopped" and not self.named:
                return None
            now = usage.Look(container.stats(), time.monotonic())
        except (Error, OSError):
            return None
        key = container.id, container.state.created  # another container may get the name
        self._last[key] = now
        return usage.record(container.id, status, last.get(key), now)


def _live(view: View, interval: float) -> int:
    """Until the user ends it, or no container is left of those that were named."""
    from pyrunc import screen

    terminal = screen.Screen()
    terminal.enter()
    try:
        return _loop(view, terminal, interval)
    finally:
        terminal.leave()


def _loop(view: View, terminal: screen.Screen, interval: float) -> int:
    records, due = view.look(), time.monotonic() + interval
    while records or not view.named:
        terminal.draw(usage.table(records))
        ended = terminal.wait(max(due - time.monotonic(), 0.0))
        if ended is not None:
            return 0 if ended in (0, _SIGINT) else 128 + ended
        if time.monotonic() >= due:
            records, due = view.look(), time.monotonic() + interval
    return 0
