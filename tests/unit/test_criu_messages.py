"""The table of CRIU's messages, compared with those that pycriu has (Debian: python3-pycriu)."""

from __future__ import annotations

from typing import Any

import pytest

from libcontainer.criu import messages


def test_an_answer_that_is_none() -> None:
    with pytest.raises(ValueError, match="required"):
        messages.response(b"")
    with pytest.raises(ValueError, match="."):
        messages.response(b"\xff")


def test_the_bytes_are_those_of_protobuf() -> None:
    request = messages.request(messages.DUMP)
    request.opts.CopyFrom(messages.options(images_dir_fd=3, external=["x"], network_lock=messages.LOCK_SKIP))
    assert request.SerializeToString() == bytes.fromhex("0801 1209 0803 aa020178 800403")


def test_each_field_is_as_in_criu() -> None:
    rpc: Any = pytest.importorskip("pycriu.rpc_pb2")
    for name in messages.TABLE:
        theirs = {field.name: field for field in getattr(rpc, name).DESCRIPTOR.fields}
        for field in messages._class(name).DESCRIPTOR.fields:
            if field.name not in theirs:
                continue  # an older pycriu
            other = theirs[field.name]
            assert (field.number, field.is_repeated if hasattr(field, "is_repeated") else field.label) == (
                other.number,
                other.is_repeated if hasattr(other, "is_repeated") else other.label,
            ), field.name
            assert field.type == other.type or (other.type, field.type) == (other.TYPE_ENUM, field.TYPE_INT32), field.name
