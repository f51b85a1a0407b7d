"""The container's seccomp filter: a profile (runtime-spec linux.seccomp) in, a program for seccomp(2) out.

Compiling takes milliseconds and a profile seldom changes, so programs are kept in the state root, named by what they were
made from. They are files there, not a directory: whatever else lists the root (runc) takes a directory for a container.
Only a miss loads the compiler, and with it libseccomp.
"""

from __future__ import annotations

import marshal
import os
import stat
import struct
import sys

try:
    from _blake2 import blake2b  # hashlib costs 4 ms
except ImportError:
    from hashlib import blake2b

from libcontainer.state import FILTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Mapping
    from typing import Any

# linux/seccomp.h, SECCOMP_FILTER_FLAG_*
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_NEW_LISTENER = 8
FLAG_WAIT_KILLABLE_RECV = 32

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_SIZE = 8  # struct sock_filter

_FORMAT = b"1"  # of the cache, and of what the compiler makes of a profile: raise it when either changes
_CHECKSUM_SIZE = 16
_HEADER = struct.Struct("<IQQQH")  # flags; inode, size and mtime of libseccomp; length of its path
_MAX_ENTRY = _CHECKSUM_SIZE + _HEADER.size + 4096 + MAX_INSTRUCTIONS * INSTRUCTION_SIZE
_MAX_ENTRIES = 256
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Filter:
    """A compiled profile: `program` is an array of struct sock_filter, `flags` are those of seccomp(2)."""

    __slots__ = ("flags", "listener_metadata", "listener_path", "notify", "program")

    def __init__(self, program: bytes, flags: int, listener_path: str, listener_metadata: str) -> None:
        self.program = program
        self.flags = flags
        self.notify = bool(flags & FLAG_NEW_LISTENER)
        self.listener_path = listener_path
        self.listener_metadata = listener_metadata


def load(profile: Mapping[str, Any], cache_dir: str | None) -> Filter | None:
    """The filter of a linux.seccomp section, by way of the files in `cache_dir`; None if the section asks for nothing."""
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    program, flags = _cached(profile, cache_dir) if cache_dir else _compile(profile)
    return Filter(program, flags, profile.get("listenerPath") or "", profile.get("listenerMetadata") or "")


def _compile(profile: Mapping[str, Any]) -> tuple[bytes, int]:
    from libcontainer import seccomp_compiler

    return seccomp_compiler.compile_profile(profile)


def _cached(profile: Mapping[str, Any], cache_dir: str) -> tuple[bytes, int]:
    key = _key(profile)
    directory = _open_directory(cache_dir) if key else -1
    if directory < 0:
        return _compile(profile)
    try:
        found = _read(directory, key)
        if found is None:
            found = _compile(profile)
            _write(directory, key, *found)
        return found
    finally:
        os.close(directory)


def _key(profile: Mapping[str, Any]) -> str:
    """The file name of a profile's entry; "" for one that holds other than plain JSON types.

    marshal's version 0 has neither references nor interned strings, so equal values give equal bytes.
    """
    system = os.uname()  # the kernel decides which flags and actions there are
    content: Any = (system.machine, system.release, sys.maxsize, profile)
    try:
        return FILTERS + blake2b(marshal.dumps(content, 0), digest_size=32, key=_FORMAT).hexdigest()
    except ValueError:
        return ""


def _open_directory(path: str) -> int:
    """The directory; -1 unless it is ours and nobody else can write to it."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    if not _is_ours(os.fstat(directory)):
        os.close(directory)
        return -1
    return directory


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _read(directory: int, key: str) -> tuple[bytes, int] | None:
    """An entry, or None if it is missing, not ours alone, damaged, or made by another libseccomp."""
    try:
        # O_NONBLOCK: opening a fifo must not wait for its writer.
        fd = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _is_ours(status) or status.st_size > _MAX_ENTRY:
            return None
        return _decode(os.read(fd, _MAX_ENTRY), key)
    except OSError:
        return None
    finally:
        os.close(fd)


def _checksum(key: str, body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_SIZE, key=key.removeprefix(FILTERS).encode()).digest()


def _decode(entry: bytes, key: str) -> tuple[bytes, int] | None:
    body = entry[_CHECKSUM_SIZE:]
    if len(body) < _HEADER.size or entry[:_CHECKSUM_SIZE] != _checksum(key, body):
        return None
    flags, *stamp, path_size = _HEADER.unpack_from(body)
    start = _HEADER.size + path_size
    if stamp != _stamp(body[_HEADER.size : start]):
        return None
    return body[start:], flags


def _stamp(library: bytes) -> list[int]:
    """What changes when libseccomp is upgraded: cheaper than to load it and ask for its version."""
    status = os.stat(library)
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _write(directory: int, key: str, program: bytes, flags: int) -> None:
    """Add an entry. The cache may fail (full or read-only file system): the container starts all the same."""
    from libcontainer import seccomp_compiler

    library = seccomp_compiler.library()
    temporary = f"{key}.{os.getpid()}"
    try:
        body = _HEADER.pack(flags, *_stamp(library), len(library)) + library + program
        _prune(directory)
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(temporary, create, 0o600, dir_fd=directory)
        try:
            os.write(fd, _checksum(key, body) + body)  # a short write leaves a wrong checksum
        finally:
            os.close(fd)
        os.rename(temporary, key, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        _discard(directory, temporary)


def _discard(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return


def _prune(directory: int) -> None:
    """Drop the older half of a cache that has grown too large, with whatever interrupted writers left."""
    names = [name for name in os.listdir(directory) if name.startswith(FILTERS)]
    if len(names) < _MAX_ENTRIES:
        return
    names.sort(key=lambda name: os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns)
    for name in names[: len(names) // 2]:
        os.unlink(name, dir_fd=directory)


def send_listener(path: str, fd: int, state: Mapping[str, Any], pid: int, metadata: str) -> None:
    """Hand a filter's listener `fd` to the agent at socket `path` (runtime-spec: ContainerProcessState)."""
    import _socket

    from libcontainer.errors import Error

    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        _connect(agent, path)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
        message = _process_state(state, pid, metadata)
        sent = agent.sendmsg([message], rights, _socket.MSG_NOSIGNAL)
        if sent < len(message):  # else the agent may have closed its end already
            agent.sendall(message[sent:])
    except OSError as err:
        raise Error(f"cannot send seccomp fd to {path}") from err
    finally:
        agent.close()


def _connect(agent: socket, path: str) -> None:
    from libcontainer.console import connect_to
    from libcontainer.errors import Error

    try:
        connect_to(agent, path)
    except OSError as err:
        err.filename = path
        raise Error("failed to connect with seccomp agent specified in the seccomp profile") from err


def _process_state(state: Mapping[str, Any], pid: int, metadata: str) -> bytes:
    from libcontainer import jsonfast

    message: dict[str, Any] = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
    if metadata:
        message["metadata"] = metadata
    message["state"] = state
    return jsonfast.dumps(message).encode()
