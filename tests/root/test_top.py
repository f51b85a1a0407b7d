"""top on a terminal: what it draws, and that it leaves the terminal as it was."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from tests.root.conftest import LIMIT, Runtime, Sandbox

pytestmark = pytest.mark.root

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


class Terminal:
    """`top` on a terminal of its own."""

    def __init__(self, runtime: Runtime, *args: str, term: str = "xterm") -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(self.master)
        self.output = b""
        self.resize(24, 100)
        self.process = subprocess.Popen(
            [runtime.command, "--root", str(runtime.root), "top", "--interval", "200ms", *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": term},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, condition: Callable[[bytes], object], seconds: float = LIMIT) -> bytes:
        """Read until what has come fulfils the condition; what came."""
        end = time.monotonic() + seconds
        start = len(self.output)
        while not condition(self.output[start:]):
            assert time.monotonic() < end, self.output[start:]
            self.read(0.1)
        return self.output[start:]

    def read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            chunk = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self.output += chunk
        return bool(chunk)

    def ends(self) -> int:
        """Its exit status; the terminal is as it was."""
        end = time.monotonic() + LIMIT
        while self.process.poll() is None:
            assert time.monotonic() < end, self.output
            self.read(0.05)
        while self.read(0):
            pass
        assert self.output.rstrip().endswith(LEAVE)
        assert self.output.count(ENTER) == self.output.count(LEAVE)
        assert termios.tcgetattr(self.master) == self.before
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def named(sandbox: Sandbox, runtime: Runtime) -> Iterator[Callable[..., Terminal]]:
    """A busy container "one" and an idle one "two", and terminals with `top`."""
    made: list[Terminal] = []
    for name, script in (("one", "while :; do :; done"), ("two", "sleep 1000")):
        bundle = sandbox.bundle(name)
        bundle.args("sh", "-c", script)
        bundle.spec["linux"]["resources"].update(memory={"limit": 1 << 25}, cpu={"quota": 20000, "period": 100000})
        bundle.spec["linux"]["cgroupsPath"] = f"/{sandbox.name}-{name}"
        bundle.write()
        runtime.ok("run", "--detach", "--bundle", str(bundle.path), name)

    def top(*args: str, **options: str) -> Terminal:
        made.append(Terminal(runtime, *args, **options))
        return made[-1]

    yield top
    for terminal in made:
        with contextlib.suppress(OSError):
            terminal.close()


def drawn(*texts: str) -> Callable[[bytes], bool]:
    return lambda output: all(text.encode() in output for text in texts)


def test_it_is_live(named: Callable[..., Terminal]) -> None:
    terminal = named()
    assert terminal.until(drawn("CPU %", "one", "two", "32.0MiB")).startswith(ENTER)
    terminal.until(lambda output: output.count(b"CPU %") >= 4)
    terminal.until(lambda output: any(5 < percentage < 40 for percentage in percentages(output)))  # 20 % of a CPU


def percentages(output: bytes) -> list[float]:
    """Of "one", in all frames that came; a line that has not come to its end says nothing."""
    lines = output.decode().replace("\r", "").split("\n")[:-1]
    return [float(line.split()[2]) for line in lines if line.startswith("one")]


@pytest.mark.parametrize("key", [b"q", b"Q", b"\x03"])
def test_keys_that_end_it(named: Callable[..., Terminal], key: bytes) -> None:
    terminal = named()
    terminal.until(drawn("one"))
    os.write(terminal.master, key)
    assert terminal.ends() == 0


def test_keys_are_not_echoed(named: Callable[..., Terminal]) -> None:
    terminal = named()
    terminal.until(drawn("one"))
    os.write(terminal.master, b"xyzzy\n")
    terminal.until(lambda output: output.count(b"CPU %") >= 2)
    os.write(terminal.master, b"q")
    assert terminal.ends() == 0
    assert b"xyzzy" not in terminal.output


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_that_end_it(named: Callable[..., Terminal], signum: signal.Signals) -> None:
    terminal = named()
    terminal.until(drawn("one"))
    terminal.process.send_signal(signum)
    assert terminal.ends() == 128 + signum


def test_a_smaller_window_cuts(named: Callable[..., Terminal]) -> None:
    terminal = named("--interval", "100s")
    terminal.until(lambda output: b"\x1b[J" in output.partition(b"two")[2])  # the frame is complete
    terminal.resize(2, 20)
    frame = terminal.until(drawn("\x1b[J"))
    lines = frame.replace(b"\r", b"").replace(b"\x1b[H", b"").replace(b"\x1b[K", b"").replace(b"\x1b[J", b"").split(b"\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 20
    terminal.resize(24, 100)
    terminal.until(drawn("PRESSURE", "two"))


def test_stopped_and_continued(named: Callable[..., Terminal]) -> None:
    terminal = named()
    terminal.until(drawn("one"))
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.until(drawn(LEAVE.decode()))
    _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(terminal.master) == terminal.before
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(drawn(ENTER.decode(), "one"))
    os.write(terminal.master, b"q")
    assert terminal.ends() == 0


def test_containers_that_come_and_go(named: Callable[..., Terminal], runtime: Runtime) -> None:
    terminal = named()
    terminal.until(drawn("one", "two"))
    runtime.ok("delete", "--force", "one")
    terminal.until(lambda output: b"one" not in output.rpartition(b"CPU %")[2] and b"two" in output.rpartition(b"CPU %")[2])
    runtime.ok("delete", "--force", "two")
    terminal.until(lambda output: b"two" not in output.rpartition(b"CPU %")[2] and b"CPU %" in output)
    assert terminal.process.poll() is None
    os.write(terminal.master, b"q")
    assert terminal.ends() == 0


def test_an_interval_of_years(named: Callable[..., Terminal]) -> None:
    terminal = named("--interval", "2000000h")
    terminal.until(drawn("one", "two"))
    os.write(terminal.master, b"q")
    assert terminal.ends() == 0


def test_it_ends_with_the_last_container_that_was_named(named: Callable[..., Terminal], runtime: Runtime) -> None:
    terminal = named("two")
    assert b"one" not in terminal.until(drawn("two"))
    runtime.ok("delete", "--force", "two")
    assert terminal.ends() == 0


def test_a_dumb_terminal_gets_the_table_once(named: Callable[..., Terminal]) -> None:
    terminal = named(term="dumb")
    output = terminal.until(drawn("CPU %", "one", "two"))
    assert b"\x1b" not in output
    terminal.process.wait(LIMIT)
