"""Batches on the wire, read back by a decoder written from protocol.h; and a channel whose other end does not behave."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from libcontainer.errors import Error, InitError, SyscallError, describe
from libcontainer.remote import (
    AT_FDCWD,
    CONTINUE,
    MAX_FDS,
    OP_EACH,
    OP_HOOK,
    OP_LABEL,
    TAG_DATA,
    TAG_FD,
    TAG_RESULT,
    Batch,
    Channel,
    Reply,
    StepError,
    item,
    spawn,
)
from tests.init_process import CALL, REPLY, REQUEST


class Decoded:
    """A request, taken apart."""

    def __init__(self, request: bytes) -> None:
        size, ncalls, nrelocs, calls_off, result_off, result_len, self.flags, pad = REQUEST.unpack(request[:32])
        self.payload = request[32:]
        assert (len(self.payload), pad, calls_off % 8) == (size, 0, 0)
        end = calls_off + 64 * ncalls
        assert end + 4 * nrelocs == size
        self.calls = [CALL.unpack_from(self.payload, at) for at in range(calls_off, end, 64)]
        self.relocations = list(struct.unpack_from(f"={nrelocs}I", self.payload, end))
        self.out = (result_off, result_len)
        assert result_off + result_len <= calls_off

    def arguments(self, index: int) -> tuple[int, ...]:
        return self.calls[index][9:]

    def unrolled(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """op, nr and arguments of every call as it is made: what OP_EACH repeats as often as there are rows."""
        found = []
        index = 0
        while index < len(self.calls):
            op, _, _, skip, nr, *_ = self.calls[index]
            if op != OP_EACH:
                found.append((op, nr, self.arguments(index)))
                index += 1
                continue
            body = range(index + 1, index + 1 + skip)
            for row in self.rows(index):
                for i in body:
                    made = tuple(row[a & 0xFFFFFFFF] if a >> 48 == 0x7A04 else a for a in self.arguments(i))
                    found.append((self.calls[i][0], self.calls[i][4], made))
            index = body.stop
        return found

    def rows(self, index: int) -> list[list[int]]:
        """The rows of an OP_EACH, texts as arguments that text() takes."""
        place, width, *_ = self.arguments(index)
        at, count = place & 0xFFFFFFFF, self.calls[index][4]
        words = struct.unpack_from(f"={count * width}Q", self.payload, at)
        values = [0x7A01 << 48 | word if at + 8 * i in self.relocations else word for i, word in enumerate(words)]
        return [values[i : i + width] for i in range(0, len(values), width)]

    def text(self, argument: int) -> bytes:
        assert argument >> 48 == 0x7A01
        return self.text_at(argument & 0xFFFFFFFF)

    def text_at(self, at: int) -> bytes:
        return self.payload[at : self.payload.index(b"\0", at)]

    def vector(self, argument: int) -> list[bytes]:
        """An array of pointers, each of which has its relocation."""
        at = argument & 0xFFFFFFFF
        found = []
        while (pointer := struct.unpack_from("=Q", self.payload, at)[0]) or at in self.relocations:
            assert at in self.relocations
            assert at % 8 == 0
            found.append(self.text_at(pointer))
            at += 8
        return found


def decoded(batch: Batch, flags: int = 0) -> Decoded:
    return Decoded(batch.encode(flags))


def test_a_call() -> None:
    batch = Batch()
    first = batch.call("openat", 257, AT_FDCWD, "/etc/passwd", os.O_RDONLY, 0)
    second = batch.call("fchown", 93, first, -1, 5)
    batch.tolerate(second, 1, 30, skip=9)
    batch.send_back(first)
    request = decoded(batch, CONTINUE)
    assert request.flags == 1
    (op, ok0, ok1, skip, nr, back, *_), (_, *tolerance, _, not_back, _, _, _) = [call[:9] for call in request.calls]
    assert (op, ok0, ok1, skip, nr, back) == (0, 0, 0, 0, 257, 1)
    assert tolerance == [1, 30, 9]
    assert not_back == 0
    fd, path, flags, mode, *rest = request.arguments(0)
    assert (fd, flags, mode, rest) == (2**64 - 100, 0, 0, [0, 0])
    assert request.text(path) == b"/etc/passwd"
    assert request.arguments(1)[:3] == (TAG_RESULT | 0, 2**64 - 1, 5)


def test_a_loop() -> None:
    batch = Batch()
    batch.call("umask", 95, 0)
    each = batch.each([("a", 1), ("b", 2), ("a", 3)])
    made = batch.call("mkdirat", 258, 5, item(0), item(1), path=["x", "y", "z"])
    batch.tolerate(made, 17, skip=1)
    batch.call("close", 3, made)
    batch.end_each(each)
    batch.call("umask", 95, 18)
    request = decoded(batch)
    calls = [(nr, arguments) for _, nr, arguments in request.unrolled()]
    assert [nr for nr, _ in calls] == [95, 258, 3, 258, 3, 258, 3, 95]
    assert [(request.text(a[1]), a[2]) for nr, a in calls if nr == 258] == [(b"a", 1), (b"b", 2), (b"a", 3)]
    assert (len(batch), batch.repeats) == (5, 4)


def test_a_loop_is_worded_with_the_path_of_its_row() -> None:
    batch = Batch()
    each = batch.each([(1,), (2,)])
    batch.call("fchdir", 81, item(), path=["first", "second"])
    batch.end_each(each)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(REPLY.pack(1, 20, 2, 1, 0, *[0] * MAX_FDS) + struct.pack("=2q", 0, -20))
        with pytest.raises(StepError) as caught:
            Channel(ours).receive(batch)
    assert (caught.value.call, caught.value.filename, caught.value.errno) == ("fchdir", "second", 20)


def test_equal_texts_share_their_place() -> None:
    batch = Batch()
    places = [batch.text(text) for text in ("same", "other", b"same", "same")]
    assert places[0] == places[3]
    assert places[0] != places[1]


def test_texts_are_bytes_of_the_file_system() -> None:
    batch = Batch()
    batch.call("chdir", 80, os.fsdecode(b"/caf\xe9/\xff"))
    batch.call("chdir", 80, "/café")
    request = decoded(batch)
    assert [request.text(request.arguments(i)[0]) for i in (0, 1)] == [b"/caf\xe9/\xff", "/café".encode()]


@pytest.mark.parametrize("text", ["a\0b", b"a\0b", "\ud800"])
def test_what_no_system_call_takes(text: str | bytes) -> None:
    batch = Batch()
    with pytest.raises(Error):
        batch.call("chdir", 80, text)


def test_vectors_and_pointers() -> None:
    batch = Batch()
    odd = batch.put(b"odd")
    batch.op(OP_HOOK, 0, ("/bin/sh", batch.vector(["sh", "-c", "x"]), batch.vector([]), 0, 1, 2), "hook")
    head = batch.put(struct.pack("=QQ", 7, odd & 0xFFFFFFFF))
    batch.pointer(head, 8)
    request = decoded(batch)
    assert request.vector(request.arguments(0)[1]) == [b"sh", b"-c", b"x"]
    assert request.vector(request.arguments(0)[2]) == []
    assert (head & 0xFFFFFFFF) + 8 in request.relocations


def test_room_for_results() -> None:
    batch = Batch()
    batch.put(b"123")
    place = batch.out(100)
    assert decoded(batch).out == (place & 0xFFFFFFFF, 100)


def test_descriptors_are_numbered_in_order() -> None:
    batch = Batch()
    assert [batch.local(fd) for fd in (7, 5, 7)] == [TAG_FD | i for i in range(3)]
    assert batch.fds == [7, 5, 7]


def test_skips() -> None:
    batch = Batch()
    batch.close(1)
    skip = batch.skip()
    batch.close(2)
    batch.close(3)
    batch.end_skip(skip)
    assert [call[3] for call in decoded(batch).calls] == [0, 2, 0, 0]
    assert batch.count_since(skip) == 2


def test_the_fields_of_structures() -> None:
    batch = Batch()
    batch.openat2(3, "name", os.O_PATH, mode=0o600, resolve=0x10)
    batch.mount_setattr(4, attr_set=1, attr_clr=2, propagation=3, userns_fd=5, recursive=True)
    request = decoded(batch)
    _, path, how, size, *_ = request.arguments(0)
    assert request.text(path) == b"name"
    assert struct.unpack_from("=3Q", request.payload, how & 0xFFFFFFFF) == (os.O_PATH | os.O_CLOEXEC, 0o600, 0x10)
    assert size == 24
    _, empty, flags, attr, size, *_ = request.arguments(1)
    assert (request.text(empty), flags, size) == (b"", 0x1000 | 0x8000, 32)
    assert struct.unpack_from("=4Q", request.payload, attr & 0xFFFFFFFF) == (1, 2, 3, 5)


def test_a_label_is_data() -> None:
    batch = Batch()
    batch.op(OP_LABEL, 0, ("pyrunc: x",), "label")
    assert decoded(batch).arguments(0)[0] >> 48 == TAG_DATA >> 48


# -- the channel


class Liar:
    """The other end of a channel: it answers what it likes."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        ours.settimeout(60)
        self.channel = Channel(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.socket.close()

    def says(self, failed: int, error: int, ncalls: int, nfds: int = 0, rest: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        message = REPLY.pack(failed, error, ncalls, 0, nfds, *[0] * MAX_FDS) + rest
        socket.send_fds(self.socket, [message], list(fds))


def one_call() -> Batch:
    batch = Batch()
    batch.call("close", 3, 1, path="it")
    return batch


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_an_answer() -> None:
    with Liar() as liar:
        batch = one_call()
        batch.out(3)
        liar.says(-1, 0, 1, 1, struct.pack("=q", -5) + b"abc")
        reply = liar.channel.receive(batch)
        assert isinstance(reply, Reply)
        assert (reply.results, reply.data, reply.sent, reply.fds) == ((-5,), b"abc", (0,), [])


def test_an_answer_in_pieces() -> None:
    with Liar() as liar:
        whole = REPLY.pack(-1, 0, 1, 0, 0, *[0] * MAX_FDS) + struct.pack("=q", 9)

        def dribble() -> None:
            for i in range(0, len(whole), 7):
                liar.socket.sendall(whole[i : i + 7])

        thread = threading.Thread(target=dribble)
        thread.start()
        assert liar.channel.receive(one_call()).results == (9,)
        thread.join()


def test_a_failure_is_named() -> None:
    with Liar() as liar:
        liar.says(0, 2, 1, rest=bytes(8))
        with pytest.raises(StepError) as caught:
            liar.channel.receive(one_call())
        assert describe(caught.value) == "close it: no such file or directory"
        assert (caught.value.call, caught.value.index) == ("close", 0)


@pytest.mark.parametrize(
    "answer",
    [
        (-1, 0, 0xFFFFFFFF),  # 32 GiB of results are not read
        (-1, 0, 2),
        (-1, 0, 0),
        (1, 1, 1),
        (2**31 - 1, 1, 1),
        (-1, 0, 1, MAX_FDS + 1),
    ],
)
def test_answers_to_something_else(answer: tuple[int, ...]) -> None:
    with Liar() as liar:
        before = open_descriptors()
        liar.says(*answer, rest=bytes(8), fds=(0, 1))  # type: ignore[arg-type,misc]
        with pytest.raises(InitError, match="something else"):
            liar.channel.receive(one_call())
        assert open_descriptors() == before


def test_a_row_that_was_not_asked_for() -> None:
    with Liar() as liar:
        batch = Batch()
        each = batch.each([("one",), ("two",)])
        batch.openat2(3, item(), os.O_PATH, name=["one", "two"])
        batch.end_each(each)
        liar.socket.sendall(REPLY.pack(1, 2, 2, 2, 0, *[0] * MAX_FDS) + bytes(16))
        with pytest.raises(InitError, match="something else"):
            liar.channel.receive(batch)


def test_descriptors_that_nobody_asked_for() -> None:
    with Liar() as liar:
        before = open_descriptors()
        liar.says(-1, 0, 1, rest=bytes(8), fds=(0, 1, 2))
        with pytest.raises(SyscallError):
            liar.channel.receive(one_call())
        assert open_descriptors() == before


def test_descriptors_that_do_not_come() -> None:
    """The kernel drops them where the receiver has reached its limit (unix(7))."""
    with Liar() as liar:
        batch = one_call()
        batch.send_back(TAG_RESULT | 0)
        liar.says(-1, 0, 1, rest=struct.pack("=q", 5))
        with pytest.raises(SyscallError, match="[Tt]oo many open files"):
            liar.channel.receive(batch)


def test_a_call_that_was_tolerated_sends_nothing_back() -> None:
    with Liar() as liar:
        batch = one_call()
        batch.send_back(TAG_RESULT | 0)
        liar.says(-1, 0, 1, rest=struct.pack("=q", -2))
        assert liar.channel.receive(batch).fds == []


@pytest.mark.parametrize("said", [b"", b"short", REPLY.pack(-1, 0, 1, 0, 0, *[0] * MAX_FDS) + b"1234"])
def test_an_end_in_the_middle(said: bytes) -> None:
    with Liar() as liar:
        liar.socket.sendall(said)
        liar.socket.close()
        with pytest.raises(InitError, match="init died before it was set up"):
            liar.channel.receive(one_call())


def test_an_end_with_something_unread() -> None:
    """Then the kernel says ECONNRESET."""
    with Liar() as liar:
        liar.channel.send(one_call())
        liar.socket.close()
        with pytest.raises(InitError, match="init died"):
            liar.channel.receive(one_call())


def test_nobody_there() -> None:
    with Liar() as liar:
        liar.socket.close()
        actions: list[Any] = [lambda: liar.channel.send(one_call()), liar.channel.go]
        for action in actions:
            with pytest.raises(InitError, match="init died"):
                action()


def test_spawn() -> None:
    """Descriptors 0..n-1 and the socket are all that it has; none of ours is left with it."""
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    before = open_descriptors()
    channel, pid = spawn((inherited, inherited, inherited, inherited))
    assert channel.run(one_call()).results == (0,)
    assert sorted(os.listdir(f"/proc/{pid}/fd"), key=int) == ["0", "2", "3", "4"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    channel.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert open_descriptors() <= before + 1  # the sealed program, once a process
    os.close(inherited)


@pytest.mark.parametrize("fds", [(), (0,), (2, 1, 0), (1, 1, 1, 1), tuple([0] * 500)])
def test_spawn_with_any_number_of_descriptors(fds: tuple[int, ...]) -> None:
    channel, pid = spawn(fds)
    channel.run(Batch())  # while it begins to run it still has what execve(2) is about to close
    assert len(os.listdir(f"/proc/{pid}/fd")) == len(fds) + 1
    assert [os.readlink(f"/proc/{pid}/fd/{i}") for i in range(len(fds))] == [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
    channel.close()
    os.waitpid(pid, 0)


def test_spawn_of_what_is_not_open() -> None:
    before, running = open_descriptors(), children()
    with pytest.raises(SyscallError, match="Bad file descriptor"):
        spawn((0, 1, 4000))
    assert open_descriptors() <= before + 1
    with pytest.raises(SyscallError):
        spawn(tuple([0] * 5000))
    assert children() == running
