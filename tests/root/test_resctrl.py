"""linux.intelRdt of real containers, on a stand-in for the resctrl file system: who gets into which group, and what stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer import Container, Error, faults
from libcontainer.errors import describe
from tests.resctrl_tree import Resctrl
from tests.root.conftest import LIMIT
from tests.root.laboratory import Laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resctrl:
    return Resctrl(tmp_path / "resctrl", monkeypatch)


@pytest.fixture
def lab(tmp_path: Path, busybox_rootfs: Path, tree: Resctrl) -> Iterator[Laboratory]:
    assert tree.groups() == []
    laboratory = Laboratory(tmp_path, busybox_rootfs)
    yield laboratory
    laboratory.clean_up()
    assert laboratory.left_behind() == []


def with_rdt(lab: Laboratory, **settings: Any) -> dict[str, Any]:
    spec = lab.spec()
    spec["linux"]["intelRdt"] = settings
    return spec


def tasks(path: str) -> str:
    return Path(path, "tasks").read_text()


def state(container: Container) -> Any:
    return json.loads(Path(container.directory, "state.json").read_text())


def test_a_life(lab: Laboratory, tree: Resctrl) -> None:
    """create puts init in, exec its process, update changes the shares, events tell of them, delete removes the class."""
    container = lab.make(with_rdt(lab, l3CacheSchema="L3:0=ff", memBwSchema="MB:0=20", enableMonitoring=True))
    group, monitor = f"{tree.top}/{container.id}", f"{tree.top}/{container.id}/mon_groups/{container.id}"
    assert tasks(group) == tasks(monitor) == str(container.pid)
    assert Path(group, "schemata").read_text() == "L3:0=ff\nMB:0=20\n"
    saved = state(container)
    assert (saved["intel_rdt_path"], saved["intel_rdt_mon_path"]) == (group, monitor)
    assert saved["config"]["intel_rdt"] == {
        "l3_cache_schema": "L3:0=ff",
        "memBwSchema": "MB:0=20",
        "enableMonitoring": True,
        "made_by_runtime": True,
    }
    container.start()
    again = Container.load(container.id, root=lab.root)
    with again.exec({"args": ["/bin/true"], "cwd": "/"}) as process:
        assert tasks(group) == tasks(monitor) == str(process.pid)
        assert process.wait() == 0
    again.update({}, rdt={"l3CacheSchema": "L3:0=1"})
    assert Path(group, "schemata").read_text() == "L3:0=1\n"
    assert state(container)["config"]["intel_rdt"]["l3_cache_schema"] == "L3:0=1"
    stats = again.stats()["intel_rdt"]
    assert (stats["l3_cache_schema"], stats["cmt_stats"][0]) == ("L3:0=1", {"llc_occupancy": 1000})
    again.delete(force=True)
    assert tree.groups() == []


@pytest.mark.parametrize(
    ("settings", "left"), [({}, ["gold"]), ({"enableMonitoring": True}, ["gold"]), ({"schemata": ["L3:0=f"]}, ["gold"])]
)
def test_a_class_with_a_name_outlives_the_container(
    lab: Laboratory, tree: Resctrl, settings: dict[str, Any], left: list[str]
) -> None:
    if not settings.get("schemata"):
        tree.group("gold")
    container = lab.make(with_rdt(lab, closID="gold", **settings))
    assert tasks(f"{tree.top}/gold") == str(container.pid)
    container.delete(force=True)
    assert tree.groups() == left


def test_a_failed_create(lab: Laboratory, tree: Resctrl) -> None:
    """Nothing stays, of whatever kind the failure is."""
    tree.room = 0
    assert "container init: unable to apply Intel RDT configuration: unable to make" in lab.refusal(with_rdt(lab))
    tree.room = 9
    spec = with_rdt(lab, enableMonitoring=True)
    spec["process"]["args"] = ["/nowhere"]
    assert "/nowhere" in lab.refusal(spec)
    spec["linux"]["intelRdt"]["closID"] = "gold"
    assert "clos dir not accessible" in lab.refusal(spec)
    assert tree.groups() == []


def test_without_resctrl_nothing_is_made(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own answer."""
    monkeypatch.undo()
    if " resctrl " in Path("/proc/self/mountinfo").read_text():
        pytest.skip("resctrl is mounted")
    assert lab.refusal(with_rdt(lab)).startswith("linux.intelRdt: Intel RDT resctrl mount point not found")
    assert lab.left_behind() == []


@pytest.mark.parametrize("point", ["create.first-state", "create.placed", "create.detached"])
def test_a_killed_create_can_be_deleted(lab: Laboratory, tree: Resctrl, point: str) -> None:
    spec = with_rdt(lab, enableMonitoring=True)
    child = os.fork()
    if child == 0:
        try:
            faults.arm(point)
            lab.make(spec)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (name,) = [entry for entry in os.listdir(lab.root) if not entry.startswith(".")]
    assert bool(tree.groups()) == (point != "create.first-state")
    Container.load(name, root=lab.root).delete(force=True)
    assert tree.groups() == []


def test_a_group_that_cannot_be_removed_is_an_error(lab: Laboratory, tree: Resctrl, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a second delete may have more luck."""
    container = lab.make(with_rdt(lab))

    def busy(_directory: str) -> None:
        raise Error("busy")

    with monkeypatch.context() as patch:
        patch.setattr("libcontainer.resctrl._remove", busy)
        with pytest.raises(Error, match="^busy$"):
            container.delete(force=True)
    Container.load(container.id, root=lab.root).delete(force=True)
    assert tree.groups() == []


def test_an_exec_that_cannot_join(lab: Laboratory, tree: Resctrl) -> None:
    container = lab.make(with_rdt(lab))
    container.start()
    Path(tree.top, container.id, "tasks").unlink()
    with pytest.raises(Error) as raised:
        container.exec({"args": ["/bin/true"], "cwd": "/"})
    assert "error adding pid" in describe(raised.value)
    assert "to Intel RDT: unable to put process" in describe(raised.value)


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_runc_deletes_it(lab: Laboratory, tree: Resctrl) -> None:
    container = lab.make(with_rdt(lab, schemata=["L3:0=f"], enableMonitoring=True))
    subprocess.run(["runc", "--root", lab.root, "delete", "--force", container.id], check=True, timeout=LIMIT)
    assert not os.path.exists(container.directory)
    container.reap()
