"""Whatever is typed: the parser gives back what was said, or a UsageError."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pyrunc.log import Log
from pyrunc.options import NUMBER, SWITCH, TEXT, TEXTS, Command, Flag, Invocation, UsageError, decimal, integer, quote

COMMAND = Command(
    "verb",
    "",
    flags=(
        Flag("text", TEXT, "", letter="t"),
        Flag("switch", SWITCH, "", letter="s"),
        Flag("number", NUMBER, ""),
        Flag("list", TEXTS, "", letter="l"),
    ),
)
TOKENS = st.lists(
    st.one_of(
        st.sampled_from(["--", "-", "-1", "--text", "-t", "--switch", "-s=false", "--number", "0x1", "--list=a", "--root"]),
        st.text(max_size=6),
        st.text("-=ts1", max_size=4),
    ),
    max_size=8,
)


def parse(tokens: list[str], *, options_first: bool = False) -> Invocation:
    call = Invocation("pyrunc", Log())
    call.take_command(Command("verb", "", flags=COMMAND.flags, options_first=options_first), tokens)
    return call


@given(TOKENS, st.booleans())
def test_anything_parses_or_is_a_usage_error(tokens: list[str], options_first: bool) -> None:
    try:
        call = parse(tokens, options_first=options_first)
    except UsageError:
        return
    # what is left over was typed, in that order
    rest = iter(tokens)
    assert all(argument in rest for argument in call.arguments)


@given(st.text(), st.lists(st.text()), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.lists(st.text()))
def test_what_is_spelled_out_is_read_back(
    text: str, entries: list[str], switch: bool, number: int, arguments: list[str]
) -> None:
    tokens = [f"--text={text}", f"--switch={str(switch).lower()}", "--number", str(number)]
    for entry in entries:
        tokens += ["--list", entry]
    call = parse([*tokens, "--", *arguments])
    assert call.text("text") == text
    assert call.switch("switch") is switch
    assert call.number("number") == number
    assert call.texts("list") == entries
    assert call.arguments == arguments


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_base_gives_the_same_number(value: int) -> None:
    sign, magnitude = ("-" if value < 0 else ""), abs(value)
    spellings = (f"{magnitude:d}", f"{magnitude:#x}", f"{magnitude:#o}", f"{magnitude:#b}", f"0{magnitude:o}")
    assert {integer(sign + spelling) for spelling in spellings} == {value}
    assert decimal(str(value)) == value


@given(st.text(max_size=8))
def test_no_text_makes_the_number_parsers_fail_otherwise(text: str) -> None:
    for function in (integer, decimal):
        try:
            assert -(1 << 63) <= function(text) < 1 << 63
        except ValueError as error:
            assert "strconv." in str(error)


@given(st.text())
def test_quoted_text_is_one_printable_word(text: str) -> None:
    quoted = quote(text)
    assert quoted.isprintable()
    assert quoted[0] == quoted[-1] == '"'


@given(st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20)))
def test_quoted_ascii_is_what_json_says(text: str) -> None:
    assert json.loads(quote(text)) == text
