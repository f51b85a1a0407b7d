"""The init as a process of its own, for tests: built with sanitizers, or the embedded one, and the socket to it."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from libcontainer.remote import Channel

SOURCES = Path(__file__).parents[1] / "nsexec" / "src"
SANITIZE = ["-std=gnu17", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TIMEOUT = 60
# protocol.h, written down a second time
REQUEST = struct.Struct("=IIIIIIII")
CALL = struct.Struct("=HHHHIBBBB6Q")
REPLY = struct.Struct("=iiIII64i")


@functools.cache
def directory() -> Path:
    """Where the binaries are; removed when the interpreter ends."""
    holder = tempfile.TemporaryDirectory(prefix="init-")
    directory.__dict__["holder"] = holder
    return Path(holder.name)


@functools.cache
def sanitized() -> str:
    """init.c with AddressSanitizer and UndefinedBehaviorSanitizer."""
    binary = directory() / "sanitized"
    command = ["gcc", *SANITIZE, "-DNSEXEC_HOSTED", "-o", str(binary), str(SOURCES / "init.c")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no gcc")
    return str(binary)


@functools.cache
def embedded() -> str:
    """A copy of the program that the library spawns."""
    from nsexec._nsexec import lib

    memfd = lib.nsexec_program()
    binary = directory() / "embedded"
    binary.write_bytes(os.pread(memfd, os.fstat(memfd).st_size, 0))
    binary.chmod(0o700)
    os.close(memfd)
    return str(binary)


def default_command() -> tuple[str, ...]:
    """What runs unless a test says otherwise."""
    return (sanitized(),)


class Init:
    """A running init; `channel` is ours. Leaving the `with` block ends it and asserts that it ended as it should."""

    def __init__(self, *command: str) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT)
        self.channel = Channel(self.socket)
        environment = {"ASAN_OPTIONS": "detect_leaks=0", "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            [*(command or default_command()), "init", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.control = theirs.fileno()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.ask(b"")
        else:
            self.process.kill()
        self.socket.close()
        status, said = self.end()
        if kind is None:
            assert (status, said) == (1, ""), said

    def end(self) -> tuple[int, str]:
        """Wait for the end: the status and what was said on stderr."""
        _, said = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, said.decode(errors="replace")

    def ask(self, request: bytes) -> bytes:
        """Send raw bytes, then end of file; all that comes back."""
        received = b""
        try:
            self.socket.sendall(request)
            self.socket.shutdown(socket.SHUT_WR)
            while part := self.socket.recv(1 << 16):
                received += part
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up in the middle of a malformed request
        return received


def request(
    data: bytes = b"",
    calls: list[bytes] | None = None,
    relocations: tuple[int, ...] = (),
    **head: int,
) -> bytes:
    """A request as protocol.h has it; `head` replaces members of struct request by what is wrong."""
    calls = calls or []
    data += bytes(-len(data) % 8)
    payload = data + b"".join(calls) + struct.pack(f"={len(relocations)}I", *relocations)
    fields = {
        "size": len(payload),
        "ncalls": len(calls),
        "nrelocs": len(relocations),
        "calls_off": len(data),
        "result_off": 0,
        "result_len": 0,
        "flags": 0,
        "pad": 0,
    }
    return REQUEST.pack(*{**fields, **head}.values()) + payload


def call(op: int, *arguments: int, nr: int = 0, skip: int = 0, ok: tuple[int, int] = (0, 0), back: int = 0) -> bytes:
    """One struct call."""
    values = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    return CALL.pack(op, *ok, skip, nr, back, 0, 0, 0, *values)


@contextlib.contextmanager
def renames(directory: Path) -> Iterator[None]:
    """Somebody renames something all the time, unrelated to all that is opened meanwhile."""
    script = "import os; os.mkdir('a'); print(flush=True)\nwhile True: os.rename('a', 'b'); os.rename('b', 'a')"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
