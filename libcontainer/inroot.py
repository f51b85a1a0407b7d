"""Paths inside the rootfs, resolved by descriptor: RESOLVE_IN_ROOT keeps "..", absolute symlinks and magic links inside.

The rootfs is hostile and may change under us: nothing in it is ever named by a path from the host's root
(CVE-2024-45310, CVE-2021-30465).
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from libcontainer import sysnr
from libcontainer.errors import Error
from libcontainer.remote import AT_EMPTY_PATH, Batch, Channel, StepError
from libcontainer.syscalls import RESOLVE_IN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.remote import Argument

MAX_SYMLINKS = 40  # as the kernel: path_resolution(7)
_STAT_SIZE = 144  # struct stat, x86-64 and arm64 both fit
# st_mode, st_nlink and st_rdev lie elsewhere on each architecture (asm/stat.h).
_X86 = os.uname().machine != "aarch64"
STAT_MODE = 24 if _X86 else 16
STAT_RDEV = 40 if _X86 else 32


def clean(path: str) -> str:
    """The path relative to the root, without "." and "..", which never leads above it; "" is the root itself."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def fstat_into(batch: Batch, fd: Argument, place: Argument) -> None:
    """newfstatat(fd, "", place, AT_EMPTY_PATH)."""
    batch.call("fstat", sysnr.NEWFSTATAT, fd, "", place, AT_EMPTY_PATH)


def stat_at(channel: Channel, root: int, path: str) -> int | None:
    """st_mode of what `path` leads to inside the root, None if there is nothing."""
    batch = Batch()
    place = batch.out(_STAT_SIZE)
    fd = batch.openat2(root, path or ".", os.O_PATH, resolve=RESOLVE_IN_ROOT)
    fstat_into(batch, fd, place)
    batch.close(fd)
    try:
        reply = channel.run(batch)
    except StepError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    (mode,) = struct.unpack_from("=I", reply.data, STAT_MODE)
    return int(mode)


def make(channel: Channel, root: int, path: str, *, directory: bool, mode: int = 0o755) -> None:
    """Make `path` inside the root with all missing parents (0755): a directory, or an empty file.

    Dangling symlinks are followed inside the root, and what they point to is made.
    """
    _make(channel, root, clean(path).split("/"), directory, mode, MAX_SYMLINKS)


def _make(channel: Channel, root: int, parts: list[str], directory: bool, mode: int, links: int) -> None:
    for i in range(1, len(parts) + 1):
        prefix = "/".join(parts[:i])
        last = i == len(parts)
        if stat_at(channel, root, prefix) is not None:
            continue
        target = _link_target(channel, root, parts[:i])
        if target is not None:
            if links == 0:
                raise Error(f"too many symbolic links in {'/'.join(parts)!r}")
            resolved = clean(target if target.startswith("/") else "/".join([*parts[: i - 1], target]))
            followed = [*resolved.split("/"), *parts[i:]]
            return _make(channel, root, followed, directory, mode, links - 1)
        _make_one(channel, root, parts[:i], directory or not last, mode if last else 0o755)
    return None


def _link_target(channel: Channel, root: int, parts: list[str]) -> str | None:
    """Where a symlink at `parts` points to, None if there is no symlink."""
    batch = Batch()
    place = batch.out(4096)
    parent = _parent(batch, root, parts)
    size = batch.call("readlinkat", sysnr.READLINKAT, parent, parts[-1], place, 4096)
    batch.close(parent)
    try:
        reply = channel.run(batch)
    except StepError as err:
        if err.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
    return os.fsdecode(reply.data[: reply[size]])


def _parent(batch: Batch, root: int, parts: list[str]) -> Argument:
    parent = "/".join(parts[:-1]) or "."
    return batch.openat2(root, parent, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)


def _make_one(channel: Channel, root: int, parts: list[str], directory: bool, mode: int) -> None:
    """Make one entry; another creator may win the race (BuildKit runs several containers on one rootfs)."""
    batch = Batch()
    parent = _parent(batch, root, parts)
    if directory:
        made = batch.call("mkdirat", sysnr.MKDIRAT, parent, parts[-1], mode, path="/".join(parts))
    else:
        arguments = (parent, parts[-1], stat.S_IFREG | 0o644, 0)
        made = batch.call("mknodat", sysnr.MKNODAT, *arguments, path="/".join(parts))
    batch.tolerate(made, errno.EEXIST)
    batch.close(parent)
    channel.run(batch)


def open_file(channel: Channel, root: int, path: str) -> int | None:
    """Open a file of the image for reading, as our own descriptor; None if it is missing. Never blocks (FIFOs)."""
    batch = Batch()
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    fd = batch.openat2(root, path, flags, resolve=RESOLVE_IN_ROOT)
    batch.send_back(fd)
    try:
        return channel.run(batch).fds[0]
    except StepError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
