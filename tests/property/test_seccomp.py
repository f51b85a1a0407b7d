"""Compiled profiles, run on a BPF machine, against a model of what a profile means."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libcontainer import seccomp, seccomp_compiler
from tests import bpf

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the numbers below are those of x86_64"
)

Entry = dict[str, Any]  # a JSON object

# asm/unistd_64.h and asm/unistd_32.h
NUMBERS = {
    "read": (0, 3),
    "open": (2, 5),
    "close": (3, 6),
    "mmap": (9, 90),
    "ioctl": (16, 54),
    "getpid": (39, 20),
    "clone": (56, 120),
    "kill": (62, 37),
    "fcntl": (72, 55),
    "mkdir": (83, 39),
    "chmod": (90, 15),
    "ptrace": (101, 26),
    "personality": (135, 136),
    "mount": (165, 21),
    "reboot": (169, 88),
    "openat": (257, 295),
    "unshare": (272, 310),
    "bpf": (321, 357),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "socketcall": (-1, 102),  # of the other architecture only
}
UNKNOWN = "no_such_call"
WORDS = st.one_of(
    st.integers(0, 8),
    st.integers(0, 2**64 - 1),
    st.sampled_from([2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]),
)
ACTIONS = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_TRACE",
]
PASSING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
COMPARE: dict[str, Callable[[int, int, int], bool]] = {
    "SCMP_CMP_NE": lambda word, value, _: word != value,
    "SCMP_CMP_LT": lambda word, value, _: word < value,
    "SCMP_CMP_LE": lambda word, value, _: word <= value,
    "SCMP_CMP_EQ": lambda word, value, _: word == value,
    "SCMP_CMP_GE": lambda word, value, _: word >= value,
    "SCMP_CMP_GT": lambda word, value, _: word > value,
    "SCMP_CMP_MASKED_EQ": lambda word, mask, value: word & mask == value,
}


@st.composite
def conditions(draw: st.DrawFn) -> Entry:
    operator = draw(st.sampled_from(sorted(COMPARE)))
    value = draw(WORDS)
    condition = {"index": draw(st.integers(0, 5)), "op": operator, "value": value}
    if operator == "SCMP_CMP_MASKED_EQ":
        condition["valueTwo"] = draw(WORDS) & value
    return condition


def repeats(arguments: list[Entry]) -> bool:
    return len({test["index"] for test in arguments}) < len(arguments)


@st.composite
def entries(draw: st.DrawFn, name: str, most_conditions: int) -> Entry:
    entry: Entry = {"names": [name], "action": draw(st.sampled_from(ACTIONS))}
    if draw(st.booleans()):
        entry["errnoRet"] = draw(st.integers(0, 4094))
    arguments = draw(st.lists(conditions(), max_size=most_conditions))
    if repeats(arguments):
        # libseccomp 2.5 itself gets alternatives of unlike comparisons wrong (GE 1 or LT 2**32 misses 2**32).
        arguments = [{"index": t["index"], "op": "SCMP_CMP_EQ", "value": t["value"]} for t in arguments]
    if arguments:
        entry["args"] = arguments
    return entry


@st.composite
def profiles(draw: st.DrawFn, most_conditions: int = 3) -> Entry:
    names = draw(st.lists(st.sampled_from([*NUMBERS, UNKNOWN]), unique=True))
    profile: Entry = {
        "defaultAction": draw(st.sampled_from(ACTIONS)),
        "syscalls": [draw(entries(name, most_conditions)) for name in names],
    }
    if draw(st.booleans()):
        profile["defaultErrnoRet"] = draw(st.integers(0, 4094))
    if draw(st.booleans()):
        profile["architectures"] = draw(st.lists(st.sampled_from(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])))
    return profile


def action_value(name: str, errno: int | None) -> int:
    value = {
        "SCMP_ACT_ALLOW": 0x7FFF0000,
        "SCMP_ACT_ERRNO": 0x00050000,
        "SCMP_ACT_KILL": 0,
        "SCMP_ACT_LOG": 0x7FFC0000,
        "SCMP_ACT_TRAP": 0x00030000,
        "SCMP_ACT_TRACE": 0x7FF00000,
    }[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return value | (1 if errno is None else errno)
    return value


def matches(entry: Entry, arguments: tuple[int, ...]) -> bool:
    tests = entry.get("args", [])
    results = [COMPARE[t["op"]](arguments[t["index"]], t["value"], t.get("valueTwo", 0)) for t in tests]
    return any(results) if repeats(tests) else all(results)


def expected(profile: Entry, abi: int, number: int, arguments: tuple[int, ...]) -> int:
    """The model: what `number` of x86_64 (abi 0) or x86 (abi 1) gets."""
    numbers = {
        entry["names"][0]: NUMBERS.get(entry["names"][0], (-1, -1))[abi] for entry in profile["syscalls"]
    }
    greatest = max(numbers.values(), default=-1)
    if 0 <= greatest < number and profile["defaultAction"] not in PASSING:
        return bpf.ENOSYS
    for entry in profile["syscalls"]:
        if numbers[entry["names"][0]] == number and matches(entry, arguments):
            return action_value(entry["action"], entry.get("errnoRet"))
    return action_value(profile["defaultAction"], profile.get("defaultErrnoRet"))


def program_of(profile: Entry) -> bytes:
    compiled = seccomp.load(profile, None)
    assert compiled is not None
    return compiled.program


SIX_WORDS = st.tuples(*[WORDS] * 6)
INTERESTING = sorted(
    {n + d for pair in NUMBERS.values() for n in pair if n >= 0 for d in (-1, 0, 1) if n + d >= 0}
)


@settings(max_examples=100)
@given(profiles(), st.lists(SIX_WORDS, min_size=1, max_size=4))
def test_x86_64_gets_what_the_profile_says(profile: Entry, words: list[tuple[int, ...]]) -> None:
    program = program_of(profile)
    boundary = [t["value"] for e in profile["syscalls"] for t in e.get("args", [])]
    words += [(value,) * 6 for value in boundary]
    for number in INTERESTING:
        for arguments in words:
            wanted = expected(profile, 0, number, arguments)
            assert bpf.run(program, bpf.X86_64, number, arguments) == wanted, (number, arguments)


@settings(max_examples=40)
@given(profiles(most_conditions=0))
def test_the_second_architecture_has_its_own_numbers(profile: Entry) -> None:
    profile["architectures"] = ["SCMP_ARCH_X86"]
    program = program_of(profile)
    for number in INTERESTING:
        assert bpf.run(program, bpf.X86_64, number) == expected(profile, 0, number, ())
        assert bpf.run(program, bpf.X86, number) == expected(profile, 1, number, ())


@settings(max_examples=30)
@given(profiles())
def test_an_architecture_outside_the_profile_is_killed(profile: Entry) -> None:
    assert bpf.run(program_of(profile), bpf.AARCH64, 1) == bpf.KILL


@settings(max_examples=20)
@given(profiles(most_conditions=1))
def test_a_binary_tree_changes_speed_only(profile: Entry) -> None:
    linear = program_of(profile)
    threshold = seccomp_compiler._TREE_RULES
    seccomp_compiler._TREE_RULES = 0
    try:
        tree = program_of(profile)
    finally:
        seccomp_compiler._TREE_RULES = threshold
    for number in INTERESTING:
        for word in (0, 1, 2**32, 2**64 - 1):
            run = (bpf.X86_64, number, (word,) * 6)
            assert bpf.run(linear, *run) == bpf.run(tree, *run)


LIMIT = st.integers(0, 600)
FALL_THROUGH = (0x06).to_bytes(2, "little") + bytes(2) + bpf.ALLOW.to_bytes(4, "little")


@given(
    st.dictionaries(st.sampled_from([bpf.X86, bpf.AARCH64, bpf.S390X, 0x16, 0x8, 0x15]), LIMIT),
    st.none() | st.tuples(LIMIT, st.none() | LIMIT),
    st.data(),
)
def test_stub_answers_enosys_exactly_above_the_greatest(
    limits: dict[int, int], x86_64: tuple[int, int | None] | None, data: st.DataObject
) -> None:
    greatest = {arch: [limit] for arch, limit in limits.items()}
    if x86_64 is not None:
        greatest[bpf.X86_64] = [x86_64[0]]
        if x86_64[1] is not None:
            greatest[bpf.X86_64].insert(0, bpf.X32_BIT | x86_64[1])
    program = seccomp_compiler.assemble_enosys_stub(greatest) + FALL_THROUGH
    for arch in (*greatest, 0x40000028):
        number = data.draw(st.integers(0, 700)) | data.draw(st.sampled_from([0, bpf.X32_BIT, 0x80000000]))
        above = any(number > limit for limit in greatest.get(arch, ()))
        if arch == bpf.X86_64 and len(greatest[arch]) == 2:
            above = number > (max if number & bpf.X32_BIT else min)(greatest[arch])
        setup = number == 0 and arch in greatest and arch in (0x16, bpf.S390X)
        assert bpf.run(program, arch, number) == (bpf.ENOSYS if above or setup else bpf.ALLOW)
