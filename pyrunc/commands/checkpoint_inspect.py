"""pyrunc checkpoint inspect DIR: what is in a directory of checkpoint images.

`checkpoint` takes one container id; `inspect` with an argument behind it is this command, so that a container may still be
called "inspect". The images may come from anywhere: no control character of theirs reaches the terminal.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from libcontainer import jsonfast
from pyrunc.checkpoint_stats import checked_format, lines, size
from pyrunc.log import out
from pyrunc.options import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from pyrunc.options import Invocation

    Record = dict[str, Any]

_LONGEST = 256  # characters of one cell
_PADDING = 2
_MOST_OWNERS = 8  # of a socket, in its line


def run(call: Invocation) -> int:
    from libcontainer.criu.inspect import inspect

    layout = checked_format(call)
    with _quiet():
        found = inspect(call.arguments[1], work=call.text("work-path") or None)
    out(jsonfast.dumps(found, indent=2) + "\n" if layout == "json" else "\n".join(_report(found)))
    return 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a stderr: protobuf's C++ complains there of names that are not UTF-8, which names of files need not be."""
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _report(found: Record) -> Iterator[str]:
    yield _overview(found)
    yield _timings(found)
    yield _titled("processes", _processes(found))
    yield _titled("shared memory", _shared(found["sharedMemory"]))
    if found["kind"] == "pre-dump":
        return
    yield _titled("mounts", _mounts(found["mounts"]))
    yield _titled("sockets", _sockets(found["sockets"]))
    yield _titled("open files", _files(found["processes"]))


def _titled(title: str, rows: list[tuple[str, ...]]) -> str:
    """A table with its title; the first row holds the names of the columns."""
    if len(rows) < 2:
        return f"{title.upper()}: none\n"
    return f"{title.upper()}\n{table(rows)}"


def _overview(found: Record) -> str:
    criu = found["criu"]
    rows = [
        ("directory", found["directory"]),
        ("kind", found["kind"]),
        ("created", found["created"] or "unknown"),
        ("size", size(found["size"])),
        ("criu", criu["version"] or "unknown (dump.log is not here: see --work-path)"),
        ("host", criu["host"] or "unknown"),
        *(("parent", f"{parent['directory']} ({size(parent['size'])})") for parent in found["parents"]),
        *(("stdio", name) for name in found["stdio"]),
        *_namespaces(found.get("namespaces", {})),
        *(("cgroups", ", ".join(sorted(set(group.values())))) for group in found.get("cgroups", ())),
    ]
    return table(rows)


def _namespaces(found: Record) -> Iterator[tuple[str, str]]:
    if found:
        yield "namespaces", " ".join(found)
    for kind, namespace in found.items():
        if "external" in namespace:
            yield f"{kind} namespace", f"external: {namespace['external']}"
        if "hostname" in namespace:
            yield "hostname", namespace["hostname"]
        for name in ("uidMappings", "gidMappings"):
            for extent in namespace.get(name, ()):
                yield name[:3] + " map", "{containerID} {hostID} {size}".format(**extent)


def _timings(found: Record) -> str:
    """A column for each dump of the chain, newest first, and one for the restore."""
    chain = [("DUMP", found["timings"]["dump"]), ("RESTORE", found["timings"]["restore"])]
    chain += [(f"PARENT {parent['directory']}", parent["timings"]["dump"]) for parent in found["parents"]]
    columns = [(name, dict(lines(values))) for name, values in chain if values]
    rows = list(dict.fromkeys(row for _, values in columns for row in values))
    if not rows:
        return "TIMINGS: none (no stats-dump here: see --work-path)\n"
    header = ("", *(name for name, _ in columns))
    return "TIMINGS\n" + table([header, *((row, *(values.get(row, "-") for _, values in columns)) for row in rows)])


