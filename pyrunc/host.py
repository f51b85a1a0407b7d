"""What the caller and the machine are: the platform check, the state root, and the two meanings of rootless.

"Rootless" is two independent facts: RootlessEUID (we are not uid 0, so maps need newuidmap and some things are
impossible) and RootlessCgroups (we may lack the right to cgroups, so failures there are tolerated).
"""

from __future__ import annotations

import os
import sys

from libcontainer.errors import Error, Unsupported
from pyrunc.options import boolean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

_MACHINES = ("x86_64", "aarch64")
# openat2, mount_setattr, open_tree, clone3 into a cgroup, pidfds: all there since 5.12
_KERNEL = (5, 12)


def check() -> None:
    """Raise Unsupported, in one line, where containers cannot work at all."""
    if sys.platform != "linux":
        raise Unsupported(f"containers need Linux; this is {sys.platform}")
    system = os.uname()
    if system.machine not in _MACHINES:
        raise Unsupported(f"unsupported architecture {system.machine}: {' and '.join(_MACHINES)} are known")
    if _version(system.release) < _KERNEL:
        needed = ".".join(map(str, _KERNEL))
        raise Unsupported(f"kernel {system.release} is too old: {needed} or newer is needed")


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return int(major) if major.isdigit() else 0, int(minor or 0)


def rootless_euid() -> bool:
    return os.geteuid() != 0


def rootless_cgroups(call: Invocation) -> bool:
    """--rootless, or what can be guessed: root of a child namespace may or may not have been given cgroups."""
    choice = call.text("rootless")
    if choice not in ("", "auto"):
        return boolean(choice)
    if os.geteuid() != 0:
        return True
    if not _in_user_namespace():
        return False
    return _systemd_owner() != 0 if call.switch("systemd-cgroup") else True


def _systemd_owner() -> int:
    """The uid that our systemd instance works for; 0 if nobody answers."""
    import subprocess

    command = ["busctl", "--user", "--no-pager", "status"]
    try:
        status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    for line in status.splitlines():
        name, _, value = line.partition("=")
        if name == "OwnerUID" and value.strip().isdigit():
            return int(value)
    return 0


def notify_socket() -> str | None:
    """The socket of a service manager that wants to know when the container is ready: sd_notify(3)."""
    return os.environ.get("NOTIFY_SOCKET") or None


def state_root(call: Invocation) -> str:
    """The directory of --root, or the default one, made ready where it is the user's own."""
    if call.given("root"):
        return _explicit_root(call.text("root"))
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime_dir or not _owns_runtime_dir():
        return call.text("root")
    root = os.path.join(runtime_dir, "runc")
    _make_own_root(root)
    return root


def _explicit_root(path: str) -> str:
    # an empty value is a caller's unset variable: it must not make the working directory a state root
    root = "/" + os.path.abspath(path).lstrip("/") if path else "/"
    if root == "/":
        raise Error("Option --root argument should not be set to /")
    return root


def _owns_runtime_dir() -> bool:
    """XDG_RUNTIME_DIR of a root shell often is that of the user who became root: then it is not ours to use."""
    if os.geteuid() != 0:
        return True
    return os.environ.get("USER") != "root" and _in_user_namespace()


def _in_user_namespace() -> bool:
    from libcontainer.user_ns import in_user_namespace

    return in_user_namespace()


def _make_own_root(root: str) -> None:
    from pyrunc.log import err

    try:
        os.makedirs(root, 0o700, exist_ok=True)
    except OSError:
        err("the path in $XDG_RUNTIME_DIR must be writable by the user\n")
        raise
    try:
        os.chmod(root, 0o1700)  # sticky: the mark that keeps cleaners of temporary files away
    except OSError:
        err("you should check permission of the path in $XDG_RUNTIME_DIR\n")
        raise
