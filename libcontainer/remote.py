"""Batches of system calls for init, and the channel that carries them (nsexec/src/protocol.h is the wire format).

    batch = Batch()
    target = batch.openat2(root, "proc", O_PATH, RESOLVE_IN_ROOT)     # a Result, for later calls
    batch.move_mount(mount, target)
    channel.run(batch)                                                # SyscallError names the first call that failed

Descriptors named by an int are init's own numbers; `batch.local(fd)` sends one of ours along. Bytes and str become pointers
into the batch; `batch.out(n)` is room that the kernel fills and `Reply.data` returns.
"""

from __future__ import annotations

import _socket
import os
import struct
from errno import EMFILE

from libcontainer import sysnr
from libcontainer.errors import Error, InitError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    # Results, places in the data and our own descriptors are numbers with a tag in their upper bits (protocol.h).
    Result = int
    Data = int
    Argument = int | bytes | str
    # What a failing call is worded with: a path, or one for each row of each().
    Path = str | Sequence[str] | None

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
OPEN_TREE_CLONE = 1  # open_tree(2)

OP_SYSCALL, OP_CLONE, OP_SYNC, OP_DETACH, OP_LABEL, OP_HOOK, OP_EXEC, OP_EXPECT, OP_SKIP, OP_PLAIN, OP_EACH = range(11)
TAG_DATA, TAG_RESULT, TAG_FD, TAG_ITEM = (tag << 48 for tag in (0x7A01, 0x7A02, 0x7A03, 0x7A04))
REFERENCE = 0xFFFFFFFF
HOOK_STATUS = 0x10000
MAX_FDS = 64
DESCRIPTORS = 256  # numbers that init may use: what a batch opens, and the slots above (plan.py)
ANY_ERROR = 0xFFFF
CONTINUE = 1
DIED = "init died before it was set up"
NOT_ASKED = "init answered with something else than was asked"
# Under --debug, for who looks for runc's words: it needs a mount or a copy for what a sealed memfd is from the start.
SEALED = (
    'nsexec is a sealed memfd, in place of "runc exeseal: using /proc/self/exe clone" and '
    '"runc exeseal: using overlayfs for sealed /proc/self/exe"'
)

# struct call as 64-bit words: op, ok[0], ok[1] and skip; nr and back; six arguments.
_WORDS = 8
_OK = (16, 32)
_SKIP = 48
_BACK = 1 << 32
_ABSENT = [(0,) * (6 - n) for n in range(7)]  # behind n arguments
_REQUEST = struct.Struct("=8I")
_REPLY = struct.Struct(f"=iiIII{MAX_FDS}i")
_OPEN_HOW = struct.Struct("=3Q")
_PADDING = [bytes(-n % 8) for n in range(8)]


class Reply:
    """Answer to a batch: `results` of its calls, `data` of its out() room, `sent` (init's numbers of what was sent
    along), `fds` (our descriptors of the calls that were marked with send_back, in order)."""

    __slots__ = ("data", "fds", "results", "sent")

    def __init__(self, results: tuple[int, ...], data: bytes, sent: tuple[int, ...], fds: list[int]) -> None:
        self.results = results
        self.data = data
        self.sent = sent
        self.fds = fds

    def __getitem__(self, result: Result) -> int:
        return self.results[result & REFERENCE]


def item(column: int = 0) -> int:
    """What the row of a Batch.each() has in this column."""
    return TAG_ITEM | column


