"""Numbers as Go programs read them."""

from __future__ import annotations

import re

import pytest

from pyrunc.units import duration, signed, size, unsigned


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("32", 32), ("32b", 32), ("32B", 32), ("32k", 32 << 10), ("32K", 32 << 10), ("32kb", 32 << 10),
        ("32Kb", 32 << 10), ("32KiB", 32 << 10), ("32MB", 32 << 20), ("50M", 50 << 20), ("1g", 1 << 30), ("2T", 2 << 40),
        ("1P", 1 << 50), ("32.5kB", 33280), ("32 mb", 32 << 20), (".5k", 512), ("1e3", 1000),
        ("8191P", 8191 << 50), ("9223372036854775807", (1 << 63) - 1),
    ],
)  # fmt: skip
def test_size(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid size: ''"),
        ("hello", "invalid size: 'hello'"),
        ("-32", "invalid size: '-32'"),
        ("32bm", "invalid suffix: 'bm'"),
        ("5x", "invalid suffix: 'x'"),
        ("5kib5", 'strconv.ParseFloat: parsing "5kib5": invalid syntax'),
        (" 32 ", 'strconv.ParseFloat: parsing " 32": invalid syntax'),
        ("1_0k", 'strconv.ParseFloat: parsing "1_0": invalid syntax'),
        ("5kbi", "invalid suffix: 'kbi'"),
        ("-5x", "invalid size: '-5x'"),
        ("16384P", "invalid size: '16384P'"),
        ("1e999", "invalid size: '1e999'"),
    ],
)
def test_wrong_size(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5s", 5), ("1m30s", 90), ("1.5h", 5400), ("300ms", 0.3), ("0", 0), ("-2s", -2), ("+2s", 2), ("1us", 1e-6), ("1µs", 1e-6),
     ("1ns", 1e-9), (".5s", 0.5), ("1.s", 1), ("2562047h", 2562047 * 3600)],
)  # fmt: skip
def test_duration(text: str, value: float) -> None:
    assert duration(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'time: invalid duration ""'),
        ("s", 'time: invalid duration "s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("1s5", 'time: missing unit in duration "1s5"'),
        (".s", 'time: invalid duration ".s"'),
        ("1.2.3s", 'time: invalid duration "1.2.3s"'),
        ("2562048h", 'time: invalid duration "2562048h"'),
        ("-1h2562048h", 'time: invalid duration "-1h2562048h"'),
    ],
)
def test_wrong_duration(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        duration(text)


def test_integers() -> None:
    assert (signed("-1"), signed("+7"), signed("9223372036854775807")) == (-1, 7, (1 << 63) - 1)
    assert unsigned("18446744073709551615") == (1 << 64) - 1


@pytest.mark.parametrize("text", ["", "-", "x", "1.5", " 1", "1_0", "٣", "0x1"])
def test_wrong_integers(text: str) -> None:
    with pytest.raises(ValueError, match="^strconv.ParseInt: parsing .*: invalid syntax$"):
        signed(text)
    with pytest.raises(ValueError, match="^strconv.ParseUint: parsing .*: invalid syntax$"):
        unsigned(text)


def test_integers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"^strconv.ParseInt: .*: value out of range$"):
        signed("9223372036854775808")
    with pytest.raises(ValueError, match=r"^strconv.ParseUint: .*: value out of range$"):
        unsigned("18446744073709551616")
    with pytest.raises(ValueError, match=r"^strconv.ParseUint: .*: invalid syntax$"):
        unsigned("-1")
