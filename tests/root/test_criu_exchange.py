"""Images go both ways between runc and pyrunc: what one has dumped the other restores, and so on in turns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.root.conftest import Bundle, Runtime, Sandbox, wait_until

RUNC = shutil.which("runc")
pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("criu"),
    pytest.mark.skipif(RUNC is None, reason="runc is not installed"),
]
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i >>/count; sleep 0.05; done"


class Exchange:
    """A counter that moves from state root to state root, as its runtimes do not share one."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.runtimes: dict[str, Runtime] = {
            "pyrunc": sandbox.runtime(root="state-pyrunc"),
            "runc": sandbox.runtime(RUNC, root="state-runc"),
        }
        self.bundle: Bundle = sandbox.bundle()
        self.bundle.spec["root"]["readonly"] = False
        shared = sandbox.directory / "shared"
        shared.mkdir()
        (shared / "file").write_text("bound\n")
        mount = {"destination": "/bound", "type": "bind", "source": str(shared), "options": ["bind", "ro"]}
        self.bundle.spec["mounts"].append(mount)
        self.bundle.args("/bin/sh", "-c", COUNTER)
        self.images = sandbox.directory / "images"

    def quietly(self, runtime: str, *arguments: str) -> None:
        """With the null device as the container's stdio."""
        log = self.sandbox.directory / "log"
        log.write_text("")
        status, _ = self.runtimes[runtime].run("--log", str(log), *arguments, out=Path("/dev/null"))
        assert status == 0, log.read_text()

    def start(self, runtime: str) -> None:
        self.quietly(runtime, "run", "--detach", "--bundle", str(self.bundle.path), self.sandbox.name)
        self.counts()

    def move(self, source: str, target: str) -> None:
        self.quietly(source, "checkpoint", "--image-path", str(self.images), self.sandbox.name)
        wait_until(lambda: not (self.runtimes[source].root / self.sandbox.name).exists())
        paths = ("--bundle", str(self.bundle.path), "--image-path", str(self.images))
        self.quietly(target, "restore", "--detach", *paths, self.sandbox.name)
        shutil.rmtree(self.images)
        self.counts()

    def counts(self) -> None:
        """It goes on and has missed nothing."""
        before = self.numbers()
        wait_until(lambda: len(self.numbers()) > len(before) + 2)
        numbers = self.numbers()
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]

    def numbers(self) -> list[str]:
        path = self.bundle.rootfs / "count"
        return path.read_text().rpartition("\n")[0].split() if path.exists() else []


@pytest.mark.parametrize(("first", "second"), [("pyrunc", "runc"), ("runc", "pyrunc")])
def test_images_go_both_ways(sandbox: Sandbox, first: str, second: str) -> None:
    exchange = Exchange(sandbox)
    exchange.start(first)
    exchange.move(first, second)
    exchange.move(second, first)
    inside = exchange.runtimes[first].ok("exec", sandbox.name, "cat", "/bound/file")
    assert inside == "bound\n"


@pytest.mark.parametrize(("maker", "dumper"), [("pyrunc", "runc"), ("runc", "pyrunc")])
def test_each_dumps_the_other_s_containers(sandbox: Sandbox, maker: str, dumper: str) -> None:
    """One state root, as after a change of the runtime."""
    exchange = Exchange(sandbox)
    exchange.runtimes[dumper].root = exchange.runtimes[maker].root
    exchange.start(maker)
    exchange.move(dumper, maker)
    exchange.move(maker, dumper)
