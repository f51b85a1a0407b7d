"""The systemd driver on real cgroups, with a service manager that is a test's own.

For machines without systemd: the file runs itself again in mount namespaces where /run says that there is one, once with the
machine's cgroups and once with cgroup2 alone. Where systemd runs, integration/systemd.bats asks the real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer import Container, cgroups
from libcontainer.cgroups.files import remove
from libcontainer.cgroups.systemd import Driver
from libcontainer.errors import Error, describe
from tests.root.conftest import wait_until
from tests.root.laboratory import Laboratory, Snapshot, mount, with_user_namespace, without
from tests.service_manager import ServiceManager, message_bus
from tests.test_imports import modules_of, surplus

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

INSIDE = "PYRUNC_TEST_SERVICE_MANAGER"
SLICE = f"pyrunctest{os.getpid()}.slice"
RUN = "mount -t tmpfs none /run && mkdir -p /run/systemd/system"
CGROUP2 = "mount -t cgroup2 none /sys/fs/cgroup"
OWN_ROOT = "0::/\n"


if INSIDE not in os.environ:

    @pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
    @pytest.mark.parametrize("view", ["true", CGROUP2], ids=["as it is", "cgroup2"])
    def test_in_a_mount_namespace_where_systemd_seems_to_run(view: str, pyrunc: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{RUN} && {view} && exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, INSIDE: "1", "PYRUNC": pyrunc},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout

else:
    V2 = cgroups.mode() == "v2"

    def place(unit: str, pid: int) -> list[str]:
        """Make a scope's cgroups, as systemd does in the hierarchies that are its own, and move a process there."""
        directories = []
        for top in ["/sys/fs/cgroup"] if V2 else ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]:
            directories.append(f"{top}/{SLICE}/{unit}")
            os.makedirs(directories[-1], exist_ok=True)
            Path(directories[-1], "cgroup.procs").write_text(str(pid))
        return directories

    @pytest.fixture
    def systemd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
        with message_bus(tmp_path_factory.mktemp("bus")) as where:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", where)
            manager = ServiceManager(where, place)
            yield manager
            manager.close()

    @pytest.fixture
    def lab(systemd: ServiceManager, tmp_path: Path, busybox_rootfs: Path) -> Iterator[Laboratory]:
        laboratory = Laboratory(tmp_path, busybox_rootfs)
        assert laboratory.run("exit 0")[0] == 0
        before = Snapshot()
        try:
            yield laboratory
        finally:
            laboratory.clean_up()
            slices = [Path(top, SLICE) for top, names, _ in os.walk("/sys/fs/cgroup") if SLICE in names]
            left = [child for path in slices for child in path.iterdir() if child.is_dir()]
            for path in slices if not left else []:
                path.rmdir()
        assert left == []
        assert systemd.units == {}
        before.assert_unchanged()

    def spec(lab: Laboratory, script: str = "exec sleep 100", **linux: Any) -> dict[str, Any]:
        document = lab.spec(script)
        document["linux"].update(cgroupsPath=f"{SLICE}:lab:box", **linux)
        return document

    def make(lab: Laboratory, document: dict[str, Any], **options: Any) -> Container:
        return lab.make(document, systemd_cgroup=True, **options)

    def members(calls: list[tuple[Any, ...]]) -> list[str]:
        return [call[0] for call in calls if call[0] != "Get"]

    def cgroups_of(pid: int) -> dict[str, str]:
        return cgroups.parse_own(Path(f"/proc/{pid}/cgroup").read_text())

    def directory(container: Container) -> Path:
        return Path(container.state.cgroup_paths["" if V2 else "name=systemd"])

    def test_a_life(lab: Laboratory, systemd: ServiceManager) -> None:
        container = make(lab, without(spec(lab), "cgroup"))
        (start,) = systemd.of("StartTransientUnit")
        properties = dict(start[2])
        pids = properties.pop("PIDs")
        assert start[:2] == ("lab-box.scope", "replace")
        assert pids[0] == "au"
        assert pids[1] != [container.pid]  # the process that cloned it
        accounting = "IOAccounting" if V2 else "BlockIOAccounting"
        assert list(properties.items()) == [
            ("Description", ("s", "libcontainer container box")),
            ("Slice", ("s", SLICE)),
            ("Delegate", ("b", True)),
            ("MemoryAccounting", ("b", True)),
            ("CPUAccounting", ("b", True)),
            (accounting, ("b", True)),
            ("TasksAccounting", ("b", True)),
            ("DefaultDependencies", ("b", False)),
        ]
        managed = {name.strip(",") for path in container.state.cgroup_paths for name in path.split(",")}
        for hierarchy, path in cgroups_of(container.pid).items():
            if set(hierarchy.split(",")) & managed:
                assert path == f"/{SLICE}/lab-box.scope"
        assert members(systemd.calls) == ["StartTransientUnit", "SetUnitProperties"]
        systemd.calls.clear()
        container.start()
        code, output = lab.exec(container, "cat /proc/self/cgroup")
        assert code == 0
        assert output.count(f"/{SLICE}/lab-box.scope") == Path(f"/proc/{container.pid}/cgroup").read_text().count("lab-box")
        assert systemd.calls == []  # neither start nor exec nor looking at it talks to systemd
        container.delete(force=True)
        assert members(systemd.calls) == ["StopUnit", "ResetFailedUnit"]

    def test_the_state_is_runcs(lab: Laboratory) -> None:
        container = make(lab, spec(lab))
        state = json.loads(Path(container.directory, "state.json").read_text())
        saved = state["config"]["cgroups"]
        wanted = {"name": "box", "parent": SLICE, "path": "", "scope_prefix": "lab", "Systemd": True, "Rootless": False}
        assert {key: saved.get(key) for key in wanted} == wanted
        assert state["cgroup_paths"] == container.state.cgroup_paths
        assert all(path.endswith(f"/{SLICE}/lab-box.scope") for path in state["cgroup_paths"].values())
        loaded = Container.load(container.id, root=lab.root)
        assert loaded.cgroup.pids() == [container.pid]

    def test_the_cgroup_namespace_begins_at_the_scope(lab: Laboratory) -> None:
        document = spec(lab, "cat /proc/self/cgroup")
        if {"type": "cgroup"} not in document["linux"]["namespaces"]:
            document["linux"]["namespaces"].append({"type": "cgroup"})
        code, output = lab.run(document, systemd_cgroup=True)
        assert code == 0
        assert OWN_ROOT in output

    def test_a_user_namespace(lab: Laboratory) -> None:
        document = with_user_namespace(spec(lab, "cat /proc/self/cgroup"))
        code, output = lab.run(without(document, "cgroup"), systemd_cgroup=True)
        assert code == 0
        assert f"/{SLICE}/lab-box.scope" in output

    def test_limits_are_properties_and_files(lab: Laboratory, systemd: ServiceManager) -> None:
        resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
        wanted: dict[str, Any] = {"DevicePolicy": ("s", "strict")}
        if not V2:
            resources.update(cpu={"quota": 5001}, pids={"limit": 7})
            wanted.update(CPUQuotaPerSecUSec=("t", 60000), TasksMax=("t", 7))
        container = make(lab, spec(lab, resources=resources))
        ((unit, runtime, properties),) = systemd.of("SetUnitProperties")
        assert (unit, runtime) == ("lab-box.scope", True)
        assert wanted.items() <= dict(properties).items()
        if not V2:
            paths = container.state.cgroup_paths
            assert Path(paths["cpu"], "cpu.cfs_quota_us").read_text() == "6000\n"
            assert Path(paths["pids"], "pids.max").read_text() == "7\n"

    def test_an_update_leaves_device_rules_alone(lab: Laboratory, systemd: ServiceManager) -> None:
        container = make(lab, spec(lab, resources={"devices": [{"allow": False, "access": "rwm"}]}))
        container.start()
        systemd.calls.clear()
        loaded = Container.load(container.id, root=lab.root)
        loaded.cgroup.set({"pids": {"limit": 5}} if not V2 else {}, devices=False)
        ((_unit, _runtime, properties),) = systemd.of("SetUnitProperties")
        assert properties == ([] if V2 else [("TasksMax", ("t", 5))])
        assert loaded.status() == "running"
        if not V2:
            assert Path(container.state.cgroup_paths["pids"], "pids.max").read_text() == "5\n"

    def test_a_paused_container_stays_paused(lab: Laboratory) -> None:
        container = make(lab, spec(lab))
        container.cgroup.freeze()
        container.cgroup.set({}, spec_devices=())
        assert container.cgroup.frozen()
        container.cgroup.thaw()

    def test_what_annotations_ask_for(lab: Laboratory, systemd: ServiceManager) -> None:
        document = spec(lab)
        document["annotations"] = {"org.systemd.property.TimeoutStopSec": "uint64 3"}
        make(lab, document)
        ((_unit, _mode, properties, _auxiliary),) = systemd.of("StartTransientUnit")
        assert properties[-1] == ("TimeoutStopUSec", ("t", 3000000))

    def test_a_container_that_fails_leaves_no_unit(lab: Laboratory, systemd: ServiceManager) -> None:
        document = spec(lab)
        document["process"]["args"] = ["/no/such/program"]
        assert "no such file or directory" in lab.refusal(document, systemd_cgroup=True)
        assert members(systemd.calls) == ["StartTransientUnit", "SetUnitProperties", "StopUnit", "ResetFailedUnit"]

    def test_who_dies_before_it_is_set_up_may_have_wanted_memory(
        lab: Laboratory, systemd: ServiceManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """systemd removes its cgroup then."""

        def vanish(driver: Driver, *_: Any, **__: Any) -> None:
            ((_unit, _mode, properties, _auxiliary),) = systemd.of("StartTransientUnit")
            (stage0,) = dict(properties)["PIDs"][1]
            if V2:  # it clones meanwhile: if it dies then, nobody knows whom
                wait_until(lambda: driver.pids() and stage0 not in driver.pids())
            for pid in driver.pids():
                os.kill(pid, 9)
            for path in driver.paths.values():
                remove(path)
            systemd.made.clear()
            raise Error("the device rules")

        monkeypatch.setattr(Driver, "set", vanish)
        text = lab.refusal(spec(lab), systemd_cgroup=True)
        assert "unable to start container process (possibly OOM-killed): " in text

    def test_a_limit_that_is_refused_leaves_no_unit(lab: Laboratory, systemd: ServiceManager) -> None:
        document = spec(lab, resources={"cpu": {"cpus": "4000"}})
        assert "unable to start container process" in lab.refusal(document, systemd_cgroup=True)
        assert members(systemd.calls)[-2:] == ["StopUnit", "ResetFailedUnit"]

    def test_somebody_elses_unit_is_not_touched(lab: Laboratory, systemd: ServiceManager) -> None:
        systemd.units["lab-box.scope"] = "active"
        text = lab.refusal(spec(lab), systemd_cgroup=True)
        assert 'unable to apply cgroup configuration: unable to start unit "lab-box.scope": UnitExists it is' in text
        assert members(systemd.calls) == ["StartTransientUnit"]
        systemd.units.clear()

    def test_a_job_that_fails(lab: Laboratory, systemd: ServiceManager) -> None:
        systemd.results["StartTransientUnit"] = "failed"
        text = lab.refusal(spec(lab), systemd_cgroup=True)
        assert "error creating systemd unit `lab-box.scope`: got `failed`" in text

    def test_no_bus(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
            text = lab.refusal(spec(lab), systemd_cgroup=True)
        assert "unable to connect to the system's systemd: connect unix:path=/nowhere: no such file or directory" in text

    def test_delete_needs_no_systemd(lab: Laboratory, systemd: ServiceManager, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        container = make(lab, spec(lab), log=lambda level, text, **_: told.append(f"{level}: {text}"))
        told.clear()
        with monkeypatch.context() as patch:
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
            container.delete(force=True)
        assert not directory(container).exists()
        assert [text for text in told if text.startswith("warning: unable to stop unit lab-box.scope: ")]
        systemd.units.clear()
        systemd.made.clear()

    def test_a_container_may_be_a_slice(lab: Laboratory, systemd: ServiceManager) -> None:
        document = spec(lab)
        document["linux"]["cgroupsPath"] = f"{SLICE}:lab:{SLICE.removesuffix('.slice')}-box.slice"
        if V2:
            os.mkdir(f"/sys/fs/cgroup/{SLICE}")
        container = make(lab, document)
        ((unit, _mode, properties, _auxiliary),) = systemd.of("StartTransientUnit")
        assert unit == f"{SLICE.removesuffix('.slice')}-box.slice"
        assert ("Wants", ("as", [SLICE])) in properties
        assert not {"PIDs", "Delegate", "Slice"} & dict(properties).keys()
        assert cgroups_of(container.pid)[""] == f"/{SLICE}/{unit}"

    @pytest.mark.skipif(not V2, reason="delegation is for v2")
    def test_the_user_of_the_container_may_make_cgroups(lab: Laboratory) -> None:
        document = with_user_namespace(without(spec(lab), "cgroup"))
        document["linux"]["namespaces"].append({"type": "cgroup"})
        document["mounts"] = [entry for entry in document["mounts"] if entry["destination"] != "/sys/fs/cgroup"]
        document["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup"))
        path = directory(make(lab, document))
        owned = [path, path / "cgroup.procs", path / "cgroup.subtree_control", path / "cgroup.threads"]
        assert {entry.stat().st_uid for entry in owned} == {100_000}
        assert (path / "cgroup.freeze").stat().st_uid == 0

    @pytest.mark.skipif(V2, reason="v1 is refused")
    def test_rootless_needs_v2(lab: Laboratory) -> None:
        text = lab.refusal(spec(lab), systemd_cgroup=True, rootless_cgroups=True)
        assert text.endswith("cannot use rootless systemd cgroups manager on cgroup v1")

    def test_where_there_is_no_systemd(lab: Laboratory) -> None:
        os.rename("/run/systemd/system", "/run/systemd/away")
        try:
            text = lab.refusal(spec(lab), systemd_cgroup=True)
        finally:
            os.rename("/run/systemd/away", "/run/systemd/system")
        assert text.endswith("systemd not running on this host, cannot use systemd cgroups manager")

    def test_restored_processes_are_joined_by_pid(lab: Laboratory, systemd: ServiceManager) -> None:
        """The other order: a process that somebody else made, and create() before join()."""
        with subprocess.Popen(["sleep", "100"]) as process:
            manager = cgroups.new(f"{SLICE}:lab:joined", "joined", systemd=True)
            try:
                manager.create({})
                manager.join(process.pid)
                manager.set({})
                assert manager.pids() == [process.pid]
                assert members(systemd.calls) == ["StartTransientUnit", "SetUnitProperties"]
            finally:
                process.kill()
                process.wait()
                manager.rollback()
        assert not manager.exists()

    def test_the_hot_verbs_import_no_more(lab: Laboratory) -> None:
        (lab.bundle / "config.json").write_text(json.dumps(spec(lab)))
        root, name = Path(lab.root), lab.name()
        create = ("--systemd-cgroup", "create", "--bundle", str(lab.bundle), name)
        assert "nsexec._sdbus" in (names := modules_of(root, *create))
        assert surplus(names) == []
        for verb in ("state", "start"):
            assert "nsexec._sdbus" not in (names := modules_of(root, verb, name))
            assert surplus(names) == []
        assert surplus(modules_of(root, "delete", "--force", name)) == []

    @pytest.mark.skipif(not V2, reason="v1 asks the freezer first")
    def test_errors_are_chained(systemd: ServiceManager) -> None:
        manager = cgroups.new(f"{SLICE}:lab:nobody", "nobody", systemd=True)
        with pytest.raises(Error) as caught:
            manager.set({})
        assert describe(caught.value) == "unable to set unit properties: NoSuchUnit it is"
