"""Host hooks as engines configure them, and their messages beside those of the real runc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from libcontainer import hooks
from libcontainer.errors import HookError, describe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

STATE = hooks.state_document("c1", "creating", os.getpid(), "/bundle", None, "1.3.0")


def message(hook: dict[str, object]) -> str:
    with pytest.raises(HookError) as caught:
        hooks.run("prestart", [hook], STATE, inherit_env=True)
    return describe(caught.value)


def test_a_hook_named_by_the_executable_of_a_daemon(tmp_path: Path) -> None:
    """Docker's libnetwork-setkey: the path is /proc/PID/exe, argv[0] a word that selects what to do."""
    script = f"import os; os.system('cat > {tmp_path}/state')"
    hook = {"path": f"/proc/{os.getpid()}/exe", "args": ["setkey", "-c", script]}
    hooks.run("prestart", [hook], STATE, inherit_env=True)
    assert json.loads((tmp_path / "state").read_text())["pid"] == os.getpid()


def test_hooks_keep_the_privileges_of_the_runtime(tmp_path: Path) -> None:
    script = f"grep CapEff /proc/self/status > {tmp_path}/caps; readlink /proc/self/ns/mnt > {tmp_path}/mnt"
    hooks.run("poststop", [{"path": "/bin/sh", "args": ["sh", "-c", script]}], STATE, inherit_env=False)
    own = [line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line]
    assert (tmp_path / "caps").read_text().splitlines() == own
    assert (tmp_path / "mnt").read_text().strip() == os.readlink("/proc/self/ns/mnt")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    return tmp_path


def message_of_runc(bundle: Path, hook: dict[str, object]) -> str:
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    config["process"].pop("rlimits", None)
    config["hooks"] = {"prestart": [hook]}
    path.write_text(json.dumps(config))
    name = f"pyrunc-hooks-{os.getpid()}"
    command = ["runc", "--root", str(bundle / "state"), "--log-format", "json", "--log", str(bundle / "log")]
    done = subprocess.run(
        [*command, "create", name],
        check=False,
        cwd=bundle,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode != 0
    return "".join(json.loads(line)["msg"] for line in (bundle / "log").read_text().splitlines())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo out; echo err >&2; exit 3", "exit status 3, stdout: out\n, stderr: err\n"),
        ("kill -9 $$", "signal: killed, stdout: , stderr: "),
        ("kill -10 $$", "signal: user defined signal 1, stdout: , stderr: "),
    ],
)
def test_failures_are_worded_as_runc_does(bundle: Path, script: str, reason: str) -> None:
    hook: dict[str, object] = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    assert message(hook) == f"error running prestart hook #0: {reason}"
    assert reason in message_of_runc(bundle, hook)


def test_a_missing_hook_is_worded_as_runc_does(bundle: Path) -> None:
    hook: dict[str, object] = {"path": "/nonexistent/hook"}
    reason = "fork/exec /nonexistent/hook: no such file or directory"
    assert message(hook).endswith(f"#0: {reason}")
    assert reason in message_of_runc(bundle, hook)
