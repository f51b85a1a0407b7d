"""linux.sysctl: the names of kernel parameters as paths below /proc/sys (sysctl(8), sysctl.d(5))."""

from __future__ import annotations

from libcontainer.errors import InvalidSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SWAP = str.maketrans("./", "/.")


def targets(sysctls: Mapping[str, str], path: str = "linux.sysctl") -> list[tuple[str, str]]:
    """(path below /proc/sys, value) of each, in order."""
    return [(normalise(name, f"{path}[{name!r}]"), value) for name, value in sysctls.items()]


def normalise(name: str, path: str = "linux.sysctl") -> str:
    """The path of a parameter written with dots or with slashes; the first of them is the separator.

    So the parts of an interface name like eth0.100 can be told from separators: net/ipv4/conf/eth0.100/forwarding or
    net.ipv4.conf.eth0/100.forwarding.
    """
    dot, slash = name.find("."), name.find("/")
    target = name.translate(_SWAP) if dot >= 0 and (slash < 0 or dot < slash) else name
    if "\0" in target or any(part in ("", ".", "..") for part in target.split("/")):
        raise InvalidSpec(path, f"{name!r} is not the name of a kernel parameter")
    return target
