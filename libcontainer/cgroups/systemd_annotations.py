"""Annotations "org.systemd.property.NAME: VALUE": properties of the container's unit, for what config.json has no words for.

The rule of this file: pure. The values are GVariant texts; times may be given in seconds, as unit files do it.
"""

from __future__ import annotations

from libcontainer.cgroups import gvariant
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from libcontainer.cgroups.systemd_properties import Property

PREFIX = "org.systemd.property."
_SHORTEST = 3
_NUMBERS = frozenset("ynqiuxtd")
_MICROSECONDS = 1_000_000


def properties(annotations: Mapping[str, str]) -> list[Property]:
    """What the annotations ask for."""
    return [_property(key, text) for key, text in annotations.items() if key.startswith(PREFIX)]


def _property(key: str, text: str) -> Property:
    name = key.removeprefix(PREFIX)
    _check_name(key, name)
    try:
        signature, value = gvariant.parse(text)
        if not _is_time(name):
            return name, signature, value
        if signature not in _NUMBERS or value < 0:
            raise Error("not a number")
        return name.removesuffix("Sec") + "USec", "t", int(value * _MICROSECONDS)
    except (Error, OverflowError, ValueError) as error:
        raise Error(f"annotation {key}={text} value parse error") from error


def _check_name(key: str, name: str) -> None:
    wrong = ""
    if len(name) < _SHORTEST:
        wrong = "too short"
    elif not (name.isascii() and name.isalpha()):
        wrong = "contains non-alphabetic character"
    if wrong:
        raise Error(f"annotation {key} name incorrect: {wrong}")


def _is_time(name: str) -> bool:
    """TimeoutStopSec is the setting's name in unit files, TimeoutStopUSec that of the property."""
    stem = name.removesuffix("Sec")
    return stem != name and stem[-1:].islower()
