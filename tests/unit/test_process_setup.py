"""What a process becomes: what refusals of the kernel mean, and where they lead."""

from __future__ import annotations

import errno

import pytest

from libcontainer import process_setup, sysnr
from libcontainer.process_setup import apparmor_refused
from libcontainer.remote import OP_EXPECT, OP_SKIP, Batch, StepError
from tests.unit.test_remote import decoded

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


# -- the session keyring

SERIAL, FOREIGN, NAMELESS = 100, 77, 900


class Keys:
    """The kernel's keyrings. One with our name may be there already, which perhaps does not let itself be hidden."""

    def __init__(self, *, foreign: bool = False, stubborn: bool = False, add_key: int = 0, keyctl: int = 0) -> None:
        self.found = [FOREIGN] if foreign else []  # by name, the oldest first
        self.stubborn = stubborn
        self.errors = {sysnr.ADD_KEY: add_key, sysnr.KEYCTL: keyctl}
        self.session = 0

    def call(self, nr: int, command: int, ring: int, permissions: int) -> int:
        if self.errors[nr]:
            return -self.errors[nr]
        if nr == sysnr.ADD_KEY:
            return SERIAL
        if command == process_setup.KEYCTL_SETPERM:
            return self.set_permissions(ring, permissions)
        assert command == process_setup.KEYCTL_JOIN_SESSION_KEYRING
        if ring == 0:
            self.session = NAMELESS
        else:
            self.found = self.found or [SERIAL + 1]
            self.session = self.found[0]
        return self.session

    def set_permissions(self, ring: int, permissions: int) -> int:
        if ring == FOREIGN and self.stubborn:
            return -errno.EACCES
        if permissions & process_setup.KEY_USR_SEARCH:
            self.found.append(ring)
        else:
            self.found.remove(ring)
        return 0


def executed(batch: Batch, keys: Keys) -> int:
    """Run the batch as init does; the errno of the call that ended it, 0 if none did."""
    results: list[int] = []
    calls = decoded(batch).calls
    index = 0
    while index < len(calls):
        op, *ok, skip, nr, _, _, _, _ = calls[index][:9]
        values = [results[a & 0xFFFFFFFF] if a >> 48 == 0x7A02 else a for a in calls[index][9:]]
        results += [0] * (index - len(results))
        if op == OP_EXPECT:
            results.append(0 if values[0] == values[3] else -nr)
        else:
            results.append(0 if op == OP_SKIP else keys.call(nr, *values[:3]))
        error = -min(results[-1], 0)
        if error and error not in ok and 0xFFFF not in ok:
            return error
        index += 1 + (skip if error or op == OP_SKIP else 0)
    return 0


@pytest.mark.parametrize(
    ("keys", "new", "session"),
    [
        (Keys(), True, SERIAL),
        (Keys(foreign=True), True, SERIAL),
        (Keys(foreign=True, stubborn=True), True, NAMELESS),
        (Keys(add_key=errno.EACCES), True, SERIAL + 1),  # an LSM; what keyctl then makes by the name
        (Keys(add_key=errno.ENOSYS, keyctl=errno.ENOSYS), True, 0),
        (Keys(keyctl=errno.ENOSYS), False, 0),
        (Keys(foreign=True), False, FOREIGN),  # in exec that is init's
    ],
)
def test_which_session_keyring_it_is(keys: Keys, new: bool, session: int) -> None:
    batch = Batch()
    process_setup.session_keyring(batch, "c", {}, 5, new=new)
    assert executed(batch, keys) == 0
    assert keys.session == session


@pytest.mark.parametrize("call", ["add_key", "keyctl"])
def test_no_room_for_one_is_an_error(call: str) -> None:
    keys = Keys(add_key=errno.EDQUOT) if call == "add_key" else Keys(keyctl=errno.EDQUOT)
    batch = Batch()
    process_setup.session_keyring(batch, "c", {}, 5, new=True)
    assert executed(batch, keys) == errno.EDQUOT
    words = process_setup.keyring_refused(StepError(call, errno.EDQUOT, "session keyring", 0))
    assert words is not None
    assert "--no-new-keyring" in words
    assert process_setup.keyring_refused(StepError(call, errno.EACCES, "session keyring", 0)) is None
