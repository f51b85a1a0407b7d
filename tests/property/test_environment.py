"""Whatever the environment: one entry a name, the last, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import environment

NAMES = st.sampled_from(["A", "B", "HOME", "PATH", "a b"])
ENTRIES = st.builds("{}={}".format, NAMES, st.sampled_from(["", "1", "/x", "=", "é"]))


@given(st.lists(ENTRIES, max_size=12))
def test_last_wins_and_keeps_its_place(env: list[str]) -> None:
    prepared, has_home, path = environment.prepare(env)
    names = [entry.partition("=")[0] for entry in env]
    last = [entry for index, entry in enumerate(env) if names[index] not in names[index + 1 :]]
    assert prepared == [entry for entry in last if entry != "HOME="]
    assert has_home == any(entry.startswith("HOME=") for entry in prepared)
    assert path == dict(entry.split("=", 1) for entry in env).get("PATH")
    assert environment.prepare(prepared) == (prepared, has_home, path)
