"""ROOT/ID/state.json, in runc's format, and what /proc says about the process it names.

The file is parsed once and kept as it is: members that this code does not know are written back unchanged.
"""

from __future__ import annotations

import os
import time

from libcontainer import jsonfast, smallfile
from libcontainer.errors import ContainerNotExist, Error, InvalidID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STATE_FILE = "state.json"
FILTERS = ".seccomp-"  # what the names of compiled seccomp filters begin with: files beside the containers' directories
_ID_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_GONE = ("Z", "X")  # zombie, dead: proc_pid_stat(5)


def check_id(container_id: str) -> None:
    """Raise InvalidID unless the id can name a directory, a cgroup and a unit."""
    if not container_id:
        raise InvalidID("container id cannot be empty")
    if container_id in (".", "..") or container_id.startswith(FILTERS) or not _ID_LETTERS.issuperset(container_id):
        raise InvalidID("invalid container ID format")


class State:
    """The members of state.json. `config` is runc's configuration object: libcontainer.config reads it."""

    __slots__ = (
        "_document",
        "cgroup_paths",
        "config",
        "created",
        "external_descriptors",
        "id",
        "init_process_pid",
        "init_process_start",
        "intel_rdt_mon_path",
        "intel_rdt_path",
        "namespace_paths",
        "rootless",
    )

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.id: str = document.get("id", "")
        self.init_process_pid: int = document.get("init_process_pid", 0)
        self.init_process_start: int = document.get("init_process_start", 0)
        self.created: str = document.get("created", "")
        self.config: dict[str, Any] = document.get("config") or {}
        self.rootless: bool = document.get("rootless", False)
        self.cgroup_paths: dict[str, str] = document.get("cgroup_paths") or {}
        self.namespace_paths: dict[str, str] = document.get("namespace_paths") or {}
        self.external_descriptors: list[str] = document.get("external_descriptors") or []
        self.intel_rdt_path: str = document.get("intel_rdt_path", "")
        self.intel_rdt_mon_path: str = document.get("intel_rdt_mon_path", "")

    @classmethod
    def load(cls, directory: str | int, parse: Callable[[str], Any] = jsonfast.loads) -> State:
        """The state in the container's directory (a path, or an open descriptor of it)."""
        try:
            document = parse(_read(directory).decode())
        except FileNotFoundError:
            raise ContainerNotExist from None
        except ValueError as error:
            raise Error("invalid state.json") from error
        if not isinstance(document, dict):
            raise Error("invalid state.json: not an object")
        return cls(document)

    def save(self, directory: str | int) -> None:
        """Replace state.json at once: whoever reads it sees the old state or the new one."""
        text = jsonfast.dumps(self.document()).encode()
        if isinstance(directory, int):
            return _replace(directory, text)
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _replace(descriptor, text)
        finally:
            os.close(descriptor)

    def document(self) -> dict[str, Any]:
        """All members, known and unknown."""
        known = {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
        return {**self._document, **known}

    def is_alive(self) -> bool:
        """Whether the container's init still runs."""
        return process_alive(self.init_process_pid, self.init_process_start)


def _read(directory: str | int) -> bytes:
    if isinstance(directory, str):
        return smallfile.read(f"{directory}/{STATE_FILE}")
    descriptor = os.open(STATE_FILE, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return smallfile.read_fd(descriptor)
    finally:
        os.close(descriptor)


def _replace(directory: int, text: bytes) -> None:
    try:
        _write_and_rename(directory, text)
    except OSError as error:
        error.filename = f"{os.readlink(f'/proc/self/fd/{directory}')}/{STATE_FILE}"
        raise


def _write_and_rename(directory: int, text: bytes) -> None:
    temporary = f"state-{os.getpid()}-{time.monotonic_ns()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        try:
            _write_all(descriptor, text)
        finally:
            os.close(descriptor)
        os.rename(temporary, STATE_FILE, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def _write_all(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def process_stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time (field 22 of /proc/PID/stat, clock ticks); None without such a process."""
    try:
        line = smallfile.read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = line[line.rindex(b")") + 2 :].split(None, 20)  # the name in parentheses may hold anything
    return fields[0].decode(), int(fields[19])


def process_start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot."""
    found = process_stat(pid)
    return found[1] if found else None


def process_alive(pid: int, start: int) -> bool:
    """Whether `pid` is still the process that started at `start`, and has not ended."""
    found = process_stat(pid) if pid > 0 else None
    return found is not None and found[1] == start and found[0] not in _GONE


def now_rfc3339nano() -> str:
    """The time as Go writes it: UTC, nanoseconds without trailing zeros ("2026-01-02T03:04:05.6Z")."""
    return rfc3339nano(time.time_ns())


def rfc3339nano(nanoseconds: int) -> str:
    """Nanoseconds since the epoch in that form."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    # not strftime(3): it reads /etc/localtime
    date = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time.gmtime(seconds)[:6])
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{date}{fraction}Z"
