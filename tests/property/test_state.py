"""Whatever is in a state.json is in it after a rewrite; times are Go's."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.state import State, rfc3339nano

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_round_trip(unknown: dict[str, object], config: dict[str, object]) -> None:
    document = {**unknown, "id": "x", "config": config}
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/state.json", "w") as file:
            json.dump(document, file)
        State.load(directory).save(directory)
        with open(f"{directory}/state.json") as file:
            read = json.load(file)
    assert {name: read[name] for name in document} == document


@given(st.integers(min_value=0, max_value=4_000_000_000 * 10**9))
def test_time(nanoseconds: int) -> None:
    text = rfc3339nano(nanoseconds)
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    when = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    since = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert since * 10**9 + int(fraction.ljust(9, "0")) == nanoseconds
    assert not fraction.endswith("0")
