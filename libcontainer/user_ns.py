"""User namespaces: id maps (as in config.json), written from outside to /proc/PID/{uid,gid}_map (user_namespaces(7))."""

from __future__ import annotations

import os
from itertools import pairwise

from libcontainer import smallfile
from libcontainer.errors import Error, InvalidSpec, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    IDMap = Mapping[str, int]  # {"containerID": 0, "hostID": 100000, "size": 65536}

ID_LIMIT = 0xFFFFFFFF  # (uid_t)-1 is no id: "do not change"
MAX_EXTENTS = 340  # UID_GID_MAP_MAX_EXTENTS, linux/user_namespace.h
EVERYTHING = [
    {"containerID": 0, "hostID": 0, "size": ID_LIMIT}
]  # what the initial user namespace says of itself
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def parse_map(text: str) -> list[dict[str, int]]:
    """The mappings in the text of a uid_map or gid_map file."""
    rows = (map(int, line.split()) for line in text.splitlines() if line.strip())
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in rows]


def read_map(path: str) -> list[dict[str, int]]:
    return parse_map(smallfile.text(path))


def setgroups_denied(pid: int) -> bool:
    """Whether the user namespace of `pid` has given up setgroups(2)."""
    return smallfile.text(f"/proc/{pid}/setgroups").strip() == "deny"


def map_lines(mappings: Sequence[IDMap]) -> bytes:
    """What to write to a uid_map or gid_map file: "inside outside size" lines."""
    return "".join("{} {} {}\n".format(*_numbers(mapping)) for mapping in mappings).encode()


def _numbers(mapping: IDMap) -> tuple[int, int, int]:
    return mapping["containerID"], mapping["hostID"], mapping["size"]


def validate(mappings: Sequence[IDMap], path: str) -> None:
    """Refuse, with the JSON path, what the kernel would refuse with a bare EINVAL."""
    if len(mappings) > MAX_EXTENTS:
        raise InvalidSpec(path, f"{len(mappings)} mappings, the kernel takes at most {MAX_EXTENTS}")
    for index, mapping in enumerate(mappings):
        inside, outside, size = _numbers(mapping)
        if size < 1:
            raise InvalidSpec(f"{path}[{index}].size", "a mapping needs at least one id")
        for name, first in (("containerID", inside), ("hostID", outside)):
            if first < 0 or first + size > ID_LIMIT:
                raise InvalidSpec(
                    f"{path}[{index}].{name}", f"{first} and {size} ids from there exceed 32 bits"
                )
    for name in ("containerID", "hostID"):
        _no_overlap(mappings, path, name)


def _no_overlap(mappings: Sequence[IDMap], path: str, name: str) -> None:
    ordered = sorted(range(len(mappings)), key=lambda index: mappings[index][name])
    for before, after in pairwise(ordered):
        if mappings[before][name] + mappings[before]["size"] > mappings[after][name]:
            raise InvalidSpec(f"{path}[{after}].{name}", f"overlaps with {path}[{before}]")


def host_id(mappings: Sequence[IDMap], container_id: int) -> int | None:
    """The id outside for one inside; None if it is not mapped."""
    for inside, outside, size in map(_numbers, mappings):
        if inside <= container_id < inside + size:
            return outside + container_id - inside
    return None


def container_id(mappings: Sequence[IDMap], host_id: int) -> int | None:
    """The id inside for one outside; None if it is not mapped."""
    for inside, outside, size in map(_numbers, mappings):
        if outside <= host_id < outside + size:
            return inside + host_id - outside
    return None


def in_user_namespace() -> bool:
    """Whether we are in another user namespace than the initial one (an empty map: one that is not mapped yet)."""
    try:
        return read_map("/proc/self/uid_map") != EVERYTHING
    except FileNotFoundError:  # a kernel without user namespaces
        return False


def write_maps(
    pid: int, uid_mappings: Sequence[IDMap], gid_mappings: Sequence[IDMap], *, rootless_euid: bool
) -> None:
    """Map the ids of the new user namespace that `pid`, a child of ours, is in.

    Without privilege the kernel lets us map our own group alone, and only once setgroups(2) is denied for good
    (CVE-2014-8989). More than that is for newgidmap(1), after which setgroups may stay allowed.
    """
    if rootless_euid and _only_own_group(gid_mappings):
        _update(f"/proc/{pid}/setgroups", b"deny")
    _write_map(pid, "uid", uid_mappings)
    _write_map(pid, "gid", gid_mappings)


def _only_own_group(mappings: Sequence[IDMap]) -> bool:
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == os.getegid()


def _write_map(pid: int, kind: str, mappings: Sequence[IDMap]) -> None:
    if not mappings:
        return
    try:
        _update(f"/proc/{pid}/{kind}_map", map_lines(mappings))
    except Error as err:
        if not isinstance(err.__cause__, PermissionError):
            raise
        try:
            _mapping_tool(f"new{kind}map", pid, mappings)
        except Error as tool_error:
            raise Error(describe(err)) from tool_error


def _update(path: str, data: bytes) -> None:
    try:
        _write(path, data)
    except OSError as err:
        raise Error(f"failed to update {path}") from OSError(err.errno, err.strerror)


def _write(path: str, data: bytes) -> None:
    """In one write(2): the kernel takes no map in pieces, and none after the first."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _mapping_tool(name: str, pid: int, mappings: Sequence[IDMap]) -> None:
    """newuidmap(1) and newgidmap(1) may map what /etc/subuid and /etc/subgid give the user."""
    from libcontainer import program

    tool = next(_candidates(name), None)
    if tool is None:
        raise Error(f"{name} not found in $PATH (it comes with the uidmap or shadow package)")
    args = [tool, str(pid)]
    for mapping in mappings:
        args.extend(map(str, _numbers(mapping)))
    try:
        program.run(tool, args, {})
    except (Error, OSError) as err:
        raise Error(name) from err


def _candidates(name: str) -> Iterator[str]:
    """Where `name` is; engines call us without a PATH at times, so the usual places come last."""
    for directory in f"{os.environ.get('PATH', '')}:{DEFAULT_PATH}".split(":"):
        path = os.path.join(directory, name)
        # As exec.LookPath: what the current directory holds is not run.
        if directory.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            yield path
