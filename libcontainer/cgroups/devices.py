"""Which devices a container may use: the rule list of config.json, evaluated as cgroup v1 evaluates it.

The rule of this file: pure. Emulator is the state of a v1 devices cgroup (a default and the exceptions from
it, see admin-guide/cgroup-v1/devices.rst); fs1.py writes the difference to another state, ebpf.py compiles a
state for v2. Where v1 would silently ignore a rule, it is refused here: nobody shall believe a device blocked
that is not.
"""

from __future__ import annotations

from libcontainer.errors import Error, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    Rule = dict[str, Any]
    Node = tuple[str, int, int]

ANY = -1
# linux/bpf.h, BPF_DEVCG_ACC_*
MKNOD = 1
READ = 2
WRITE = 4
ALL = MKNOD | READ | WRITE
_BITS = {"r": READ, "w": WRITE, "m": MKNOD}


def _allow(kind: str, major: int, minor: int, access: str = "rwm") -> Rule:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


# What every container may do whatever its config says: (the device path that, redefined, replaces the rule;
# the rule).
DEFAULTS: tuple[tuple[str, Rule], ...] = (
    ("", _allow("c", ANY, ANY, "m")),
    ("", _allow("b", ANY, ANY, "m")),
    ("/dev/null", _allow("c", 1, 3)),
    ("/dev/random", _allow("c", 1, 8)),
    ("/dev/full", _allow("c", 1, 7)),
    ("/dev/tty", _allow("c", 5, 0)),
    ("/dev/zero", _allow("c", 1, 5)),
    ("/dev/urandom", _allow("c", 1, 9)),
    ("", _allow("c", 136, ANY)),  # pseudo terminals
    ("", _allow("c", 5, 2)),  # ptmx
    ("", _allow("c", 10, 200)),  # tun
)


def with_defaults(rules: list[Rule], spec_devices: Collection[str] = ()) -> list[Rule]:
    """The whole list: the user's rules, then the defaults but those whose path linux.devices (`spec_devices`)
    redefines."""
    return [*rules, *(rule for path, rule in DEFAULTS if not path or path not in spec_devices)]


def mask(access: str) -> int:
    """ "rwm" as bits."""
    bits = 0
    for letter in access:
        if letter not in _BITS:
            raise Error(f'invalid device access "{access}"')
        bits |= _BITS[letter]
    return bits


def letters(access: int) -> str:
    """Bits as "rwm"."""
    return "".join(letter for letter, bit in _BITS.items() if access & bit)


def covers(node: Node, other: Node) -> bool:
    """Whether every device that `other` names is named by `node`."""
    return node[0] == other[0] and node[1] in (ANY, other[1]) and node[2] in (ANY, other[2])


def _overlaps(node: Node, other: Node) -> bool:
    return node[0] == other[0] and all(
        ANY in pair or pair[0] == pair[1] for pair in zip(node[1:], other[1:], strict=True)
    )


def text(node: Node, access: int) -> str:
    """As devices.allow, devices.deny and devices.list have it."""
    major, minor = ("*" if number == ANY else str(number) for number in node[1:])
    return f"{node[0]} {major}:{minor} {letters(access)}"


class Emulator:
    """A default, and the exceptions from it: device -> the accesses that are decided the other way."""

    __slots__ = ("default_allow", "exceptions")

    def __init__(self, *, default_allow: bool = False) -> None:
        self.default_allow = default_allow
        self.exceptions: dict[Node, int] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Emulator):
            return NotImplemented
        return (self.default_allow, self.exceptions) == (other.default_allow, other.exceptions)

    __hash__ = None  # type: ignore[assignment]

    def apply(self, rule: Rule) -> None:
        """One rule of linux.resources.devices."""
        kind, allow, access = rule.get("type") or "a", bool(rule.get("allow")), mask(rule.get("access") or "rwm")
        major, minor = (_number(rule.get(key)) for key in ("major", "minor"))
        if kind not in ("a", "b", "c"):
            raise Error(f'invalid cgroup device type "{kind}"')
        if kind == "a" and major == minor == ANY and access == ALL:
            self.default_allow = allow
            self.exceptions.clear()
            return
        # The kernel takes any rule of type `a` for "everything"; config.json means both types of this device.
        for real in "bc" if kind == "a" else kind:
            self._change(allow, (real, major, minor), access)

    def _change(self, allow: bool, node: Node, access: int) -> None:
        if allow == self.default_allow:
            self._remove(node, access)
        else:
            self.exceptions[node] = self.exceptions.get(node, 0) | access

    def _remove(self, node: Node, access: int) -> None:
        touched = [
            other for other, bits in self.exceptions.items() if bits & access and _overlaps(node, other)
        ]
        for other in touched:
            if not covers(node, other):
                raise Unsupported(
                    f"requested rule [{text(node, access)}] not supported by devices cgroupv1 "
                    f"(cannot punch hole in existing wildcard rule [{text(other, self.exceptions[other])}])"
                )
        for other in touched:
            self.exceptions[other] &= ~access
            if not self.exceptions[other]:
                del self.exceptions[other]

    def allows(self, node: Node, access: int) -> bool:
        """The kernel's decision (security/device_cgroup.c): one exception has to hold the whole access to
        grant it."""
        matching = [bits for other, bits in self.exceptions.items() if covers(other, node)]
        if self.default_allow:
            return not any(bits & access for bits in matching)
        return any(not access & ~bits for bits in matching)

    def allows_all(self) -> bool:
        """No restriction at all."""
        return self.default_allow and not self.exceptions

    def steps_to(self, target: Emulator) -> list[tuple[str, str]]:
        """(file, rule) writes that turn a v1 cgroup in this state into `target`.

        devices.list hides the exceptions of an allow-by-default cgroup, so from there one always starts
        afresh.
        """
        steps = []
        present = self.exceptions
        more, less = "devices.allow", "devices.deny"
        if target.default_allow:
            more, less = less, more
        if self.default_allow or target.default_allow:
            steps.append((less, "a"))
            present = {}
        wanted = target.exceptions
        steps += [(less, text(node, bits & ~wanted.get(node, 0))) for node, bits in _excess(present, wanted)]
        steps += [(more, text(node, bits & ~present.get(node, 0))) for node, bits in _excess(wanted, present)]
        return steps


def _excess(one: dict[Node, int], other: dict[Node, int]) -> list[tuple[Node, int]]:
    return [(node, bits) for node, bits in one.items() if bits & ~other.get(node, 0)]


def _number(value: int | None) -> int:
    return ANY if value is None else value


def evaluate(rules: list[Rule]) -> Emulator:
    """The state after all rules; a list that never says what the default is starts from "deny"."""
    state = Emulator()
    for rule in rules:
        state.apply(rule)
    return state


def parse(devices_list: str) -> Emulator:
    """The state that devices.list shows."""
    state = Emulator()
    for line in devices_list.splitlines():
        kind, numbers, access = line.split()
        major, minor = (ANY if part == "*" else int(part) for part in numbers.split(":"))
        state.apply(_allow(kind, major, minor, access))
    return state


def check_result(found: Emulator, target: Emulator) -> None:
    """The read-back of what was written on v1."""
    if found.default_allow != target.default_allow:
        raise Error("resulting devices cgroup doesn't match target mode")
    if not target.default_allow and found.exceptions != target.exceptions:
        raise Error("resulting devices cgroup doesn't precisely match target")
