"""Two hosts on one machine: network namespaces with a cable between them."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000


class Host:
    """A network namespace that stands for a host: programs started in it see its interfaces only."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def make(self) -> None:
        self("ip", "netns", "add", self.name, inside=False)

    def __call__(self, *command: str, inside: bool = True) -> None:
        subprocess.run([*self._enter(), *command] if inside else command, check=True, capture_output=True)

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def _enter(self) -> list[str]:
        """Not `ip netns exec`: that mounts a /sys without cgroups."""
        return ["nsenter", f"--net={self.path}", "--"]

    def wrapper(self, command: str, path: Path) -> str:
        """A command that runs another one here."""
        path.write_text(f'#!/bin/sh\nexec {" ".join(self._enter())} {command} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def listens(self, port: int) -> bool:
        """Whether somebody does; ss(8) would need another package."""
        table = subprocess.check_output([*self._enter(), "cat", "/proc/self/net/tcp"], text=True)
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table.splitlines()[1:])

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """A socket of this host's: it stays in the namespace in which it was made."""

        def connected() -> socket.socket:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            return socket.create_connection((address, port), timeout=seconds)

        with ThreadPoolExecutor(1) as thread:  # its namespace ends with it
            return thread.submit(connected).result()

    def start(self, *command: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._enter(), *command],
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


@contextmanager
def two(name: str) -> Iterator[tuple[Host, Host]]:
    """Two hosts, connected."""
    source = Host(f"src{name}", "192.0.2.1")
    target = Host(f"dst{name}", "192.0.2.2")
    try:
        source.make()
        target.make()
        source("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", target.name)
        for host in (source, target):
            host("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host("ip", "link", "set", "eth0", "up")
            host("ip", "link", "set", "lo", "up")  # as on every host: CRIU tries its sockets there
        yield source, target
    finally:
        for host in (source, target):
            host.close()
