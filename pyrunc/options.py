"""The grammar of the command line: flags, and what a line of arguments says with them.

A table of Flag objects is all that a command states; parsing, help and completion read the same table. The rules are
those of Go programs, because the callers of a runtime were written against one: long flags with one dash or two,
`--flag value` and `--flag=value`, flags behind positional arguments, integers in Go's base-0 syntax. A rule of this
file: it needs nothing but the language, so that it works (and can be tested) on any system.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.log import Log

SWITCH = "switch"
TEXT = "text"
NUMBER = "number"
TEXTS = "texts"
NUMBERS = "numbers"
DURATION = "duration"

_REPEATED = (TEXTS, NUMBERS)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_INT64 = range(-(1 << 63), 1 << 63)


def _default(kind: str) -> Any:
    if kind == SWITCH:
        return False
    if kind in (NUMBER, DURATION):
        return 0
    return () if kind in _REPEATED else ""


class UsageError(Exception):
    """A flag is unknown, lacks its value, or has a wrong one."""


class ArgumentCountError(UsageError):
    """There are too few or too many positional arguments."""


class Flag:
    """One flag: its long name, perhaps a letter, the kind of its value, and a line for the help text."""

    __slots__ = ("default", "hidden", "kind", "letter", "name", "usage")

    def __init__(
        self, name: str, kind: str, usage: str, *, letter: str = "", default: Any = None, hidden: bool = False
    ) -> None:
        self.name = name
        self.kind = kind
        self.usage = usage
        self.letter = letter
        self.hidden = hidden
        self.default = _default(kind) if default is None else default


class Command:
    """What a verb takes; its module's run() does the work.

    `count` is the least and the greatest number of positional arguments (None: no limit). With `options_first` the
    flags end at the first positional argument: what follows belongs to a command line inside the container. A word of
    `words` with exactly one argument behind it is a command within the command; alone it is an argument like any other.
    """

    __slots__ = ("arguments", "count", "description", "flags", "name", "options_first", "summary", "words")

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        arguments: str = "",
        count: tuple[int, int | None] = (0, 0),
        flags: tuple[Flag, ...] = (),
        options_first: bool = False,
        words: tuple[str, ...] = (),
        description: str = "",
    ) -> None:
        self.name = name
        self.summary = summary
        self.arguments = arguments
        self.count = count
        self.flags = flags
        self.options_first = options_first
        self.words = words
        self.description = description

    def word(self, arguments: Sequence[str]) -> str:
        """The command within this command that the arguments mean, "" if they mean none."""
        return arguments[0] if len(arguments) == 2 and arguments[0] in self.words else ""


HELP = Flag("help", SWITCH, "show help", letter="h")
VERSION = Flag("version", SWITCH, "print the version", letter="v")
GLOBAL = (
    Flag("debug", SWITCH, "enable debug logging"),
    Flag("log", TEXT, "set the log file to write to (default is '/dev/stderr')"),
    Flag("log-format", TEXT, "set the log format ('text', or 'json')", default="text"),
    Flag("root", TEXT, "directory for the state of containers (it should be on a tmpfs)", default="/run/runc"),
    Flag("systemd-cgroup", SWITCH, 'let systemd manage cgroups; expects cgroupsPath as "slice:prefix:name"'),
    Flag("rootless", TEXT, "ignore cgroup permission errors ('true', 'false', or 'auto')", default="auto"),
)
# what several commands take
CONSOLE_SOCKET = Flag("console-socket", TEXT, "path of the AF_UNIX socket that shall receive the master of the terminal")
PIDFD_SOCKET = Flag("pidfd-socket", TEXT, "path of the AF_UNIX socket that shall receive a pidfd of the process")
PID_FILE = Flag("pid-file", TEXT, "file to write the process id to")
PRESERVE_FDS = Flag("preserve-fds", NUMBER, "pass N additional descriptors (stdio + $LISTEN_FDS + N in total)")
DETACH = Flag("detach", SWITCH, "detach from the container's process", letter="d")
# the flags that create and run share
CREATE = (
    Flag("bundle", TEXT, "path of the bundle directory, defaults to the current directory", letter="b"),
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Flag("no-pivot", SWITCH, "do not use pivot_root; needed where the root file system is a ramdisk"),
    Flag("no-new-keyring", SWITCH, "do not create a session keyring: the container keeps the caller's"),
    PRESERVE_FDS,
)


class Invocation:
    """A parsed command line, and the two things every command needs: the state root and the log."""

    __slots__ = ("_given", "_table", "arguments", "log", "program", "root")

    def __init__(self, program: str, log: Log) -> None:
        self.program = program
        self.log = log
        self.root = ""
        self.arguments: list[str] = []
        # by flag, not by name: spec has a --rootless of its own
        self._given: dict[Flag, Any] = {}
        self._table: dict[str, Flag] = {}

    def take_globals(self, tokens: Sequence[str]) -> list[str]:
        """Read the flags in front of the command; what is left begins with its name."""
        self._table = _table((*GLOBAL, HELP, VERSION))
        return _parse(tokens, self._table, self._given, options_first=True)

    def take_command(self, command: Command, tokens: Sequence[str]) -> None:
        """Read what follows the command's name. Global flags are known there too."""
        self._table = _table((*GLOBAL, HELP, *command.flags))
        self.arguments = _parse(tokens, self._table, self._given, options_first=command.options_first)

    def takes(self, name: str) -> bool:
        """Whether the command has such a flag."""
        return name in self._table

    def given(self, name: str) -> bool:
        return self._table[name] in self._given

    def switch(self, name: str) -> bool:
        value: bool = self._value(name)
        return value

    def text(self, name: str) -> str:
        value: str = self._value(name)
        return value

    def number(self, name: str) -> int:
        value: int = self._value(name)
        return value

    def seconds(self, name: str) -> float:
        value: float = self._value(name)
        return value

    def texts(self, name: str) -> list[str]:
        value: list[str] = self._value(name)
        return list(value)

    def numbers(self, name: str) -> list[int]:
        value: list[int] = self._value(name)
        return list(value)

    def _value(self, name: str) -> Any:
        flag = self._table[name]
        return self._given.get(flag, flag.default)


