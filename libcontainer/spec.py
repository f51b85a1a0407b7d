"""Read config.json, a process file or a resources file into plain dicts with the specification's field names.

One walk along the tables of spec_schema. As Go's decoder does for runc, names match in any case, a later
member wins, unknown members are dropped and null is the same as absent; a wrong type or a number out of range
is an InvalidSpec that names the JSON path. Explicit zeros stay. What the values mean is checked by
`validate`."""

from __future__ import annotations

import os

from libcontainer import jsonfast, smallfile
from libcontainer.errors import Error, InvalidSpec
from libcontainer.spec_linux import memory_policy as memory_policy
from libcontainer.spec_process import check_user as check_user
from libcontainer.spec_process import validate_process as validate_process
from libcontainer.spec_rules import check_joined_mappings as check_joined_mappings
from libcontainer.spec_rules import validate as validate
from libcontainer.spec_schema import PROCESS, RESOURCES, SPEC
from libcontainer.state import check_id as check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.oci import Process, Resources, Spec
    from libcontainer.spec_schema import Node

_STRING_TYPE = {str}


def load(source: str | bytes) -> Spec:
    """The spec in the file `source`, or in `source` itself if it is bytes."""
    try:
        spec: Spec = _conform(SPEC, _read(source), source)
        return spec
    except FileNotFoundError:
        name = os.path.basename(os.fsdecode(source))
        raise Error(f"JSON specification file {name} not found") from None


def load_process(source: str | bytes) -> Process:
    """The process object of `exec --process`."""
    process: Process = _conform(PROCESS, _read(source), source)
    return process


def load_resources(source: str | bytes) -> Resources:
    """The resources object of `update --resources`."""
    resources: Resources = _conform(RESOURCES, _read(source), source)
    return resources


def normalize(document: object) -> Spec:
    """`document` in the specification's spelling and types."""
    spec: Spec = _conform(SPEC, document)
    return spec


def _read(source: str | bytes) -> object:
    text = source if isinstance(source, bytes) else smallfile.read(source)
    try:
        document = jsonfast.loads(text)
        return _without_lone_surrogates(document) if b"\\u" in text else document
    except ValueError as error:
        raise InvalidSpec(_name(source), f"invalid JSON: {error}") from None


def _name(source: str | bytes) -> str:
    """Of what is wrong as a whole."""
    return "" if isinstance(source, bytes) else source


def _without_lone_surrogates(document: object) -> object:
    r"""Go reads "\ud800" as U+FFFD; Python keeps it, and then no system call could be given the string."""
    import json

    text = json.dumps(document, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


class _Mismatch(Exception):
    """A value does not fit; the path is put together while the exception passes the levels."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path = ""

    def under(self, step: str) -> _Mismatch:
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{dot}{self.path}"
        return self


def _conform(node: Node, document: object, source: str | bytes = b"") -> Any:
    try:
        return _fit(node, document)
    except _Mismatch as mismatch:
        raise InvalidSpec(mismatch.path or _name(source), mismatch.reason) from None


def _fit(node: Node, value: object) -> Any:
    if node is str or node is bool:
        if type(value) is node:
            return value
        raise _mismatch("a string" if node is str else "true or false", value)
    return _FITTERS[type(node)](node, value)


def _object(fields: dict[str, Node], value: object) -> dict[str, Any]:
    if type(value) is not dict:
        raise _mismatch("an object", value)
    if "" in fields:
        return _map(fields[""], value)
    result = {}
    for key, item in value.items():
        if item is None:
            continue
        name = key if key in fields else _folded(fields, key)
        if name:
            try:
                result[name] = _fit(fields[name], item)
            except _Mismatch as mismatch:
                raise mismatch.under(name) from None
    return result


def _folded(fields: dict[str, Node], key: str) -> str:
    """The field that encoding/json would take `key` for, or ""."""
    folded = key.casefold()
    return next((name for name in fields if name.casefold() == folded), "")


def _map(node: Node, value: dict[str, object]) -> dict[str, Any]:
    if node is str and set(map(type, value.values())) <= _STRING_TYPE:
        return value
    result = {}
    for key, item in value.items():
        if item is not None:
            try:
                result[key] = _fit(node, item)
            except _Mismatch as mismatch:
                raise mismatch.under(f"[{_quote(key)}]") from None
    return result


def _array(nodes: list[Node], value: object) -> list[Any]:
    (node,) = nodes
    if type(value) is not list:
        raise _mismatch("an array", value)
    if node is str and set(map(type, value)) <= _STRING_TYPE:
        return value
    result = []
    for item in value:
        try:
            result.append(_fit(node, item))
        except _Mismatch as mismatch:
            raise mismatch.under(f"[{len(result)}]") from None
    return result


def _integer(limits: tuple[int, int], value: object) -> int:
    if type(value) is not int:
        raise _mismatch("an integer", value)
    low, high = limits
    if low <= value <= high:
        return value
    raise _Mismatch(f"{value} is not in the range {low}..{high}")


_FITTERS: dict[type, Callable[[Any, object], Any]] = {
    dict: _object,
    list: _array,
    tuple: _integer,
}
_WORDS = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number with a fraction",
    list: "an array",
    dict: "an object",
}


def _mismatch(wanted: str, value: object) -> _Mismatch:
    return _Mismatch(f"must be {wanted}, is {_WORDS.get(type(value), 'null')}")


def _quote(key: str) -> str:
    return jsonfast.dumps(key)
