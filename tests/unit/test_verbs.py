"""The verbs that work on a living container, without one: what they print, refuse and pass on."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace
from typing import Any

import pytest

from libcontainer import events as library_events
from libcontainer.container import Container
from libcontainer.errors import ContainerNotRunning, Error, SyscallError, Unsupported
from pyrunc import __main__ as door


class Fake:
    """A container that notes what is done to it; `fail` is raised by the next verb."""

    def __init__(self, **changes: Any) -> None:
        self.id = "c"
        self.fail: Exception | None = None
        self.given: list[Any] = []
        self.found = "running"
        self.state = SimpleNamespace(created="now")
        self.__dict__.update(changes)

    def _do(self, *what: Any) -> None:
        if self.fail:
            raise self.fail
        self.given.append(what)

    def pause(self) -> None:
        self._do("pause")

    def resume(self) -> None:
        self._do("resume")

    def processes(self) -> list[int]:
        self._do("processes")
        return [1, 22] if self.found == "running" else []

    def update(self, resources: Any, *, rdt: Any) -> None:
        self._do(resources, rdt)

    def status(self) -> str:
        return self.found

    def stats(self) -> Any:
        usage = {"usage": {"total": len(self.given), "kernel": 0, "user": 0}, "throttling": {}}
        return {"cpu": usage, "memory": {"usage": {"limit": 0}}, "blkio": {}, "pids": {}}

    def events(self, interval: float) -> Any:
        self.given.append(interval)
        yield {"type": "oom", "id": "c"}
        yield {"type": "stats", "id": "c", "data": {}}


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(Container, "load", lambda *_args, **_keywords: fake)
    return fake


def run(*tokens: str) -> int:
    return door.main(["pyrunc", "--root", "/nonexistent/state", *tokens])


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_and_resume(container: Fake, verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "c") == 0
    assert container.given == [(verb,)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verb", ["pause", "resume", "ps"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_permission_error_is_explained(
    container: Fake, verb: str, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    container.fail = Error("unable to freeze")
    container.fail.__cause__ = SyscallError("open", number, "/sys/fs/cgroup/x")
    assert run("--log-format", "json", verb, "c") == 1
    warning, error = map(json.loads, capfd.readouterr().err.splitlines())
    assert (warning["level"], error["level"]) == ("warning", "error")
    assert warning["msg"] == f"runc {verb} failure might be caused by lack of full access to cgroups"


@pytest.mark.parametrize("verb", ["pause", "resume", "ps"])
def test_other_errors_are_not(container: Fake, verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    container.fail = SyscallError("open", errno.ENOENT, "/sys/fs/cgroup/x")
    assert run(verb, "c") == 1
    assert "lack of full access" not in capfd.readouterr().err


def test_ps_as_json(container: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("ps", "--format", "json", "c") == 0
    container.found = "stopped"
    assert run("ps", "-f", "json", "c") == 0
    assert capfd.readouterr().out == "[1,22]\nnull\n"


UPDATES: list[tuple[list[str], Any]] = [
    ([], {}),
    (["--memory", "50M"], {"memory": {"limit": 50 << 20}}),
    (["--memory=-1"], {"memory": {"limit": -1}}),
    (["--memory", "-1", "--memory-swap", "-1"], {"memory": {"limit": -1, "swap": -1}}),
    (["--memory-reservation", "1g"], {"memory": {"reservation": 1 << 30}}),
    (["--cpu-quota", "-1", "--cpu-period", "0"], {"cpu": {"period": 0, "quota": -1}}),
    (["--cpu-burst", "0", "--cpu-idle", "1", "--cpu-share", "2"], {"cpu": {"burst": 0, "shares": 2, "idle": 1}}),
    (["--cpu-rt-period", "5", "--cpu-rt-runtime", "4"], {"cpu": {"realtimePeriod": 5, "realtimeRuntime": 4}}),
    (["--cpuset-cpus", "0-1", "--cpuset-mems", "0"], {"cpu": {"cpus": "0-1", "mems": "0"}}),
    (["--cpuset-cpus", ""], {}),
    (["--pids-limit", "0"], {"pids": {"limit": 0}}),
    (["--pids-limit", "-1"], {"pids": {"limit": -1}}),
    (["--blkio-weight", "0x10"], {"blockIO": {"weight": 16}}),
]


@pytest.mark.parametrize(("tokens", "resources"), UPDATES, ids=[" ".join(row[0]) for row in UPDATES])
def test_update_flags(container: Fake, tokens: list[str], resources: Any) -> None:
    assert run("update", *tokens, "c") == 0
    assert container.given == [(resources, {})]


def test_update_from_a_file_takes_no_other_flag_but_those_of_rdt(container: Fake, tmp_path: Any) -> None:
    (tmp_path / "r.json").write_text('{"memory": {"limit": 5}, "pids": null}')
    others = ["--memory", "7", "--pids-limit", "7", "--cpu-share", "7"]
    flags = [*others, "--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=5"]
    assert run("update", "-r", str(tmp_path / "r.json"), *flags, "c") == 0
    assert container.given == [({"memory": {"limit": 5}}, {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=5"})]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["--memory", "x"], "invalid value for memory: invalid size: 'x'"),
        (["--cpu-share", "-1"], 'invalid value for cpu-share: strconv.ParseUint: parsing "-1": invalid syntax'),
        (["--cpu-rt-runtime", "1s"], 'invalid value for cpu-rt-runtime: strconv.ParseInt: parsing "1s": invalid syntax'),
        (["--blkio-weight", "-1"], "invalid value for blkio-weight: -1 is not in the range 10..1000"),
        (["--resources", "/nonexistent"], "open /nonexistent: no such file or directory"),
    ],
)
def test_wrong_updates(container: Fake, tokens: list[str], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--log-format", "json", "update", *tokens, "c") == 1
    assert json.loads(capfd.readouterr().err)["msg"] == words
    assert container.given == []


def test_obsolete_flags_of_update_warn(container: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("update", "--kernel-memory", "5", "--kernel-memory-tcp", "5", "c") == 0
    text = capfd.readouterr().err
    assert "Setting --kernel-memory is ignored and will be removed" in text
    assert "Setting --kernel-memory-tcp is ignored and will be removed" in text


def test_events(container: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("events", "--interval", "1m30s", "c") == 0
    assert container.given == [90.0]
    assert capfd.readouterr().out == '{"type":"oom","id":"c"}\n{"type":"stats","id":"c","data":{}}\n'


def test_events_once(container: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("events", "--stats", "c") == 0
    assert list(json.loads(capfd.readouterr().out)) == ["type", "id", "data"]
    container.found = "stopped"
    assert run("events", "--stats", "c") == 1
    assert "container with id c is not running" in capfd.readouterr().err


def test_a_container_without_a_cgroup_has_no_events() -> None:
    fake: Any = Fake(cgroup=SimpleNamespace(exists=lambda: False))
    with pytest.raises(Unsupported, match="^the container has no cgroup: there is nothing to watch$"):
        next(library_events.stream(fake, 1))
    fake.found = "stopped"
    with pytest.raises(ContainerNotRunning):
        next(library_events.stream(fake, 1))


class Watch:
    """Two kills, then the time is up, then the end."""

    def __init__(self) -> None:
        self.counts = [2, 0, 0]
        self.closed = False

    def wait(self, _seconds: float) -> int:
        return self.counts.pop(0)

    def ended(self) -> bool:
        return not self.counts

    def close(self) -> None:
        self.closed = True


def test_the_stream_goes_on_without_statistics_that_cannot_be_had() -> None:
    watch, said = Watch(), []
    fake: Any = Fake(cgroup=SimpleNamespace(exists=lambda: True, watch=lambda: watch))
    fake.log = lambda *words: said.append(words)
    fake.stats = lambda: (_ for _ in ()).throw(SyscallError("read", errno.EACCES, "/x"))
    assert list(library_events.stream(fake, 0.0)) == [{"type": "oom", "id": "c"}] * 2
    assert said == [("error", "read /x: permission denied")] * 2
    assert watch.closed