class Batch:
    """System calls to be executed in order until one fails."""

    __slots__ = ("_texts", "_words", "back", "data", "fds", "names", "out_range", "relocations", "repeats")

    def __init__(self) -> None:
        self.back: list[int] = []  # the calls whose descriptors the reply brings
        self._words: list[int] = []  # struct call[]
        self.names: list[tuple[str, Path]] = []
        self.data = bytearray()
        self.relocations: list[int] = []
        self.repeats = 0  # how many more calls each() makes of them
        self.fds: list[int] = []
        self.out_range = (0, 0)
        self._texts: dict[str | bytes, Data] = {}

    def __len__(self) -> int:
        return len(self.names)

    # -- data

    def put(self, content: bytes) -> Data:
        """Place bytes, aligned for any struct."""
        data = self.data
        if len(data) % 8:
            data += _PADDING[len(data) % 8]
        at = len(data)
        data += content
        return TAG_DATA | at

    def text(self, content: str | bytes) -> Data:
        """Place a NUL-terminated string; equal ones share their place."""
        known = self._texts.get(content)
        if known is not None:
            return known
        name = _bytes(content)
        if b"\0" in name:
            raise Error(f"{content!r} contains a null byte")
        data = self.data
        self._texts[content] = place = TAG_DATA | len(data)
        data += name
        data.append(0)
        return place

    def out(self, size: int) -> Data:
        """Room for the kernel to fill; the reply brings it back. One a batch."""
        place = self.put(bytes(size))
        self.out_range = (place & REFERENCE, size)
        return place

    def pointer(self, place: Data, at: int = 0) -> None:
        """Make the 8 bytes at `place`+`at`, which hold a Data offset, a pointer."""
        self.relocations.append((place & REFERENCE) + at)

    def vector(self, strings: Iterable[str]) -> Data:
        """A NULL-terminated array of string pointers (argv, envp)."""
        offsets = [self.text(s) & REFERENCE for s in strings]
        place = self.put(struct.pack(f"={len(offsets)}QQ", *offsets, 0))
        first = place & REFERENCE
        self.relocations.extend(range(first, first + 8 * len(offsets), 8))
        return place

    def local(self, fd: int) -> int:
        """Send one of our own descriptors along; it becomes init's."""
        self.fds.append(fd)
        return TAG_FD | (len(self.fds) - 1)

    # -- calls

    def op(self, op: int, nr: int, arguments: Sequence[Argument], name: str, path: Path = None) -> Result:
        """Append one entry of the protocol; `name` and `path` word its failure."""
        words = self._words
        words += (op, nr)
        known = self._texts
        for argument in arguments:
            words.append(argument if type(argument) is int else known.get(argument) or self.text(argument))  # type: ignore[arg-type]
        words += _ABSENT[len(arguments)]
        self.names.append((name, path))
        return TAG_RESULT | (len(self.names) - 1)

    def call(self, name: str, nr: int, *arguments: Argument, path: Path = None) -> Result:
        """Append the system call `nr`; `name` and `path` word its failure."""
        return self.op(OP_SYSCALL, nr, arguments, name, path)

    def tolerate(self, result: Result, *errnos: int, skip: int = 0) -> None:
        """Let an appended call fail with one of (at most two) errnos; the next `skip` calls are then passed over."""
        at = (result & REFERENCE) * _WORDS
        word = self._words[at] & 0xFFFF | skip << _SKIP
        for error, shift in zip(errnos, _OK, strict=False):
            word |= error << shift
        self._words[at] = word

    def count_since(self, result: Result) -> int:
        """How many calls were appended after this one."""
        return len(self.names) - (result & REFERENCE) - 1

    def send_back(self, result: Result) -> None:
        """The reply brings the descriptor that this call returned."""
        self._words[(result & REFERENCE) * _WORDS + 1] |= _BACK
        self.back.append(result & REFERENCE)

    def skip(self) -> Result:
        """Pass over the calls up to end_skip()."""
        return self.op(OP_SKIP, 0, (), "skip")

    def end_skip(self, skip: Result) -> None:
        """Where a skip() leads to."""
        self.tolerate(skip, skip=self.count_since(skip))

    def each(self, rows: Sequence[Sequence[str | int]]) -> Result:
        """Run the calls up to end_each() for each of `rows`, all of one length and at least one; item(column) stands for
        what is in the row. A call that fails is worded with the row's path: give them as `path=[...]`."""
        words: list[int] = []
        texts: list[int] = []
        for row in rows:
            for value in row:
                if type(value) is not int:
                    texts.append(8 * len(words))
                    value = self.text(value) & REFERENCE  # type: ignore[arg-type]
                words.append(value)
        place = self.put(struct.pack(f"={len(words)}q", *words))
        self.relocations += [(place & REFERENCE) + at for at in texts]
        return self.op(OP_EACH, len(rows), (place, len(rows[0])), "each")

    def end_each(self, each: Result) -> None:
        """The end of what each() repeats."""
        count = self.count_since(each)
        self.tolerate(each, skip=count)
        self.repeats += count * (self._words[(each & REFERENCE) * _WORDS + 1] - 1)

    def expect(
        self, place: Data, at: int, size: int, value: int, error: int, *, equal: bool = True, ignore: int = 0
    ) -> Result:
        """Fail with `error` unless the `size` bytes at `place`+`at`, but for the bits `ignore`, are (or with equal=False:
        are not) `value`."""
        arguments = (place + at, size, int(equal), value, ignore)
        return self.op(OP_EXPECT, error, arguments, "expect")

    def expect_same(self, result: Result, other: Result, error: int) -> Result:
        """Fail with `error` unless both calls returned the same."""
        return self.op(OP_EXPECT, error, (result, 0, 1, other), "expect")

    def openat2(
        self, dirfd: Argument, path: Argument, flags: int, *, mode: int = 0, resolve: int = 0, name: Path = None
    ) -> Result:
        """openat2(2) with O_CLOEXEC. An item() for `path` needs a `name` to be worded with."""
        how = self.put(_OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve))
        return self.call("openat2", sysnr.OPENAT2, dirfd, path, how, 24, path=name or path)  # type: ignore[arg-type]

    def open_tree(self, dirfd: Argument, path: Argument, flags: int, name: Path = None) -> Result:
        """open_tree(2) with OPEN_TREE_CLOEXEC. An item() for `path` needs a `name` to be worded with."""
        return self.call(
            "open_tree", sysnr.OPEN_TREE, dirfd, path, flags | os.O_CLOEXEC, path=name or path  # type: ignore[arg-type]
        )

    def move_mount(self, mount: Argument, target: Argument, path: Path = None) -> Result:
        """move_mount(2) of a detached mount onto the object that descriptor `target` refers to."""
        flags = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        return self.call("move_mount", sysnr.MOVE_MOUNT, mount, "", target, "", flags, path=path)

    def mount_setattr(
        self,
        fd: Argument,
        *,
        attr_set: int = 0,
        attr_clr: int = 0,
        propagation: int = 0,
        userns_fd: int = 0,
        recursive: bool = False,
        path: Path = None,
    ) -> Result:
        """mount_setattr(2) on the mount that `fd` refers to."""
        attr = self.put(struct.pack("=4Q", attr_set, attr_clr, propagation, userns_fd))
        flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
        return self.call("mount_setattr", sysnr.MOUNT_SETATTR, fd, "", flags, attr, 32, path=path)

    def mount(
        self, source: str, target: str, fstype: str, flags: int, data: str = "", *, path: str | None = None
    ) -> Result:
        """mount(2)."""
        return self.call(
            "mount", sysnr.MOUNT, source, target, fstype, flags, data or 0, path=path or target
        )

    def mount_on(
        self, directory: Argument, source: str, fstype: Argument, flags: int, data: Argument, name: Path = None
    ) -> Result:
        """mount(2) on the directory behind a descriptor: fchdir(2) pins it. The working directory changes."""
        self.call("fchdir", sysnr.FCHDIR, directory, path=name or source)
        return self.call("mount", sysnr.MOUNT, source, ".", fstype, flags, data or 0, path=name or source)

    def fsopen(self, fstype: str) -> Result:
        """fsopen(2) with FSOPEN_CLOEXEC."""
        return self.call("fsopen", sysnr.FSOPEN, fstype, 1, path=fstype)

    def fsconfig(self, context: Argument, key: str, value: str | None = None) -> Result:
        """fsconfig(2): set a string (FSCONFIG_SET_STRING) or a flag (FSCONFIG_SET_FLAG)."""
        if value is None:
            return self.call("fsconfig", sysnr.FSCONFIG, context, 0, key, 0, 0, path=key)
        return self.call("fsconfig", sysnr.FSCONFIG, context, 1, key, value, 0, path=f"{key}={value}")

    def fsmount(self, context: Argument, attributes: int, fstype: str) -> Result:
        """fsconfig(2) FSCONFIG_CMD_CREATE and fsmount(2) with FSMOUNT_CLOEXEC: a detached mount."""
        self.call("fsconfig", sysnr.FSCONFIG, context, 6, 0, 0, 0, path=fstype)
        return self.call("fsmount", sysnr.FSMOUNT, context, 1, attributes, path=fstype)

    def close(self, fd: Argument) -> Result:
        """close(2)."""
        return self.call("close", sysnr.CLOSE, fd)

    def close_range(self, first: int, last: int) -> Result:
        """close_range(2)."""
        return self.call("close_range", sysnr.CLOSE_RANGE, first, last, 0)

    def write_file(self, dirfd: Argument, path: str, content: str | bytes, *, name: str | None = None) -> Result:
        """Open (O_WRONLY) a file of procfs below `dirfd`, write `content` in one call, close it."""
        data = os.fsencode(content)
        fd = self.call("openat", sysnr.OPENAT, dirfd, path, os.O_WRONLY | os.O_CLOEXEC, 0, path=name or path)
        self.call("write", sysnr.WRITE, fd, data, len(data), path=name or path)
        return self.close(fd)

    # -- wire

    def encode(self, flags: int = 0) -> bytes:
        """The request's head and payload."""
        data = self.data
        calls_off = len(data) + (-len(data) % 8)
        data += bytes(calls_off - len(data))
        relocations = struct.pack(f"={len(self.relocations)}I", *self.relocations)
        calls = struct.pack(f"={len(self._words)}q", *self._words)
        size = calls_off + len(calls) + len(relocations)
        head = (size, len(self.names), len(self.relocations), calls_off, *self.out_range, flags, 0)
        return b"".join((_REQUEST.pack(*head), data, calls, relocations))


