"""Regular files, and nothing else, in a directory that may come from anywhere.

CRIU opens what it reads and writes by name: it follows a symlink to any file of the host, and waits for a FIFO. What we open
ourselves is opened here; what CRIU opens is looked at before it does.
"""

from __future__ import annotations

import os
import stat

from libcontainer.errors import Error, SyscallError

SUFFIX = ".img"  # of CRIU's images
MOST_NAMED = 5  # in an error


def open_file(directory: int, name: str) -> int:
    """A descriptor for reading a file of the directory; SyscallError, or Error if it is no regular one."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as err:
        raise SyscallError("open", err.errno or 0, name) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Error(f"{name} is no regular file")
    return fd


def read(directory: int, name: str, most: int) -> bytes:
    """The content of a file; Error if it is larger than `most` bytes."""
    with open(open_file(directory, name), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Error(f"{name}: larger than {most} bytes")
    return content


def check_images(directory: int) -> None:
    """Error if a name of an image stands for something else: its content would get into the container, or be overwritten."""
    with os.scandir(directory) as entries:
        wrong = sorted(e.name for e in entries if e.name.endswith(SUFFIX) and not e.is_file(follow_symlinks=False))
    if wrong:
        named = ", ".join(map(repr, wrong[:MOST_NAMED])) + (", ..." if len(wrong) > MOST_NAMED else "")
        path = os.readlink(f"/proc/self/fd/{directory}")
        raise Error(f"{path} is no directory of checkpoint images: no regular files: {named}")


def clear(directory: int, *names: str) -> None:
    """Make way for files that CRIU writes: whatever has such a name and is not a file of this directory alone goes."""
    for name in names:
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
            remove(directory, name)


def remove(directory: int, name: str) -> None:
    """Remove what has this name, if it is there."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as err:
        raise SyscallError("unlink", err.errno or 0, name) from None
