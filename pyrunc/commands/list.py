"""pyrunc list: the containers of a state root."""

from __future__ import annotations

import os

from libcontainer import jsonfast
from libcontainer.errors import ContainerNotExist, Error, describe
from pyrunc.commands.state import record
from pyrunc.log import err, out
from pyrunc.options import SWITCH, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrunc.options import Invocation

COMMAND = Command(
    "list",
    "list the containers of a state root",
    flags=(
        Flag("format", TEXT, "select one of: table or json", letter="f", default="table"),
        Flag("quiet", SWITCH, "display only container IDs", letter="q"),
    ),
    description="The list command shows the containers whose state is in the directory given by the global --root.",
)
_HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_MIN_WIDTH, _PADDING = 12, 3


def run(call: Invocation) -> int:
    layout = call.text("format")
    if layout not in ("table", "json"):
        raise Error("invalid format option")
    if call.switch("quiet"):
        out("".join(f"{container_id}\n" for container_id in _ids(call) if _has_state(call, container_id)))
        return 0
    records = list(_records(call))
    if layout == "json":
        out(jsonfast.dumps(records or None) + "\n")
    else:
        out(table([_HEADER, *(tuple(str(row[name]) for name in _COLUMNS) for row in records)]))
    return 0


def _records(call: Invocation) -> Iterator[dict[str, Any]]:
    from libcontainer.glance import Glance

    glance = Glance(call.root)
    names: dict[int, str] = {}
    for container_id in _ids(call):
        try:
            yield record(glance.state(container_id), _owner(f"{call.root}/{container_id}", names))
        except (FileNotFoundError, ContainerNotExist) as error:
            if os.path.isdir(os.path.join(call.root, container_id)):  # else it was deleted under our eyes
                err(f"load container {container_id}: {describe(error)}\n")
        except (Error, OSError, ValueError) as error:
            err(f"load container {container_id}: {describe(error)}\n")


def _ids(call: Invocation) -> list[str]:
    """By name. The default root need not exist yet; one that was asked for must."""
    from libcontainer.container import list_ids

    try:
        return sorted(list_ids(call.root))
    except FileNotFoundError:
        if call.given("root"):
            raise
        return []


def _has_state(call: Invocation, container_id: str) -> bool:
    """Only ids are asked for: a thousand states need not be read for that."""
    if os.path.isfile(os.path.join(call.root, container_id, "state.json")):
        return True
    err(f"load container {container_id}: {describe(ContainerNotExist())}\n")
    return False


def _owner(directory: str, names: dict[int, str]) -> str:
    """The name of the directory's owner; `names` has those that were asked for before."""
    uid = os.stat(directory).st_uid
    if uid not in names:
        names[uid] = _user_name(uid)
    return names[uid]


def _user_name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"#{uid}"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as Go's tabwriter aligns them: at least 12 wide, at least 3 blanks between two."""
    widths = [max(_MIN_WIDTH, _PADDING + max(map(len, column))) for column in zip(*rows, strict=True)]
    widths[-1] = 0  # nothing follows the last
    return "".join("".join(map(str.ljust, row, widths)) + "\n" for row in rows)