def _bytes(content: str | bytes) -> bytes:
    if type(content) is bytes:
        return content
    try:
        return str(content).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as err:
        raise Error(f"{content!r} is no text that a system call takes") from err


class StepError(SyscallError):
    """A call of a batch failed; `index` says which."""

    def __init__(self, call: str, errno: int, filename: str | None, index: int) -> None:
        super().__init__(call, errno, filename)
        self.index = index


class Channel:
    """The socket to a process that serves batches."""

    __slots__ = ("socket",)

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket

    def send(self, batch: Batch, flags: int = 0) -> None:
        """Send without waiting for the answer."""
        message = batch.encode(flags)
        try:
            sent = self._send_head(message, batch.fds) if batch.fds else 0
            while sent < len(message):
                sent += self.socket.send(message[sent:] if sent else message, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise InitError(DIED) from None

    def _send_head(self, message: bytes, fds: list[int]) -> int:
        rights = struct.pack(f"={len(fds)}i", *fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
        return self.socket.sendmsg([message[: _REQUEST.size]], ancillary, _socket.MSG_NOSIGNAL)

    def receive(self, batch: Batch) -> Reply:
        """The answer to a batch that was sent; raises StepError for its first failing call."""
        head, fds = self._head()
        try:
            return self._reply(batch, head, fds)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def _reply(self, batch: Batch, head: bytes, fds: list[int]) -> Reply:
        head += self._read(_REPLY.size - len(head))
        failed, error, ncalls, row, nfds, *sent = _REPLY.unpack(head)
        if ncalls != len(batch) or nfds > MAX_FDS or failed >= ncalls:
            raise InitError(NOT_ASKED)
        results = struct.unpack(f"={ncalls}q", self._read(8 * ncalls))
        data = self._read(batch.out_range[1])
        if failed >= 0:
            name, path = batch.names[failed]
            if isinstance(path, (list, tuple)):
                if row >= len(path):
                    raise InitError(NOT_ASKED)
                path = path[row]
            raise StepError(name, error, path, failed)
        if len(fds) != sum(results[index] >= 0 for index in batch.back):
            raise SyscallError("recvmsg", EMFILE)  # the kernel drops those that we have no room for
        return Reply(results, data, tuple(sent[:nfds]), fds)

    def run(self, batch: Batch) -> Reply:
        """Send, and wait for the answer."""
        self.send(batch)
        return self.receive(batch)

    def go(self) -> None:
        """Answer an OP_SYNC: init may go on."""
        try:
            self.socket.send(b"g", _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise InitError(DIED) from None

    def close(self) -> None:
        self.socket.close()

    def _head(self) -> tuple[bytes, list[int]]:
        try:
            head, ancillary, _, _ = self.socket.recvmsg(
                _REPLY.size, _socket.CMSG_SPACE(4 * MAX_FDS), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            raise InitError(DIED) from None
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds.extend(struct.unpack(f"={len(payload) // 4}i", payload))
        return head, fds

    def _read(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            try:
                part = self.socket.recv(size - len(content))
            except ConnectionResetError:
                raise InitError(DIED) from None
            if not part:
                raise InitError(DIED)
            content += part
        return content


def spawn(fds: tuple[int, ...]) -> tuple[Channel, int]:
    """Start nsexec with `fds` as its descriptors 0..n-1: the channel to it, and its pid (our child)."""
    from libcontainer import syscalls

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        pid = syscalls.spawn(fds, theirs.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    if is_cramped(len(fds)):
        from libcontainer import rlimits

        rlimits.make_room(pid, len(fds) + DESCRIPTORS)
    return Channel(ours), pid


def is_cramped(passed: int) -> bool:
    """Is our soft RLIMIT_NOFILE too low for the numbers that init uses? rlimits.apply() gives it back to the program."""
    return 0 <= os.sysconf("SC_OPEN_MAX") < passed + DESCRIPTORS
