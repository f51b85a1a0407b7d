"""The grammar of the command line, rule by rule."""

from __future__ import annotations

import pytest

from pyrunc import commands
from pyrunc.log import Log
from pyrunc.options import (
    DURATION,
    NUMBER,
    NUMBERS,
    SWITCH,
    TEXT,
    TEXTS,
    ArgumentCountError,
    Command,
    Flag,
    Invocation,
    UsageError,
    boolean,
    check_count,
    decimal,
    integer,
    quote,
)

FLAGS = (
    Flag("bundle", TEXT, "", letter="b"),
    Flag("detach", SWITCH, "", letter="d"),
    Flag("count", NUMBER, ""),
    Flag("env", TEXTS, "", letter="e"),
    Flag("gid", NUMBERS, "", letter="g"),
    Flag("layout", TEXT, "", default="table"),
)


def parse(*tokens: str, options_first: bool = False) -> Invocation:
    call = Invocation("pyrunc", Log())
    rest = call.take_globals([])
    assert rest == []
    call.take_command(Command("verb", "", flags=FLAGS, options_first=options_first), tokens)
    return call


@pytest.mark.parametrize(
    "tokens",
    [
        ["--bundle", "x"],
        ["-bundle", "x"],
        ["--bundle=x"],
        ["-bundle=x"],
        ["-b", "x"],
        ["-b=x"],
        ["--b", "x"],
        ["-b", "first", "--bundle", "x"],
    ],
)
def test_spellings_of_a_text_flag(tokens: list[str]) -> None:
    call = parse(*tokens, "id")
    assert call.text("bundle") == "x"
    assert call.arguments == ["id"]


def test_a_value_may_be_empty_or_hold_equals_signs() -> None:
    assert parse("--bundle=").text("bundle") == ""
    assert parse("--bundle=").given("bundle")
    assert parse("--bundle", "").text("bundle") == ""
    assert parse("-e", "A=b=c", "--env=D=e=f").texts("env") == ["A=b=c", "D=e=f"]


def test_a_value_may_look_like_a_flag() -> None:
    assert parse("--bundle", "--detach").text("bundle") == "--detach"
    assert parse("--bundle", "--").text("bundle") == "--"


def test_negative_numbers_are_values_but_end_the_flags() -> None:
    assert parse("--count", "-1", "-d").switch("detach")
    assert parse("--count", "-1").number("count") == -1
    call = parse("id", "-1", "-d")
    assert call.arguments == ["id", "-1", "-d"]
    assert not call.switch("detach")


def test_a_lone_dash_is_an_argument_and_flags_go_on() -> None:
    call = parse("-", "-d")
    assert call.arguments == ["-"]
    assert call.switch("detach")


def test_flags_behind_arguments() -> None:
    call = parse("id", "-d", "--bundle", "x", "more")
    assert call.arguments == ["id", "more"]
    assert call.switch("detach")
    assert call.text("bundle") == "x"


def test_options_first_leaves_the_rest_alone() -> None:
    call = parse("-d", "id", "ls", "-la", "--", "--bundle", "x", options_first=True)
    assert call.arguments == ["id", "ls", "-la", "--", "--bundle", "x"]
    assert call.switch("detach")
    assert not call.given("bundle")


def test_two_dashes_end_the_flags() -> None:
    call = parse("-d", "--", "--bundle", "x")
    assert call.arguments == ["--bundle", "x"]
    assert parse("a", "--", "-d").arguments == ["a", "-d"]


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true(text: str) -> None:
    assert parse(f"--detach={text}").switch("detach")
    assert boolean(text)


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false(text: str) -> None:
    assert not parse("-d", f"--detach={text}").switch("detach")
    assert not boolean(text)


@pytest.mark.parametrize("text", ["", "yes", "tRUE", " true", "2"])
def test_no_boolean(text: str) -> None:
    with pytest.raises(UsageError, match="for flag -detach: strconv.ParseBool"):
        parse(f"--detach={text}")


def test_a_switch_takes_no_separate_value() -> None:
    call = parse("--detach", "false")
    assert call.switch("detach")
    assert call.arguments == ["false"]


def test_a_comma_separates_nothing() -> None:
    assert parse("-e", "a,b", "-e", "c").texts("env") == ["a,b", "c"]
    assert parse("-g", "1", "-g", "0x10").numbers("gid") == [1, 16]


def test_defaults() -> None:
    call = parse()
    assert (call.text("bundle"), call.switch("detach"), call.number("count")) == ("", False, 0)
    assert (call.texts("env"), call.numbers("gid"), call.text("layout")) == ([], [], "table")
    assert not call.given("layout")
    assert call.text("rootless") == "auto"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("7", 7), ("-7", -7), ("+7", 7), ("0x10", 16), ("0X1f", 31), ("0o17", 15), ("017", 15),
        ("0b101", 5), ("1_000", 1000), ("0x_ff", 255), ("-0x1", -1), ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)  # fmt: skip
