"""The directories of a chain of dumps: in each the link `parent` leads to the one that it builds on."""

from __future__ import annotations

import os

from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack

LINK = "parent"
DEEPEST = 64  # parents of parents


def parents(stack: ExitStack, directory: int, path: str) -> list[tuple[int, str]]:
    """The descriptor and path of each parent, nearest first; the stack closes them. `path` is the first one's, for messages.

    CRIU follows these links, and no others may be followed; it does not notice one that leads back.
    """
    found = [(directory, path)]
    seen = {_identity(directory)}
    while (target := target_of(found[-1][0])) is not None:
        if len(found) > DEEPEST:
            raise Error(f"the chain of parents is longer than {DEEPEST}")
        below, path = found[-1]
        try:
            fd = os.open(LINK, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=below)
        except OSError as err:
            raise Error(f"unable to open the parent images {target} of {path}") from err
        stack.callback(os.close, fd)
        if _identity(fd) in seen:
            raise Error(f"the parent images {target} of {path} lead back to where they come from")
        seen.add(_identity(fd))
        found.append((fd, f"{path}/{LINK}"))
    return found[1:]


def target_of(directory: int) -> str | None:
    """What the link says; None if the images stand alone."""
    try:
        return os.readlink(LINK, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError:  # no link, but CRIU opens what there is
        return LINK


def _identity(directory: int) -> tuple[int, int]:
    found = os.fstat(directory)
    return found.st_dev, found.st_ino
