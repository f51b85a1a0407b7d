"""What refusals of the kernel mean."""

from __future__ import annotations

import errno

import pytest

from libcontainer.process_setup import apparmor_refused
from libcontainer.remote import StepError

PROFILE = "apparmor profile 'some-profile'"


def test_an_apparmor_profile_that_is_not_loaded() -> None:
    words = apparmor_refused(StepError("write", errno.ENOENT, PROFILE, 3))
    assert words == "apparmor failed to apply profile: apparmor profile 'some-profile': profile not loaded"


@pytest.mark.parametrize(
    ("call", "number", "filename"),
    [
        ("write", errno.EACCES, PROFILE),
        ("openat", errno.ENOENT, PROFILE),
        ("write", errno.ENOENT, "sysctl x"),
        ("write", errno.ENOENT, None),
    ],
)
def test_other_refusals_speak_for_themselves(call: str, number: int, filename: str | None) -> None:
    assert apparmor_refused(StepError(call, number, filename, 0)) is None
