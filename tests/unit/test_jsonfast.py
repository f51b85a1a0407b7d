"""jsonfast gives what json gives, and reads as Go's decoder does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from libcontainer import jsonfast

DOCUMENT = {"a": [1, -2.5, True, None, 'é"\\\n\x7f'], "b": {}, "c": [], "d": {"e": [{"f": "<&>"}]}}


def test_loads_text_and_bytes() -> None:
    text = json.dumps(DOCUMENT)
    assert jsonfast.loads(text) == DOCUMENT
    assert jsonfast.loads(text.encode()) == DOCUMENT


def test_what_follows_the_first_value_is_not_looked_at() -> None:
    assert jsonfast.loads(b' \n{"a": 1}\n}garbage') == {"a": 1}


@pytest.mark.parametrize("text", ["", "  ", "{", '{"a":}', "[1,", "nul", "'a'", '"\n"', "{1: 2}"])
def test_errors_are_those_of_json(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as raised:
        jsonfast.loads(text)
    assert str(raised.value) == str(expected.value)


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        jsonfast.loads(b'{"a": "\xff"}')


def test_too_deep_is_an_error_and_no_crash() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        jsonfast.loads("[" * 200_000)


def test_dumps_is_compact() -> None:
    assert jsonfast.dumps(DOCUMENT) == json.dumps(DOCUMENT, separators=(",", ":"))


@pytest.mark.parametrize("indent", [2, 4, "\t"])
def test_dumps_with_indentation(indent: str | int) -> None:
    assert jsonfast.dumps(DOCUMENT, indent) == json.dumps(DOCUMENT, indent=indent)


def test_numbers_keep_all_their_digits() -> None:
    text = '{"limit":18446744073709551615,"low":-9223372036854775808}'
    assert jsonfast.dumps(jsonfast.loads(text)) == text


@pytest.mark.parametrize("indent", [None, 2])
def test_a_value_without_json_form(indent: int | None) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        jsonfast.dumps({"a": {1, 2}}, indent)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_cycle(indent: int | None) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="Circular reference"):
        jsonfast.dumps(cycle, indent)


def test_json_itself_is_not_imported() -> None:
    code = (
        "import sys; from libcontainer import jsonfast;"
        "jsonfast.loads(jsonfast.dumps({'a': [1]}, 2) + 'x');"
        "sys.exit(bool({'json', 're', 'enum'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
