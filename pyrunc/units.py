"""Go's ways to write a number: strconv's integers, docker's sizes (go-units), time's durations.

The rule of this file: each function raises ValueError with the words that Go has for it.
"""

from __future__ import annotations

from pyrunc.options import quote

_UNSIGNED = range(1 << 64)
_SIGNED = range(-(1 << 63), 1 << 63)
_MULTIPLES = {letter: 1 << 10 * (index + 1) for index, letter in enumerate("kmgtp")}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 / 1e9  # seconds: Go counts nanoseconds
_DIGITS = "0123456789"


def signed(text: str) -> int:
    """strconv.ParseInt(text, 10, 64)."""
    return _decimal(text, text[text[:1] in ("+", "-") :], "ParseInt", _SIGNED)


def unsigned(text: str) -> int:
    """strconv.ParseUint(text, 10, 64)."""
    return _decimal(text, text, "ParseUint", _UNSIGNED)


def _decimal(text: str, digits: str, function: str, limits: range) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    value = int(digits) * (-1 if text[0] == "-" else 1)
    if value not in limits:
        raise ValueError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return value


def size(text: str) -> int:
    """Bytes: a number, perhaps with a fraction, and k, m, g, t or p, which may be followed by b or ib; all binary."""
    end = max((place for place, letter in enumerate(text) if letter in _DIGITS + ". "), default=-1)
    if end < 0:
        raise ValueError(f"invalid size: '{text}'")
    number, suffix = text[: end + (text[end] != " ")], text[end + 1 :].lower()
    value = _fraction(number)
    if value >= 0:
        value *= _multiple(suffix)
    if not 0 <= value <= _SIGNED.stop:  # the largest integer, as a fraction, is one more
        raise ValueError(f"invalid size: '{text}'")
    return min(int(value), _SIGNED.stop - 1)


def _fraction(text: str) -> float:
    try:
        if not set(text) <= set(_DIGITS + "+-.eE"):
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax") from None


def _multiple(suffix: str) -> int:
    if suffix in ("", "b"):
        return 1
    if suffix[0] not in _MULTIPLES or suffix[1:] not in ("", "b", "ib"):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return _MULTIPLES[suffix[0]]


def duration(text: str) -> float:
    """Seconds: "5s", "1m30s", "1.5h", "300ms", "0"."""
    rest = text[text[:1] in ("+", "-") :]
    if rest == "0":
        return 0.0
    seconds = 0.0
    while True:
        number, unit, rest = _step(text, rest)
        seconds += number * unit
        if seconds >= _LONGEST:
            raise ValueError(f"time: invalid duration {quote(text)}")
        if not rest:
            return -seconds if text[0] == "-" else seconds


def _step(text: str, rest: str) -> tuple[float, float, str]:
    """One number with its unit, and what follows them."""
    number = rest[: len(rest) - len(rest.lstrip(_DIGITS + "."))]
    letters = rest[len(number) :]
    end = next((place for place, letter in enumerate(letters) if letter in _DIGITS + "."), len(letters))
    unit = letters[:end]
    if number.count(".") > 1 or not number.strip("."):
        raise ValueError(f"time: invalid duration {quote(text)}")
    if not unit:
        raise ValueError(f"time: missing unit in duration {quote(text)}")
    if unit not in _SECONDS:
        raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
    return float(number), _SECONDS[unit], letters[end:]
