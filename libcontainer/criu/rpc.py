"""One conversation with `criu swrk`: requests, answers, and the notifications in between.

    with Session(pass_fds=[images]) as session:
        answer = session.request(messages.DUMP, options, on_notify)

CRIU answers VERSION and FEATURE_CHECK and goes on; after a dump or a restore it ends. While it waits for the answer to a
notification the container's processes stay as they are (criu.org/RPC).
"""

from __future__ import annotations

import _socket
import array
import os
import select

from libcontainer.criu import messages
from libcontainer.criu.failure import CriuFailed
from libcontainer.criu.process import Criu, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from libcontainer.criu.messages import Message

PACKET = 1 << 16
DESCRIPTORS = 16
TICK = 1.0  # seconds between looks at whether CRIU still works
OFTEN = 0.2  # the same where somebody wants to know how far it has come
STALL = 60.0  # seconds without any work after which it is taken for hung
GRACE = 10.0  # seconds that it has to end after its last answer


class Notification:
    """What CRIU tells in the middle of a request; the handler may answer with `options` (query-ext-files)."""

    __slots__ = ("fd", "options", "pid", "script")

    def __init__(self, script: str, pid: int, fd: int | None) -> None:
        self.script = script
        self.pid = pid
        self.fd = fd  # of orphan-pts-master; closed after the handler
        self.options: Message | None = None


if TYPE_CHECKING:
    Handler = Callable[[Notification], None]


