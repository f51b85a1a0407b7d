"""config.json files that real engines wrote (tests/data/engine-configs), made to run on this machine.

What a file says about containers is kept. What names things of the machine where it was written is replaced by local
things of the same kind:
  * root.path by a busybox root file system, process.args by a probe that prints what it sees;
  * sources of binds that do not exist here, by files and directories made for the test;
  * paths of namespaces, by those of a process that this test starts with unshare(1);
  * cgroupsPath, by the same path below the test's own cgroup;
  * hooks (they name the engine's own executable), by a script that notes that it ran.
What this machine does not permit is cut down to what it does: capabilities outside our own bounding set (there is
no CAP_SYS_RESOURCE on some), rlimits above our hard limits, an oomScoreAdj below our own (both need CAP_SYS_RESOURCE),
memory.swap where the kernel does not account for it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import resource
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.root.conftest import CGROUPS, LIMIT, Bundle, ConsoleSocket, Runtime, Sandbox, Spec, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

DATA = Path(__file__).parent.parent / "data" / "engine-configs"
CONFIGS = sorted(path.stem for path in DATA.glob("*.json") if not path.stem.endswith(("-process", "-update-resources")))
PROCESSES = sorted(path.stem for path in DATA.glob("*-process.json"))

PROBE = """
echo "uid $(id -u)"; echo "gid $(id -g)"; echo "groups $(id -G)"; echo "hostname $(hostname)"; echo "cwd $(pwd)"
echo "umask $(umask)"; echo "oom $(cat /proc/self/oom_score_adj)"; [ -t 0 ] && echo "tty yes" || echo "tty no"
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
grep 'Max open files' /proc/self/limits
for name in %(sysctls)s; do echo "sysctl $name $(cat /proc/sys/$(echo $name | tr . /))"; done
env | sed 's/^/env /'
echo "the end"
sleep 1000
"""

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


def load(name: str) -> Spec:
    """One of the files."""
    spec: Spec = json.loads((DATA / f"{name}.json").read_text())
    return spec


def mask(names: list[str] | None) -> int:
    """Capability names as the kernel's bit mask."""
    return sum(1 << CAPABILITIES.index(name.removeprefix("CAP_")) for name in names or [])


def own_bounding_set() -> int:
    """What can be given to a container at all."""
    text = Path("/proc/self/status").read_text()
    return int(re.findall(r"CapBnd:\s*(\w+)", text)[0], 16)


class Adapter:
    """Rewrites one spec for this machine."""

    def __init__(self, spec: Spec, sandbox: Sandbox) -> None:
        self.spec = copy.deepcopy(spec)
        self.sandbox = sandbox
        self.linux: dict[str, Any] = self.spec["linux"]
        self.sources = sandbox.directory / "sources"
        self.sources.mkdir()
        self.hooks_log = sandbox.directory / "hooks"
        self.holder: subprocess.Popen[bytes] | None = None

    def adapt(self) -> Spec:
        """The whole rewrite."""
        self.spec["root"]["path"] = "rootfs"
        self.cgroup()
        self.binds()
        self.namespaces()
        self.hooks()
        adapt_process(self.spec["process"], " ".join(self.linux.get("sysctl") or {}))
        if not (CGROUPS / "memory/memory.memsw.limit_in_bytes").exists():
            (self.linux.get("resources", {}).get("memory") or {}).pop("swap", None)
        return self.spec

    def cgroup(self) -> None:
        """The same path below the test's own cgroup; its outermost directory is the test's to remove."""
        self.linux["cgroupsPath"] = f"/{self.sandbox.name}"

    def binds(self) -> None:
        """A source for every bind."""
        for number, mount in enumerate(self.spec["mounts"]):
            options = mount.get("options") or []
            if ({"bind", "rbind"} & set(options) or mount.get("type") == "bind") and not os.path.exists(mount["source"]):
                mount["source"] = str(self.source(number, mount["source"], mount["destination"]))

    def source(self, number: int, old: str, destination: str) -> Path:
        """A directory for /dev/shm and volumes, else a file."""
        path = self.sources / str(number)
        if destination == "/dev/shm" or not destination.startswith(("/etc/", "/run/", "/sbin/", "/dev/")):
            path.mkdir(mode=0o1777)
        else:
            path.write_text(f"for {destination}\n")
        if path.is_dir():
            (path / "file").touch()
        return path

    def namespaces(self) -> None:
        """Fresh ones in place of the joined ones."""
        joined = [entry for entry in self.linux["namespaces"] if entry.get("path")]
        if not joined:
            return
        self.holder = subprocess.Popen(["unshare", "-n", "-i", "-u", "-p", "-f", "--kill-child", "sleep", "1000"])
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        wait_until(lambda: children.read_text().strip())
        child = children.read_text().strip()
        wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
        for entry in joined:
            entry["path"] = f"/proc/{child}/ns/{'net' if entry['type'] == 'network' else entry['type']}"

    def hooks(self) -> None:
        """A script that notes kind and state; the arguments stay."""
        for kind, hooks in (self.spec.get("hooks") or {}).items():
            script = self.sandbox.directory / f"hook-{kind}"
            script.write_text(f'#!/bin/sh\necho "{kind} $*" >>{self.hooks_log}\ncat >{self.hooks_log}.{kind}\n')
            script.chmod(0o755)
            for hook in hooks:
                hook["path"] = str(script)

    def close(self) -> None:
        """End what was started."""
        if self.holder:
            self.holder.kill()
            self.holder.wait()


