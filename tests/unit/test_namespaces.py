"""Files of namespaces that are joined."""

from __future__ import annotations

import pytest

from libcontainer import namespaces
from libcontainer.errors import Error, describe
from tests.root.laboratory import Snapshot


def test_a_file_that_cannot_be_opened_is_named_once_and_the_others_are_closed() -> None:
    before = Snapshot()
    with pytest.raises(Error) as raised:
        namespaces.open_paths([("network", "/proc/self/ns/net"), ("pid", "/nonexistent")])
    assert describe(raised.value) == "failed to open /nonexistent: no such file or directory"
    before.assert_unchanged()
