"""Values in GVariant's text form ("uint64 5", "['a.service']"), as annotations give properties of units.

The rule of this file: pure. https://docs.gtk.org/glib/gvariant-text-format.html, of it what D-Bus has types for. A value has
a D-Bus signature: as it is written, from "@SIGNATURE" or a type's name in front, or by default (int32, double, string).
"""

from __future__ import annotations

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {
    "y": (0, 2**8),
    "n": (-(2**15), 2**15),
    "q": (0, 2**16),
    "i": (-(2**31), 2**31),
    "u": (0, 2**32),
    "x": (-(2**63), 2**63),
    "t": (0, 2**64),
}
_BASIC = frozenset(_NAMES.values())
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
_HEX = {"u": 4, "U": 8}
_CLOSING = {"[": "]", "(": ")", "{": "}", "<": ">"}
_WORD_ENDS = frozenset(" \t\n,:[](){}<>")
_DEEPEST = 32  # the D-Bus specification's limit for arrays and for structures


def parse(text: str) -> tuple[str, Any]:
    """(signature, value) of a text; Error says what is wrong with it."""
    reader = _Reader(text)
    node = reader.value(0)
    if reader.peek():
        raise Error(f'unexpected "{reader.peek()}" at {reader.position}')
    signature = node.signature()
    return signature, node.build(signature)


def complete(signature: str, start: int = 0, depth: int = 0) -> int:
    """Where the single complete type at `start` ends."""
    letter = signature[start : start + 1]
    if depth > 2 * _DEEPEST:
        raise Error("nested too deeply")
    if letter == "a":
        return complete(signature, start + 1, depth + 1)
    if letter in ("(", "{"):
        at = start + 1
        while signature[at : at + 1] not in (_CLOSING[letter], ""):
            at = complete(signature, at, depth + 1)
        if at < len(signature) and at > start + 1:
            return at + 1
    elif letter in _BASIC or letter == "v":
        return start + 1
    raise Error(f'invalid type "{signature[start:]}"')


def split(signature: str) -> list[str]:
    """The single complete types of a signature."""
    types, at = [], 0
    while at < len(signature):
        end = complete(signature, at)
        types.append(signature[at:end])
        at = end
    return types


class _Node:
    """A value as it was read: its kind, its members or its text, and the type in front of it."""

    __slots__ = ("content", "kind", "type")

    def __init__(self, kind: str, content: Any, type: str = "") -> None:
        self.kind = kind
        self.content = content
        self.type = type

    def signature(self) -> str:
        """The type in front, or what follows from the content."""
        if self.type:
            return self.type
        if self.kind == "number":
            return "d" if _is_float(self.content) else "i"
        if self.kind == "[":
            return "a" + self._common(self.content, "it")
        if self.kind == "(":
            return "(" + "".join(node.signature() for node in self.content) + ")"
        if self.kind == "{":
            keys, values = zip(*self.content, strict=True) if self.content else ((), ())
            return "a{" + self._common(keys, "its keys") + self._common(values, "its values") + "}"
        return {"<": "v", "string": "s", "word": "b", "bytes": "ay"}[self.kind]

    @staticmethod
    def _common(nodes: Any, what: str) -> str:
        """One typed element is enough to type them all."""
        if not nodes:
            raise Error(f"an empty array needs a type in front of {what}, like @as []")
        found = [node.signature() for node in nodes]
        explicit = [node.type for node in nodes if node.type]
        return explicit[0] if explicit else "d" if set(found) == {"i", "d"} else found[0]

    def build(self, signature: str) -> Any:
        """The value as `signature`."""
        if self.type and self.type != signature:
            raise Error(f'a value of type "{self.type}" cannot be of type "{signature}"')
        if self.kind == "number":
            return _number(self.content, signature)
        if self.kind == "<" and signature == "v":
            inner = self.content[0].signature()
            return inner, self.content[0].build(inner)
        if self.kind == "[" and signature[:1] == "a" and signature[1:2] != "{":
            return [node.build(signature[1:]) for node in self.content]
        if self.kind == "(" and signature[:1] == "(":
            return self._structure(split(signature[1:-1]), signature)
        if self.kind == "{" and signature[:2] == "a{":
            key, value = split(signature[2:-1])
            return {k.build(key): v.build(value) for k, v in self.content}
        return self._simple(signature)

    def _structure(self, types: list[str], signature: str) -> tuple[Any, ...]:
        if len(types) != len(self.content):
            raise Error(f'{len(self.content)} members for the type "{signature}"')
        return tuple(node.build(each) for node, each in zip(self.content, types, strict=True))

    def _simple(self, signature: str) -> Any:
        if self.kind == "string" and signature in ("s", "o", "g"):
            return self.content
        if self.kind == "bytes" and signature == "ay":
            return self.content
        if self.kind == "word" and signature == "b":
            return self.content == "true"
        raise Error(f'a value like {self.content!r} cannot be of type "{signature}"')


