"""process.rlimits."""

from __future__ import annotations

import resource
import subprocess

import pytest

from libcontainer import rlimits
from libcontainer.errors import Error, InvalidSpec, describe


def limit(name: str, soft: int = 1, hard: int = 2) -> dict[str, object]:
    return {"type": name, "soft": soft, "hard": hard}


def test_numbers_are_the_systems() -> None:
    assert len(rlimits.NAMES) == 16
    known = [name for name in rlimits.NAMES if hasattr(resource, name)]
    assert len(known) == 15  # Python has no RLIMIT_LOCKS
    for name in known:
        assert rlimits.parse([limit(name)]) == [(getattr(resource, name), 1, 2)]
    assert rlimits.parse([limit("RLIMIT_LOCKS")]) == [(10, 1, 2)]


def test_values() -> None:
    both = rlimits.parse([limit("RLIMIT_CORE", 0, 2**64 - 1), {"type": "RLIMIT_CPU"}])
    assert both == [(resource.RLIMIT_CORE, 0, 2**64 - 1), (resource.RLIMIT_CPU, 0, 0)]
    assert rlimits.parse([]) == []


@pytest.mark.parametrize(
    ("limits", "path", "reason"),
    [
        ([limit("RLIMIT_X")], "[0].type", "wrong rlimit value: RLIMIT_X"),
        ([limit("nofile")], "[0].type", "wrong rlimit value: nofile"),
        ([limit("RLIMIT_AS"), limit("RLIMIT_AS")], "[1].type", "RLIMIT_AS is given twice"),
        ([limit("RLIMIT_AS", -1)], "[0].soft", "-1 does not fit in 64 bits"),
        ([limit("RLIMIT_AS", 0, 2**64)], "[0].hard", "18446744073709551616 does not fit in 64 bits"),
    ],
)
def test_refused(limits: list[dict[str, object]], path: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        rlimits.parse(limits)
    assert (caught.value.path, caught.value.reason) == (f"process.rlimits{path}", reason)


@pytest.fixture
def sleeper():  # type: ignore[no-untyped-def]
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_apply(sleeper: subprocess.Popen[bytes]) -> None:
    core = resource.prlimit(sleeper.pid, resource.RLIMIT_CORE)
    rlimits.apply(
        sleeper.pid, [(resource.RLIMIT_NOFILE, 10, 20), (resource.RLIMIT_RSS, 2**64 - 1, 2**64 - 1)]
    )
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_NOFILE) == (10, 20)
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_RSS) == (resource.RLIM_INFINITY,) * 2
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_CORE) == core


def test_apply_what_the_kernel_refuses(sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(Error) as caught:
        rlimits.apply(sleeper.pid, [(resource.RLIMIT_NOFILE, 20, 10)])
    assert describe(caught.value) == "error setting rlimit type 7 (RLIMIT_NOFILE to 20:10): prlimit: invalid argument"


def test_apply_to_nobody() -> None:
    with pytest.raises(Error) as caught:
        rlimits.apply(2**22 + 1, [(resource.RLIMIT_NOFILE, 1, 1)])
    assert describe(caught.value).endswith(": no such process")