def adapt_process(process: Spec, sysctls: str = "") -> None:
    """Cut down to this machine, with the probe to run."""
    process["args"] = ["/bin/sh", "-c", PROBE % {"sysctls": sysctls}]
    bounding = own_bounding_set()
    for names in (process.get("capabilities") or {}).values():
        names[:] = [name for name in names if mask([name]) & bounding]
    for limit in process.get("rlimits") or []:
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY:
            limit["hard"] = min(limit["hard"], hard)
            limit["soft"] = min(limit["soft"], hard)
    own = int(Path("/proc/self/oom_score_adj").read_text())
    if "oomScoreAdj" in process:
        process["oomScoreAdj"] = max(process["oomScoreAdj"], own)


class Probed:
    """What the probe printed."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r", "")

    def line(self, word: str) -> str:
        """The rest of the line that begins with the word."""
        found: list[str] = re.findall(rf"^{re.escape(word)}:?[ \t]+(.*)$", self.text, re.MULTILINE)
        assert found, f"no {word} in: {self.text}"
        return found[0].strip()

    def caps(self, name: str) -> int:
        """One capability set."""
        return int(self.line(name), 16)


def check_process(process: Spec, seen: Probed, umask: int) -> None:
    """Ids, groups, working directory, limits, environment, capabilities."""
    user = process["user"]
    assert int(seen.line("uid")) == user["uid"]
    assert int(seen.line("gid")) == user["gid"]
    assert set(map(int, seen.line("groups").split())) == {user["gid"], *user.get("additionalGids", [])}
    assert seen.line("cwd") == process["cwd"]
    assert int(seen.line("umask"), 8) == umask
    assert seen.line("tty") == ("yes" if process.get("terminal") else "no")
    assert seen.line("NoNewPrivs") == str(int(bool(process.get("noNewPrivileges"))))
    if "oomScoreAdj" in process:
        assert int(seen.line("oom")) == process["oomScoreAdj"]
    for variable in process["env"]:
        assert f"env {variable}\n" in seen.text
    for limit in process.get("rlimits") or []:
        if limit["type"] == "RLIMIT_NOFILE":
            assert seen.line("Max open files").split()[:2] == [str(limit["soft"]), str(limit["hard"])]
    check_capabilities(process, seen)


def check_capabilities(process: Spec, seen: Probed) -> None:
    """The five sets as execve(2) leaves them: root gets all of its bounding set, others their ambient set."""
    sets = process.get("capabilities") or {}
    bounding, inheritable = mask(sets.get("bounding")), mask(sets.get("inheritable"))
    ambient = mask(sets.get("ambient")) & inheritable & mask(sets.get("permitted"))
    root = process["user"]["uid"] == 0
    assert seen.caps("CapBnd") == bounding
    assert seen.caps("CapInh") == inheritable
    assert seen.caps("CapAmb") == ambient
    assert seen.caps("CapEff") == (bounding | inheritable if root else ambient)


class Mounted:
    """The mount table of a process: the topmost mount of each directory."""

    def __init__(self, pid: int) -> None:
        self.table: dict[str, list[str]] = {}
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            fields = line.split()
            self.table[fields[4]] = fields

    def flags(self, path: str) -> set[str]:
        """Its per-mount flags."""
        return set(self.table[path][5].split(","))

    def kind(self, path: str) -> str:
        """Its file system type."""
        fields = self.table[path]
        return fields[fields.index("-") + 1]


def check_mounts(spec: Spec, pid: int) -> None:
    """Every mount is there, of its type, with its flags; masks, read-only paths, root."""
    table = Mounted(pid)
    last = {mount["destination"]: mount for mount in spec["mounts"]}
    for destination, mount in last.items():
        options = set(mount.get("options") or [])
        assert options & {"ro", "nosuid", "nodev", "noexec"} <= table.flags(destination) | (
            {"ro"} if mount["type"] == "cgroup" else set()
        ), destination
        if options & {"idmap", "ridmap"}:
            check_idmap(spec, Path(f"/proc/{pid}/root{destination}/file"))
        if "bind" not in options and "rbind" not in options:
            assert table.kind(destination) in ({"tmpfs", "cgroup", "cgroup2"} if mount["type"] == "cgroup" else {mount["type"]})
    assert ("ro" in table.flags("/")) == bool(spec["root"].get("readonly"))
    for path in spec["linux"].get("readonlyPaths") or []:
        if os.path.exists(f"/proc/{pid}/root{path}"):
            assert "ro" in table.flags(path), path
    for path in spec["linux"].get("maskedPaths") or []:
        check_masked(Path(f"/proc/{pid}/root{path}"))


def check_idmap(spec: Spec, file: Path) -> None:
    """Without maps of its own the mount has the container's: root's file on disk is the container's root's."""
    root = next(entry["hostID"] for entry in spec["linux"]["uidMappings"] if entry["containerID"] == 0)
    assert file.stat().st_uid == root


def check_masked(path: Path) -> None:
    """Nothing there, an empty directory, or the null device."""
    if not path.exists():
        return
    if path.is_dir():
        assert not list(path.iterdir()), path
    else:
        assert path.stat().st_rdev == os.makedev(1, 3), path


def check_devices(spec: Spec, pid: int) -> None:
    """Every node of linux.devices, and the default ones."""
    for device in spec["linux"].get("devices") or []:
        if device["path"] in ("/dev/ptmx", "/dev/console"):
            continue
        found = os.stat(f"/proc/{pid}/root{device['path']}")
        if device["type"] != "p":
            assert found.st_rdev == os.makedev(device["major"], device["minor"]), device
        if "fileMode" in device and not spec["linux"].get("uidMappings"):
            assert stat.S_IMODE(found.st_mode) == stat.S_IMODE(device["fileMode"]), device
    for minor, name in ((3, "null"), (5, "zero"), (7, "full"), (8, "random"), (9, "urandom")):
        assert os.stat(f"/proc/{pid}/root/dev/{name}").st_rdev == os.makedev(1, minor)


def check_namespaces(spec: Spec, pid: int) -> None:
    """Joined ones are the same, listed ones new, others ours."""
    names = {"network": "net", "mount": "mnt"}
    listed = {names.get(entry["type"], entry["type"]): entry for entry in spec["linux"]["namespaces"]}
    for name in ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup", "time"):
        theirs, ours = os.readlink(f"/proc/{pid}/ns/{name}"), os.readlink(f"/proc/self/ns/{name}")
        if name not in listed:
            assert theirs == ours, name
        elif path := listed[name].get("path"):
            assert theirs == os.readlink(path), name
        else:
            assert theirs != ours, name


def check_limits(spec: Spec, cgroup: str) -> None:
    """The limits in the cgroup's files."""

    def value(controller: str, name: str) -> str:
        return (CGROUPS / controller / cgroup / name).read_text().strip()

    resources = spec["linux"].get("resources") or {}
    memory, cpu, pids = (resources.get(name) or {} for name in ("memory", "cpu", "pids"))
    for key, name in (("limit", "limit_in_bytes"), ("reservation", "soft_limit_in_bytes"), ("swap", "memsw.limit_in_bytes")):
        if memory.get(key):
            assert value("memory", f"memory.{name}") == str(memory[key])
    for key, controller, name in (
        ("shares", "cpu", "cpu.shares"),
        ("quota", "cpu", "cpu.cfs_quota_us"),
        ("period", "cpu", "cpu.cfs_period_us"),
        ("cpus", "cpuset", "cpuset.cpus"),
    ):
        if cpu.get(key):
            assert value(controller, name) == str(cpu[key])
    if pids.get("limit"):
        assert value("pids", "pids.max") == ("max" if pids["limit"] < 0 else str(pids["limit"]))


