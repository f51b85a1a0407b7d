"""Steps sent to a real init: order, repair, words, and that neither side waits for the other for ever."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libcontainer import steps, sysnr
from libcontainer.errors import Error, describe
from libcontainer.remote import AT_FDCWD, Batch, Channel, StepError, spawn
from libcontainer.steps import Step, Talk


class Bench:
    """An init, and files that its steps append to."""

    SCRATCH = (4, 202)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.channel, self.pid = spawn((0, 1, 2))
        self.channel.socket.settimeout(60)
        self.channel.run(Batch())  # it has closed what it does not need

    def run(self, *sequence: Step | Talk) -> None:
        steps.run(self.channel, sequence, self.SCRATCH)

    def close(self) -> int:
        self.channel.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def append(self, name: str, word: str) -> Callable[[Batch], object]:
        """Calls that write a word to a file, which must exist; its descriptor stays open."""

        def emit(batch: Batch) -> object:
            path = str(self.directory / name)
            fd = batch.call("openat", sysnr.OPENAT, AT_FDCWD, path, os.O_WRONLY | os.O_APPEND, 0, path=path)
            return batch.call("write", sysnr.WRITE, fd, word, len(word))

        return emit

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "log").touch()
    bench = Bench(tmp_path)
    yield bench
    assert bench.close() in (1, -signal.SIGKILL)


def test_in_order_and_nothing_stays_open(bench: Bench) -> None:
    before = bench.open_descriptors()
    bench.run(*[Step("", bench.append("log", f"{i} ")) for i in range(100)])
    assert bench.log == "".join(f"{i} " for i in range(100))
    assert bench.open_descriptors() == before


def test_no_steps(bench: Bench) -> None:
    bench.run()


def test_talks_in_between(bench: Bench) -> None:
    def talk(channel: Channel) -> None:
        batch = Batch()
        bench.append("log", f"talk after {len(bench.log)} ")(batch)
        channel.run(batch)

    bench.run(Step("", bench.append("log", "first ")), Talk("", talk), Step("", bench.append("log", "last")))
    assert bench.log == "first talk after 6 last"


def test_a_step_without_calls(bench: Bench) -> None:
    bench.run(Step("", lambda batch: None), Step("", bench.append("log", "x")), Step("", lambda batch: None))
    assert bench.log == "x"


def failure(bench: Bench, *sequence: Step | Talk) -> str:
    with pytest.raises((Error, OSError)) as caught:
        bench.run(*sequence)
    return describe(caught.value)


def test_a_failure_is_worded_by_its_step(bench: Bench) -> None:
    missing = bench.directory / "missing"
    said = failure(
        bench,
        Step("first", bench.append("log", "before")),
        Step("second", bench.append("missing", "")),
        Step("third", bench.append("log", "after")),
    )
    assert said == f"second: openat {missing}: no such file or directory"
    assert bench.log == "before"


def test_a_step_without_a_name_adds_nothing_to_its_failure(bench: Bench) -> None:
    said = failure(bench, Step("", bench.append("missing", "")))
    assert said == f"openat {bench.directory / 'missing'}: no such file or directory"


def test_own_words(bench: Bench) -> None:
    def words(err: StepError) -> str | None:
        return "special" if err.errno == errno.ENOENT else None

    assert failure(bench, Step("what", bench.append("missing", ""), words=words)).startswith("special: openat")
    assert failure(bench, Step("what", bench.append("", ""), words=words)).startswith("what: openat")


def test_talks_that_fail(bench: Bench) -> None:
    def talk(channel: Channel) -> None:
        raise Error("inner") from OSError(errno.EIO, "x")

    assert failure(bench, Talk("outer", talk)) == "outer: inner: input/output error"
    assert failure(bench, Talk("", talk)) == "inner: input/output error"


def test_a_repair_and_on_from_there(bench: Bench) -> None:
    """Steps before the failing one are not run again, those sent ahead after it are."""

    def repair(channel: Channel, err: StepError) -> bool:
        (bench.directory / "made").touch()
        return err.errno == errno.ENOENT

    sequence = [Step("", bench.append("log", f"{i} ")) for i in range(200)]
    sequence[70] = Step("", bench.append("made", "it"), repair=repair)
    before = bench.open_descriptors()
    bench.run(*sequence)
    assert (bench.directory / "made").read_text() == "it"
    assert bench.log == "".join(f"{i} " for i in range(200) if i != 70)
    assert bench.open_descriptors() == before


def test_many_steps_may_each_need_a_repair(bench: Bench) -> None:
    def step(i: int) -> Step:
        def repair(channel: Channel, err: StepError) -> bool:
            (bench.directory / str(i)).touch()
            return True

        return Step("", bench.append(str(i), str(i)), repair=repair)

    before = bench.open_descriptors()
    bench.run(*map(step, range(150)))
    assert [(bench.directory / str(i)).read_text() for i in range(150)] == list(map(str, range(150)))
    assert bench.open_descriptors() == before


def test_a_repair_that_does_not_help_is_not_tried_for_ever(bench: Bench) -> None:
    tried = []

    def repair(channel: Channel, err: StepError) -> bool:
        tried.append(err)
        return True

    assert "no such file" in failure(bench, Step("", bench.append("missing", ""), repair=repair))
    assert len(tried) == steps.MAX_REPAIRS


def test_failed_batches_do_not_use_descriptors_up(bench: Bench) -> None:
    """What they have opened is closed before the next try: the slots above the scratch range stay free."""

    def emit(batch: Batch) -> None:
        for _ in range(60):
            bench.append("log", "")(batch)
        bench.append("late", "late")(batch)

    tries = []

    def repair(channel: Channel, err: StepError) -> bool:
        tries.append(bench.open_descriptors())
        if len(tries) == 5:
            (bench.directory / "late").touch()
        return True

    bench.run(Step("", emit, repair=repair))
    assert len(set(tries)) == 1, tries


def test_many_descriptors_are_sent_in_several_batches(bench: Bench) -> None:
    fds = [os.open(bench.directory / "log", os.O_WRONLY | os.O_APPEND) for _ in range(150)]
    bench.run(*[Step("", lambda b, fd=fd: b.call("write", sysnr.WRITE, b.local(fd), "x", 1)) for fd in fds])  # type: ignore[misc]
    assert bench.log == "x" * 150
    for fd in fds:
        os.close(fd)


def test_neither_side_waits_for_the_other_to_read(bench: Bench) -> None:
    """More than both buffers hold, in calls and in data."""
    big = "x" * 2000
    bench.run(*[Step("", lambda batch: [batch.call("umask", sysnr.UMASK, 0, big) for _ in range(8)]) for _ in range(5000)])


def test_an_init_that_dies(bench: Bench) -> None:
    os.kill(bench.pid, signal.SIGKILL)
    assert "init died before it was set up" in failure(bench, Step("what", bench.append("log", "")))
