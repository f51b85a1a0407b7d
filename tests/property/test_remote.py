"""Any batch can be read back as it was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.remote import TAG_FD, TAG_RESULT, Batch
from tests.unit.test_remote import Decoded

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(-(1 << 47), (1 << 47) - 1)
arguments = st.one_of(numbers, texts, st.binary(max_size=9).map(lambda b: b.replace(b"\0", b"")))


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, list[object], tuple[int, int, int], bool]:
    tolerance = draw(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0x7FFF)))
    return draw(st.integers(0, 0xFFFFFFFF)), draw(st.lists(arguments, max_size=6)), tolerance, draw(st.booleans())


@given(st.lists(calls(), max_size=12), st.lists(st.lists(texts, max_size=5), max_size=3), st.integers(0, 50))
def test_round_trip(
    written: list[tuple[int, list[object], tuple[int, int, int], bool]], vectors: list[list[str]], room: int
) -> None:
    batch = Batch()
    for nr, values, (first, second, skip), back in written:
        result = batch.call("call", nr, *values)  # type: ignore[arg-type]
        batch.tolerate(result, first, second, skip=skip)
        if back:
            batch.send_back(result)
    places = [batch.vector(vector) for vector in vectors]
    if room:
        batch.out(room)
    request = Decoded(batch.encode())
    assert len(request.calls) == len(written)
    for index, (nr, values, tolerance, back) in enumerate(written):
        op, *rest = request.calls[index][:6]
        assert (op, tuple(rest[:3]), *rest[3:]) == (0, tolerance, nr, int(back))
        for given_, found in zip(values, request.arguments(index), strict=False):
            if isinstance(given_, int):
                assert found == given_ % (1 << 64)
            else:
                assert request.text(found) == (given_.encode() if isinstance(given_, str) else given_)
        assert not any(request.arguments(index)[len(values) :])
    assert [request.vector(place) for place in places] == [[text.encode() for text in vector] for vector in vectors]
    assert request.out[1] == room
    assert len(request.relocations) == sum(map(len, vectors))


@given(numbers)
def test_no_number_looks_like_a_reference(number: int) -> None:
    assert (number % (1 << 64)) >> 48 not in (0x7A01, TAG_RESULT >> 48, TAG_FD >> 48)
