"""What a restore asks CRIU for: what is always sent, and each flag's field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from libcontainer import syscalls
from libcontainer.criu import messages
from libcontainer.criu.progress import Progress
from libcontainer.criu.restore import Restore
from libcontainer.criu.restore_options import RestoreOptions
from libcontainer.errors import Error
from libcontainer.plan import Plan
from pyrunc import commands
from pyrunc.__main__ import main
from pyrunc.log import Log
from pyrunc.options import Invocation

SPEC: dict[str, Any] = {
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/", "user": {}},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


@pytest.fixture
def images(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "descriptors.json").write_text(json.dumps(["/dev/null", "pipe:[5]", "file[1b:2c]"]))
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def given(*flags: str) -> RestoreOptions:
    """What the command makes of its flags."""
    module = commands.load("restore")
    assert module is not None
    call = Invocation("pyrunc", Log())
    call.take_command(module.COMMAND, [*flags, "name"])
    options: RestoreOptions = module.given(call)  # type: ignore[attr-defined]
    return options


def asked(images: int, *flags: str, spec: dict[str, Any] | None = None) -> Any:
    """CRIU's options for these flags."""
    plan = Plan("name", spec or SPEC, "/b", passed_fds=3)
    nothing: Any = None
    restore = Restore(
        plan, nothing, nothing, given(*flags), images=images, work=images, stdio=(0, 1, 2), log=print, progress=Progress()
    )
    try:
        return restore._request("/stage/root", ["mnt[/a]:/stage/m0"])
    finally:
        for fd in restore._owned:
            os.close(fd)


def test_what_is_always_sent(images: int) -> None:
    request = asked(images)
    assert (request.root, list(request.external)) == ("/stage/root", ["mnt[/a]:/stage/m0"])
    assert (request.log_file, request.log_level) == ("restore.log", 4)
    for field in ("evasive_devices", "rst_sibling", "manage_cgroups", "notify_scripts", "orphan_pts_master"):
        assert getattr(request, field), field
    assert request.empty_ns == messages.CLONE_NEWNET
    assert request.manage_cgroups_mode == messages.CGROUPS_DEFAULT
    assert request.config_file == "/etc/criu/runc.conf"


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["--tcp-established"], "tcp_established", True),
        (["--tcp-close"], "tcp_close", True),
        (["--ext-unix-sk"], "ext_unix_sk", True),
        (["--shell-job"], "shell_job", True),
        (["--file-locks"], "file_locks", True),
        (["--auto-dedup"], "auto_dedup", True),
        (["--lazy-pages"], "lazy_pages", True),
        (["--manage-cgroups-mode", "soft"], "manage_cgroups_mode", messages.CGROUPS_SOFT),
        (["--manage-cgroups-mode", "full"], "manage_cgroups_mode", messages.CGROUPS_FULL),
        (["--manage-cgroups-mode", "strict"], "manage_cgroups_mode", messages.CGROUPS_STRICT),
        (["--manage-cgroups-mode", "ignore"], "manage_cgroups_mode", messages.CGROUPS_IGNORE),
        (["--lsm-profile", "apparmor:x"], "lsm_profile", "apparmor:x"),
        (["--lsm-mount-context", "a:b:c"], "lsm_mount_context", "a:b:c"),
    ],
)
def test_each_flag(images: int, flags: list[str], field: str, value: object) -> None:
    assert getattr(asked(images), field) != value
    assert getattr(asked(images, *flags), field) == value


def test_a_shell_jobs_terminal_is_the_callers_unless_the_container_has_its_own(images: int) -> None:
    assert not asked(images, "--shell-job").orphan_pts_master
    spec = {**SPEC, "process": {**SPEC["process"], "terminal": True}}
    assert asked(images, "--shell-job", spec=spec).orphan_pts_master


def test_pipes_and_files_are_inherited_by_their_names(images: int) -> None:
    found = {entry.key: entry.fd for entry in asked(images).inherit_fd}
    assert list(found) == ["pipe:[5]", "ile[1b:2c]", "file[1b:2c]"]
    assert len(set(found.values())) == 3
    assert min(found.values()) > 2


