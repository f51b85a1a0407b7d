"""The directory of CRIU's images: how it is made, what lies in it beside CRIU's own files, who may search it.

descriptors.json is runc's: the targets of the first three descriptors of the container, by which restore reconnects pipes.
What comes from an image directory is hostile: sizes are bounded, symlinks are not followed.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from libcontainer.criu import chain, inventory, regular
from libcontainer.errors import Error, SyscallError

DESCRIPTORS = "descriptors.json"
FILE_LOCKS = "filelocks.img"
HEADER = 8  # bytes: the two magic numbers that an image begins with (criu/magic.h)
# without which nothing can be restored, and what is said if they are not there
NEEDED = {
    inventory.FILE: "it has no inventory.img",
    "pstree.img": "it has no processes (pstree.img): neither has a pre-dump, nor a dump that was not finished",
    DESCRIPTORS: f"it has no {DESCRIPTORS}",
}
LARGEST_SIDECAR = 1 << 20
DEFAULT = "checkpoint"
MODE = 0o700


def make(path: str) -> int:
    """A descriptor of the directory, made if it is missing; the parents are too."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        os.mkdir(path, MODE)
    except FileExistsError:
        pass
    except OSError as err:
        raise SyscallError("mkdir", err.errno or 0, path) from None
    return open_dir(path)


def open_dir(path: str) -> int:
    """A descriptor of the directory."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise SyscallError("open", err.errno or 0, path) from None


def check_relative(parent: str) -> str:
    """--parent-path becomes the symlink `parent`: it must hold wherever the directories are moved together."""
    if os.path.isabs(parent):
        raise Error("--parent-path must be relative")
    return parent


def check_parent(images: int, parent: str) -> None:
    """--parent-path must lead from the images to others, which do not build on those that the dump replaces."""
    try:
        found = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=images)
    except OSError as err:
        raise Error("invalid --parent-path") from SyscallError("stat", err.errno or 0, parent)
    with ExitStack() as stack:
        stack.callback(os.close, found)
        directories = _chain(stack, found)
        _check_all(directories)
        if any(os.path.sameopenfile(images, directory) for directory in directories):
            path = os.readlink(f"/proc/self/fd/{images}")
            raise Error(f"invalid --parent-path: {parent} is or builds on {path}, whose images this dump would replace")


def check(images: int) -> None:
    """Before CRIU reads images: all that have such a name are files, here and in the directories that these build on."""
    with ExitStack() as stack:
        _check_all(_chain(stack, images))


def check_whole(images: int) -> None:
    """Error for a directory that is no checkpoint, or only a part of one; of what is missing in it CRIU tells little."""
    present = set(os.listdir(images))
    for name, words in NEEDED.items():
        if name not in present:
            path = os.readlink(f"/proc/self/fd/{images}")
            raise Error(f"{path} is no directory of checkpoint images: {words}")


def _chain(stack: ExitStack, images: int) -> list[int]:
    """The directory and those that it builds on."""
    path = os.readlink(f"/proc/self/fd/{images}")
    return [images, *(parent for parent, _ in chain.parents(stack, images, path))]


def _check_all(directories: list[int]) -> None:
    for directory in directories:
        regular.check_images(directory)


def clear(images: int) -> None:
    """Before CRIU writes images: nothing of an earlier checkpoint leads elsewhere, or would be read as a part of the new one,
    as the mounts of a namespace that had another number."""
    for name in os.listdir(images):
        if name == chain.LINK or name.endswith(regular.SUFFIX):
            regular.remove(images, name)


def check_reachable(images: int, parent: str, uid: int, gid: int) -> None:
    """The root of a user namespace must be able to follow --parent-path: restore reads the memory as that user.

    The directories between the two are the caller's, so we do not open them; but images that cannot be restored are none.
    """
    if uid in (0, -1):
        return
    at = os.dup(images)
    try:
        for name in [part for part in parent.split("/") if part]:
            closer = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = closer
            if not _may_search(os.fstat(at), uid, gid):  # to read the last one too is what admit() has seen to
                path = os.readlink(f"/proc/self/fd/{at}")
                raise Error(
                    f"invalid --parent-path: the container's root (user {uid}) may not search {path}, and could not be "
                    "restored: chmod o+x that directory"
                )
    finally:
        os.close(at)


def _may_search(info: os.stat_result, uid: int, gid: int) -> bool:
    """As path_resolution(7) has it: the first class that fits decides."""
    if info.st_uid == uid:
        return bool(info.st_mode & stat.S_IXUSR)
    return bool(info.st_mode & (stat.S_IXGRP if info.st_gid == gid else stat.S_IXOTH))


def root_of(pid: int) -> tuple[int, int]:
    """Our ids of the root user and group in the user namespace of a process."""
    return _first_id(f"/proc/{pid}/uid_map"), _first_id(f"/proc/{pid}/gid_map")


def _first_id(path: str) -> int:
    with open(path, encoding="ascii") as file:
        maps = [list(map(int, line.split())) for line in file]
    return next((outside for inside, outside, _ in maps if inside == 0), -1)


def admit(images: int, uid: int, gid: int) -> None:
    """Let the root of a user namespace read the directory: CRIU opens images, and the parent's directory, as that user.

    Not by a bit for everybody, since CRIU's files are readable by all, and hold the container's memory. The owner too: runc
    makes it 0600, and before CRIU has become that user it is root without capabilities.
    """
    info = os.fstat(images)
    if info.st_mode & 0o005 == 0o005 or uid in (-1, info.st_uid):
        return
    os.fchown(images, -1, gid)
    os.fchmod(images, (info.st_mode & 0o7777) | 0o150)


def admit_files(images: int, gid: int) -> None:
    """Let it read the images too, where the umask of the dump has closed them."""
    for name in os.listdir(images):
        if not name.endswith(regular.SUFFIX):
            continue
        fd = regular.open_file(images, name)
        try:
            info = os.fstat(fd)
            alone = info.st_nlink == 1  # not a file of the host under a name of CRIU's
            if alone and not info.st_mode & stat.S_IROTH:
                os.fchown(fd, -1, gid)
                os.fchmod(fd, stat.S_IMODE(info.st_mode) | stat.S_IRGRP)
        finally:
            os.close(fd)


def has_file_locks(images: int) -> bool:
    """Whether CRIU's image of them holds any: restore leaves them out if it is not told to take them."""
    try:
        return os.stat(FILE_LOCKS, dir_fd=images, follow_symlinks=False).st_size > HEADER
    except FileNotFoundError:
        return False


def write_descriptors(images: int, targets: list[str]) -> None:
    """As runc writes it."""
    from libcontainer import jsonfast

    write(images, DESCRIPTORS, jsonfast.dumps(targets).encode())


def read_descriptors(images: int) -> list[str]:
    """The targets of descriptors 0 to 2."""
    import json

    try:
        found = json.loads(read(images, DESCRIPTORS))
    except (ValueError, RecursionError) as err:
        raise Error(f"invalid {DESCRIPTORS}") from err
    if not (isinstance(found, list) and all(isinstance(target, str) for target in found)):
        raise Error(f"invalid {DESCRIPTORS}: not a list of strings")
    return found


def write(images: int, name: str, content: bytes) -> None:
    """Replace the file, whatever was there."""
    regular.remove(images, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, 0o600, dir_fd=images), "wb") as file:
            file.write(content)
    except OSError as err:
        path = os.readlink(f"/proc/self/fd/{images}")
        raise SyscallError("write", err.errno or 0, f"{path}/{name}") from None


def read(images: int, name: str) -> bytes:
    """A small file of the directory."""
    return regular.read(images, name, LARGEST_SIDECAR)
