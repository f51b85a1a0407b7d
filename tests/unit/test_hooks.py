"""Hooks: the state document, and hooks run as ordinary programs (no privilege is needed for that)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from libcontainer import hooks
from libcontainer.errors import HookError, describe
from tests.root.laboratory import Snapshot

STATE = hooks.state_document("c1", "creating", 42, "/bundle", {"a": "b"}, "1.3.0")


def shell(script: str, **more: object) -> dict[str, object]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def run(
    *hook: dict[str, object], kind: str = "prestart", inherit_env: bool = True, cwd: str | None = None
) -> None:
    hooks.run(kind, hook, STATE, inherit_env=inherit_env, cwd=cwd)


def failure(*hook: dict[str, object], cwd: str | None = None) -> str:
    with pytest.raises(HookError) as caught:
        run(*hook, cwd=cwd)
    return describe(caught.value)


def test_state_document() -> None:
    assert STATE == {
        "ociVersion": "1.3.0",
        "id": "c1",
        "status": "creating",
        "pid": 42,
        "bundle": "/bundle",
        "annotations": {"a": "b"},
    }
    stopped = hooks.state_document("c1", "stopped", None, "/bundle", None, "1.3.0")
    assert "pid" not in stopped
    assert "annotations" not in stopped


def test_every_hook_gets_the_whole_state_on_stdin(tmp_path: Path) -> None:
    run(*[shell(f"cat > {tmp_path}/{name}") for name in "ab"])
    for name in "ab":
        assert json.loads((tmp_path / name).read_text()) == STATE


def test_a_large_state_needs_no_reader(tmp_path: Path) -> None:
    state = dict(STATE, annotations={"big": "x" * (1 << 20)})
    hooks.run("prestart", [shell("exit 0"), shell(f"wc -c > {tmp_path}/size")], state, inherit_env=True)
    assert int((tmp_path / "size").read_text()) > 1 << 20


def test_no_hooks_is_nothing() -> None:
    hooks.run("poststop", [], STATE, inherit_env=True)


def test_args_are_the_whole_argv(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run({"path": "/bin/sh", "args": ["renamed", "-c", f'echo "$0" "$@" > {out}', "zero", "one two"]})
    assert out.read_text() == "zero one two\n"
    run(shell(f"tr '\\0' '|' < /proc/$$/cmdline > {out}"))
    assert out.read_text().startswith("sh|-c|")


def test_without_args_the_path_is_argv0(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$# $0" > {tmp_path}/out\n')
    script.chmod(0o755)
    run({"path": str(script)})
    assert (tmp_path / "out").read_text() == f"0 {script}\n"


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_RUNTIME", "yes")
    report = f'echo "${{OF_THE_RUNTIME-unset}} ${{A-unset}}" >> {tmp_path}/out'
    run(shell(report))
    run(shell(report), inherit_env=False)
    run(shell(report, env=["A=1", "A=b=c"]))
    run(shell(report, env=[]))
    assert (tmp_path / "out").read_text().splitlines() == [
        "yes unset",
        "unset unset",
        "unset b=c",
        "unset unset",
    ]


@pytest.mark.parametrize(("entry", "reason"), [("A", "missing '='"), ("=1", "name cannot be empty")])
def test_bad_environment(entry: str, reason: str) -> None:
    text = failure(shell("exit 0", env=["OK=1", entry]))
    assert text == f"error running prestart hook #0: invalid environment variable: {reason}"


def test_first_failure_stops_the_list(tmp_path: Path) -> None:
    text = failure(shell("exit 0"), shell("echo out; echo err >&2; exit 3"), shell(f"touch {tmp_path}/ran"))
    assert text == "error running prestart hook #1: exit status 3, stdout: out\n, stderr: err\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("signum", "words"),
    [
        (signal.SIGKILL, "killed"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGXCPU, "CPU time limit exceeded"),
        (signal.SIGRTMIN + 1, "signal 35"),
    ],
)
def test_death_by_signal(signum: int, words: str) -> None:
    text = failure(shell(f"ulimit -c 0; kill -{int(signum)} $$"))
    assert text.startswith(f"error running prestart hook #0: signal: {words}"), text
    assert text.endswith(", stdout: , stderr: ")


def test_output_is_bounded_to_its_end() -> None:
    text = failure(shell("head -c 100000 /dev/zero | tr '\\0' x; echo the reason; exit 1"))
    assert "stdout: ...xxx" in text
    assert "the reason\n, stderr" in text
    assert len(text) < 4096


def test_output_that_is_no_utf8_is_shown() -> None:
    assert "stdout: a\ufffdb," in failure(shell("printf 'a\\377b'; exit 1"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nonexistent", "no such file or directory"),
        ("/etc", "permission denied"),
        ("sh", "no such file or directory"),  # PATH is not searched
    ],
)
def test_cannot_be_executed(path: str, reason: str) -> None:
    assert failure({"path": path}) == f"error running prestart hook #0: fork/exec {path}: {reason}"


def test_nul_in_an_argument() -> None:
    assert "fork/exec '/bin/sh': embedded null" in failure({"path": "/bin/sh", "args": ["a\0b"]})


def test_timeout_kills() -> None:
    before = Snapshot()
    text = failure(shell("exec sleep 1000", timeout=1))
    assert text == "error running prestart hook #0: hook ran past specified timeout of 1.0s"
    before.assert_unchanged()


def test_within_its_timeout() -> None:
    run(shell("exit 0", timeout=60), shell("exit 0", timeout=1 << 40))


def test_a_daemon_left_behind_does_not_hold_us(tmp_path: Path) -> None:
    run(shell(f"sleep 1000 & echo $! > {tmp_path}/pid"))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it is there, and has been all the time


def test_signals_are_as_new(tmp_path: Path) -> None:
    """The caller's blocked and ignored signals are not the hook's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(shell(f"grep -E 'Sig(Blk|Ign)' /proc/self/status > {tmp_path}/out"))
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    blocked, ignored = (int(line.split()[1], 16) for line in (tmp_path / "out").read_text().splitlines())
    assert blocked == 0
    assert ignored & ~(0b11 << 31) == 0  # 32 and 33 belong to the C library, whose posix_spawn ignores them


