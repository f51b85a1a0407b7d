"""What holds for any config.json: reading it twice or respelling it changes nothing, nonsense is refused."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libcontainer import spec
from libcontainer.errors import Error, InvalidSpec
from libcontainer.spec_schema import SPEC

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def fitting(node: Any) -> st.SearchStrategy[Any]:
    """Documents that fit a node of the table."""
    if node is str:
        return st.text(max_size=6)
    if node is bool:
        return st.booleans()
    if isinstance(node, tuple):
        return st.integers(*node)
    if isinstance(node, list):
        return st.lists(fitting(node[0]), max_size=2)
    if "" in node:
        return st.dictionaries(st.text(max_size=4), fitting(node[""]), max_size=2)
    return st.fixed_dictionaries({}, optional={name: fitting(inner) for name, inner in node.items()})


def nonsense(node: Any) -> st.SearchStrategy[Any]:
    """Objects with the right names and anything below them."""
    if not isinstance(node, dict) or "" in node:
        return JSON
    return JSON | st.fixed_dictionaries({}, optional={name: nonsense(inner) for name, inner in node.items()})


SPECS = fitting(SPEC)


def respelled(node: Any, document: Any) -> Any:
    """`document` with the fixed names in upper case; names of maps are data."""
    if isinstance(document, list):
        return [respelled(node[0], item) for item in document]
    if isinstance(document, dict) and "" in node:
        return {name: respelled(node[""], item) for name, item in document.items()}
    if isinstance(document, dict):
        return {name.upper(): respelled(node[name], item) for name, item in document.items()}
    return document


@settings(max_examples=50)
@given(SPECS)
def test_what_fits_comes_back_as_it_is(document: Any) -> None:
    assert spec.normalize(document) == document


@settings(max_examples=50)
@given(SPECS)
def test_the_case_of_names_does_not_matter(document: Any) -> None:
    assert spec.normalize(respelled(SPEC, document)) == document


@settings(max_examples=200)
@given(nonsense(SPEC))
def test_nonsense_is_refused_with_a_path_or_read(document: Any) -> None:
    try:
        read = spec.load(json.dumps(document).encode())
    except InvalidSpec:
        return
    assert spec.normalize(read) == read


@settings(max_examples=200)
@given(SPECS)
def test_rules_raise_nothing_but_our_errors(document: Any) -> None:
    """Empty objects, empty strings, numbers at the edge: no rule may stumble over them."""
    document.setdefault("process", {}).update(cwd="/", args=["x"], env=[])
    document["root"] = {"path": "/"}
    for rootless in (False, True):
        try:
            spec.validate(document, rootless_euid=rootless, rootless_cgroups=rootless, bundle="/")
        except Error:
            continue
