"""Real programs that are checkpointed and restored again and again, and must not notice.

Each leaves in /out of its root file system what it has seen, and the test looks for a gap: a number missed or repeated, an
answer lost, memory changed, a process gone. The programs are this machine's, whose /usr and /lib their root file system shows.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from libcontainer.criu import features
from libcontainer.criu.rpc import Session
from tests.root.conftest import LIMIT, Runtime, Sandbox, wait_until
from tests.root.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = "/usr/bin/python3"
ROUNDS = int(os.environ.get("PYRUNC_TEST_ROUNDS", "3"))
MEBIBYTES = int(os.environ.get("PYRUNC_TEST_MEMORY", "128"))
PROCESSES = int(os.environ.get("PYRUNC_TEST_PROCESSES", "40"))


class Program:
    """A container with a program that goes from checkpoint to checkpoint."""

    def __init__(self, sandbox: Sandbox, *args: str, environment: tuple[str, ...] = ()) -> None:
        self.runtime: Runtime = sandbox.runtime()
        self.bundle = sandbox.bundle()
        self.directory = sandbox.directory
        self.name = sandbox.name
        self.generation = 0
        self.terminal: int | None = None
        self._console = self.directory / "console"
        self._prepare(args, environment)

    def _prepare(self, args: tuple[str, ...], environment: tuple[str, ...]) -> None:
        spec = self.bundle.spec
        spec["root"]["readonly"] = False
        spec["process"]["env"] += environment
        for name in ("usr", "lib", "lib64"):
            if Path("/", name).is_dir():
                (self.bundle.rootfs / name).mkdir(exist_ok=True)
                options = ["rbind", "ro"]
                mount = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": options}
                spec["mounts"].append(mount)
        shutil.copytree(PROGRAMS, self.bundle.rootfs / "programs")
        self.out.mkdir()
        self.bundle.args(*args)

    @property
    def out(self) -> Path:
        return self.bundle.rootfs / "out"

    @property
    def _images(self) -> Path:
        return self.directory / "images"

    @property
    def container(self) -> str:
        return f"{self.name}-{self.generation}"

    def start(self, *, terminal: bool = False) -> None:
        self.bundle.spec["process"]["terminal"] = terminal
        self.bundle.write()
        self._call("run", "--detach", "--bundle", str(self.bundle.path), terminal=terminal)

    def cycle(self, *flags: str) -> None:
        """Checkpoint it, and restore it as another container."""
        self.checkpoint(*flags)
        self.restore(*flags)

    def checkpoint(self, *flags: str) -> None:
        self.runtime.ok("checkpoint", "--image-path", str(self._images), *flags, self.container)
        wait_until(lambda: not (self.runtime.root / self.container).exists())

    def restore(self, *flags: str) -> None:
        self.generation += 1
        terminal = bool(self.bundle.spec["process"]["terminal"])
        arguments = ["restore", "--detach", "--bundle", str(self.bundle.path), "--image-path", str(self._images), *flags]
        self._call(*arguments, terminal=terminal)
        shutil.rmtree(self._images)

    def _call(self, *arguments: str, terminal: bool) -> None:
        """With the container's output nowhere: a file of the host's behind a descriptor cannot be dumped."""
        with _Console(self._console) if terminal else contextlib.nullcontext() as console:
            more = ["--console-socket", str(self._console)] if console else []
            self._quietly(*arguments, *more, self.container)
            if console is not None:
                if self.terminal is not None:
                    os.close(self.terminal)
                self.terminal = console.take()

    def _quietly(self, *arguments: str) -> None:
        log = self.directory / "log"
        status, _ = self.runtime.run("--log", str(log), *arguments, out=Path("/dev/null"))
        assert status == 0, log.read_text()

    def read(self, name: str) -> str:
        try:
            return (self.out / name).read_text()
        except FileNotFoundError:
            return ""

    def lines(self, name: str) -> list[str]:
        """The whole ones of a file that is being written."""
        return self.read(name).rpartition("\n")[0].splitlines()

    def numbers(self, name: str) -> list[int]:
        return [int(line) for line in self.lines(name)]

    def has_lines(self, name: str, count: int) -> bool:
        return self.read(name).count("\n") >= count

    def wait_for(self, condition: Callable[[], object]) -> None:
        wait_until(condition)

    def grows(self, name: str, by: int = 20) -> None:
        """Wait until there are that many lines more."""
        self.wait_for(partial(self.has_lines, name, len(self.numbers(name)) + by))

    def signal(self, number: signal.Signals) -> None:
        self.runtime.ok("kill", self.container, number.name)

    def close(self) -> None:
        if self.terminal is not None:
            os.close(self.terminal)


class _Console:
    """A --console-socket that gives its terminal away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._listener.settimeout(LIMIT)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._path.unlink()

    def take(self) -> int:
        with self._listener.accept()[0] as peer:
            _, fds, _, _ = socket.recv_fds(peer, 4096, 4)
        return fds[0]


