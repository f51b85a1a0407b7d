"""The hint for verbs that work on cgroups: a refusal may be the host's delegation, not the container's fault."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyrunc.options import Invocation


class CgroupRights:
    """`with CgroupRights(call, "pause")`: a permission error in it gets a warning in front, and goes on."""

    __slots__ = ("_call", "_verb")

    def __init__(self, call: Invocation, verb: str) -> None:
        self._call = call
        self._verb = verb

    def __enter__(self) -> None:
        """There is nothing to do until something fails."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None) -> None:
        if _denied(error):
            self._call.log("warning", f"runc {self._verb} failure might be caused by lack of full access to cgroups")


def _denied(error: BaseException | None) -> bool:
    """Whether a permission error is at the bottom of it. (EROFS is the answer of a read-only mount, not of rights.)"""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
            return True
        error = error.__cause__
    return False