class Running:
    """A container of an adapted spec, running its probe."""

    def __init__(self, sandbox: Sandbox, spec: Spec) -> None:
        self.sandbox = sandbox
        self.runtime: Runtime = sandbox.runtime()
        self.bundle: Bundle = sandbox.bundle(spec=spec)
        self.name = "engine"
        self.out = sandbox.directory / "out"
        self.console = ConsoleSocket(sandbox.directory / "console") if spec["process"].get("terminal") else None
        give_rootfs(self.bundle.rootfs, spec)

    def start(self) -> Probed:
        """create and start, as engines do; returns what the probe printed."""
        flags = ["--console-socket", str(self.console.path)] if self.console else []
        pid_file = self.sandbox.directory / "pid"
        self.runtime.ok(
            "create", "--bundle", str(self.bundle.path), "--pid-file", str(pid_file), *flags, self.name, out=self.out
        )
        self.runtime.ok("start", self.name)
        self.pid = int(pid_file.read_text())
        wait_until(lambda: "the end" in self.text())
        return Probed(self.text())

    def text(self) -> str:
        """All output so far."""
        return self.console.output.decode() if self.console else self.out.read_text()

    def stop(self) -> None:
        """kill and delete."""
        self.runtime.ok("kill", self.name, "KILL")
        wait_until(lambda: self.runtime.status(self.name) == "stopped")
        self.runtime.ok("delete", self.name)
        if self.console:
            self.console.thread.join(LIMIT)


