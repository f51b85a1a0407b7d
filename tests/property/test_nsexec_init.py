"""The init against requests that nobody would write: never a sanitizer report, never a hang, always an orderly end."""

from __future__ import annotations

import shutil
import signal
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libcontainer import sysnr
from libcontainer.remote import (
    CONTINUE,
    OP_DETACH,
    OP_EACH,
    OP_EXEC,
    OP_EXPECT,
    OP_HOOK,
    OP_LABEL,
    OP_PLAIN,
    OP_SKIP,
    OP_SYNC,
    OP_SYSCALL,
    TAG_DATA,
    TAG_FD,
    TAG_ITEM,
    TAG_RESULT,
)
from tests.init_process import REPLY, REQUEST, Init, call, request

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
SOME = settings(max_examples=60)
ORDERLY = (0, 1, 255, -signal.SIGPIPE)
# Calls that harm nobody, whatever their arguments.
HARMLESS = [sysnr.UMASK, sysnr.LSEEK, sysnr.SETNS, 0xFFFFFFFF]

OPERATIONS = [
    *(OP_SYSCALL, OP_SYSCALL, OP_SYNC, OP_DETACH, OP_LABEL, OP_HOOK, OP_EXEC, OP_EXPECT, OP_SKIP, OP_PLAIN, OP_EACH),
    *(11, 0xFFFF),  # unknown
]

words = st.integers(0, 0xFFFFFFFF)
near = st.one_of(st.integers(0, 80), words)  # offsets, indexes and sizes that are sometimes right


def orderly(requests: bytes) -> bytes:
    """Send, end the stream, wait: what was answered."""
    init = Init()
    answered = init.ask(requests)
    status, said = init.end()
    init.socket.close()
    assert status in ORDERLY, (status, said)
    assert "Sanitizer" not in said
    assert "runtime error" not in said
    return answered


@SOME
@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    orderly(noise)


@SOME
@given(st.binary(max_size=300), st.tuples(*[near] * 7))
def test_heads_around_noise(payload: bytes, head: tuple[int, ...]) -> None:
    orderly(REQUEST.pack(len(payload), *head) + payload)


@st.composite
def arguments(draw: st.DrawFn) -> int:
    tag = draw(st.sampled_from([0, TAG_DATA, TAG_RESULT, TAG_FD, TAG_ITEM]))
    return tag | draw(near)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    op = draw(st.sampled_from(OPERATIONS))
    nr = draw(st.sampled_from(HARMLESS) if op == OP_SYSCALL else st.integers(0, 50))
    return call(
        op,
        *draw(st.lists(arguments(), max_size=6)),
        nr=nr,
        skip=draw(st.integers(0, 0xFFFF)),
        ok=draw(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))),
        back=draw(st.integers(0, 1)),
    )


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    data = draw(st.binary(max_size=64))
    size = len(data) + (-len(data) % 8)
    return request(
        data,
        draw(st.lists(calls(), max_size=6)),
        tuple(draw(st.lists(near, max_size=3))) if draw(st.booleans()) else (),
        result_off=draw(st.integers(0, size)),
        result_len=draw(near) if draw(st.booleans()) else 0,
        flags=draw(st.sampled_from([0, CONTINUE])),
    )


@SOME
@given(st.lists(requests(), max_size=4))
def test_well_formed_nonsense(sent: list[bytes]) -> None:
    orderly(b"".join(sent))


def expected_results(sequence: list[tuple[str, int]]) -> list[int]:
    """umask returns the one before; what is passed over has no effect and 0 as result."""
    results = [0] * len(sequence)
    at = mask = 0
    while at < len(sequence):
        kind, value = sequence[at]
        if kind == "umask":
            results[at], mask = mask, value
            value = 0
        at += 1 + value
    return results


@SOME
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("skip"), st.integers(0, 4)),
            st.tuples(st.just("umask"), st.integers(0, 0o777)),
        ),
        max_size=40,
    )
)
def test_calls_run_in_order_and_each_has_its_result(sequence: list[tuple[str, int]]) -> None:
    sent = [
        call(OP_SKIP, skip=value) if kind == "skip" else call(OP_SYSCALL, value, nr=sysnr.UMASK)
        for kind, value in sequence
    ]
    answer = orderly(request(calls=[call(OP_SYSCALL, 0, nr=sysnr.UMASK), *sent]))
    assert REPLY.unpack(answer[: REPLY.size])[0] == -1
    _, *results = struct.unpack(f"={len(sent) + 1}q", answer[REPLY.size :])
    assert results == expected_results(sequence)