def _table(flags: tuple[Flag, ...]) -> dict[str, Flag]:
    table = {flag.name: flag for flag in flags}
    table.update((flag.letter, flag) for flag in flags if flag.letter)
    return table


def _parse(tokens: Sequence[str], table: dict[str, Flag], given: dict[Flag, Any], *, options_first: bool) -> list[str]:
    """Put the values of flags into `given`; the positional arguments."""
    arguments: list[str] = []
    rest = iter(tokens)
    for token in rest:
        if token == "--":
            return [*arguments, *rest]
        if _is_flag(token):
            _take_flag(token, rest, table, given)
            continue
        arguments.append(token)
        if options_first or _ends_flags(token):
            return [*arguments, *rest]
    return arguments


def _is_flag(token: str) -> bool:
    return token[:1] == "-" and token.removeprefix("-").removeprefix("-")[:1].isalpha()


def _ends_flags(token: str) -> bool:
    """A dash and no letter, like "-1": from there on nothing is a flag. A lone dash stands for standard input."""
    return len(token) > 1 and token[0] == "-"


def _take_flag(token: str, rest: Any, table: dict[str, Flag], given: dict[Flag, Any]) -> None:
    name, equals, text = token.removeprefix("-").removeprefix("-").partition("=")
    flag = table.get(name)
    if flag is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    if not equals:
        text = "true" if flag.kind == SWITCH else _next(token, rest)
    value = _convert(flag, text)
    if flag.kind in _REPEATED:
        given.setdefault(flag, []).append(value)
    else:
        given[flag] = value


def _next(token: str, rest: Any) -> str:
    for text in rest:
        return str(text)
    # podman's probes look for the first wording, its newer versions for the second
    raise UsageError(f"flag needs an argument: {token} requires an argument")


def _convert(flag: Flag, text: str) -> Any:
    try:
        if flag.kind == SWITCH:
            return boolean(text)
        if flag.kind in (NUMBER, NUMBERS):
            return integer(text)
        if flag.kind == DURATION:
            return _duration(text)
    except ValueError as error:
        raise UsageError(f"invalid value {quote(text)} for flag -{flag.name}: {error}") from None
    return text


def _duration(text: str) -> float:
    from pyrunc.units import duration

    return duration(text)


def boolean(text: str) -> bool:
    """Go's strconv.ParseBool."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def integer(text: str) -> int:
    """Go's strconv.ParseInt with base 0: 0x1f, 0o17, 017, 0b1, 1_000."""
    digits = _magnitude(text)
    base = _BASES.get(digits[:2].lower())
    if base is not None:
        return _signed(text, _whole(digits[2:].removeprefix("_"), base), "ParseInt")
    return _signed(text, _whole(digits, 8 if digits[:1] == "0" else 10), "ParseInt")


def decimal(text: str) -> int:
    """Go's strconv.Atoi."""
    digits = _magnitude(text)
    return _signed(text, _whole(digits, 10) if "_" not in digits else None, "Atoi")


def _magnitude(text: str) -> str:
    return text[1:] if text[:1] in ("+", "-") else text


def _whole(digits: str, base: int) -> int | None:
    """int(), but without the blanks, signs and other scripts' digits that it takes and Go does not."""
    if not (digits.isascii() and digits.replace("_", "").isalnum()):
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def _signed(text: str, magnitude: int | None, function: str) -> int:
    if magnitude is None:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    value = -magnitude if text[0] == "-" else magnitude
    if value not in _INT64:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return value


def quote(text: str) -> str:
    """The text in double quotes, as Go's %q prints it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if escaped.isprintable():
        return f'"{escaped}"'
    return '"' + "".join(map(_escape, escaped)) + '"'


def visible(text: str, keep: str = "") -> str:
    """The text with everything escaped that a terminal obeys, or that changes how other text is read, but what is in `keep`."""
    if text.isprintable():  # neither control nor format characters, such as those that turn the direction
        return text
    return "".join(character if character in keep else _escape(character) for character in text)


def _escape(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    if named or character.isprintable():
        return named or character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode() keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def check_count(program: str, command: Command, arguments: Sequence[str]) -> None:
    """Raise ArgumentCountError unless the command takes that many arguments."""
    least, most = command.count
    if command.word(arguments):
        return
    if least <= len(arguments) and (most is None or len(arguments) <= most):
        return
    if least == most:
        bound, number = "exactly", least
    elif len(arguments) < least:
        bound, number = "a minimum of", least
    else:
        bound, number = "a maximum of", most or 0
    raise ArgumentCountError(f'{program}: "{command.name}" requires {bound} {number} argument(s)')