def give_rootfs(rootfs: Path, spec: Spec) -> None:
    """To the host ids of the container's root."""
    ids = {
        key: next((entry["hostID"] for entry in spec["linux"].get(key) or [] if entry["containerID"] == 0), 0)
        for key in ("uidMappings", "gidMappings")
    }
    if any(ids.values()):
        subprocess.run(["chown", "-R", f"{ids['uidMappings']}:{ids['gidMappings']}", str(rootfs)], check=True)


@pytest.fixture
def adapter(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """The spec of the parameter's name, for this machine."""
    adapter = Adapter(load(request.param), sandbox)
    try:
        yield adapter
    finally:
        adapter.close()


@pytest.mark.parametrize("adapter", CONFIGS, indirect=True)
def test_config(adapter: Adapter, sandbox: Sandbox) -> None:
    """Everything that the file asks for is seen from inside or in the kernel's files."""
    spec = adapter.adapt()
    if "hostname" in spec and not any(entry["type"] == "uts" for entry in spec["linux"]["namespaces"]):
        check_hostname_refused(sandbox, spec)
        del spec["hostname"]  # as the engine that wrote it has to for this runtime
    container = Running(sandbox, spec)
    seen = container.start()
    check_process(spec["process"], seen, spec["process"]["user"].get("umask", 0o022))
    assert seen.line("hostname") == spec.get("hostname") or "hostname" not in spec
    assert seen.line("Seccomp") == ("2" if spec["linux"].get("seccomp") else "0")
    for name, wanted in (spec["linux"].get("sysctl") or {}).items():
        assert seen.line(f"sysctl {name}").split() == wanted.split()
    check_mounts(spec, container.pid)
    check_devices(spec, container.pid)
    check_namespaces(spec, container.pid)
    check_limits(spec, sandbox.name)
    check_state(container, spec)
    container.stop()
    check_hooks(spec, adapter.hooks_log)
    sandbox.assert_clean()


def check_hostname_refused(sandbox: Sandbox, spec: Spec) -> None:
    """A hostname without a uts namespace of its own is refused, and nothing stays."""
    bundle = sandbox.bundle("refused", copy.deepcopy(spec))
    status, text = sandbox.runtime(root="refused-state").run("create", "--bundle", str(bundle.path), "refused")
    assert status == 1
    assert "unable to set hostname without a private UTS namespace" in text
    sandbox.assert_clean()


def check_state(container: Running, spec: Spec) -> None:
    """What the engine reads."""
    state = container.runtime.state(container.name)
    assert (state["status"], state["pid"], state["bundle"]) == ("running", container.pid, str(container.bundle.path))
    assert state.get("annotations", {}) == spec.get("annotations", {})


def check_hooks(spec: Spec, log: Path) -> None:
    """Each hook ran, with its arguments, and was given the state."""
    expected = [f"{kind} {' '.join(hook['args'][1:])}" for kind, hooks in (spec.get("hooks") or {}).items() for hook in hooks]
    assert (log.read_text().splitlines() if log.exists() else []) == expected
    for kind, hooks in (spec.get("hooks") or {}).items():
        if hooks:
            assert json.loads(Path(f"{log}.{kind}").read_text())["id"] == "engine"


BASES = {"ctr": "ctr-run", "docker": "docker-run", "podman": "podman-rootful"}


@pytest.mark.parametrize("name", PROCESSES)
def test_exec_process(name: str, sandbox: Sandbox) -> None:
    """The process of an engine's `exec` in a container of the same engine."""
    adapter = Adapter(load(BASES[name.partition("-")[0]]), sandbox)
    try:
        exec_in(adapter, load(name), sandbox)
    finally:
        adapter.close()


def exec_in(adapter: Adapter, process: Spec, sandbox: Sandbox) -> None:
    """Start the container, exec the process with the probe, compare."""
    spec = adapter.adapt()
    container = Running(sandbox, spec)
    container.start()
    adapt_process(process)
    file = sandbox.directory / "process.json"
    file.write_text(json.dumps(process))
    out, console, flags = sandbox.directory / "exec-out", None, []
    if process.get("terminal"):
        console = ConsoleSocket(sandbox.directory / "exec-console")
        flags = ["--console-socket", str(console.path)]
    container.runtime.ok("exec", "--process", str(file), "--detach", *flags, container.name, out=out)

    def printed() -> str:
        return console.output.decode() if console else out.read_text()

    wait_until(lambda: "the end" in printed())
    check_process(process, Probed(printed()), 0o022)
    assert Probed(printed()).line("Seccomp") == ("2" if spec["linux"].get("seccomp") else "0")
    container.stop()
    if console:
        console.thread.join(LIMIT)


def test_all_files_are_covered() -> None:
    """No file of the directory is forgotten."""
    updates = {path.stem for path in DATA.glob("*-update-resources.json")}
    assert {path.stem for path in DATA.glob("*.json")} == {*CONFIGS, *PROCESSES, *updates}
    assert len(CONFIGS) > 25


def test_process_that_ends_at_once(sandbox: Sandbox) -> None:
    """A process that ends at once ends the foreground command too, with an engine's whole config."""
    adapter = Adapter(load("podman-rootful"), sandbox)
    try:
        spec = adapter.adapt()
        spec["process"]["args"] = ["true"]
        bundle = sandbox.bundle(spec=spec)
        begin = time.monotonic()
        for _ in range(3):
            sandbox.runtime().ok("run", "--bundle", str(bundle.path), "short")
        assert time.monotonic() - begin < LIMIT / 2
    finally:
        adapter.close()
