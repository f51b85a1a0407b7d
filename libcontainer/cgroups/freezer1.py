"""cgroup v1's freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).

The rule of this file: freezing may fail half way, and a killed process that is frozen does not end. So whatever fails here
leaves the cgroup thawed.
"""

from __future__ import annotations

import errno
import os
import time

from libcontainer.cgroups.files import walk
from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.cgroups.files import Tree

_GONE = (errno.ENOENT, errno.ENODEV)
# Seconds
_LONGEST = 10.0
_FIRST_PATIENCE = 0.005
_THAWED = 0.01
_BETWEEN = 0.00001


class Freezer:
    """The freezer of one cgroup."""

    __slots__ = ("_directory", "_state", "_tree")

    def __init__(self, tree: Tree, directory: str) -> None:
        self._tree = tree
        self._directory = directory
        self._state = f"{directory}/freezer.state"

    def freeze(self) -> None:
        """Returns when all processes stand."""
        try:
            if not self._frozen_at_last():
                raise Error("unable to freeze")
        except BaseException:
            self.thaw()
            raise

    def _frozen_at_last(self) -> bool:
        """A process that forks while being frozen can keep FREEZING from ever ending: thaw now and then, start again.

        Each time with more patience: on a busy machine it is long until all processes have had their turn to stop.
        """
        end = time.monotonic() + _LONGEST
        patience = _FIRST_PATIENCE
        while not self._frozen_within(patience):
            if time.monotonic() > end:
                return False
            self._tree.write(self._state, "THAWED")
            time.sleep(_THAWED)
            patience = min(patience * 2, _LONGEST / 10)
        return True

    def _frozen_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while True:
            self._tree.write(self._state, "FROZEN")  # again: whoever was forked meanwhile is told too
            if self._tree.read(self._state).strip() == "FROZEN":
                return True
            if time.monotonic() > end:
                return False
            time.sleep(_BETWEEN)

    def thaw(self) -> None:
        try:
            self._tree.write(self._state, "THAWED")
        except SyscallError as error:
            if error.errno not in _GONE:  # deleted meanwhile: nobody is frozen there
                raise

    def release(self) -> None:
        """Thaw everybody: those too that the container has frozen in a cgroup below its own."""
        try:
            top = self._tree.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except SyscallError as error:
            if error.errno in _GONE:
                return
            raise
        for directory, left in walk(top):
            if not left:
                _thaw_in(directory)


def _thaw_in(directory: int) -> None:
    try:
        fd = os.open("freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:  # removed meanwhile
        return
    try:
        os.write(fd, b"THAWED")
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    finally:
        os.close(fd)
