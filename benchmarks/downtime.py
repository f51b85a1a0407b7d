"""How long a program stands still while its container moves: checkpoint.py --downtime.

The program holds memory, and a thousand times a second writes to some pages of it, in turn, and notes the time. It is moved
to another container of the same bundle, in four ways: by its images; with a pre-dump before; lazily (the processes first,
their memory when it is used, and meanwhile in the background); and lazily after a pre-dump. Nothing is copied from host to
host: what the images take on the way comes on top, for the plain ways all of the memory.

"stands still" is the longest time between two notes. "loses" is that too, and what the program is slower by until all of its
memory is there: the notes that it would have written, and did not.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import Row, Runtime, Table

PATIENCE = 120.0  # seconds for anything
GRACE = 10.0  # seconds for a program to end that is asked to
SETTLE = 1.0  # seconds that the program runs before and after
PROGRAM = """
import os, time
size = {mebibytes} << 20
held = bytearray(os.urandom(1 << 20) * {mebibytes})
notes = os.open("/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
at = 0
while True:
    for _ in range({pages}):
        held[at] = held[at] + 1 & 255
        at = (at + 4096) % size
    os.write(notes, b"%.6f\\n" % time.time())
    time.sleep(0.001)
"""


class Move:
    """One container's way to another; `images`, and `work` for the logs, are directories to be filled."""

    def __init__(self, runtime: Runtime, bundle: Path, directory: Path) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.directory = directory
        self.source = runtime.new_id()
        self.target = runtime.new_id()
        self.images = directory / "images"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The program, settled; neither container is left."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self._notes.unlink(missing_ok=True)
        try:
            self._run("run", "--detach", "--bundle", str(self.bundle), self.source)
            _wait(lambda: len(self.notes()) > SETTLE * 100)
            time.sleep(SETTLE)
            yield
        finally:
            self.runtime.remove(self.source)
            self.runtime.remove(self.target)

    @property
    def _notes(self) -> Path:
        return self.bundle / "rootfs/notes"

    def notes(self) -> list[float]:
        """The seconds at which it ran."""
        return [float(line) for line in self._notes.read_text().split()] if self._notes.exists() else []

    def pre_dump(self) -> tuple[str, ...]:
        """What the dump needs of it."""
        self._run("checkpoint", "--pre-dump", "--image-path", str(self.directory / "pre"), self.source)
        return "--parent-path", "../pre"

    def plainly(self, *flags: str) -> None:
        self._run("checkpoint", "--image-path", str(self.images), *flags, self.source)
        self._run(*self._restore(), self.target)

    def lazily(self, *flags: str) -> None:
        """As two hosts would, at one."""
        work = self.directory / "work"
        work.mkdir()
        port = _free_port()
        with contextlib.ExitStack() as stack:
            dump = stack.enter_context(self._serving(port, *flags))
            command = ["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", str(port)]
            daemon = stack.enter_context(_program([*command, "-D", str(self.images), "-W", str(work), "-o", "lazy.log"]))
            _wait(lambda: (work / "lazy-pages.socket").exists())
            self._run(*self._restore(), "--lazy-pages", "--work-path", str(work), self.target)
            for process in (daemon, dump):
                if process.wait(PATIENCE):
                    raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")

    @contextlib.contextmanager
    def _serving(self, port: int, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        """A dump that has stopped the source, and serves its memory."""
        read, write = os.pipe()
        log = self.directory / "log"
        arguments = ["checkpoint", "--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(write)]
        paths = ["--image-path", str(self.images), *flags, self.source]
        with _program([*self.runtime.argv, "--log", str(log), *arguments, *paths], write) as dump:
            os.close(write)
            with os.fdopen(read, "rb") as status:
                if not select.select([status], [], [], PATIENCE)[0] or status.read(1) != b"\0":
                    raise RuntimeError(_last_words(log))
            yield dump

    def _restore(self) -> list[str]:
        return ["restore", "--detach", "--bundle", str(self.bundle), "--image-path", str(self.images)]

    def _run(self, *arguments: str) -> None:
        log = self.directory / "log"
        with _program([*self.runtime.argv, "--log", str(log), *arguments]) as process:
            if process.wait(PATIENCE):
                raise RuntimeError(f"{arguments[0]}: {_last_words(log)}")


WAYS: dict[str, Callable[[Move], None]] = {
    "plain": lambda move: move.plainly(),
    "pre-dump": lambda move: move.plainly(*move.pre_dump()),
    "lazy": lambda move: move.lazily(),
    "pre-dump, lazy": lambda move: move.lazily(*move.pre_dump()),
}


@contextlib.contextmanager
def _program(command: list[str], *pass_fds: int) -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null, pass_fds=pass_fds) as process:
        try:
            yield process
        finally:
            process.terminate()  # a dump lets the source go on
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "failed without a word"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("the program does not run")
        time.sleep(0.005)


def measure(move: Move, way: Callable[[Move], None]) -> Row:
    """Milliseconds that the program stands still, and loses, when it is moved this way."""
    with move.running():
        begin = time.time()
        way(move)
        end = time.time()
        _wait(lambda: move.notes()[-1] > end + SETTLE)
        return evaluate(move.notes(), begin, end)


def evaluate(notes: list[float], begin: float, end: float) -> Row:
    """From the times at which it ran, what it missed between `begin` and `end`; it was settled before, and SETTLE later."""
    before = [note for note in notes if begin - SETTLE <= note < begin]
    there = [note for note in notes if begin <= note <= end]
    after = [note for note in notes if end < note <= end + SETTLE]
    pace = statistics.mean((part[-1] - part[0]) / (len(part) - 1) for part in (before, after))
    gaps = [late - early for early, late in zip([before[-1], *there], [*there, after[0]], strict=True)]
    return {"stands still": max(gaps) * 1000, "loses": (end - begin - len(there) * pace) * 1000}


def bench(
    runtimes: list[Runtime], bundle: Path, name: str, ways: list[str], work: Path, rounds: int, say: Callable[[str], None]
) -> Table:
    """The medians of the rounds; in each the runtimes take turns."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    broken: set[tuple[str, str]] = set()
    for number in range(rounds + 1):
        for way in ways:
            for runtime in runtimes:
                if (way, runtime.name) in broken:
                    continue
                try:
                    row = measure(Move(runtime, bundle, work / "moving"), WAYS[way])
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    broken.add((way, runtime.name))
                    say(f"{runtime.name}: {way}: {error}")
                    continue
                if number:  # the first round only warms caches
                    for label, value in row.items():
                        found.setdefault((way, label), {}).setdefault(runtime.name, []).append(value)
    return {
        f"{name}/{way}/{label}": {
            f"{name}, {way}: {label}": 0.0,
            **{runtime: statistics.median(values) for runtime, values in columns.items()},
        }
        for (way, label), columns in found.items()
    }
