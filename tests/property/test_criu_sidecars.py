"""The small files beside CRIU's images: whatever is in them is read or refused, in words."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.criu import images_dir, mounts_sidecar, stdio
from libcontainer.errors import Error, describe

# json.dumps() writes halves of a surrogate pair, as an attacker can
words = st.sampled_from(["pipe:[1]", "file[1:a]", "tty[a:1]", "\ud800pipe:[1]", "sources", "seal"])
texts = st.one_of(st.text(max_size=12), words)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
documents = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)), max_leaves=12
)
sidecars = st.fixed_dictionaries({"sources": documents, "seal": documents})
values = st.one_of(documents, sidecars, st.lists(texts))
contents = st.one_of(st.binary(max_size=60), values.map(lambda value: json.dumps(value).encode()))


def read(name: str, content: bytes, reader: Callable[[int, str], Any]) -> Any:
    """What the reader makes of a file of this name; None if it refuses it."""
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / name).write_bytes(content)
        (Path(top) / mounts_sidecar.KEY_FILE).write_bytes(bytes(mounts_sidecar.KEY_SIZE))
        directory = os.open(top, os.O_RDONLY)
        try:
            return reader(directory, top)
        except Error as err:
            assert describe(err).startswith(f"invalid {name}")
            return None
        finally:
            os.close(directory)


@given(contents)
def test_descriptors(content: bytes) -> None:
    found = read(images_dir.DESCRIPTORS, content, lambda directory, _: images_dir.read_descriptors(directory))
    for entry in found or ():
        for key in stdio.inherit_keys(entry):
            assert key.isascii()
            assert key in (entry, entry[1:])


@given(contents)
def test_sources_of_mounts(content: bytes) -> None:
    found = read(mounts_sidecar.NAME, content, lambda directory, root: mounts_sidecar.read(directory, root, "/b"))
    if found is not None:
        assert not found.trusted
        assert all(isinstance(text, str) for pair in found.sources.items() for text in pair)