def _processes(found: Record) -> list[tuple[str, ...]]:
    if found["kind"] == "pre-dump":
        return [("PID", "IMAGES", "PARENT"), *((str(p["pid"]), *_memory(p["memory"])) for p in found["processes"])]
    rows = [_process(process, depth) for process, depth in tree(found["processes"])]
    return [("PID", "PGID", "SID", "USER", "STATE", "THREADS", "IMAGES", "PARENT", "LAZY", "VIRTUAL", "COMMAND"), *rows]


def _process(process: Record, depth: int) -> tuple[str, ...]:
    memory = process.get("memory")
    amounts = [size(memory[name]) for name in ("images", "parent", "lazy", "virtual")] if memory else ["-"] * 4
    words = process.get("arguments") or [f"[{process['command']}]"]
    return (
        *(str(process[name]) for name in ("pid", "pgid", "sid")),
        "{uid}:{gid}".format(**process) if "uid" in process else "-",
        process["state"],
        str(len(process["threads"])) if "threads" in process else "-",
        *amounts,
        "  " * min(depth, 32) + " ".join(words),
    )


def tree(processes: Sequence[Record]) -> Iterator[tuple[Record, int]]:
    """Each process once with its depth, children under their parents; whatever the images say of who is whose parent."""
    children: dict[int, list[Record]] = {}
    for process in processes:
        children.setdefault(process["ppid"], []).append(process)
    known = {process["pid"] for process in processes}
    roots = [p for p in processes if p["ppid"] not in known]
    seen: set[int] = set()
    for start in (*roots, *processes):  # the latter for those that are each other's parents
        waiting = [(start, 0)]
        while waiting:
            process, depth = waiting.pop()
            if process["pid"] not in seen:
                seen.add(process["pid"])
                yield process, depth
                waiting += [(child, depth + 1) for child in reversed(children.get(process["pid"], []))]


def _memory(memory: Record) -> tuple[str, str]:
    return size(memory["images"]), size(memory["parent"])


def _shared(found: Sequence[Record]) -> list[tuple[str, ...]]:
    return [("ID", "IMAGES", "PARENT"), *((str(memory["id"]), *_memory(memory)) for memory in found)]


def _mounts(found: Sequence[Record]) -> list[tuple[str, ...]]:
    return [("DESTINATION", "TYPE", "SOURCE", "ROOT", "OPTIONS", "EXTERNAL"), *map(_mount, found)]


def _mount(mount: Record) -> tuple[str, ...]:
    where = (mount["destination"], mount["type"] or "?", mount["source"], mount["root"])
    return (*where, ",".join(mount["options"]), mount.get("external", "-"))


def _sockets(found: Sequence[Record]) -> list[tuple[str, ...]]:
    return [("PROTOCOL", "TYPE", "STATE", "LOCAL", "REMOTE", "PID/FD"), *map(_socket, found)]


def _socket(socket: Record) -> tuple[str, ...]:
    kind = socket["protocol"] if socket["family"] in ("inet", "inet6") else socket["family"]
    owners = " ".join("{pid}/{fd}".format(**owner) for owner in socket["owners"][:_MOST_OWNERS])
    return (kind, *(socket[name] or "-" for name in ("type", "state", "local", "remote")), owners or "none")


def _files(processes: Iterable[Record]) -> list[tuple[str, ...]]:
    rows = (_file(process["pid"], file) for process in processes for file in process.get("files", ()))
    return [("PID", "FD", "TYPE", "ACCESS", "POSITION", "NAME"), *rows]


def _file(pid: int, file: Record) -> tuple[str, ...]:
    name = file["name"] + (" (deleted)" if file.get("deleted") else "")
    return (str(pid), str(file["fd"]), file["type"], file.get("access", "-"), str(file.get("position", "-")), name)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they must be, and nothing in them that a terminal obeys."""
    shown = [tuple(map(cell, row)) for row in rows]
    widths = [max(map(len, column)) + _PADDING for column in zip(*shown, strict=True)]
    return "".join("".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in shown)


def cell(text: str) -> str:
    """The text so that it may be shown; cut if it is long."""
    return visible(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")
