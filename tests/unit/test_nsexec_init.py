"""The init, built with sanitizers, spoken to over its protocol: every operation, every failure, malformed requests."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from libcontainer import sysnr
from libcontainer.errors import InitError
from libcontainer.program import QUOTED
from libcontainer.remote import (
    ANY_ERROR,
    AT_FDCWD,
    CONTINUE,
    HOOK_STATUS,
    MAX_FDS,
    OP_CLONE,
    OP_DETACH,
    OP_EACH,
    OP_EXEC,
    OP_HOOK,
    OP_LABEL,
    OP_PLAIN,
    OP_SYNC,
    OP_SYSCALL,
    TAG_DATA,
    TAG_FD,
    TAG_ITEM,
    TAG_RESULT,
    Batch,
    StepError,
    item,
)
from libcontainer.syscalls import RESOLVE_IN_ROOT
from tests.init_process import REPLY, REQUEST, Init, call, embedded, renames, request

SH = "/bin/sh"
F_GETFD, F_DUPFD_CLOEXEC = 1, 1030
NO_FD = 999_999
UNKNOWN_OP = 77


def failure(init: Init, batch: Batch) -> StepError:
    with pytest.raises(StepError) as caught:
        init.channel.run(batch)
    return caught.value


def bad(batch: Batch) -> int:
    """A call that fails with EBADF."""
    return batch.call("close", sysnr.CLOSE, NO_FD)


# -- calls, results, data


def test_results_come_back_and_serve_later_calls(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with Init() as init:
        batch = Batch()
        room = batch.out(7)
        fd = batch.call("openat", sysnr.OPENAT, AT_FDCWD, str(tmp_path / "file"), os.O_RDONLY, 0)
        read = batch.call("read", sysnr.READ, fd, room, 7)
        closed = batch.close(fd)
        reply = init.channel.run(batch)
        assert reply[fd] > 2
        assert (reply[read], reply[closed], reply.data) == (7, 0, b"content")
        assert reply.fds == []


def test_requests_follow_each_other() -> None:
    with Init() as init:
        for mask in (0o22, 0o77, 0):
            batch = Batch()
            batch.call("umask", sysnr.UMASK, mask)
            last = init.channel.run(batch)
        assert last.results == (0o77,)


def test_an_empty_request_is_answered() -> None:
    with Init() as init:
        assert init.channel.run(Batch()).results == ()


def test_large_data_both_ways(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    with Init() as init:
        batch = Batch()
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        fd = batch.call("openat", sysnr.OPENAT, AT_FDCWD, str(tmp_path / "file"), flags, 0o600)
        batch.call("write", sysnr.WRITE, fd, batch.put(content), len(content))
        batch.call("lseek", sysnr.LSEEK, fd, 0, 0)
        batch.call("read", sysnr.READ, fd, batch.out(len(content)), len(content))
        assert init.channel.run(batch).data == content
    assert (tmp_path / "file").read_bytes() == content


def test_vectors_are_relocated(tmp_path: Path) -> None:
    with Init() as init:
        batch = Batch()
        script = f'echo "$1" "$X" > {tmp_path}/said'
        vectors = batch.vector(["sh", "-c", script, "sh", "one"]), batch.vector(["X=two"])
        batch.op(OP_HOOK, 0, (SH, *vectors, 0, 1, 2), "hook")
        init.channel.run(batch)
    assert (tmp_path / "said").read_text() == "one two\n"


# -- loops


def test_a_loop_runs_its_calls_for_each_row(tmp_path: Path) -> None:
    rows = [("one", 0o700), ("two", 0o711), ("three", 0o755)]
    with Init() as init:
        batch = Batch()
        top = batch.openat2(AT_FDCWD, str(tmp_path), os.O_PATH)
        each = batch.each(rows)
        batch.call("mkdirat", sysnr.MKDIRAT, top, item(0), item(1))
        batch.call("symlinkat", sysnr.SYMLINKAT, item(0), top, item(0))
        batch.tolerate(each + 2, errno.EEXIST)
        batch.end_each(each)
        batch.call("mkdirat", sysnr.MKDIRAT, top, "last", 0o700)
        init.channel.run(batch)
    assert {entry.name: entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {**dict(rows), "last": 0o700}


def test_what_a_loop_tolerates_skips_in_its_row() -> None:
    """The second close would fail in every row; after the last row it must not be entered either."""
    with Init() as init:
        batch = Batch()
        each = batch.each([(NO_FD,), (NO_FD,)])
        first = batch.call("close", sysnr.CLOSE, item())
        bad(batch)
        batch.tolerate(first, errno.EBADF, skip=1)
        batch.end_each(each)
        last = batch.call("umask", sysnr.UMASK, 0)
        assert init.channel.run(batch)[last] >= 0


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_row_that_fails_is_the_one_that_is_named(rows: int, tmp_path: Path) -> None:
    names = [str(tmp_path / f"{i}") for i in range(rows)]
    for name in names[:-1]:
        Path(name).touch()
    with Init() as init:
        batch = Batch()
        each = batch.each([(name,) for name in names])
        batch.openat2(AT_FDCWD, item(), os.O_PATH, name=names)
        batch.end_each(each)
        assert failure(init, batch).filename == names[-1]


def test_there_is_no_loop_in_a_loop() -> None:
    with Init() as init:
        batch = Batch()
        outer = batch.each([(1,), (2,)])
        inner = batch.each([(1,)])
        batch.call("umask", sysnr.UMASK, 0)
        batch.end_each(inner)
        batch.end_each(outer)
        assert failure(init, batch).errno == errno.EBADMSG


def up_and_down(tmp_path: Path) -> str:
    """A path through a symlink with "..", and room for renames() beside it."""
    (tmp_path / "root/run/target").mkdir(parents=True)
    (tmp_path / "root/var").mkdir()
    (tmp_path / "root/var/run").symlink_to("../run")
    (tmp_path / "elsewhere").mkdir()
    return "var/run/target"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_paths_with_dots_while_something_is_renamed(tmp_path: Path) -> None:
    """Each resolution fails with EAGAIN in one of some hundred cases; here are 20,000."""
    path = up_and_down(tmp_path)
    with Init() as init, renames(tmp_path / "elsewhere"):
        batch = Batch()
        top = batch.openat2(AT_FDCWD, str(tmp_path / "root"), os.O_PATH)
        each = batch.each([(path,)] * 1000)
        batch.close(batch.openat2(top, item(), os.O_PATH, resolve=RESOLVE_IN_ROOT, name=path))
        batch.end_each(each)
        batch.close(top)
        for _ in range(20):
            init.channel.run(batch)


# -- failures


def test_the_first_failure_ends_the_batch_and_names_its_call() -> None:
    with Init() as init:
        batch = Batch()
        batch.call("umask", sysnr.UMASK, 0)
        batch.call("close", sysnr.CLOSE, NO_FD, path="the name")
        batch.call("umask", sysnr.UMASK, 0o77)
        error = failure(init, batch)
        assert (error.call, error.errno, error.filename, error.index) == ("close", errno.EBADF, "the name", 1)
        after = Batch()
        after.call("umask", sysnr.UMASK, 0)
        assert init.channel.run(after).results == (0,)


def test_tolerated_errors_and_what_they_skip() -> None:
    with Init() as init:
        batch = Batch()
        batch.call("umask", sysnr.UMASK, 0)
        first, second, third = bad(batch), bad(batch), bad(batch)
        batch.tolerate(first, errno.EBADF, skip=1)  # over the second, which tolerates nothing
        batch.tolerate(third, errno.EPERM, errno.EBADF)
        fourth = bad(batch)
        batch.tolerate(fourth, ANY_ERROR)
        last = batch.call("umask", sysnr.UMASK, 0)
        reply = init.channel.run(batch)
        assert [reply[r] for r in (first, second, third, fourth, last)] == [-errno.EBADF, 0, -errno.EBADF, -errno.EBADF, 0]


def test_an_error_that_is_not_tolerated() -> None:
    with Init() as init:
        batch = Batch()
        batch.tolerate(bad(batch), errno.EPERM, errno.ENOENT, skip=3)
        assert failure(init, batch).errno == errno.EBADF


def test_success_skips_nothing() -> None:
    with Init() as init:
        batch = Batch()
        batch.tolerate(batch.call("umask", sysnr.UMASK, 0), errno.EPERM, skip=1)
        bad(batch)
        assert failure(init, batch).index == 1


def test_skip() -> None:
    with Init() as init:
        batch = Batch()
        skip = batch.skip()
        bad(batch)
        bad(batch)
        batch.end_skip(skip)
        batch.call("umask", sysnr.UMASK, 0o11)
        batch.call("umask", sysnr.UMASK, 0)
        assert init.channel.run(batch).results[-1] == 0o11


def test_skipping_past_the_end_ends_the_batch() -> None:
    with Init() as init:
        batch = Batch()
        batch.tolerate(batch.skip(), skip=0x7FFF)
        bad(batch)
        assert init.channel.run(batch).results == (0, 0)


def test_continue_after_a_failure() -> None:
    """Requests sent ahead are refused until one comes that does not continue the failed one."""
    with Init() as init:
        failing, ahead, also, fresh, end = (Batch() for _ in range(5))
        bad(failing)
        ahead.call("umask", sysnr.UMASK, 0o77)
        also.call("umask", sysnr.UMASK, 0o77)
        fresh.call("umask", sysnr.UMASK, 0o55)
        end.call("umask", sysnr.UMASK, 0)
        init.channel.send(failing)
        for batch in (ahead, also):
            init.channel.send(batch, CONTINUE)
        init.channel.send(fresh)
        init.channel.send(end, CONTINUE)
        errors = []
        for batch in (failing, ahead, also):
            with pytest.raises(StepError) as caught:
                init.channel.receive(batch)
            errors.append((caught.value.errno, caught.value.index))
        assert errors == [(errno.EBADF, 0), (errno.ECANCELED, 0), (errno.ECANCELED, 0)]
        assert init.channel.receive(fresh).results[0] != 0o77
        assert init.channel.receive(end).results == (0o55,)


# -- descriptors


def test_descriptors_there_and_back(tmp_path: Path) -> None:
    files = [os.open(tmp_path / str(i), os.O_RDWR | os.O_CREAT, 0o600) for i in range(MAX_FDS)]
    with Init() as init:
        batch = Batch()
        for i, fd in enumerate(files):
            batch.call("write", sysnr.WRITE, batch.local(fd), str(i), len(str(i)))
        for i in range(MAX_FDS):
            flags = batch.call("fcntl", sysnr.FCNTL, TAG_FD | i, F_GETFD, 0)
            duplicate = batch.call("fcntl", sysnr.FCNTL, TAG_FD | i, F_DUPFD_CLOEXEC, 200)
            batch.send_back(duplicate)
        reply = init.channel.run(batch)
        assert len(reply.sent) == len(set(reply.sent)) == MAX_FDS
        assert reply[flags] == 1, "close-on-exec"
        assert [os.fstat(fd).st_ino for fd in reply.fds] == [os.fstat(fd).st_ino for fd in files]
        assert not any(os.get_inheritable(fd) for fd in reply.fds)
        assert [(tmp_path / str(i)).read_text() for i in range(MAX_FDS)] == [str(i) for i in range(MAX_FDS)]
        for fd in [*files, *reply.fds]:
            os.close(fd)


def test_a_failed_batch_sends_no_descriptor() -> None:
    with Init() as init:
        before = len(os.listdir("/proc/self/fd"))
        batch = Batch()
        batch.send_back(batch.call("fcntl", sysnr.FCNTL, 0, F_DUPFD_CLOEXEC, 0))
        bad(batch)
        assert failure(init, batch).index == 1
        assert len(os.listdir("/proc/self/fd")) == before


# -- the other operations


def test_sync_waits_for_go() -> None:
    with Init() as init:
        batch = Batch()
        first = batch.call("umask", sysnr.UMASK, 0o31)
        batch.op(OP_SYNC, 0, (), "sync")
        second = batch.call("umask", sysnr.UMASK, 0)
        init.channel.send(batch)
        half = init.channel.receive(batch)
        assert half.results[1:] == (0, 0)
        init.channel.go()
        whole = init.channel.receive(batch)
        assert (whole[first], whole[second]) == (half[first], 0o31)


def test_a_peer_that_goes_away_during_sync() -> None:
    init = Init()
    batch = Batch()
    batch.op(OP_SYNC, 0, (), "sync")
    init.channel.send(batch)
    init.channel.receive(batch)
    init.socket.close()
    assert init.end() == (1, "")


def test_expect() -> None:
    with Init() as init:
        for size, value, given, equal, passes in (
            (4, 7, 7, True, True),
            (4, 7, 8, True, False),
            (4, 7, 8, False, True),
            (4, 7, 7, False, False),
            (1, 0xAABB, 0xBB, True, True),  # one byte of it
            (8, 1 << 40, 1 << 40, True, True),
        ):
            batch = Batch()
            place = batch.put(struct.pack("=Q", value))
            batch.expect(place, 0, size, given, errno.EXDEV, equal=equal)
            if passes:
                init.channel.run(batch)
            else:
                assert failure(init, batch).errno == errno.EXDEV


def test_expect_of_results() -> None:
    with Init() as init:
        batch = Batch()
        _, first, second, third = (batch.call("umask", sysnr.UMASK, mask) for mask in (0o11, 0o22, 0o22, 0))
        batch.expect_same(second, third, errno.EXDEV)
        batch.expect_same(first, third, errno.EXDEV)
        error = failure(init, batch)
        assert (error.index, error.errno) == (5, errno.EXDEV)


def test_expect_without_some_bits() -> None:
    with Init() as init:
        for value, passes in ((0o020666, True), (0o024000, True), (0o060666, False)):
            batch = Batch()
            batch.expect(batch.put(struct.pack("=I", value)), 0, 4, 0o020000, errno.EXDEV, ignore=0o7777)
            if passes:
                init.channel.run(batch)
            else:
                assert failure(init, batch).errno == errno.EXDEV


def test_expect_sees_what_the_kernel_wrote(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    with Init() as init:
        batch = Batch()
        place = batch.put(bytes(8))
        fd = batch.call("openat", sysnr.OPENAT, AT_FDCWD, str(tmp_path / "file"), os.O_RDONLY, 0)
        batch.call("read", sysnr.READ, fd, place, 4)
        batch.expect(place, 2, 2, int.from_bytes(b"cd", "little"), errno.EXDEV)
        init.channel.run(batch)


@pytest.mark.parametrize("arguments", [(TAG_DATA, 9, 1, 0), (TAG_DATA, -1, 1, 0), (0x1000, 8, 1, 0), (0, 8, 1, 0)])
def test_expect_reads_the_payload_and_at_most_a_word(arguments: tuple[int, ...]) -> None:
    with Init() as init:
        batch = Batch()
        batch.put(bytes(8))
        batch.op(7, 0, arguments, "expect")
        assert failure(init, batch).errno == errno.EBADMSG


def test_plain_reads_requests_and_drops_descriptors() -> None:
    with Init() as init:
        batch = Batch()
        batch.op(OP_PLAIN, 0, (), "plain")
        init.channel.run(batch)
        batch = Batch()
        batch.call("umask", sysnr.UMASK, 0)
        init.channel.run(batch)
        batch = Batch()
        batch.call("fcntl", sysnr.FCNTL, batch.local(0), F_GETFD, 0)
        assert failure(init, batch).errno == errno.EBADMSG


def test_the_clone_goes_on_as_our_child() -> None:
    init = Init()
    batch = Batch()
    cloned = batch.op(OP_CLONE, 0, (0,), "clone3", "process")
    pid = init.channel.run(batch)[cloned]
    assert init.process.wait() == 0
    batch = Batch()
    batch.call("umask", sysnr.UMASK, 0)
    init.channel.run(batch)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    init.socket.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert init.end() == (0, "")


def test_a_clone_that_fails_is_an_error_like_others() -> None:
    with Init() as init:
        batch = Batch()
        batch.op(OP_CLONE, 0, (1 << 63 >> 1,), "clone3", "process")
        assert failure(init, batch).errno == errno.EINVAL


def test_signals_are_as_a_new_program_expects_them() -> None:
    previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        with Init() as init:
            batch = Batch()
            init.channel.run(batch)
            status = Path(f"/proc/{init.process.pid}/status").read_text()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        signal.signal(signal.SIGCHLD, previous)
    words = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert int(words["SigBlk"], 16) == int(words["SigIgn"], 16) == 0
    assert int(words["SigCgt"], 16) == sum(1 << number - 1 for number in ENDING)


ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@pytest.mark.parametrize("number", ENDING)
def test_what_asks_to_end_ends_a_created_container(number: signal.Signals) -> None:
    init = Init()
    init.channel.run(Batch())
    init.process.send_signal(number)
    assert init.end() == (128 + number, "")
    init.socket.close()


# -- hooks


def hook(batch: Batch, script: str, timeout: int = 0, path: str = SH, fds: tuple[int, int, int] = (0, 1, 2)) -> int:
    arguments = (path, batch.vector(["sh", "-c", script]), batch.vector([]), *fds)
    return batch.op(OP_HOOK, timeout, arguments, "hook", path)


def test_a_hook_gets_its_stdio_and_nothing_else() -> None:
    with Init() as init:
        stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
        os.write(stdin, b"state")
        os.lseek(stdin, 0, os.SEEK_SET)
        batch = Batch()
        batch.call("dup3", sysnr.DUP3, 0, 77, 0)  # inherited by programs, as the control socket is
        script = "cat; echo; ls /proc/self/fd; echo gone >&2"
        hook(batch, script, fds=(batch.local(stdin), batch.local(stdout), batch.local(stdout)))
        init.channel.run(batch)
        assert os.pread(stdout, 1000, 0).decode() == "state\n0\n1\n2\n3\ngone\n"  # 3: ls reads the directory
        os.close(stdin)
        os.close(stdout)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 3", 3 << 8), ("kill -9 $$", 9), ("exit 255", 255 << 8), ("kill -6 $$", 6)]
)
def test_the_status_of_a_hook(script: str, status: int) -> None:
    with Init() as init:
        batch = Batch()
        batch.call("umask", sysnr.UMASK, 0)
        hook(batch, f"ulimit -c 0; {script}")
        error = failure(init, batch)
        assert (error.errno, error.index) == (HOOK_STATUS + status, 1)


def test_a_hook_that_cannot_be_executed() -> None:
    with Init() as init:
        batch = Batch()
        hook(batch, "", path="/nonexistent/hook")
        assert failure(init, batch).errno == errno.ENOENT
        batch = Batch()
        hook(batch, "", path="/etc")
        assert failure(init, batch).errno == errno.EACCES


def test_a_hook_past_its_timeout_is_killed() -> None:
    with Init() as init:
        batch = Batch()
        hook(batch, "exec sleep 60", timeout=100)
        begin = time.monotonic()
        assert failure(init, batch).errno == errno.ETIMEDOUT
        assert 0.1 <= time.monotonic() - begin < 50
        assert Path(f"/proc/{init.process.pid}/task/{init.process.pid}/children").read_text() == ""


def test_a_hook_within_its_timeout() -> None:
    with Init() as init:
        batch = Batch()
        hook(batch, "exit 0", timeout=60_000)
        init.channel.run(batch)


def test_hooks_leave_no_descriptors() -> None:
    with Init() as init:

        def descriptors() -> list[str]:
            return sorted(os.listdir(f"/proc/{init.process.pid}/fd"))

        init.channel.run(Batch())
        before = descriptors()
        for script, path in (("exit 0", SH), ("exit 1", SH), ("", "/nonexistent")):
            batch = Batch()
            batch.tolerate(hook(batch, script, path=path), errno.ENOENT)
            try:
                init.channel.run(batch)
            except StepError:
                pass
        assert descriptors() == before


# -- detached


def detached(add: Callable[[Batch], object]) -> tuple[int, str]:
    """Run a batch whose first call detaches: the status and stderr."""
    init = Init()
    batch = Batch()
    batch.op(OP_DETACH, 0, (), "detach")
    add(batch)
    init.channel.send(batch)
    ended = init.end()
    init.socket.close()
    return ended


def test_detached_failures_are_labelled_on_stderr() -> None:
    def with_label(batch: Batch) -> None:
        batch.op(OP_LABEL, 0, ("pyrunc: first",), "label")
        batch.op(OP_LABEL, 0, ("pyrunc: closing",), "label")
        bad(batch)

    assert detached(with_label) == (255, f"pyrunc: closing: error number {errno.EBADF}\n")
    assert detached(bad) == (255, f": error number {errno.EBADF}\n")


@pytest.mark.parametrize(
    ("script", "timeout", "words"),
    [
        ("exit 7", 0, "exit status 7, stdout: , stderr: "),
        ("echo out; echo err >&2; exit 7", 0, "exit status 7, stdout: out\n, stderr: err\n"),
        ("kill -9 $$", 0, "signal: killed, stdout: , stderr: "),
        ("exec sleep 60", 50, "hook ran past specified timeout of 0.0s"),
        ("exec sleep 60", 1250, "hook ran past specified timeout of 1.2s"),
        (f"printf %0{QUOTED}d 7; exit 1", 0, f"exit status 1, stdout: {7:0{QUOTED}}, stderr: "),
        (f"printf %0{QUOTED + 1}d 7; exit 1", 0, f"exit status 1, stdout: ...{7:0{QUOTED}}, stderr: "),
    ],
)
def test_detached_hooks(script: str, timeout: int, words: str) -> None:
    def add(batch: Batch) -> None:
        batch.op(OP_LABEL, 0, ("hook #0",), "label")
        files = [batch.call("memfd_create", sysnr.MEMFD_CREATE, name, 1) for name in ("in", "out", "err")]
        hook(batch, script, timeout, fds=(files[0], files[1], files[2]))

    assert detached(add) == (255, f"hook #0: {words}\n")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such", "no such file or directory"),
        ("/etc", "permission denied"),
        ("/etc/passwd/x", f"error number {errno.ENOTDIR}"),
    ],
)
def test_detached_hooks_that_cannot_be_executed(path: str, words: str) -> None:
    assert detached(lambda batch: hook(batch, "", path=path)) == (255, f": fork/exec {path}: {words}\n")


def test_the_output_of_a_detached_hook_may_be_no_file() -> None:
    assert detached(lambda batch: hook(batch, "exit 1", fds=(0, 1, 2))) == (255, ": exit status 1, stdout: , stderr: \n")


def test_the_end_of_a_detached_batch_ends_init() -> None:
    assert detached(lambda batch: None) == (1, "")


def test_a_label_does_not_outlive_its_request() -> None:
    """It pointed into memory that is given back."""
    init = Init()
    batch = Batch()
    batch.op(OP_LABEL, 0, ("gone",), "label")
    init.channel.run(batch)
    batch = Batch()
    batch.op(OP_DETACH, 0, (), "detach")
    bad(batch)
    init.channel.send(batch)
    assert init.end() == (255, f": error number {errno.EBADF}\n")
    init.socket.close()


def messages(batch: Batch, *rows: tuple[int, str]) -> int:
    offsets = [8 * len(rows) + sum(len(text) + 1 for _, text in rows[:i]) for i in range(len(rows))]
    return batch.put(
        b"".join(struct.pack("=II", number, at) for (number, _), at in zip(rows, offsets, strict=True))
        + b"".join(text.encode() + b"\0" for _, text in rows)
    )


def execute(batch: Batch, path: str, table: int) -> None:
    argv = batch.vector(["sh", "-c", 'echo "$A" >&2; exit 5'])
    batch.op(OP_EXEC, 0, (path, argv, batch.vector(["A=b"]), table), "execve", path)


def test_exec() -> None:
    assert detached(lambda batch: execute(batch, SH, messages(batch, (0, "not said")))) == (5, "b\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [("/nonexistent", "there is none\n"), ("/etc", "no access\n"), ("/dev/null/x", "another error\n")],
)
def test_exec_failures_have_their_message(path: str, said: str) -> None:
    rows = (errno.ENOENT, "there is none\n"), (errno.EACCES, "no access\n"), (0, "another error\n")
    assert detached(lambda batch: execute(batch, path, messages(batch, *rows))) == (255, said)


def test_exec_failure_while_somebody_listens() -> None:
    with Init() as init:
        batch = Batch()
        execute(batch, "/nonexistent", messages(batch, (0, "")))
        assert failure(init, batch).errno == errno.ENOENT


def test_tables_of_messages_that_lead_nowhere() -> None:
    """No table, one without an end, one with texts outside of the payload: silence."""

    def without_end(batch: Batch) -> None:
        table = batch.put(struct.pack("=II", 1, 0) * 3)
        execute(batch, "/nonexistent", table)

    def wild_text(batch: Batch) -> None:
        execute(batch, "/nonexistent", batch.put(struct.pack("=II", 0, 0x1234)))

    assert detached(wild_text) == (255, "")
    assert detached(lambda batch: execute(batch, "/nonexistent", 0x1000)) == (255, "")
    status, _ = detached(without_end)
    assert status == 255


# -- malformed requests

GETTER = call(OP_SYSCALL, 0o22, nr=sysnr.UMASK)
HUGE = 0xFFFFFFFF

MALFORMED = {
    "nothing": b"",
    "half a head": REQUEST.pack(0, 0, 0, 0, 0, 0, 0, 0)[:10],
    "a payload that does not come": request(calls=[GETTER])[:-1],
    "larger than allowed": request(size=(64 << 20) + 1),
    "huge": request(size=HUGE),
    "calls at an odd offset": request(b"12345678", [GETTER], calls_off=4),
    "calls past the end": request(b"12345678", [GETTER], calls_off=8000),
    "calls that overlap the end": request(calls=[GETTER], ncalls=2),
    "many calls": request(calls=[GETTER], ncalls=HUGE),
    "as many calls as could be": request(calls=[GETTER], ncalls=(64 << 20) // 64),
    "calls whose size overflows": request(calls=[GETTER], ncalls=1 << 26),
    "many relocations": request(calls=[GETTER], nrelocs=HUGE),
    "relocations that overlap the end": request(b"12345678", relocations=(0,), nrelocs=2),
    "results past the end": request(b"12345678", result_off=9),
    "results that overlap the end": request(b"12345678", result_off=4, result_len=5),
    "results that wrap around": request(b"12345678", result_off=8, result_len=HUGE),
    "a relocation past the end": request(b"12345678", relocations=(12,)),
    "a relocation far past the end": request(b"12345678", relocations=(HUGE,)),
    "a relocation at an odd offset": request(bytes(24), relocations=(4,)),
    "a relocation in nothing": request(size=4, nrelocs=1) + bytes(4),
    "a relocated offset past the end": request(struct.pack("=Q", 1000), relocations=(0,)),
    "a word relocated twice": request(bytes(8), relocations=(0, 0)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_end_it(name: str) -> None:
    init = Init()
    assert init.ask(MALFORMED[name]) == b""
    assert init.end() == (1, "")
    init.socket.close()


REFERS_TO_NOTHING = {
    "a row outside of a loop": call(OP_SYSCALL, TAG_ITEM | 0, nr=sysnr.UMASK),
    "rows elsewhere": call(OP_EACH, 0x1000, 1, nr=1, skip=1),
    "rows past the end": call(OP_EACH, TAG_DATA | 0, 1, nr=100, skip=1),
    "wide rows past the end": call(OP_EACH, TAG_DATA | 0, 8, nr=3, skip=1),
    "more rows than there are numbers": call(OP_EACH, TAG_DATA | 0, 8, nr=0xFFFFFFFF, skip=1),
    "crooked rows": call(OP_EACH, TAG_DATA | 4, 1, nr=1, skip=1),
    "rows without words": call(OP_EACH, TAG_DATA | 0, 0, nr=1, skip=1),
    "a loop without rows": call(OP_EACH, TAG_DATA | 0, 1, nr=0, skip=1),
    "a loop without calls": call(OP_EACH, TAG_DATA | 0, 1, nr=1),
    "a loop over what is not there": call(OP_EACH, TAG_DATA | 0, 1, nr=1, skip=2),
    "an unknown operation": call(UNKNOWN_OP),
    "data past the end": call(OP_SYSCALL, TAG_DATA | 1000, nr=sysnr.UMASK),
    "its own result": call(OP_SYSCALL, TAG_RESULT | 0, nr=sysnr.UMASK),
    "a later result": call(OP_SYSCALL, TAG_RESULT | HUGE, nr=sysnr.UMASK),
    "a descriptor that was not sent": call(OP_SYSCALL, TAG_FD | 0, nr=sysnr.CLOSE),
    "a label elsewhere": call(OP_LABEL, 0x1000),
    "a label that is a result": call(OP_LABEL, TAG_RESULT | 0),
}


@pytest.mark.parametrize("name", REFERS_TO_NOTHING)
def test_calls_that_refer_to_nothing(name: str) -> None:
    init = Init()
    answer = init.ask(request(b"12345678", [REFERS_TO_NOTHING[name], GETTER]))
    assert REPLY.unpack(answer[: REPLY.size])[:2] == (0, errno.EBADMSG)
    assert init.end() == (1, "")
    init.socket.close()


def test_an_argument_may_point_to_the_end() -> None:
    init = Init()
    answer = init.ask(request(b"12345678", [call(OP_LABEL, TAG_DATA | 8)]))
    assert REPLY.unpack(answer[: REPLY.size])[0] == -1
    assert init.end() == (1, "")
    init.socket.close()


def test_a_peer_that_does_not_read() -> None:
    """The answer has nowhere to go: the end, by SIGPIPE at worst."""
    init = Init()
    init.socket.sendall(request(bytes(1 << 20), [GETTER], result_len=1 << 20))
    time.sleep(0.2)
    init.socket.close()
    status, said = init.end()
    assert status in (1, -signal.SIGPIPE)
    assert said == ""


def test_arguments_of_the_program() -> None:
    for arguments in ([], ["init"], ["init", "0", "more"]):
        init = Init(*_without_descriptor(arguments))
        assert init.end() == (2, "")
        init.socket.close()


def _without_descriptor(arguments: list[str]) -> list[str]:
    """A command that drops the arguments that Init adds."""
    from tests.init_process import sanitized

    return [SH, "-c", " ".join(["exec", sanitized(), *arguments])]


# -- the real one


def session(init: Init, tmp_path: Path) -> None:
    """A bit of everything that valgrind can follow."""
    (tmp_path / "file").write_bytes(b"content")
    batch = Batch()
    room = batch.out(7)
    fd = batch.call("openat", sysnr.OPENAT, AT_FDCWD, str(tmp_path / "file"), os.O_RDONLY, 0)
    batch.call("read", sysnr.READ, fd, room, 7)
    batch.send_back(fd)
    reply = init.channel.run(batch)
    assert reply.data == b"content"
    os.close(reply.fds[0])
    batch = Batch()
    batch.call("fcntl", sysnr.FCNTL, batch.local(0), F_GETFD, 0)
    batch.tolerate(bad(batch), errno.EBADF)
    place = batch.put(bytes(16))
    batch.expect(place, 0, 8, 0, errno.EXDEV)
    init.channel.run(batch)
    batch = Batch()
    bad(batch)
    assert failure(init, batch).errno == errno.EBADF
    batch = Batch()
    batch.op(OP_SYNC, 0, (), "sync")
    batch.op(OP_PLAIN, 0, (), "plain")
    init.channel.send(batch)
    init.channel.receive(batch)
    init.channel.go()
    init.channel.receive(batch)
    assert init.channel.run(Batch()).results == ()


def test_the_embedded_program(tmp_path: Path) -> None:
    with Init(embedded()) as init:
        session(init, tmp_path)
        batch = Batch()
        hook(batch, "exit 4")
        assert failure(init, batch).errno == HOOK_STATUS + (4 << 8)


@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_the_embedded_program_under_valgrind(tmp_path: Path) -> None:
    with Init("valgrind", "-q", "--error-exitcode=99", "--leak-check=no", embedded()) as init:
        session(init, tmp_path)


@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_malformed_requests_under_valgrind() -> None:
    for name in ("a relocation in nothing", "many calls", "a relocated offset past the end"):
        init = Init("valgrind", "-q", "--error-exitcode=99", "--leak-check=no", embedded())
        assert init.ask(MALFORMED[name]) == b""
        assert init.end() == (1, "")
        init.socket.close()


def test_the_embedded_program_is_closed() -> None:
    """Nothing to load, nothing to relocate, no writable code: it runs without a dynamic linker."""
    blob = Path(embedded()).read_bytes()
    assert blob[:4] == b"\x7fELF"
    assert len(blob) < 1 << 17  # its segments lie 64 KiB apart on arm64, where pages may be that large
    phoff, phnum = struct.unpack_from("=Q", blob, 32)[0], struct.unpack_from("=H", blob, 56)[0]
    headers = [struct.unpack_from("=II", blob, phoff + i * 56) for i in range(phnum)]
    assert not any(kind == 3 for kind, _ in headers), "PT_INTERP"
    assert not any(flags & 3 == 3 for kind, flags in headers if kind == 1), "writable and executable"


def test_init_died_before_it_answered() -> None:
    init = Init()
    init.process.kill()
    init.process.wait()
    with pytest.raises(InitError, match="init died"):
        init.channel.run(Batch())
    init.socket.close()
    init.end()
