"""libcontainer.glance: a part of state.json tells the same of a container as the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcontainer import glance
from libcontainer.saved_config import SavedConfig
from libcontainer.state import State
from libcontainer.status import document_of

# What a text might be mistaken for, if a key were not told from a string.
WORDS = [',"labels":["bundle=/wrong"]', ',"rootfs":"/no"', '},"rootless":true', ',"config":{', '"freezer":"/no"', "\\", '"']
TEXTS = st.one_of(st.text(max_size=12), st.lists(st.sampled_from([*WORDS, "x", "é"]), max_size=4).map("".join))
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)
KEYS = st.dictionaries(st.one_of(TEXTS, st.sampled_from(["rootfs", "labels", "config"])), TEXTS, max_size=3)
PATHS = st.sampled_from([{}, {"": "/sys/fs/cgroup/a"}, {"cpu": "/a", "freezer": "/b", "": "/c"}, {"freezer": "/b"}])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    config: dict[str, Any] = {
        "no_pivot_root": False,
        "rootfs": draw(TEXTS),
        "mounts": draw(st.lists(MAPS, max_size=2)),
        "cgroups": {"unified": draw(KEYS)},
        "sysctl": draw(KEYS),
        "labels": draw(st.lists(st.one_of(TEXTS, MAPS.map(lambda m: "=".join(("bundle", *m)))), max_size=3)),
        "rootless_cgroups": draw(st.booleans()),
        "capabilities": {"Bounding": draw(st.lists(TEXTS, max_size=2))},
    }
    for name in draw(st.sets(st.sampled_from(sorted(config.keys() - {"rootfs", "labels"})))):  # both runtimes always have these
        del config[name]
    return {
        "id": draw(TEXTS),
        "init_process_pid": draw(st.integers(0, 99)),
        "init_process_start": 1,
        "created": draw(TEXTS),
        "config": config,
        "rootless": draw(st.booleans()),
        "cgroup_paths": draw(PATHS),
        "namespace_paths": draw(MAPS),
        "external_descriptors": draw(st.lists(TEXTS, max_size=3)),
        "intel_rdt_path": "",
        "intel_rdt_mon_path": "",
    }


def shown(document: Any) -> dict[str, Any]:
    state = State(document)
    return {**document_of("c", "running", state, SavedConfig(state.config)), "start": state.init_process_start}


def freezer(paths: dict[str, str]) -> str | None:
    return paths.get("freezer", paths.get(""))


@given(document=documents(), ascii_only=st.booleans(), compact=st.booleans())
def test_a_part_tells_the_same(document: dict[str, Any], ascii_only: bool, compact: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, separators=(",", ":") if compact else None)
    part = glance.parse(text)
    assert shown(part) == shown(document)
    assert freezer(part["cgroup_paths"]) == freezer(document["cgroup_paths"])


def test_most_is_not_parsed() -> None:
    head = '{"id":"c","init_process_pid":7,"created":"t","config":{"no_pivot_root":false,"rootfs":"/r"'
    tail = ',"labels":["bundle=/b"],"umask":null},"rootless":false,"cgroup_paths":{"freezer":"/f"},"namespace_paths":{}}'
    assert glance.parse(f'{head},"mounts":[this is no JSON]{tail}')["config"] == {"rootfs": "/r", "labels": ["bundle=/b"]}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config":{"rootfs":"/r"}}'])
def test_other_texts_are_what_they_are_to_the_parser(text: str) -> None:
    try:
        whole = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".*"):
            glance.parse(text)
    else:
        assert glance.parse(text) == whole
