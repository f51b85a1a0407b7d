"""Attending a process in the foreground: one poll loop for its output, our input, the signals, and its end.

Nothing here blocks but poll(2): a reader that does not read, or a terminal that is stopped, delays neither signals nor
the exit. What the process wrote before it ended is passed on; what others that it left behind write later is not waited
for.
"""

from __future__ import annotations

import os
import select

from pyrunc.signals import Signals, is_forwarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Protocol

    from pyrunc.launch import Receiver

    class Relay(Protocol):
        """Pipes or Terminal: what connects our streams and the container's."""

        stdio: tuple[int, int, int]

        @property
        def receive(self) -> Receiver | None: ...
        @property
        def interactive(self) -> bool: ...
        def started(self) -> None: ...
        def streams(self) -> list[Stream]: ...
        def resize(self) -> None: ...
        def restore(self) -> None: ...
else:
    import _signal


# poll(2) promises that this much can be written to a pipe at once: pipe(7), PIPE_BUF
_CHUNK = select.PIPE_BUF
_READ = 65536
# turns of the loop after the end: enough for two pipes of 1 MiB (/proc/sys/fs/pipe-max-size), and not for ever
_LAST_TURNS = 2048


class Stream:
    """Copies from `source` to `sink`; waits for one of the two at a time."""

    __slots__ = ("pending", "sink", "source")

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(b"")

    @property
    def interest(self) -> tuple[int, int]:
        """The descriptor and the event that the next step needs."""
        return (self.sink, select.POLLOUT) if self.pending else (self.source, select.POLLIN)

    def step(self) -> bool:
        """Read or write once; False at the end of the source, or when nobody takes the output."""
        try:
            if self.pending:
                self.pending = self.pending[os.write(self.sink, self.pending[:_CHUNK]) :]
                return True
            self.pending = memoryview(os.read(self.source, _READ))
            return len(self.pending) > 0
        except BlockingIOError:
            return True
        except OSError:  # EPIPE; EIO: no process has the terminal open any more
            return False

    def close(self) -> None:
        """Close both ends but our own stdio: the other side then sees the end of file, or a broken pipe."""
        for fd in (self.source, self.sink):
            if fd > 2:
                os.close(fd)


class Pipes:
    """Three pipes between our streams and the container's; the container's root owns them and may reopen them."""

    __slots__ = ("_own", "stdio")

    receive = None
    interactive = False

    def __init__(self, uid: int, gid: int) -> None:
        stdin, output, errors = (_pipe(uid, gid) for _ in range(3))
        self.stdio = (stdin[0], output[1], errors[1])
        self._own = (stdin[1], output[0], errors[0])
        for fd in self._own:
            os.set_blocking(fd, False)

    def started(self) -> None:
        """The child has its ends: ours of them must go, or no end of file would ever come."""
        for fd in self.stdio:
            os.close(fd)

    def streams(self) -> list[Stream]:
        stdin, output, errors = self._own
        return [Stream(0, stdin), Stream(output, 1), Stream(errors, 2)]

    def resize(self) -> None:
        """Pipes have no size."""

    def restore(self) -> None:
        """Our streams were not changed."""


def _pipe(uid: int, gid: int) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        try:
            os.fchown(fd, uid, gid)
        except PermissionError:
            pass  # without privilege the pipe stays ours; only reopening it through /proc fails inside
    return ends


def relay(terminal: bool, uid: int, gid: int) -> Relay:
    """Terminal if the process has one, else pipes that belong to uid and gid (of the host)."""
    if terminal:
        from pyrunc.terminal import Terminal

        return Terminal()
    return Pipes(uid, gid)


def attend(pid: int, signals: Signals, between: Relay) -> int:
    """Serve the child `pid` until it ends; its exit status, 128+N if signal N killed it."""
    return _Loop(pid, signals, between).run()


class _Loop:
    __slots__ = ("_between", "_dismissed", "_pid", "_poll", "_signals", "_status", "_waiting")

    def __init__(self, pid: int, signals: Signals, between: Relay) -> None:
        self._pid = pid
        self._signals = signals
        self._between = between
        self._status: int | None = None
        self._dismissed = False
        self._waiting: dict[int, Stream] = {}
        self._poll = select.poll()
        self._poll.register(signals.fd, select.POLLIN)

    def run(self) -> int:
        stdin, *outputs = self._between.streams()
        for stream in (stdin, *outputs):
            self._watch(stream)
        while self._status is None:
            self._turn(None)
        self._forget(stdin)
        self._drain()
        return self._status

    def _turn(self, timeout: int | None) -> bool:
        """Wait, and serve what is ready; False if nothing was."""
        events = self._poll.poll(timeout)
        for fd, _ in events:
            if fd == self._signals.fd:
                self._take_signals()
            else:
                self._advance(fd)
        return bool(events)

    def _drain(self) -> None:
        """Pass on what the process left in its pipes. A further signal says not to wait for a reader of ours."""
        for _ in range(_LAST_TURNS):
            unwritten = any(stream.pending for stream in self._waiting.values())
            if not self._turn(None if unwritten else 0) or self._dismissed:
                return

    def _watch(self, stream: Stream) -> None:
        fd, event = stream.interest
        self._waiting[fd] = stream
        self._poll.register(fd, event)

    def _forget(self, stream: Stream) -> None:
        fd, _ = stream.interest
        if self._waiting.get(fd) is stream:
            del self._waiting[fd]
            self._poll.unregister(fd)

    def _advance(self, fd: int) -> None:
        stream = self._waiting.pop(fd)
        self._poll.unregister(fd)
        if stream.step():
            self._watch(stream)
        else:
            stream.close()

    def _take_signals(self) -> None:
        for signum in self._signals.read():
            if signum == _signal.SIGCHLD:
                self._reap()
            elif signum == _signal.SIGWINCH:
                self._between.resize()
            elif signum == _signal.SIGINT and self._between.interactive:
                self._status = 0
            elif is_forwarded(signum):
                self._forward(signum)

    def _forward(self, signum: int) -> None:
        if self._status is None:  # not reaped yet: the pid is certainly its own
            os.kill(self._pid, signum)
        else:
            self._dismissed = True

    def _reap(self) -> None:
        """Collect all that ended: as a subreaper we inherit what the container's processes leave behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = _exit_status(status)


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
