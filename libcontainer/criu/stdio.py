"""What descriptors 0 to 2 of a container are, in CRIU's words: restore gives it others in their place, by the same words.

Pipes are dumped as they are, and found again by "pipe:[INODE]". A file, FIFO or terminal of the host, which no mount of the
container leads to, CRIU dumps only as an external one, named "file[MOUNT:INODE]" or "tty[RDEV:DEV]" in hexadecimal (criu(8),
--external).
"""

from __future__ import annotations

import os
import re
import stat

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from libcontainer.container import Container

# The names that CRIU gives; what else a checkpoint has in their place is not told to it.
_KEY = re.compile(r"pipe:\[\d{1,20}\]|(?:file|tty)\[[0-9a-f]{1,16}:[0-9a-f]{1,16}\]", re.ASCII)
_FILES = (stat.S_IFREG, stat.S_IFIFO)
_TERMINALS = (4, 5, *range(136, 144))  # tty and console, Unix98 slaves: Documentation/admin-guide/devices.txt


def names(container: Container, *, terminals: bool) -> list[str]:
    """The entries of descriptors.json for a container whose processes are stopped; of host terminals only if allowed."""
    targets = container.state.external_descriptors
    outside = [target for target in targets if target.startswith("/")]
    found: dict[str, str] = {}
    for pid in _pids(container) if outside else ():
        found.update(_host_files(pid, outside))
    terminal = next((target for target, name in found.items() if name.startswith("tty[")), None)
    if terminal and not terminals:
        raise Error(f"the container uses a terminal of the host, {terminal}: use --shell-job")
    return [found.get(target, target) for target in targets]


def _pids(container: Container) -> set[int]:
    """A container without cgroups of its own has init at least."""
    return {container.state.init_process_pid, *container.cgroup.pids()}


def external(entries: list[str]) -> list[str]:
    """Those of the entries that CRIU must be told of."""
    return sorted({entry for entry in entries if is_external(entry)})


def is_external(entry: str) -> bool:
    """Whether restore must give CRIU a descriptor under this name that a dump has declared external."""
    return entry.startswith(("file[", "tty["))


def inherit_keys(entry: str) -> list[str]:
    """The names by which CRIU looks for the descriptor that takes the place of this one; none for what it opens itself.

    A file is looked for by its path first, of which CRIU drops the first letter, a slash (open_path() and collect_one_regfd()
    in criu/files-reg.c); only what it finds by its whole name must have the size that the file had.
    """
    if _KEY.fullmatch(entry) is None:
        return []
    return [entry[1:], entry] if is_external(entry) else [entry]


def _host_files(pid: int, targets: list[str]) -> Iterator[tuple[str, str]]:
    """(target, CRIU's name) of the process' descriptors that are among the targets and no file of its own mounts."""
    mounted = _mounts(pid)
    for fd in _list(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target not in targets or (mount := _mount_of(pid, fd)) in mounted:
                continue
            info = os.stat(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if stat.S_IFMT(info.st_mode) in _FILES:
            yield target, f"file[{mount:x}:{info.st_ino:x}]"
        elif stat.S_ISCHR(info.st_mode) and os.major(info.st_rdev) in _TERMINALS:
            yield target, f"tty[{info.st_rdev:x}:{info.st_dev:x}]"


def _mounts(pid: int) -> set[int]:
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            return {int(line.split(b" ", 1)[0]) for line in file}
    except OSError:  # it has ended; a zombie has none
        return set()


def _mount_of(pid: int, fd: str) -> int:
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
