"""process.env: checked and freed of duplicates, and what HOME and PATH are."""

from __future__ import annotations

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def prepare(env: Sequence[str]) -> tuple[list[str], bool, str | None]:
    """The environment, whether it has a HOME, and its PATH (None: it has none).

    Of a name given more than once the last entry stays, where it is. An empty HOME is as good as none.
    """
    entries: dict[str, str] = {}
    for index, entry in enumerate(env):
        name = _name(entry, index)
        entries.pop(name, None)
        entries[name] = entry
    if entries.get("HOME") == "HOME=":
        del entries["HOME"]
    path = entries.get("PATH")
    return list(entries.values()), "HOME" in entries, None if path is None else path[len("PATH=") :]


def _name(entry: str, index: int) -> str:
    name, equals, _ = entry.partition("=")
    if not equals:
        reason = "missing '='"
    elif not name:
        reason = "name cannot be empty"
    elif "\0" in entry:
        reason = "contains nul byte (\\x00)"
    else:
        return name
    raise InvalidSpec(f"process.env[{index}]", f"invalid environment variable: {reason}")


def with_home(env: Sequence[str], home: str | None) -> list[str]:
    """`env`, which has no HOME, with that of the user's entry in /etc/passwd; "/" if it has none."""
    return [*env, f"HOME={home or '/'}"]
