"""process.env."""

from __future__ import annotations

import pytest

from libcontainer import environment
from libcontainer.errors import InvalidSpec


@pytest.mark.parametrize(
    ("env", "prepared"),
    [
        ([], ([], False, None)),
        (["A=1", "B=2", "A=3"], (["B=2", "A=3"], False, None)),
        (["HOME=/root", "PATH=/bin"], (["HOME=/root", "PATH=/bin"], True, "/bin")),
        (["HOME=/root", "HOME=", "A="], (["A="], False, None)),
        (["HOME=", "HOME=/x"], (["HOME=/x"], True, None)),
        (["PATH=/a", "PATH="], (["PATH="], False, "")),
        (["A=b=c", "a=1"], (["A=b=c", "a=1"], False, None)),
    ],
)
def test_prepare(env: list[str], prepared: tuple[list[str], bool, str | None]) -> None:
    assert environment.prepare(env) == prepared


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("NAME", "missing '='"),
        ("", "missing '='"),
        ("=x", "name cannot be empty"),
        ("A=\0", "contains nul byte (\\x00)"),
        ("A\0=x", "contains nul byte (\\x00)"),
    ],
)
def test_refused(entry: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        environment.prepare(["OK=1", entry])
    assert str(caught.value) == f"process.env[1]: invalid environment variable: {reason}"


def test_with_home() -> None:
    env = ["A=1"]
    assert environment.with_home(env, "/root") == ["A=1", "HOME=/root"]
    assert environment.with_home(env, None) == environment.with_home(env, "") == ["A=1", "HOME=/"]
    assert env == ["A=1"]
