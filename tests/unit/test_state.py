"""state.json and what /proc says of its process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer import state
from libcontainer.errors import ContainerNotExist, Error, describe
from libcontainer.state import State

DOCUMENT = {
    "id": "x",
    "init_process_pid": 7,
    "init_process_start": 18446744073709551615,
    "created": "2026-01-02T03:04:05.6Z",
    "config": {"rootfs": "/r", "unknown": {"deep": [9007199254740993]}},
    "rootless": False,
    "cgroup_paths": {"devices": "/sys/fs/cgroup/devices/x"},
    "namespace_paths": {"NEWPID": "/proc/7/ns/pid"},
    "external_descriptors": ["/dev/null", "/dev/null", "pipe:[1]"],
    "intel_rdt_path": "",
    "intel_rdt_mon_path": "",
    "of_a_newer_runtime": {"n": 18446744073709551615},
}


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_what_is_not_known_survives(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps(DOCUMENT))
    loaded = State.load(os.fspath(tmp_path))
    loaded.init_process_pid = 8
    loaded.save(os.fspath(tmp_path))
    assert json.loads((tmp_path / "state.json").read_text()) == {**DOCUMENT, "init_process_pid": 8}


def test_members(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps(DOCUMENT))
    descriptor = os.open(tmp_path, os.O_PATH)
    try:
        loaded = State.load(descriptor)
    finally:
        os.close(descriptor)
    assert loaded.id == "x"
    assert loaded.init_process_start == 18446744073709551615
    assert loaded.config["rootfs"] == "/r"
    assert loaded.cgroup_paths == {"devices": "/sys/fs/cgroup/devices/x"}
    assert loaded.external_descriptors[2] == "pipe:[1]"


def test_null_is_empty() -> None:
    loaded = State(
        {"config": None, "cgroup_paths": None, "namespace_paths": None, "external_descriptors": None}
    )
    assert (loaded.config, loaded.cgroup_paths, loaded.namespace_paths, loaded.external_descriptors) == (
        {},
        {},
        {},
        [],
    )


def test_no_state_is_no_container(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ContainerNotExist, match="^container does not exist$"):
            State.load(os.fspath(directory))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_broken_state(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(Error, match=r"^invalid state\.json"):
        State.load(os.fspath(tmp_path))


def test_save_is_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_PATH)
    try:
        State({"id": "x"}).save(descriptor)
    finally:
        os.close(descriptor)
    assert os.listdir(tmp_path) == ["state.json"]
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_a_failed_save_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state.json").write_text(json.dumps(DOCUMENT))

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("libcontainer.state.os.write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        State({"id": "y"}).save(os.fspath(tmp_path))
    assert describe(caught.value) == f"{tmp_path}/state.json: no space left on device"
    assert os.listdir(tmp_path) == ["state.json"]
    assert json.loads((tmp_path / "state.json").read_text()) == DOCUMENT


def test_readers_never_see_half_a_state(tmp_path: Path) -> None:
    one = State({"id": "x", "padding": "p" * 100_000})
    one.save(os.fspath(tmp_path))
    done = threading.Event()

    def write() -> None:
        for _ in range(100):
            one.save(os.fspath(tmp_path))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert State.load(os.fspath(tmp_path)).id == "x"
    writer.join()


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"/bundle/\xff")
    State({"config": {"rootfs": name}}).save(os.fspath(tmp_path))
    assert State.load(os.fspath(tmp_path)).config["rootfs"] == name


def test_a_running_process(child: subprocess.Popen[bytes]) -> None:
    start = state.process_start_time(child.pid)
    assert start is not None
    assert state.process_alive(child.pid, start)
    assert not state.process_alive(child.pid, start + 1)
    document = State({"init_process_pid": child.pid, "init_process_start": start})
    assert document.is_alive()


def test_a_zombie_is_gone(child: subprocess.Popen[bytes]) -> None:
    start = state.process_start_time(child.pid)
    assert start is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert state.process_stat(child.pid) == ("Z", start)
    assert not state.process_alive(child.pid, start)
    child.wait()
    assert state.process_start_time(child.pid) is None
    assert not state.process_alive(child.pid, start)


def test_the_name_of_a_process_may_look_like_the_end_of_a_name(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 (x"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        with open("/proc/self/stat", "rb") as file:
            own_start = int(file.read().split()[21])
        found = state.process_stat(process.pid)
        process.kill()
    assert found is not None
    assert found[1] >= own_start


def test_no_process() -> None:
    assert not state.process_alive(0, 0)
    assert not state.process_alive(-1, 0)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
        (1_767_323_045_678_900_000, "2026-01-02T03:04:05.6789Z"),
    ],
)
def test_time_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert state.rfc3339nano(nanoseconds) == text


def test_now() -> None:
    assert state.now_rfc3339nano()[:2] == "20"
