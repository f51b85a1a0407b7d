"""What the unit tests of libcontainer.criu share: a criu that does what they say, and a container that is a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer.container import Container
from libcontainer.state import State, process_start_time

FAKE = Path(__file__).parent.parent / "fake_criu.py"


class FakeCriu:
    """Its script, and what it has been asked."""

    def __init__(self, directory: Path) -> None:
        self.script = directory / "script.json"
        self.record = directory / "script.json.record"
        self.says()

    def says(self, **script: Any) -> None:
        self.script.write_text(json.dumps(script))

    @property
    def packets(self) -> list[dict[str, Any]]:
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    def request(self, kind: int) -> dict[str, Any]:
        return next(packet for packet in self.packets if packet["type"] == kind)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCriu:
    """A `criu` in PATH."""
    directory = tmp_path / "fake"
    directory.mkdir()
    program = directory / "criu"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={FAKE.parent.parent} exec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o755)
    found = FakeCriu(directory)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CRIU", str(found.script))
    return found


@pytest.fixture
def process() -> Iterator[int]:
    """The pid of a process that stays."""
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        yield sleeper.pid
        sleeper.kill()


def container_of(pid: int, directory: Path, **config: Any) -> Container:
    """A container whose init is `pid`, in a cgroup that does not exist."""
    document = {
        "id": "unit",
        "init_process_pid": pid,
        "init_process_start": process_start_time(pid),
        "config": {"rootfs": "/rootfs", "namespaces": [], "labels": ["bundle=/b"], **config},
        "cgroup_paths": {name: f"/sys/fs/cgroup/{name}/pyrunc-unit-test" for name in ("freezer", "devices")},
        "external_descriptors": ["/dev/null", "pipe:[1]", "pipe:[2]"],
    }
    (directory / "unit").mkdir(parents=True, exist_ok=True)
    return Container("unit", str(directory), State(document))
