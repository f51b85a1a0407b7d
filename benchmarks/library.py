"""pyrunc as a library in a warm process: what a program pays that has imported libcontainer."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

from libcontainer import Container

_numbers = itertools.count(1)


class Library:
    """Containers made, started and deleted in this process; milliseconds."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def create(self, bundle: Path) -> Container:
        name = f"bench-library-{os.getpid()}-{next(_numbers)}"
        return Container.create(name, root=self.root, bundle=str(bundle), stdio=(self.null,) * 3)

    def run(self, bundle: Path) -> float:
        begin = time.perf_counter()
        container = self.create(bundle)
        try:
            container.start()
            status = container.wait()
        finally:
            container.delete(force=True)
        taken = (time.perf_counter() - begin) * 1000
        if status:
            raise RuntimeError(f"library: /bin/true gave {status}")
        return taken

    def life(self, bundle: Path) -> dict[str, float]:
        """create, start, exec, kill and delete, each timed."""
        times: dict[str, float] = {}
        true = {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
        begin = time.perf_counter()

        def lap(verb: str) -> None:
            nonlocal begin
            times[verb] = (time.perf_counter() - begin) * 1000
            begin = time.perf_counter()

        container = self.create(bundle)
        lap("create")
        container.start()
        lap("start")
        with container.exec(true, stdio=(self.null,) * 3) as process:
            process.wait()
        lap("exec")
        container.signal(signal.SIGKILL)
        lap("kill")
        container.wait()
        begin = time.perf_counter()
        container.delete()
        lap("delete")
        return times
