"""Whole small files, such as those of procfs, read with three system calls: a file object of the io module makes twice as
many, and costs more than the kernel's answer."""

from __future__ import annotations

import os

_CHUNK = 65536


def read(path: str) -> bytes:
    """All of the file; OSError with its name."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_fd(fd)
    except OSError as err:
        err.filename = path
        raise
    finally:
        os.close(fd)


def read_fd(fd: int) -> bytes:
    """From where the descriptor is up to the end: a seq_file may return less than asked for before it."""
    content = os.read(fd, _CHUNK)
    while chunk := os.read(fd, _CHUNK):
        content += chunk
    return content


def text(path: str) -> str:
    """The same as text; bytes that are none come through as the os module has them in file names."""
    return os.fsdecode(read(path))
