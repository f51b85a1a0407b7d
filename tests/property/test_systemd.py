"""Properties of the systemd driver's pure part."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import bitlist
from libcontainer.cgroups import gvariant, systemd_names, systemd_properties
from libcontainer.errors import Error

WORDS = st.text(st.sampled_from("abcXYZ019_.@:"), min_size=1, max_size=5)
QUOTAS = st.integers(1, 10**12)
PERIODS = st.integers(1000, 1_000_000)
SIMPLE = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda n: ("t", n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: ("i", n)),
    st.booleans().map(lambda b: ("b", b)),
    st.text(st.characters(exclude_categories=["Cs"])).map(lambda s: ("s", s)),
    st.integers(0, 255).map(lambda n: ("y", n)),
)


def render(signature: str, value: Any) -> str:
    """The text of a value, as an administrator would write it."""
    if signature == "s":
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if signature == "b":
        return "true" if value else "false"
    if signature == "v":
        return f"<{render(*value)}>"
    if signature[0] == "a":
        return f"@{signature} [" + ", ".join(render(signature[1:], item) for item in value) + "]"
    if signature[0] == "(":
        parts = zip(gvariant.split(signature[1:-1]), value, strict=True)
        return "(" + "".join(f"{render(*part)}, " for part in parts) + ")"
    return f"@{signature} {value}"


def structure(members: list[tuple[str, Any]]) -> tuple[str, Any]:
    return "(" + "".join(signature for signature, _ in members) + ")", tuple(value for _, value in members)


def compound(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.one_of(
        inner.map(lambda v: ("v", v)),
        inner.map(lambda v: ("a" + v[0], [v[1], v[1]])),
        inner.map(lambda v: ("a" + v[0], [])),
        st.lists(inner, min_size=1, max_size=4).map(structure),
    )


@given(st.recursive(SIMPLE, compound, max_leaves=8))
def test_what_is_written_is_what_is_read(value: tuple[str, Any]) -> None:
    assert gvariant.parse(render(*value)) == value


@given(st.text(st.sampled_from("[](){}<>@,:'\"\\abuint64 tsv0x1.-e"), max_size=30))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    try:
        signature, _value = gvariant.parse(text)
    except Error:
        return
    assert gvariant.complete(signature) == len(signature)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_a_slice_is_below_those_that_its_name_begins_with(components: list[str]) -> None:
    path = systemd_names.expand_slice("-".join(components) + ".slice")
    levels = path.split("/")[1:]
    assert len(levels) == len(components)
    assert levels[-1] == "-".join(components) + ".slice"
    for above, below in itertools.pairwise(levels):
        assert below.startswith(above.removesuffix(".slice") + "-")


@given(QUOTAS, PERIODS)
def test_quotas_are_rounded_up_by_less_than_a_per_cent(quota: int, period: int) -> None:
    per_second = dict(p[::2] for p in systemd_properties.quota(quota, period))["CPUQuotaPerSecUSec"]
    assert per_second % 10_000 == 0
    exact = quota * 1_000_000 // period
    assert exact <= per_second < exact + 10_000
    resources = {"cpu": {"quota": quota, "period": period}}
    rounded = systemd_properties.rounded(resources)["cpu"]["quota"]
    assert rounded >= quota or per_second == exact
    assert rounded in (quota, per_second * period // 1_000_000)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_bitmaps_hold_the_set(members: set[int]) -> None:
    text = bitlist.render(sum(1 << n for n in members))
    ((_, _, bitmap),) = systemd_properties.for_v2({"cpu": {"cpus": text}}, print)
    assert {8 * index + bit for index, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1} == members


@given(st.text(max_size=10))
def test_object_paths_are_valid_and_distinct(name: str) -> None:
    path = systemd_names.object_path(name)
    last = path.rpartition("/")[2]
    assert path.isascii()
    assert all(c.isalnum() or c == "_" for c in last)
    plain, at = b"", 0
    while at < len(last):
        if last[at] == "_":
            plain, at = plain + bytes.fromhex(last[at + 1 : at + 3]), at + 3
        else:
            plain, at = plain + last[at].encode(), at + 1
    assert plain.decode() == name