Maker = Callable[..., Program]


@pytest.fixture
def program(sandbox: Sandbox) -> Iterator[Maker]:
    made: list[Program] = []

    def make(*args: str, **options: Any) -> Program:
        made.append(Program(sandbox, *args, **options))
        return made[0]

    yield make
    for each in made:
        each.close()


def consecutive(numbers: list[int]) -> bool:
    return numbers == list(range(len(numbers)))


def test_a_counter_neither_misses_nor_repeats_a_number(program: Maker) -> None:
    counter = program(PYTHON, "/programs/counter.py")
    counter.start()
    for _ in range(ROUNDS):
        counter.grows("numbers")
        counter.cycle()
    counter.grows("numbers")
    assert consecutive(counter.numbers("numbers"))


def test_the_memory_of_a_large_process_holds(program: Maker) -> None:
    """It writes the checksum of its memory at the beginning, and whenever it is told."""
    holder = program(PYTHON, "/programs/memory.py", str(MEBIBYTES))
    holder.start()
    holder.wait_for(partial(holder.has_lines, "sums", 1))
    for number in range(2):
        holder.cycle()
        holder.signal(signal.SIGUSR1)
        holder.wait_for(partial(holder.has_lines, "sums", number + 2))
    sums = holder.read("sums").split()
    assert len(set(sums)) == 1
    assert len(sums) == 3


def test_a_web_server_under_load_loses_no_answer(program: Maker) -> None:
    """Four clients ask one by one over connections that stay; server and clients are in the container."""
    server = program(PYTHON, "/programs/web.py")
    server.start()
    for _ in range(ROUNDS):
        server.grows("answers", 50)
        server.cycle("--tcp-established")
    server.grows("answers", 50)
    assert server.read("errors") == ""


@pytest.fixture
def redis() -> str:
    """A Redis server: one executable that looks at the name by which it is called."""
    found = next((path for path in map(shutil.which, ("redis-server", "redis-check-rdb")) if path), None)
    if found is None:
        pytest.skip("no Redis: the package redis-tools has it")
    return os.path.realpath(found)


def test_redis_keeps_its_data_and_its_client(program: Maker, redis: str) -> None:
    """The client has one connection for all its life; every INCR must answer with the next number."""
    server = program("/redis-server", "/programs/redis.conf")
    (server.bundle.rootfs / "redis-server").symlink_to(redis)
    server.bundle.args("/bin/sh", "-c", f"/redis-server /programs/redis.conf & exec {PYTHON} /programs/redis_client.py")
    server.start()
    for _ in range(ROUNDS):
        server.grows("numbers", 50)
        server.cycle("--tcp-established")
    server.grows("numbers", 50)
    assert consecutive([number - 1 for number in server.numbers("numbers")])
    server.signal(signal.SIGUSR1)
    server.wait_for(lambda: server.read("checked"))
    assert server.read("checked") == "1000 keys as they were\n"


def old_criu() -> bool:
    """Whether it is one before 4.2, which cannot lock with nft what it has locked."""
    with Session() as session:
        return session.version() < features.NFT_AGAIN