def test_no_descriptor_leaks_in(tmp_path: Path) -> None:
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        run(shell(f"ls /proc/$$/fd > {tmp_path}/out", timeout=60))
    finally:
        os.close(leak)
    names = {int(name) for name in (tmp_path / "out").read_text().split()}
    assert {0, 2} <= names
    assert leak not in names


def test_stdio_closed_in_the_caller(tmp_path: Path) -> None:
    code = (
        "import os; os.closerange(0, 3)\n"
        "from libcontainer import hooks\n"
        f"hook = {{'path': '/bin/sh', 'args': ['sh', '-c', 'cat > {tmp_path}/in; echo out; echo err >&2; exit 1']}}\n"
        "try: hooks.run('poststop', [hook], {'id': 'x'}, inherit_env=True)\n"
        f"except Exception as err: open('{tmp_path}/err', 'w').write(str(err.__cause__))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "in").read_text() == '{"id":"x"}'
    assert (tmp_path / "err").read_text() == "exit status 1, stdout: out\n, stderr: err\n"


def test_cwd_is_the_hooks_alone(tmp_path: Path) -> None:
    here = os.getcwd()
    seen: set[str] = set()
    begun, stop = threading.Event(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.add(os.getcwd())
            begun.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun.wait()
    try:
        run(shell("pwd -P > out"), cwd=str(tmp_path))
    finally:
        stop.set()
        watcher.join()
    assert (tmp_path / "out").read_text() == f"{tmp_path.resolve()}\n"
    assert seen == {here}


def test_cwd_that_is_already_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(shell("pwd -P > out"), cwd=str(tmp_path))
    assert (tmp_path / "out").exists()


def test_cwd_missing() -> None:
    text = failure(shell("exit 0"), cwd="/nonexistent")
    assert text == "error running prestart hook #0: chdir /nonexistent: no such file or directory"


def test_failure_in_another_cwd(tmp_path: Path) -> None:
    assert failure({"path": "/nonexistent"}, cwd=str(tmp_path)).endswith(": no such file or directory")


def test_a_caller_that_ignores_sigchld_is_told() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert failure(shell("exit 0")) == "error running prestart hook #0: wait: no child processes"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_no_descriptor_is_left() -> None:
    before = Snapshot()
    run(shell("exit 0"))
    failure(shell("exit 1"))
    failure({"path": "/nonexistent"})
    failure(shell("sleep 9", timeout=0))
    before.assert_unchanged()
