"""Reading, writing and removing below /sys/fs/cgroup.

The rule of this file: every file is opened with openat2(2) relative to one handle of /sys/fs/cgroup and may
not leave it; cgroup v2 has neither symbolic links nor mounts inside, so there they are refused as well. (v1
needs both: each hierarchy is a mount, and `cpu` is often a link to `cpu,cpuacct`.)
"""

from __future__ import annotations

import errno
import os
import time

from libcontainer import smallfile, syscalls
from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"
BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
SEALED = BENEATH | syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_SYMLINKS

_GONE = (errno.ENOENT, errno.ENODEV)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """/sys/fs/cgroup by a handle that is opened on first use; paths are absolute and clean."""

    __slots__ = ("_fd", "_resolve")

    def __init__(self, resolve: int) -> None:
        self._fd = -1
        self._resolve = resolve

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def open(self, path: str, flags: int) -> int:
        """A descriptor of `path`; SyscallError carries the absolute path."""
        if self._fd < 0:
            self._fd = os.open(ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        while True:
            try:
                return syscalls.openat2(self._fd, _below(path), flags, 0, self._resolve)
            except SyscallError as error:
                if error.errno != errno.EINTR:
                    raise SyscallError("open", error.errno or 0, path) from None

    def read(self, path: str) -> str:
        """The whole of a file."""
        fd = self.open(path, os.O_RDONLY)
        try:
            return read_all(fd)
        except OSError as error:
            raise SyscallError("read", error.errno or 0, path) from None
        finally:
            os.close(fd)

    def write(self, path: str, value: str) -> None:
        """One write(2) of the whole value: a cgroup file takes a command a write."""
        fd = self.open(path, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise SyscallError("write", error.errno or 0, path) from None
        finally:
            os.close(fd)

    def write_each(self, path: str, values: list[str]) -> None:
        """Several commands to one file: open once."""
        fd = self.open(path, os.O_WRONLY)
        try:
            for value in values:
                os.write(fd, value.encode())
        except OSError as error:
            raise SyscallError("write", error.errno or 0, f"{path} ({value})") from None
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        try:
            os.close(self.open(path, os.O_PATH))
        except SyscallError as error:
            if error.errno in _GONE:
                return False
            raise
        return True

    def pids(self, directory: str, recursive: bool) -> list[int]:
        """The processes of a cgroup; none when it does not exist. Those of other pid namespaces (0) are left
        out."""
        try:
            top = self.open(directory, _DIRECTORY)
        except SyscallError as error:
            if error.errno in _GONE:
                return []
            raise
        found: set[int] = set()
        for fd, left in walk(top):
            if not left:
                found.update(_members(fd))
            if not recursive:
                break
        return sorted(found)


def _below(path: str) -> str:
    if path != ROOT and not path.startswith(ROOT + "/"):
        raise Error(f"{path} is not below {ROOT}")
    return path[len(ROOT) + 1 :] or "."


def clean(path: str) -> str:
    """The path without `.`, `..` and doubled slashes; `..` cannot leave the top. Relative paths stay
    relative."""
    below = os.path.normpath("/" + path.lstrip("/"))
    return below if path.startswith("/") else below[1:]


def read_all(fd: int) -> str:
    """Up to the end of the file."""
    return smallfile.read_fd(fd).decode()


def _members(directory: int) -> list[int]:
    try:
        fd = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return []
    try:
        return [int(pid) for pid in read_all(fd).split() if pid != "0"]
    except OSError as error:
        # A threaded cgroup refuses; its processes are listed by the domain above it (cgroup-v2.rst,
        # "Threads").
        if error.errno in (*_GONE, errno.EOPNOTSUPP):
            return []
        raise
    finally:
        os.close(fd)


def walk(fd: int) -> Iterator[tuple[int, str]]:
    """Every cgroup of a tree: (its descriptor, "") on the way in, (its parent's descriptor, its name) on the
    way out.

    One descriptor, no recursion and no path: a container may nest cgroups deeper than PATH_MAX and than
    Python's stack. Takes over `fd`. A descriptor is valid until the next step.
    """
    try:
        yield fd, ""
        trail: list[tuple[str, list[str]]] = [("", _children(fd))]
        while trail:
            name, rest = trail[-1]
            if rest:
                child = _enter(fd, rest[-1])
                if child < 0:
                    rest.pop()
                    continue
                os.close(fd)
                fd = child
                yield fd, ""
                trail.append((rest.pop(), _children(fd)))
                continue
            trail.pop()
            if trail:
                parent = os.open("..", _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = parent
                yield fd, name
    finally:
        os.close(fd)


def _enter(parent: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return -1


def _children(fd: int) -> list[str]:
    if os.fstat(fd).st_nlink <= 2:
        return []
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def remove(path: str) -> None:
    """rmdir a cgroup, its children first if it has any; one that does not exist is fine."""
    if _rmdir(path):
        return
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    for fd, left in walk(top):
        if left:
            _rmdir_patiently(left, fd)
    _rmdir_patiently(path)


def _rmdir(path: str, dir_fd: int | None = None) -> bool:
    """False: busy."""
    try:
        os.rmdir(path, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        # A read-only file system answers before it looks whether the name exists.
        if error.errno in _GONE or (error.errno == errno.EROFS and not _exists(path, dir_fd)):
            return True
        raise SyscallError("rmdir", error.errno or 0, path) from None
    return True


def _exists(path: str, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def _rmdir_patiently(path: str, dir_fd: int | None = None) -> None:
    """Killed processes leave their cgroup a moment after the signal: wait for some four seconds, ever longer."""
    delay = 0.001
    for _ in range(12):
        if _rmdir(path, dir_fd):
            return
        time.sleep(delay)
        delay *= 2
    raise SyscallError("rmdir", errno.EBUSY, path)
