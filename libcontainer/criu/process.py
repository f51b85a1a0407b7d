"""The criu program: `criu swrk FD`, with its stderr kept, its end awaited, and killed when it makes no progress any more.

Descriptors keep their numbers in it (inherit_fd, ps.fd and the images' directory are named by number). What it starts with
rst_sibling is our child, since we forked it.
"""

from __future__ import annotations

import _socket
import os
import select
import time

from libcontainer.errors import SyscallError, Unsupported
from libcontainer.program import in_mount_namespace, leaked, signal_text, tail
from libcontainer.state import process_start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import Any, Self
else:
    import _signal

# Where CRIU itself, and the iptables, nft, ip and tar that it calls, are when the caller's PATH is that of a user.
DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
MISSING = "criu is not installed: no executable criu in $PATH (install CRIU, 4.2 or later for Linux 6.16 and later)"
STDIO = (0, 1, 2)
SIGKILL = 9


def search_path() -> list[str]:
    """The directories of PATH, and the standard ones."""
    given = [directory for directory in os.environ.get("PATH", "").split(":") if directory.startswith("/")]
    return list(dict.fromkeys([*given, *DIRECTORIES]))


def find(name: str = "criu") -> str | None:
    """The path of a program."""
    for directory in search_path():
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


class Criu:
    """A running `criu swrk`; `channel` is our end of its socket."""

    __slots__ = ("_errors", "_leads", "_status", "channel", "pid", "pidfd")

    def __init__(
        self,
        *,
        pass_fds: Sequence[int] = (),
        stdio: tuple[int, int, int] | None = None,
        mount_namespace: int | None = None,
    ) -> None:
        """`stdio`: descriptors for its 0 to 2 (a shell job's terminal); without, stderr is kept for errors.
        `mount_namespace`: a descriptor of the one that it shall be in, if not ours."""
        path = find()
        if path is None:
            raise Unsupported(MISSING)
        self._leads = stdio is None  # a shell job gets our group from it
        self._status: os.waitid_result | None = None
        self.channel, peer = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._errors = os.memfd_create("criu's stderr")
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            streams = stdio or (null, self._errors, self._errors)

            def spawn() -> int:
                return _spawn(path, peer.fileno(), streams, pass_fds, {"setpgroup": 0} if self._leads else {})

            self.pid = spawn() if mount_namespace is None else in_mount_namespace(mount_namespace, spawn)
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.channel.close()
            os.close(self._errors)
            raise
        finally:
            peer.close()
            os.close(null)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, if it still runs."""
        self.channel.close()
        if self._status is None:
            self.kill()
        os.close(self.pidfd)
        os.close(self._errors)

    def kill(self) -> None:
        """Tasks that it had seized go on: the kernel detaches a tracer that ends, and the parasite cures itself.

        Its helpers end too: an iptables that it waited for would lock the container's network when nobody unlocks it any more.
        """
        try:
            if self._leads:
                os.killpg(self.pid, SIGKILL)
            else:
                _signal.pidfd_send_signal(self.pidfd, SIGKILL)
        except ProcessLookupError:
            pass
        self.wait(None)

    def wait(self, seconds: float | None) -> bool:
        """Whether it has ended within that time."""
        if self._status is None and self._poll(seconds):
            self._status = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        return self._status is not None

    def _poll(self, seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))

    @property
    def exit_code(self) -> int:
        """Of an ended process; -N if signal N ended it."""
        assert self._status is not None
        code = self._status.si_status
        return code if self._status.si_code == os.CLD_EXITED else -code

    @property
    def died(self) -> bool:
        """Whether a signal ended it: what it had begun to do it could not undo."""
        return self._status is None or self.exit_code < 0

    def errors(self) -> str:
        """What it has written to stderr; it ends early messages with what its buffer has left."""
        return tail(self._errors).replace("\0", "").strip()

    def activity(self) -> dict[int, tuple[int, ...]]:
        """By process, numbers that change while it works: of criu, and of what it makes, which may be our children."""
        born = process_start_time(self.pid) or 0
        found: dict[int, tuple[int, ...]] = {}
        waiting = [self.pid, *(pid for pid in _children(os.getpid()) if (process_start_time(pid) or 0) >= born)]
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found[pid] = _work(pid)
                waiting.extend(_children(pid))
        return found


def _spawn(
    path: str, channel: int, streams: Sequence[int], pass_fds: Sequence[int], attributes: Mapping[str, Any]
) -> int:
    """posix_spawn(3): dup2 of a descriptor to itself clears close-on-exec there."""
    high = _above(streams)
    wanted = {channel, *pass_fds}
    actions: list[tuple[int, int] | tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(high)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in sorted(wanted) if fd > 2]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in leaked() if fd not in wanted]
    environment = {**os.environ, "PATH": ":".join(search_path())}
    try:
        return os.posix_spawn(
            path,
            [path, "swrk", str(channel)],
            environment,
            file_actions=actions,
            setsigmask=(),
            setsigdef=_signal.valid_signals(),
            **attributes,
        )
    except OSError as err:
        raise SyscallError("fork/exec", err.errno or 0, path) from None
    finally:
        for fd in high:
            os.close(fd)


def _above(fds: Sequence[int]) -> list[int]:
    """Duplicates that none of 0 to 2 is, so that filling those overwrites nothing."""
    import fcntl

    return [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in fds]


def _work(pid: int) -> tuple[int, ...]:
    """Processor time, and bytes read and written by system calls."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            times = file.read().rpartition(b")")[2].split()[11:15]
        with open(f"/proc/{pid}/io", "rb") as file:
            moved = [line.split()[1] for line in file if line.startswith((b"rchar", b"wchar"))]
    except OSError:
        return ()
    return tuple(map(int, [*times, *moved]))


def _children(pid: int) -> list[int]:
    """Of all threads: proc_pid_task(5)."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass  # it has ended
    return found


def ending(code: int) -> str:
    """The words for an exit code."""
    return f"exit status {code}" if code >= 0 else f"signal: {signal_text(-code)}"


class Watch:
    """Tells when a process has stopped working: no activity, and nobody said otherwise, for `limit` seconds."""

    __slots__ = ("_criu", "_last", "_since", "limit")

    def __init__(self, criu: Criu, limit: float) -> None:
        self._criu = criu
        self.limit = limit
        self._last: dict[int, tuple[int, ...]] = {}
        self.progress()

    def progress(self) -> None:
        """Something happened."""
        self._since = time.monotonic()

    def stalled(self) -> bool:
        now = self._criu.activity()
        if now != self._last:
            self._last = now
            self.progress()
        return time.monotonic() - self._since > self.limit