def test_integers_in_go_syntax(text: str, value: int) -> None:
    assert integer(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "x", "08", "0x", "0xg", "0o8", "1.5", " 1", "1 ", "1\n", "--1", "_1", "1_", "1__0", "٣", "0x-1", "1e3"],
)
def test_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        integer(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "0x10000000000000000"])
def test_integers_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="value out of range"):
        integer(text)


def test_decimal_knows_no_base() -> None:
    assert decimal("010") == 10
    assert decimal("-3") == -3
    for text in ("0x1", "1_0", "", "9" * 5000):
        with pytest.raises(ValueError, match="strconv.Atoi"):
            decimal(text)


def test_unknown_flag() -> None:
    with pytest.raises(UsageError, match="^flag provided but not defined: -nope$"):
        parse("--nope=3")
    with pytest.raises(UsageError, match="not defined: -dt$"):  # letters cannot be joined
        parse("-dt")


def test_a_missing_value_is_told_in_both_wordings() -> None:
    with pytest.raises(UsageError) as caught:
        parse("id", "--bundle")
    assert "flag needs an argument: --bundle" in str(caught.value)
    assert "requires an argument" in str(caught.value)


def test_a_bad_number_names_the_flag() -> None:
    with pytest.raises(UsageError, match='^invalid value "x" for flag -count: strconv.ParseInt: parsing "x": invalid'):
        parse("--count", "x")


def test_globals_before_and_after_the_command() -> None:
    call = Invocation("pyrunc", Log())
    assert call.take_globals(["--root", "/a", "--debug", "verb", "--log", "x"]) == ["verb", "--log", "x"]
    call.take_command(Command("verb", "", flags=FLAGS), ["id", "--root", "/b", "--log-format=json"])
    assert call.text("root") == "/b"
    assert call.text("log-format") == "json"
    assert call.switch("debug")
    assert call.arguments == ["id"]


def test_a_flag_of_the_command_hides_the_global_one() -> None:
    call = Invocation("pyrunc", Log())
    tokens = call.take_globals(["--rootless", "false", "spec"])
    assert call.text("rootless") == "false"
    call.take_command(Command("spec", "", flags=(Flag("rootless", SWITCH, ""),)), tokens[1:])
    assert call.switch("rootless") is False
    assert not call.given("rootless")


def test_version_is_a_flag_of_the_program_alone() -> None:
    call = Invocation("pyrunc", Log())
    call.take_globals(["-v"])
    assert call.switch("version")
    with pytest.raises(UsageError):
        parse("-v")


