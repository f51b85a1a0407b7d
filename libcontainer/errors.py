"""The exceptions of the library, and how a chain of them is worded.

    Error                        base; str() is one lower-case phrase, the cause is in __cause__
    |- InvalidID                 the container id has forbidden characters
    |- InvalidSpec               .path (JSON path), .reason
    |- ContainerExists
    |- ContainerNotExist
    |- ContainerNotRunning
    |- ContainerRunning
    |- ContainerPaused
    |- ContainerNotPaused
    |- HookError                 a hook failed
    |- InitError                 the container's init (or an exec'd process) could not be set up: .step, .errno
    `- Unsupported               this kernel, architecture or build lacks something
    SyscallError(OSError)        .call: the system call that failed; raised by libcontainer.syscalls

Texts are interface: engines match them (docs: runc's error strings), so they are lower case, without a full stop, and
the chain is joined with ": " as Go programs do.
"""

from __future__ import annotations

import os


class Error(Exception):
    """Base of all errors that libcontainer raises on purpose."""


class InvalidID(Error):
    """The container id is empty or has characters outside [A-Za-z0-9_+.-]."""


class InvalidSpec(Error):
    """A field of config.json (or of a process or resources file) is wrong.

    `path` is the JSON path ("linux.resources.pids.limit", "" for the whole document), `reason` what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


class ContainerExists(Error):
    """The id is taken."""

    def __init__(self) -> None:
        super().__init__("container with given ID already exists")


class ContainerNotExist(Error):
    """There is no container with this id."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


class ContainerNotRunning(Error):
    """The container is stopped (or, for pause, not in a state that can be paused)."""

    def __init__(self, text: str = "container not running") -> None:
        super().__init__(text)


class ContainerRunning(Error):
    """The container still runs."""


class ContainerPaused(Error):
    """The container is frozen."""


class ContainerNotPaused(Error):
    """The container is not frozen."""

    def __init__(self) -> None:
        super().__init__("container not paused")


class HookError(Error):
    """A lifecycle hook failed or ran past its timeout."""


class InitError(Error):
    """A step of the container's init failed; `step` names it, `errno` is the kernel's answer (0: it died)."""

    def __init__(self, step: str, errno: int = 0) -> None:
        self.step = step
        self.errno = errno
        super().__init__(f"{step}: {strerror(errno)}" if errno else step)


class Unsupported(Error):
    """The kernel, the architecture, or this build lacks what was asked for."""


class SyscallError(OSError):
    """OSError that knows which system call failed."""

    def __init__(self, call: str, errno: int, filename: str | None = None) -> None:
        self.call = call
        super().__init__(errno, os.strerror(errno), filename)


def strerror(errno: int) -> str:
    """The text of errno as Go programs print it: lower case ("no such file or directory")."""
    text = os.strerror(errno)
    return text[:1].lower() + text[1:]


def describe(error: BaseException) -> str:
    """One line for the whole chain of causes: "unable to start container process: exec: ...: no such file or directory"."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        parts.append(_phrase(current))
        current = current.__cause__
    return ": ".join(parts)


def _phrase(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        words = [str(getattr(error, "call", "")), _text(error.filename)]
        return ": ".join([" ".join(w for w in words if w), strerror(error.errno)]).removeprefix(": ")
    return str(error) or type(error).__name__


def _text(name: object) -> str:
    if isinstance(name, bytes):
        return os.fsdecode(name)
    return "" if name is None else str(name)