def test_the_annotation_names_crius_configuration(images: int) -> None:
    assert asked(images, spec={**SPEC, "annotations": {"org.criu.config": "/x"}}).config_file == "/x"
    assert not asked(images, spec={**SPEC, "annotations": {"org.criu.config": ""}}).HasField("config_file")


@pytest.mark.parametrize("watched", [True, False])
def test_while_criu_works_whoever_watches_is_told(images: int, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("libcontainer.criu.restore.Session", lambda **how: asked.update(how))
    progress = Progress(print if watched else None)
    nothing: Any = None
    restore = Restore(
        Plan("name", SPEC, "/b", passed_fds=3), nothing, nothing, given(),
        images=images, work=images, stdio=(0, 1, 2), log=print, progress=progress,
    )  # fmt: skip
    stage: Any = SimpleNamespace(namespace=0)
    restore._session(stage)
    assert asked["tick"] == (progress.tick if watched else None)


def test_paths_are_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = given("--image-path", "i", "--work-path", "w")
    assert (options.image_path, options.work_path) == (f"{tmp_path}/i", f"{tmp_path}/w")
    assert (given().image_path, given().work_path) == (f"{tmp_path}/checkpoint", "")


def test_what_mounts_are_told(tmp_path: Path) -> None:
    options = given("--ext-mount", "a=/x", "--ext-mount", "/b=/y", "--ignore-host-propagation")
    assert options.ext_mounts == {"a": "/x", "/b": "/y"}
    assert options.ignore_host_propagation
    assert not given().ignore_host_propagation


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Any]]:
    """What a restore, started in a bundle, asks of the library and the kernel."""
    found: list[tuple[str, Any]] = []

    def restore(*_: object, **arguments: Any) -> Any:
        found.append(("restore", arguments))
        return SimpleNamespace(state=SimpleNamespace(init_process_pid=4242))

    monkeypatch.setattr("libcontainer.container.Container.restore", classmethod(restore))
    monkeypatch.setattr("libcontainer.syscalls.prctl", lambda *arguments: found.append(("prctl", arguments)))
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1.0.0", **SPEC}))
    monkeypatch.chdir(tmp_path)
    return found


def test_the_command_is_the_parent_of_orphans_unless_told_not_to_be(called: list[tuple[str, Any]]) -> None:
    assert main(["pyrunc", "restore", "-d", "name"]) == 0
    assert called[0] == ("prctl", (syscalls.PR_SET_CHILD_SUBREAPER, 1))
    called.clear()
    assert main(["pyrunc", "restore", "-d", "-no-subreaper", "name"]) == 0
    assert [what for what, _ in called] == ["restore"]


@pytest.mark.parametrize("given", [True, False])
def test_no_pivot_is_saved(called: list[tuple[str, Any]], given: bool) -> None:
    assert main(["pyrunc", "restore", "-d", *(["--no-pivot"] if given else []), "name"]) == 0
    assert called[-1][1]["no_pivot"] is given


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--rootless", "true"], "rootless_cgroups", True),
        (["--rootless", "false"], "rootless_cgroups", False),
        (["--systemd-cgroup"], "systemd_cgroup", True),
        ([], "systemd_cgroup", False),
        ([], "notify_socket", "/run/manager"),
    ],
)
def test_the_caller_s_cgroups_and_service_manager(
    called: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, flags: list[str], name: str, value: object
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/manager")
    assert main(["pyrunc", *flags, "restore", "-d", "name"]) == 0
    assert called[-1][1][name] == value


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--empty-ns", "uts"], 'namespace "uts" is not supported'),
        (["--manage-cgroups-mode", "x"], "invalid manage-cgroups-mode value"),
        (["--network-lock", "x"], 'invalid network-lock value "x"'),
        (["--ext-mount", "x"], "invalid --ext-mount argument"),
    ],
)
def test_what_is_refused(flags: list[str], words: str) -> None:
    with pytest.raises(Error, match=words):
        given(*flags)
