"""Whatever a path says, it stays below the root."""

from __future__ import annotations

import posixpath

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.inroot import clean

paths = st.lists(st.sampled_from(["..", ".", "", "a", "b..", "...", ".hidden", "\n", " "])).map("/".join)


@given(st.one_of(paths, paths.map("/".__add__), st.text(st.characters(exclude_characters="\0"))))
def test_clean(path: str) -> None:
    cleaned = clean(path)
    assert not cleaned.startswith("/")
    assert not {"..", "."} & set(cleaned.split("/"))
    assert "//" not in cleaned
    assert clean(cleaned) == cleaned
    assert "/" + cleaned == posixpath.normpath("//" + path).replace("//", "/", 1)


@given(paths, paths)
def test_joining_does_not_climb_out_of_the_root(first: str, second: str) -> None:
    assert clean(f"{clean(first)}/{second}") == clean(f"{first}/{second}")