@pytest.mark.parametrize("lock", ["iptables", "nftables"])
def test_redis_keeps_a_client_on_another_host(
    program: Maker, redis: str, hosts: tuple[Host, Host], lock: str
) -> None:
    """The client stays connected; what it asks while there is no server is answered by the restored one.

    Meanwhile nobody may say that there is no such connection, which would end it. It is the lock that keeps the kernel from
    that, in a network namespace that is not the container's own.
    """
    there, here = hosts
    server = program("/redis-server", "/programs/redis.conf", "--bind", here.address, "--protected-mode", "no")
    (server.bundle.rootfs / "redis-server").symlink_to(redis)
    namespaces = server.bundle.spec["linux"]["namespaces"]
    next(entry for entry in namespaces if entry["type"] == "network")["path"] = here.path
    server.start()
    server.wait_for(lambda: here.listens(6379))
    with there.connect(here.address, 6379, LIMIT) as client:
        answers = client.makefile("rb")

        def count() -> int:
            client.sendall(b"INCR counter\r\n")
            return int(answers.readline()[1:])

        for number in range(ROUNDS):
            assert count() == 2 * number + 1
            server.checkpoint("--tcp-established", "--network-lock", lock)
            client.sendall(b"INCR counter\r\n")
            time.sleep(0.5)  # it is sent, and sent again
            if lock == "nftables" and old_criu():
                with pytest.raises(AssertionError, match="cannot lock again what it has locked with nft"):
                    server.restore("--tcp-established", "--network-lock", lock)
                return
            server.restore("--tcp-established", "--network-lock", lock)
            assert int(answers.readline()[1:]) == 2 * number + 2
        assert count() == 2 * ROUNDS + 1


def test_a_shell_on_a_terminal_goes_on(program: Maker) -> None:
    shell = program("/bin/sh")
    shell.start(terminal=True)
    said = _Dialogue(shell)
    said.type("cd /programs; word=kept; stty -a | grep -c rows; echo re''ady", until="ready")
    for number in range(ROUNDS):
        shell.cycle()
        said.type(f"echo $word $PWD {number}''x", until=f"kept /programs {number}x")
    said.type("tty; [ -t 0 ] && [ -t 1 ] && echo is a''terminal", until="is aterminal")
    said.type("sleep 1000 & echo st''arted", until="started")
    shell.cycle()
    said.type("fg", until="sleep 1000")
    said.type("\x03", until="^C")  # job control is as it was: it ends the sleep, not the shell
    said.type("echo st''ill here", until="still here")


class _Dialogue:
    """Types on the program's terminal, and reads until it has answered."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def type(self, text: str, *, until: str) -> None:
        fd = self._program.terminal
        assert fd is not None
        os.write(fd, text.encode() + (b"" if text == "\x03" else b"\n"))
        seen = b""
        end = time.monotonic() + LIMIT
        while until.encode() not in seen:
            ready, _, _ = select.select([fd], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no {until!r} in {seen!r}"
            seen += os.read(fd, 4096)


def test_a_tree_of_many_processes_in_sessions_and_groups(program: Maker) -> None:
    """Each process counts for itself, and says who its parent, group and session are."""
    tree = program(PYTHON, "/programs/tree.py", str(PROCESSES))
    tree.start()

    def files() -> dict[str, list[str]]:
        return {path.name: tree.lines(path.name) for path in tree.out.glob("process-*")}

    def all_count() -> bool:
        return len(files()) == PROCESSES and all(len(lines) > 3 for lines in files().values())

    tree.wait_for(all_count)
    for _ in range(ROUNDS):
        tree.cycle("--shell-job")
        before = {name: len(lines) for name, lines in files().items()}
        for name, count in before.items():
            tree.wait_for(partial(tree.has_lines, name, count + 2))
    for name, lines in files().items():
        counts = [int(line.split()[0]) for line in lines]
        assert consecutive(counts), name
        assert len({line.partition(" ")[2] for line in lines}) == 1, f"{name}: its parent, group or session changed"
