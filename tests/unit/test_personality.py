"""linux.personality."""

from __future__ import annotations

import pytest

from libcontainer import personality
from libcontainer.errors import InvalidSpec


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_value(domain: str, number: int) -> None:
    assert personality.value({"domain": domain}) == number


@pytest.mark.parametrize("given", [{}, {"domain": ""}, {"domain": "SVR4"}, {"domain": "linux"}])
def test_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec, match=r"^linux\.personality\.domain: invalid personality domain"):
        personality.value(given)