@pytest.mark.parametrize(
    ("count", "arguments", "text"),
    [
        ((1, 1), [], 'rc: "verb" requires exactly 1 argument(s)'),
        ((1, 1), ["a", "b"], 'rc: "verb" requires exactly 1 argument(s)'),
        ((0, 0), ["a"], 'rc: "verb" requires exactly 0 argument(s)'),
        ((1, None), [], 'rc: "verb" requires a minimum of 1 argument(s)'),
        ((1, 2), [], 'rc: "verb" requires a minimum of 1 argument(s)'),
        ((1, 2), ["a", "b", "c"], 'rc: "verb" requires a maximum of 2 argument(s)'),
    ],
)
def test_argument_count(count: tuple[int, int | None], arguments: list[str], text: str) -> None:
    with pytest.raises(ArgumentCountError) as caught:
        check_count("rc", Command("verb", "", count=count), arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(("count", "number"), [((1, 1), 1), ((0, 0), 0), ((1, None), 9), ((1, 2), 2)])
def test_argument_count_that_fits(count: tuple[int, int | None], number: int) -> None:
    check_count("rc", Command("verb", "", count=count), ["x"] * number)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", '"plain"'), ("", '""'), ('say "x"', r'"say \"x\""'), ("a\\b", r'"a\\b"'), ("a\nb\tc", r'"a\nb\tc"'),
        ("\x1b[31m", r'"\x1b[31m"'), ("\udcff", r'"\xff"'), ("é", '"é"'), ("\u2028", r'"\u2028"'),
    ],
)  # fmt: skip
def test_quote(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize("name", commands.NAMES)
def test_every_command_has_a_consistent_table(name: str) -> None:
    module = commands.load(name)
    assert module is not None
    command = module.COMMAND
    assert command.name == name
    names = [flag.name for flag in command.flags] + [flag.letter for flag in command.flags if flag.letter]
    names += ["help", "h", "debug", "log", "log-format", "root", "systemd-cgroup"]
    assert len(names) == len(set(names))


def test_what_is_not_a_command() -> None:
    assert commands.load("migrate") is None
    assert commands.load("__init__") is None
    assert commands.load("") is None


# the whole surface: name, letter, kind
CREATE = {
    ("bundle", "b", TEXT), ("console-socket", "", TEXT), ("pidfd-socket", "", TEXT), ("pid-file", "", TEXT),
    ("no-pivot", "", SWITCH), ("no-new-keyring", "", SWITCH), ("preserve-fds", "", NUMBER),
}  # fmt: skip
SURFACE = {
    "create": CREATE,
    "run": CREATE | {("detach", "d", SWITCH), ("keep", "", SWITCH), ("no-subreaper", "", SWITCH)},
    "start": set(),
    "state": set(),
    "exec": {
        ("console-socket", "", TEXT), ("pidfd-socket", "", TEXT), ("pid-file", "", TEXT), ("detach", "d", SWITCH),
        ("preserve-fds", "", NUMBER), ("cwd", "", TEXT), ("env", "e", TEXTS), ("tty", "t", SWITCH),
        ("user", "u", TEXT), ("additional-gids", "g", NUMBERS), ("process", "p", TEXT),
        ("process-label", "", TEXT), ("apparmor", "", TEXT), ("no-new-privs", "", SWITCH), ("cap", "c", TEXTS),
        ("cgroup", "", TEXTS), ("ignore-paused", "", SWITCH), ("exec-wait-fifo", "", TEXT),
    },
    "kill": {("all", "a", SWITCH)},
    "delete": {("force", "f", SWITCH)},
    "list": {("format", "f", TEXT), ("quiet", "q", SWITCH)},
    "spec": {("bundle", "b", TEXT), ("rootless", "", SWITCH)},
    "features": set(),
    "pause": set(),
    "resume": set(),
    "ps": {("format", "f", TEXT)},
    "top": {("interval", "", DURATION), ("format", "f", TEXT)},
    "events": {("interval", "", DURATION), ("stats", "", SWITCH)},
    "update": {
        ("resources", "r", TEXT), ("blkio-weight", "", NUMBER), ("cpu-period", "", TEXT), ("cpu-quota", "", TEXT),
        ("cpu-burst", "", TEXT), ("cpu-share", "", TEXT), ("cpu-rt-period", "", TEXT), ("cpu-rt-runtime", "", TEXT),
        ("cpuset-cpus", "", TEXT), ("cpuset-mems", "", TEXT), ("kernel-memory", "", TEXT),
        ("kernel-memory-tcp", "", TEXT), ("memory", "", TEXT), ("cpu-idle", "", TEXT),
        ("memory-reservation", "", TEXT), ("memory-swap", "", TEXT), ("pids-limit", "", NUMBER),
        ("l3-cache-schema", "", TEXT), ("mem-bw-schema", "", TEXT),
    },
    "checkpoint": {
        ("image-path", "", TEXT), ("work-path", "", TEXT), ("parent-path", "", TEXT), ("leave-running", "", SWITCH),
        ("tcp-established", "", SWITCH), ("tcp-skip-in-flight", "", SWITCH), ("tcp-close", "", SWITCH),
        ("link-remap", "", SWITCH), ("ext-unix-sk", "", SWITCH), ("shell-job", "", SWITCH), ("lazy-pages", "", SWITCH),
        ("status-fd", "", NUMBER), ("page-server", "", TEXT), ("file-locks", "", SWITCH), ("pre-dump", "", SWITCH),
        ("manage-cgroups-mode", "", TEXT), ("empty-ns", "", TEXTS), ("auto-dedup", "", SWITCH),
        ("network-lock", "", TEXT), ("timeout", "", NUMBER), ("ghost-limit", "", TEXT),
        ("ext-mount", "", TEXTS), ("stats", "", SWITCH), ("format", "", TEXT),
    },
    "restore": {
        ("image-path", "", TEXT), ("work-path", "", TEXT), ("bundle", "b", TEXT), ("detach", "d", SWITCH),
        ("pid-file", "", TEXT), ("console-socket", "", TEXT), ("no-subreaper", "", SWITCH), ("no-pivot", "", SWITCH),
        ("no-new-keyring", "", SWITCH), ("tcp-established", "", SWITCH), ("tcp-close", "", SWITCH),
        ("ext-unix-sk", "", SWITCH), ("shell-job", "", SWITCH), ("file-locks", "", SWITCH), ("lazy-pages", "", SWITCH),
        ("manage-cgroups-mode", "", TEXT), ("empty-ns", "", TEXTS), ("auto-dedup", "", SWITCH),
        ("lsm-profile", "", TEXT), ("lsm-mount-context", "", TEXT), ("network-lock", "", TEXT),
        ("ext-mount", "", TEXTS), ("ignore-host-propagation", "", SWITCH), ("stats", "", SWITCH), ("format", "", TEXT),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACE)
def test_the_flags_of_each_command(name: str) -> None:
    module = commands.load(name)
    assert module is not None
    assert {(flag.name, flag.letter, flag.kind) for flag in module.COMMAND.flags} == SURFACE[name]


def test_the_list_of_commands() -> None:
    assert set(commands.NAMES) == set(SURFACE)
