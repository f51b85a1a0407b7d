"""A place to make containers with the library, which sees to it that none of them leaves anything behind."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import time
from pathlib import Path
from typing import Any

from libcontainer import Container, Error
from libcontainer.errors import describe
from libcontainer.example_spec import example
from tests.root.conftest import LIMIT

NUMBERS = itertools.count()
MAPPED = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


class Laboratory:
    """Containers `make`d here share a state root and a bundle with a writable root file system."""

    def __init__(self, directory: Path, busybox: Path) -> None:
        self.directory = directory
        self.root = str(directory / "state")
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        self.rootfs = self.bundle / "rootfs"
        shutil.copytree(busybox, self.rootfs, symlinks=True)
        for applet in (
            "stat",
            "mount",
            "readlink",
            "hostname",
            "umask",
            "touch",
            "tty",
            "grep",
            "wc",
            "kill",
            "mkdir",
            "env",
            "find",
        ):
            link = self.rootfs / "bin" / applet
            if not link.is_symlink():
                link.symlink_to("busybox")
        self.made: list[str] = []

    def spec(self, script: str = "exec sleep 100") -> dict[str, Any]:
        """The example of the `spec` command, with a shell script to run."""
        document: Any = example(False)
        document["process"].update(terminal=False, args=["/bin/sh", "-c", script])
        document["root"]["readonly"] = False
        return dict(document)

    def name(self) -> str:
        name = f"pyrunc-lab-{os.getpid()}-{next(NUMBERS)}"
        self.made.append(name)  # not read again: other threads append theirs
        return name

    def make(self, spec: dict[str, Any] | str, **options: Any) -> Container:
        document = self.spec(spec) if isinstance(spec, str) else spec
        return Container.create(self.name(), root=self.root, bundle=str(self.bundle), spec=document, **options)

    def run(self, spec: dict[str, Any] | str, **options: Any) -> tuple[int, str]:
        """create, start, wait, delete: the exit code and what it printed."""
        output = os.memfd_create("output")
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            container = self.make(spec, stdio=(null, output, output), **options)
            container.start()
            code = container.wait()
            container.delete()
            return code, os.pread(output, 1 << 20, 0).decode()
        finally:
            os.close(output)
            os.close(null)

    def exec(self, container: Container, script: str, **process: Any) -> tuple[int, str]:
        """Run a shell in a container: the exit code and what it printed."""
        output = os.memfd_create("output")
        null = os.open("/dev/null", os.O_RDONLY)
        path = ["PATH=/bin"]
        document = {"args": ["/bin/sh", "-c", script], "cwd": "/", "env": path, **process}
        try:
            with container.exec(document, stdio=(null, output, output)) as started:
                code = started.wait()
            return code, os.pread(output, 1 << 20, 0).decode()
        finally:
            os.close(output)
            os.close(null)

    def refusal(self, spec: dict[str, Any] | str, **options: Any) -> str:
        """What a create that must fail says."""
        try:
            self.make(spec, **options).delete(force=True)
        except Error as err:
            return describe(err)
        raise AssertionError("it was created")

    def clean_up(self) -> None:
        for name in self.made:
            try:
                Container.load(name, root=self.root).delete(force=True)
            except Error:
                continue

    def left_behind(self) -> list[str]:
        """What carries the name of one of our containers, on the whole machine."""
        found = [entry for entry in os.listdir(self.root) if not entry.startswith(".")] if os.path.isdir(self.root) else []
        for top, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [f"{top}/{name}" for name in directories if name in self.made]
        mounts = Path("/proc/self/mountinfo").read_text()
        return found + [line for line in mounts.splitlines() if str(self.directory) in line]


class Snapshot:
    """Descriptors and children of this process."""

    def __init__(self) -> None:
        gc.collect()
        self.descriptors = _descriptors()
        self.children = _children()

    def assert_unchanged(self) -> None:
        gc.collect()  # what an exception's traceback has kept
        deadline = time.monotonic() + LIMIT
        while _children() - self.children and time.monotonic() < deadline:
            time.sleep(0.01)
        children = {pid: _command(pid) for pid in _children() - self.children}
        assert not children, children
        changed = set(_descriptors().items()) ^ set(self.descriptors.items())
        assert not changed, changed


def descriptors(pid: int | str = "self") -> dict[str, str]:
    """Those of a process, with what each is open for."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as the listing's own
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def _descriptors() -> dict[str, str]:
    return {fd: "memory" if target.startswith("/memfd") else target for fd, target in descriptors().items()}


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()[:40]
    except (FileNotFoundError, ProcessLookupError):
        return "ended"


def _children() -> set[str]:
    """Zombies too."""
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found.update(Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def with_user_namespace(spec: dict[str, Any]) -> dict[str, Any]:
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"].update(uidMappings=MAPPED, gidMappings=MAPPED)
    return spec


def without(spec: dict[str, Any], *kinds: str) -> dict[str, Any]:
    """`spec` without its namespaces of these kinds."""
    linux = spec["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] not in kinds]
    return spec


def mount(destination: str, kind: str = "tmpfs", source: str = "tmpfs", *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return mount(destination, "bind", str(source), "bind", *options)
