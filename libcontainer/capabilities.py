"""Capability sets: from the names of a process object to masks for capset(2) and prctl(2)."""

from __future__ import annotations

from libcontainer import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Sets = Mapping[str, Iterable[str] | None]

# linux/capability.h: the place of a name is its bit.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
_BITS = {name: 1 << number for number, name in enumerate(NAMES)}
_PR_CAPBSET_READ = 23


class Masks:
    """The five sets of a process, bit n for capability n, and the names that mean nothing here."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted", "unknown")

    def __init__(self, caps: Sets, available: int) -> None:
        unknown: set[str] = set()
        self.bounding = _mask(caps.get("bounding"), available, unknown)
        self.effective = _mask(caps.get("effective"), available, unknown)
        self.inheritable = _mask(caps.get("inheritable"), available, unknown)
        self.permitted = _mask(caps.get("permitted"), available, unknown)
        self.ambient = _mask(caps.get("ambient"), available, unknown)
        self.unknown = sorted(unknown)

    def warning(self) -> str:
        """What to tell the user about ignored names; "" if there are none."""
        if not self.unknown:
            return ""
        return f"ignoring unknown or unavailable capabilities: [{' '.join(self.unknown)}]"


def masks(caps: Sets, available: int | None = None) -> Masks:
    """The masks of a `process.capabilities` object.

    `available` bounds them: by default the caller's bounding set, as nobody can get more than that. Who makes
    a user namespace passes `supported()`: its first process has all capabilities (user_namespaces(7)).
    """
    if available is None:
        available = bounding_set(_named(caps))
    return Masks(caps, available)


def _named(caps: Sets) -> int:
    mask = 0
    for names in caps.values():
        for name in names or ():
            mask |= _BITS.get(name, 0)
    return mask


def _mask(names: Iterable[str] | None, available: int, unknown: set[str]) -> int:
    mask = 0
    for name in names or ():
        bit = _BITS.get(name, 0) & available
        if not bit:
            unknown.add(name)
        mask |= bit
    return mask


def _is_bounded(number: int) -> int:
    """1 if the calling thread's bounding set has it, 0 if not, -1 if the kernel has no such capability."""
    try:
        return syscalls.prctl(_PR_CAPBSET_READ, number)
    except OSError:  # EINVAL
        return -1


def bounding_set(asked: int = (1 << 64) - 1) -> int:
    """Those of the capabilities `asked` for that the calling thread, or what it starts, can ever have."""
    mask = 0
    for number in range(asked.bit_length()):
        if asked >> number & 1 and _is_bounded(number) > 0:
            mask |= 1 << number
    return mask


def last_cap() -> int:
    """The number of the kernel's last capability (/proc/sys/kernel/cap_last_cap, without /proc)."""
    number = len(NAMES) - 1
    while _is_bounded(number) < 0:
        number -= 1
    while _is_bounded(number + 1) >= 0:
        number += 1
    return number


def supported() -> int:
    """All capabilities of this kernel."""
    return (1 << last_cap() + 1) - 1


def raise_exec(base: Sets, added: Iterable[str]) -> dict[str, list[str]]:
    """`base` with the capabilities that exec was asked to add.

    They never become inheritable (CVE-2022-29162), and ambient only where the process has an inheritable set:
    the kernel lets no capability be ambient that is not inheritable.
    """
    raised = {name: list(names) for name, names in base.items() if names is not None}
    targets = ["bounding", "effective", "permitted"]
    if "inheritable" in raised:
        targets.append("ambient")
    for target in targets:
        raised[target] = list(dict.fromkeys([*raised.get(target, ()), *added]))
    return raised
