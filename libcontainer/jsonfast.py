"""JSON without the json package: the interpreter's own C scanner and encoder (_json), driven directly.

The json package costs 3 to 4 ms to import, more than starting a container; this module costs nothing. What it
returns is what json returns. Whatever goes wrong is done again by json, so that errors are json's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_BLANKS = " \t\n\r"


class _Grammar:
    """What json.JSONDecoder would be to its scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"a {type(value).__name__} has no JSON form")


if TYPE_CHECKING:
    _scan: Callable[[str, int], tuple[Any, int]]
    _encode: Callable[[object, int], Iterable[str]]
    _quote: Callable[[str], str]

try:
    from _json import encode_basestring_ascii as _quote
    from _json import make_encoder, make_scanner

    _scan = make_scanner(_Grammar)  # type: ignore[arg-type]  # it only reads the attributes
    # markers, default, encoder, indent, key separator, item separator, sort_keys, skipkeys, allow_nan
    _encode = make_encoder(None, _refuse, _quote, None, ":", ",", False, False, True)
except (ImportError, AttributeError, TypeError):  # another interpreter, or another signature
    import json

    _quote = json.encoder.encode_basestring_ascii
    _scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]

    def _encode(value: object, _level: int) -> Iterable[str]:
        return (json.dumps(value, separators=(",", ":")),)


def loads(text: str | bytes, start: int = 0) -> Any:
    """The first JSON value of `text` from `start` on; like Go's decoder this does not look at what follows it."""
    if isinstance(text, bytes):
        text = text.decode()
    if text[start : start + 1] in _BLANKS:
        start = len(text) - len(text[start:].lstrip(_BLANKS))
    try:
        return _scan(text, start)[0]
    except StopIteration:  # the scanner's word for "here is no value"
        import json

        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: object, indent: str | int | None = None) -> str:
    """One line without blanks; with `indent` (a string, or a number of blanks) a line a member."""
    try:
        if indent is None:
            return "".join(_encode(value, 0))
        return _pretty(value, " " * indent if isinstance(indent, int) else indent, "\n")
    except (TypeError, ValueError, RecursionError):
        import json

        return json.dumps(value, indent=indent, separators=(",", ":" if indent is None else ": "))


def _pretty(value: object, indent: str, margin: str) -> str:
    """`margin` is the line break and indentation that the closing bracket gets."""
    inner = margin + indent
    if isinstance(value, dict) and value:
        rows = [f"{_quote(key)}: {_pretty(item, indent, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(rows)}{margin}}}"
    if isinstance(value, (list, tuple)) and value:
        return f"[{inner}{f',{inner}'.join(_pretty(item, indent, inner) for item in value)}{margin}]"
    return "".join(_encode(value, 0))