def _is_float(text: str) -> bool:
    lower = text.lower().lstrip("+-")
    return lower in ("inf", "nan", "infinity") or (("." in lower or "e" in lower) and not lower.startswith("0x"))


def _number(text: str, signature: str) -> int | float:
    try:
        if signature == "d":
            return float(text)
        value = _integer(text)
    except ValueError:
        raise Error(f'"{text}" is not a number of type "{signature}"') from None
    low, high = _RANGES.get(signature, (0, 0))
    if not low <= value < high:
        raise Error(f'{text} is not in the range of type "{signature}"')
    return value


def _integer(text: str) -> int:
    """C's notation: a leading 0 is octal."""
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    return int(text, 8 if octal else 0)


class _Reader:
    """Reads nodes from a text."""

    __slots__ = ("position", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        """The next character that is no blank, "" at the end."""
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def value(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise Error("nested too deeply")
        first = self.peek()
        if not first:
            raise Error("unexpected end")
        if first in "'\"":
            return _Node("string", self._string())
        if first in "[(":
            return _Node(first, self._members(first, depth))
        if first == "{":
            return _Node(first, self._entries(depth))
        if first == "<":
            return self._variant(depth)
        if first == "@":
            start = self.position + 1
            self.position = complete(self.text, start)
            return self._typed(self.text[start : self.position], depth)
        if first == "b" and self.text[self.position + 1 : self.position + 2] in ("'", '"'):
            self.position += 1
            return _Node("bytes", self._string().encode("utf-8", "surrogateescape") + b"\0")
        return self._worded(depth)

    def _worded(self, depth: int) -> _Node:
        word = self._word()
        if word in ("true", "false"):
            return _Node("word", word)
        if word in _NAMES:
            return self._typed(_NAMES[word], depth)
        if word[:1].isdigit() or word[:1] in "+-." or _is_float(word):
            return _Node("number", word)
        raise Error(f'unexpected "{word or self.peek()}" at {self.position - len(word)}')

    def _typed(self, type: str, depth: int) -> _Node:
        node = self.value(depth + 1)
        if node.type and node.type != type:
            raise Error(f'two types for one value: "{type}" and "{node.type}"')
        node.type = type
        return node

    def _word(self) -> str:
        start = self.position
        while self.position < len(self.text) and self.text[self.position] not in _WORD_ENDS:
            self.position += 1
        return self.text[start : self.position]

    def _expect(self, wanted: str) -> None:
        if self.peek() != wanted:
            raise Error(f'"{wanted}" expected at {self.position}')
        self.position += 1

    def _members(self, opening: str, depth: int) -> list[_Node]:
        self.position += 1
        closing = _CLOSING[opening]
        members: list[_Node] = []
        while self.peek() != closing:
            if members:
                self._expect(",")
                if self.peek() == closing and opening == "(":  # (1,) is a structure of one
                    break
            members.append(self.value(depth + 1))
        self.position += 1
        return members

    def _entries(self, depth: int) -> list[tuple[_Node, _Node]]:
        self.position += 1
        entries: list[tuple[_Node, _Node]] = []
        while self.peek() != "}":
            if entries:
                self._expect(",")
            key = self.value(depth + 1)
            self._expect(":")
            entries.append((key, self.value(depth + 1)))
        self.position += 1
        return entries

    def _variant(self, depth: int) -> _Node:
        self.position += 1
        node = _Node("<", [self.value(depth + 1)])
        self._expect(">")
        return node

    def _string(self) -> str:
        quote = self.text[self.position]
        self.position += 1
        letters: list[str] = []
        while (letter := self._letter()) != quote:
            letters.append(self._escape() if letter == "\\" else letter)
        return "".join(letters)

    def _letter(self) -> str:
        if self.position >= len(self.text):
            raise Error("unterminated string")
        self.position += 1
        return self.text[self.position - 1]

    def _escape(self) -> str:
        letter = self._letter()
        if letter not in _HEX:
            return _ESCAPES.get(letter, letter)
        digits = self.text[self.position : self.position + _HEX[letter]]
        self.position += len(digits)
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            raise Error(f'invalid escape "\\{letter}{digits}"') from None
