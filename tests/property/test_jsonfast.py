"""jsonfast and json agree on every document."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import jsonfast

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(DOCUMENTS, st.booleans())
def test_loads(document: object, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    assert jsonfast.loads(text) == json.loads(text) == document


@given(DOCUMENTS, st.sampled_from([None, 0, 1, 2, 4, "\t"]))
def test_dumps(document: object, indent: str | int | None) -> None:
    separators = (",", ":") if indent is None else None
    assert jsonfast.dumps(document, indent) == json.dumps(document, indent=indent, separators=separators)


@given(st.text(alphabet='{}[]",:0123456789.eE+- \n\\tfnu"a'))
def test_any_text_reads_as_its_first_value_or_fails_as_json_does(text: str) -> None:
    try:
        expected, _ = json.JSONDecoder().raw_decode(text.lstrip(" \t\n\r"))
    except json.JSONDecodeError:
        try:
            jsonfast.loads(text)
        except json.JSONDecodeError:
            return
        raise AssertionError("jsonfast reads what json does not") from None
    assert jsonfast.loads(text) == expected