class Session:
    """A criu process and what is said to it. Every error is a CriuFailed, or what a handler raised."""

    __slots__ = ("_criu", "_stall", "_tick", "_unlimited")

    def __init__(
        self,
        *,
        pass_fds: Sequence[int] = (),
        stdio: tuple[int, int, int] | None = None,
        mount_namespace: int | None = None,
        stall: float = STALL,
        tick: Callable[[], None] | None = None,
    ) -> None:
        """`tick` is called five times a second while CRIU works. `stall` is how long it may do nothing at all."""
        self._criu = Criu(pass_fds=pass_fds, stdio=stdio, mount_namespace=mount_namespace)
        self._stall = stall
        self._tick = tick
        self._unlimited = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._criu.close()

    @property
    def pid(self) -> int:
        return self._criu.pid

    @property
    def died(self) -> bool:
        """Whether CRIU was killed, by us or others, or crashed."""
        return self._criu.died

    def no_deadline(self) -> None:
        """From now on CRIU waits for others (its page server for the other host), for as long as they take."""
        self._unlimited = True

    def version(self) -> int:
        """As major * 10000 + minor * 100 + sublevel; a build from git counts as the next minor version."""
        answer = self._ask(messages.request(messages.VERSION))
        found = answer.version
        minor = found.minor_number + bool(found.gitid)
        return int(found.major_number * 10000 + minor * 100 + (0 if found.gitid else found.sublevel))

    def features(self, *names: str) -> set[str]:
        """Those of mem_track, lazy_pages and pidfd_store that CRIU has on this kernel."""
        request = messages.request(messages.FEATURE_CHECK)
        for name in names:
            setattr(request.features, name, True)
        answer = self._ask(request)
        return {name for name in names if getattr(answer.features, name)}

    def _ask(self, request: Message) -> Message:
        request.keep_open = True
        return self._talk(request, _ignore)

    def request(self, kind: int, options: Message, handler: Handler | None = None) -> Message:
        """Do a dump or restore to its end, and CRIU's; the answer."""
        request = messages.request(kind)
        request.opts.CopyFrom(options)
        answer = self._talk(request, handler or _ignore)
        self._end(kind)
        return answer

    def _talk(self, request: Message, handler: Handler) -> Message:
        kind = request.type
        self._send(kind, request)
        watch = Watch(self._criu, self._stall)
        while True:
            answer, fds = self._receive(kind, watch)
            if answer.type == messages.NOTIFY and answer.HasField("notify"):
                self._notified(kind, answer.notify, fds, handler)
                watch.progress()
                continue
            _close(fds)
            if not answer.success:
                raise self._failure(kind, answer)
            return answer

    def _notified(self, kind: int, notify: Message, fds: Sequence[int], handler: Handler) -> None:
        notification = Notification(notify.script, notify.pid, fds[0] if fds else None)
        reply = messages.request(messages.NOTIFY)
        reply.notify_success = False
        try:
            handler(notification)
            reply.notify_success = True
            if notification.options is not None:
                reply.opts.CopyFrom(notification.options)
        except BaseException:
            self._refuse(kind, reply)
            raise
        finally:
            _close(fds)
        self._send(kind, reply)

    def _refuse(self, kind: int, reply: Message) -> None:
        """Say no and let CRIU undo what it has done; why it gave up is known better by whoever refused."""
        try:
            self._send(kind, reply)
            watch = Watch(self._criu, self._stall)
            answer, fds = self._receive(kind, watch)
            while answer.type == messages.NOTIFY:
                _close(fds)
                self._send(kind, reply)  # network-unlock: whatever is said, CRIU goes on
                answer, fds = self._receive(kind, watch)
        except CriuFailed:
            return
        self._criu.wait(GRACE)

    def _send(self, kind: int, message: Message) -> None:
        try:
            self._criu.channel.send(message.SerializeToString(), _socket.MSG_NOSIGNAL)
        except OSError:
            raise self._death(kind) from None

    def _receive(self, kind: int, watch: Watch) -> tuple[Message, list[int]]:
        self._await(kind, watch)
        space = _socket.CMSG_SPACE(DESCRIPTORS * 4)
        try:
            data, ancillary, flags, _ = self._criu.channel.recvmsg(PACKET, space, _socket.MSG_CMSG_CLOEXEC)
        except OSError:  # ECONNRESET: it ended with our request unread
            raise self._death(kind) from None
        fds = _descriptors(ancillary)
        try:
            if not data:
                raise self._death(kind)
            if flags & _socket.MSG_TRUNC:
                raise self._failure(kind, None, "an answer longer than any that CRIU gives")
            return messages.response(data), fds
        except ValueError:
            _close(fds)
            raise self._failure(kind, None, "an answer that is none of CRIU's protocol") from None
        except CriuFailed:
            _close(fds)
            raise

    def _await(self, kind: int, watch: Watch) -> None:
        """Until there is something to read, or CRIU has ended (a child of its may keep the socket open)."""
        poller = select.poll()
        poller.register(self._criu.channel, select.POLLIN)
        poller.register(self._criu.pidfd, select.POLLIN)
        seconds = TICK if self._tick is None else OFTEN
        while not (ready := dict(poller.poll(seconds * 1000))):
            if self._tick is not None:
                self._tick()
            if not self._unlimited and watch.stalled():
                self._criu.kill()
                raise CriuFailed(kind, hung=watch.limit, stderr=self._criu.errors())
        if self._criu.channel.fileno() not in ready:
            raise self._death(kind)

    def _end(self, kind: int) -> None:
        """CRIU ends when it is told that nothing more will come; only after pre-dump is that not its plan."""
        self._criu.channel.shutdown(_socket.SHUT_WR)
        if not self._criu.wait(self._stall):
            self._criu.kill()
            raise CriuFailed(kind, hung=self._stall, stderr=self._criu.errors())
        if self._criu.exit_code and kind != messages.PRE_DUMP:
            raise self._death(kind)

    def _hang_up(self) -> None:
        try:
            self._criu.channel.shutdown(_socket.SHUT_WR)
        except OSError:
            pass
        if not self._criu.wait(GRACE):
            self._criu.kill()

    def _death(self, kind: int) -> CriuFailed:
        self._hang_up()
        return CriuFailed(kind, exit_code=self._criu.exit_code, stderr=self._criu.errors())

    def _failure(self, kind: int, answer: Message | None, text: str = "") -> CriuFailed:
        self._hang_up()
        errno = answer.cr_errno if answer is not None else 0
        said = answer.cr_errmsg if answer is not None else text
        return CriuFailed(kind, exit_code=self._criu.exit_code, stderr=self._criu.errors(), errno=errno, said=said)


def _ignore(_notification: Notification) -> None:
    """Acknowledged."""


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
