"""The device rule emulator against the plainest model: for each device and access the last rule that names it
decides."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from libcontainer.cgroups.devices import (
    ALL,
    ANY,
    MKNOD,
    READ,
    WRITE,
    Emulator,
    covers,
    evaluate,
    mask,
    parse,
    text,
)
from libcontainer.cgroups.fs1 import Manager1
from libcontainer.errors import Unsupported

NUMBERS = st.sampled_from([ANY, 0, 1, 2])
ACCESS = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
RULE = st.fixed_dictionaries(
    {
        "allow": st.booleans(),
        "type": st.sampled_from(["a", "b", "c"]),
        "major": NUMBERS,
        "minor": NUMBERS,
        "access": ACCESS,
    }
)
RULES = st.lists(RULE, max_size=8)
# One number that no rule names, so that wildcards are seen to reach further than the named ones.
DEVICES = [(kind, major, minor) for kind in "bc" for major in (0, 1, 2, 9) for minor in (0, 1, 2, 9)]


def last_word(rules: list[dict[str, Any]], device: tuple[str, int, int], bit: int) -> bool:
    decision = False
    for rule in rules:
        kinds = "bc" if rule["type"] == "a" else rule["type"]
        if (
            any(covers((kind, rule["major"], rule["minor"]), device) for kind in kinds)
            and mask(rule["access"]) & bit
        ):
            decision = rule["allow"]
    return decision


def accepted(rules: list[dict[str, Any]]) -> Emulator:
    try:
        return evaluate(rules)
    except Unsupported:
        assume(False)
        raise


@given(RULES)
def test_agrees_with_the_model_or_refuses(rules: list[dict[str, Any]]) -> None:
    state = accepted(rules)
    for device in DEVICES:
        for bit in (READ, WRITE, MKNOD):
            assert state.allows(device, bit) == last_word(rules, device, bit)


@given(RULES)
def test_never_allows_more_than_the_model(rules: list[dict[str, Any]]) -> None:
    state = accepted(rules)
    for device in DEVICES:
        if state.allows(device, ALL):
            assert all(last_word(rules, device, bit) for bit in (READ, WRITE, MKNOD))


@given(RULES)
def test_refuses_only_to_punch_holes(rules: list[dict[str, Any]]) -> None:
    """Lists whose rules name whole devices (or everything) are always accepted."""
    plain = [rule for rule in rules if ANY not in (rule["major"], rule["minor"])]
    evaluate(plain)


@given(RULES)
def test_devices_list_survives_a_round_trip(rules: list[dict[str, Any]]) -> None:
    state = accepted(rules)
    assume(not state.default_allow)
    shown = "".join(text(node, bits) + "\n" for node, bits in state.exceptions.items())
    assert parse(shown) == state


class Kernel:
    """devices.allow, devices.deny and devices.list as security/device_cgroup.c has them."""

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[str, set[str]] = {}

    def write(self, file: str, rule: str) -> None:
        granting = file == "devices.allow"
        if rule.startswith("a"):
            self.allow = granting
            self.exceptions.clear()
            return
        kind, numbers, access = rule.split()
        found = self.exceptions.setdefault(f"{kind} {numbers}", set())
        if granting != self.allow:
            found |= set(access)
        else:
            found -= set(access)
        if not found:
            del self.exceptions[f"{kind} {numbers}"]

    def list(self) -> str:
        if self.allow:
            return "a *:* rwm\n"
        return "".join(
            f"{node} {''.join(c for c in 'rwm' if c in bits)}\n" for node, bits in self.exceptions.items()
        )

    def state(self) -> Emulator:
        state = Emulator(default_allow=self.allow)
        for line, bits in self.exceptions.items():
            kind, numbers = line.split()
            major, minor = (ANY if n == "*" else int(n) for n in numbers.split(":"))
            state.exceptions[kind, major, minor] = mask("".join(bits))
        return state


@given(RULES, RULES)
def test_steps_lead_from_what_is_shown_to_the_target(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    kernel = Kernel()
    for file, rule in Emulator(default_allow=True).steps_to(accepted(before)):
        kernel.write(file, rule)
    assert kernel.state() == accepted(before)
    for file, rule in parse(kernel.list()).steps_to(accepted(after)):
        kernel.write(file, rule)
    assert kernel.state() == accepted(after)


@given(RULES)
def test_no_steps_where_nothing_changes(rules: list[dict[str, Any]]) -> None:
    state = accepted(rules)
    if not state.default_allow:
        assert state.steps_to(state) == []


@given(RULES)
def test_a_step_never_takes_away_what_both_states_have(rules: list[dict[str, Any]]) -> None:
    """Between two lists of exceptions a running container keeps, at every moment, what it had and will
    have."""
    before, after = accepted(rules), accepted(rules[:-1])
    assume(not before.default_allow and not after.default_allow)
    kernel = Kernel()
    for file, rule in Emulator(default_allow=True).steps_to(before):
        kernel.write(file, rule)
    for file, rule in before.steps_to(after):
        kernel.write(file, rule)
        for node, bits in before.exceptions.items():
            kept = bits & after.exceptions.get(node, 0)
            assert kernel.state().exceptions.get(node, 0) & kept == kept


def test_the_manager_uses_these_steps() -> None:
    """A write order that the manager would change would make the properties above worthless."""
    written: list[tuple[str, list[str]]] = []
    manager = Manager1({"devices": "/sys/fs/cgroup/devices/x"})

    class Files:
        def write_each(self, path: str, values: list[str]) -> None:
            written.append((path.rpartition("/")[2], values))

        def read(self, path: str) -> str:
            assert path == "/sys/fs/cgroup/devices/x/devices.list"
            return "c 1:3 rwm\n" if written else "c 1:3 rwm\nc 1:5 rwm\n"

    manager._tree = Files()  # type: ignore[assignment]
    manager.set_devices([{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}])
    assert written == [("devices.deny", ["c 1:5 rwm"])]
