"""What a caller may say about a checkpoint, and what a restore shares with it."""

from __future__ import annotations

import errno
import fcntl
import os

from libcontainer.criu import images_dir, messages, network
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CGROUP_MODES = {
    "": messages.CGROUPS_DEFAULT,
    "soft": messages.CGROUPS_SOFT,
    "full": messages.CGROUPS_FULL,
    "strict": messages.CGROUPS_STRICT,
    "ignore": messages.CGROUPS_IGNORE,
}
PORTS = range(1, 1 << 16)
_UNITS = {"K": 10, "M": 20, "G": 30}


class CheckpointOptions:
    """The flags of `checkpoint`, checked; each attribute is what the flag of its name says."""

    __slots__ = (
        "auto_dedup",
        "ext_mounts",
        "ext_unix_sk",
        "file_locks",
        "ghost_limit",
        "image_path",
        "lazy_pages",
        "leave_running",
        "link_remap",
        "manage_cgroups_mode",
        "network_lock",
        "page_server",
        "parent_path",
        "pre_dump",
        "shell_job",
        "status_fd",
        "tcp_close",
        "tcp_established",
        "tcp_skip_in_flight",
        "timeout",
        "work_path",
    )

    def __init__(
        self,
        *,
        image_path: str,
        work_path: str = "",
        parent_path: str = "",
        leave_running: bool = False,
        tcp_established: bool = False,
        tcp_skip_in_flight: bool = False,
        tcp_close: bool = False,
        ext_unix_sk: bool = False,
        shell_job: bool = False,
        file_locks: bool = False,
        link_remap: bool = False,
        lazy_pages: bool = False,
        page_server: tuple[str, int] | None = None,
        status_fd: int | None = None,
        pre_dump: bool = False,
        auto_dedup: bool = False,
        manage_cgroups_mode: str = "",
        network_lock: str = "",
        timeout: int = 0,
        ghost_limit: int | None = None,
        ext_mounts: Mapping[str, str] | None = None,
    ) -> None:
        self.image_path = image_path
        self.work_path = work_path
        self.parent_path = images_dir.check_relative(parent_path)
        self.leave_running = leave_running
        self.tcp_established = tcp_established
        self.tcp_skip_in_flight = tcp_skip_in_flight
        self.tcp_close = tcp_close
        self.ext_unix_sk = ext_unix_sk
        self.shell_job = shell_job
        self.file_locks = file_locks
        self.link_remap = link_remap
        self.lazy_pages = lazy_pages
        self.page_server = page_server
        self.status_fd = status_fd
        self.pre_dump = pre_dump
        self.auto_dedup = auto_dedup
        self.manage_cgroups_mode = cgroup_mode(manage_cgroups_mode)
        self.network_lock = network.check(network_lock)
        self.timeout = timeout
        self.ghost_limit = ghost_limit
        self.ext_mounts = ext_mounts or {}  # mountpoint -> key

    @property
    def keeps_running(self) -> bool:
        """Whether the container is there afterwards."""
        return self.leave_running or self.pre_dump


def cgroup_mode(name: str) -> int:
    """criu_cg_mode of --manage-cgroups-mode."""
    try:
        return CGROUP_MODES[name]
    except KeyError:
        raise Error("invalid manage-cgroups-mode value") from None


def page_server(text: str) -> tuple[str, int] | None:
    """ADDRESS:PORT, None for nothing; an IPv6 address is in brackets."""
    if not text:
        return None
    address, colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not (colon and address and port):
        raise Error("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdecimal() and int(port) in PORTS):
        raise Error("Invalid port number")
    return address, int(port)


def size(text: str) -> int:
    """Bytes: 4096, 64K, 16M, 1G."""
    digits, shift = text, _UNITS.get(text[-1:].upper(), 0)
    if shift:
        digits = text[:-1]
    if not (digits.isascii() and digits.isdecimal()) or int(digits) << shift >= 1 << 32:
        raise Error(f"invalid size {text!r}: bytes below 4G, perhaps with K, M or G")
    return int(digits) << shift


def check_empty(kind: str) -> None:
    """--empty-ns; the network namespace is left empty whether or not it is given."""
    if kind != "network":
        raise Error(f'namespace "{kind}" is not supported')


def status_fd(number: int) -> int | None:
    """--status-fd: a descriptor that can be written to; -1 for none."""
    if number == -1:
        return None
    try:
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
    except OSError as err:
        raise Error(f"invalid --status-fd argument {number}") from err
    except (ValueError, OverflowError):  # no descriptor has such a number
        raise Error(f"invalid --status-fd argument {number}") from OSError(errno.EBADF, "")
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise Error(f"invalid --status-fd argument {number}: not writable")
    return number


def seconds(number: int) -> int:
    """--timeout; 0 for CRIU's own."""
    if number not in range(1 << 31):
        raise Error(f"invalid --timeout value {number}: it is a number of seconds")
    return number


def ext_mounts(texts: Sequence[str]) -> dict[str, str]:
    """--ext-mount PATH=KEY of checkpoint; a key has no "=" in it."""
    pairs = [text.rpartition("=") for text in texts]
    for text, (path, _, key) in zip(texts, pairs, strict=True):
        if not (path.startswith("/") and key):
            raise Error(f"invalid --ext-mount argument {text!r}: it is PATH=KEY with an absolute path in the container")
    return {os.path.normpath(path): key for path, _, key in pairs}
