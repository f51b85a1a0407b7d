"""cgroup v1 and hybrid: a directory in each hierarchy below /sys/fs/cgroup.

The rule of this file: few system calls. A hybrid machine has ten or more hierarchies, so /proc/self/cgroup
and one stat(2) a hierarchy have to do to find them; /proc/self/mountinfo is read only where a mount shows
just a part of one.
"""

from __future__ import annotations

import errno
import os

from libcontainer.cgroups import (
    Files,
    Hierarchy,
    Manager,
    in_user_namespace,
    inside,
    is_denied,
    own_cgroups,
    parse_sub,
)
from libcontainer.cgroups.files import ROOT, clean
from libcontainer.cgroups.freezer1 import Freezer
from libcontainer.errors import Error, SyscallError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from libcontainer.cgroups.oom import Watch
    from libcontainer.cgroups.resources import Plan, Resources, Write

# The order in which they are created, joined and set; "" is the unified hierarchy of a hybrid machine.
CONTROLLERS = (
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
    "",
)


class Manager1(Manager):
    """One directory a hierarchy; co-mounted controllers share theirs."""

    version = 1

    @property
    def _primary(self) -> str:
        return self.paths.get("devices") or next(iter(self.paths.values()))

    def create(self, resources: Resources | None) -> None:
        resources = resources or {}
        _refuse_unified(resources)
        for controller, path in list(self.paths.items()):
            try:
                self._create_in(controller, path, resources)
            except OSError as error:
                self._drop(controller, error)

    def _create_in(self, controller: str, path: str, resources: Resources) -> None:
        self._mkdir(path)
        if controller == "cpuset":
            self._fill_cpuset(path, resources.get("cpu") or {})
        elif controller == "cpu" and (resources.get("cpu") or {}).keys() & {
            "realtimePeriod",
            "realtimeRuntime",
        }:
            from libcontainer.cgroups.resources import v1_realtime

            self._put(path, v1_realtime(resources, Files(self._tree, path)))

    def _drop(self, controller: str, error: OSError) -> None:
        """A rootless container goes without what it may not have, unless its config names the cgroup."""
        if not (self._rootless and not self._cgroups_path and is_denied(error)):
            raise error
        del self.paths[controller]

    def _fill_cpuset(self, path: str, cpu: dict[str, Any]) -> None:
        """No process may enter while cpus or mems are empty, as they are in every new cpuset."""
        top = _top(path)
        prefix = "cpuset." if os.path.exists(f"{top}/cpuset.cpus") else ""
        for name in ("cpus", "mems"):
            self._fill_file(path, prefix + name, top, cpu.get(name) or "")

    def _fill_file(self, path: str, file: str, top: str, wanted: str = "") -> str:
        """The value of the file, taken from above where it is empty."""
        value = "" if path in self._made else self._tree.read(f"{path}/{file}").strip()
        if path == top or (value and not wanted):
            return value
        above = self._fill_file(os.path.dirname(path), file, top)
        if not wanted:
            self._tree.write(f"{path}/{file}", above)
            return above
        try:
            self._tree.write(f"{path}/{file}", wanted)
        except SyscallError as error:
            raise Error(f"linux.resources.cpu.{file.removeprefix('cpuset.')}") from error
        return wanted

    def join_dirs(self, pid: int, directories: list[str]) -> None:
        for directory in directories:
            try:
                self._enter(pid, directory)
            except OSError as error:
                here = [name for name, path in self.paths.items() if path == directory]
                if not here:
                    raise
                for controller in here:
                    self._drop(controller, error)

    def create_for_clone(self, resources: Resources | None, pid: int = 0) -> int | None:
        path = self.paths.get("")
        if path is None:
            return None
        try:
            self._mkdir(path)
        except OSError as error:
            self._drop("", error)
            return None
        return self._tree.open(path, os.O_PATH | os.O_DIRECTORY)

    def open_tasks(self, directories: list[str] | None = None) -> list[int]:
        tasks: list[int] = []
        try:
            for directory in self.exec_targets(None) if directories is None else directories:
                if not _is_unified(directory):
                    tasks.append(self._tree.open(f"{directory}/tasks", os.O_WRONLY))  # noqa: PERF401 - closed on error
        except OSError:
            for fd in tasks:
                os.close(fd)
            raise
        return tasks

    def open_for_join(self, directories: list[str] | None = None) -> tuple[int | None, list[int]]:
        tasks = self.open_tasks(directories)
        unified = [path for path in directories or self.paths.values() if _is_unified(path)]
        try:
            return self._tree.open(unified[0], os.O_PATH | os.O_DIRECTORY) if unified else None, tasks
        except OSError:
            for fd in tasks:
                os.close(fd)
            raise

    def set(self, resources: Resources, *, spec_devices: Collection[str] = (), devices: bool = True) -> None:
        from libcontainer.cgroups.resources import V1

        _refuse_unified(resources)
        # All are worked out before one is written: what can be refused beforehand changes nothing.
        steps = [(controller, plan and self._planned(controller, plan, resources)) for controller, plan in V1]
        for controller, writes in steps:
            if writes:
                self._put(self.paths[controller], writes)
                self._check_shares(self.paths[controller], writes)
            elif controller == "devices" and devices:
                self._set_spec_devices(resources, spec_devices)

    def _planned(self, controller: str, plan: Plan, resources: Resources) -> list[Write]:
        from libcontainer.cgroups.resources import Imagined

        path = self.paths.get(controller, "")
        writes = plan(resources, Files(self._tree, path) if path else Imagined())
        if writes and not path:
            raise _unavailable(controller, writes[0].field)
        return writes

    def _set_spec_devices(self, resources: Resources, spec_devices: Collection[str]) -> None:
        from libcontainer.cgroups.devices import with_defaults

        self.set_devices(with_defaults(resources.get("devices") or [], spec_devices))

    def set_devices(self, rules: list[dict[str, Any]]) -> None:
        from libcontainer.cgroups.devices import check_result, evaluate

        target = evaluate(rules)
        path = self.paths.get("devices")
        try:
            if path is None:
                raise Unsupported("cannot set devices limit: container could not join or create cgroup")
            self._write_devices(path, target)
            check_result(self._read_devices(path), target)
        except (OSError, Error) as error:
            # Only the initial user namespace's root may change device rules: others live with those they
            # inherit.
            if self._rootless or (isinstance(error, OSError) and is_denied(error) and in_user_namespace()):
                return
            raise

    def _write_devices(self, path: str, target: Any) -> None:
        """The fewest writes from the present state; in a new directory that is the parent's, so it starts
        from a reset."""
        from libcontainer.cgroups.devices import Emulator

        now = Emulator(default_allow=True) if self._is_fresh(path) else self._read_devices(path)
        commands: dict[str, list[str]] = {}
        for file, rule in now.steps_to(target):
            commands.setdefault(file, []).append(rule)
        for file, rules in commands.items():
            self._tree.write_each(f"{path}/{file}", rules)

    def _read_devices(self, path: str) -> Any:
        from libcontainer.cgroups.devices import parse

        return parse(self._tree.read(f"{path}/devices.list"))

    def _put(self, directory: str, writes: list[Write]) -> None:
        if writes[0].file.startswith("cpuset.") and not self._tree.exists(f"{_top(directory)}/cpuset.cpus"):
            for write in writes:  # mounted with -o noprefix
                write.file = write.file.removeprefix("cpuset.")
        super()._put(directory, writes)

    def _check_shares(self, path: str, writes: list[Write]) -> None:
        """The kernel clamps cpu.shares without a word."""
        for write in writes:
            if write.file != "cpu.shares":
                continue
            asked, got = int(write.value), int(self._tree.read(f"{path}/cpu.shares"))
            if asked > got:
                raise Error(f"the maximum allowed cpu-shares is {got}")
            if asked < got:
                raise Error(f"the minimum allowed cpu-shares is {got}")

    def _refused(self, directory: str, write: Write, error: SyscallError) -> Error:
        if write.file != "memory.limit_in_bytes" or error.errno != errno.EBUSY:
            return super()._refused(directory, write, error)
        usage, peak = (
            self._tree.read(f"{directory}/memory.{name}usage_in_bytes").strip() for name in ("", "max_")
        )
        return Error(
            f"unable to set memory limit to {write.value} (current usage: {usage}, peak usage: {peak})"
        )

    def frozen(self) -> bool:
        return "freezer" in self.paths and self._freezer().frozen()

    def freeze(self) -> None:
        self._freezer().freeze()

    def thaw(self) -> None:
        self._freezer().thaw()

    def release(self) -> None:
        if "freezer" in self.paths:
            self._freezer().release()

    def _freezer(self) -> Freezer:
        path = self.paths.get("freezer")
        if path is None:
            raise Unsupported("the freezer controller is not available")
        return Freezer(self._tree, path)

    def oom_kills(self) -> int:
        path = self.paths.get("memory")
        if path is None:
            return 0
        try:
            lines = self._tree.read(f"{path}/memory.oom_control").splitlines()
        except SyscallError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def lacks_real_time(self) -> bool:
        path = self.paths.get("cpu")
        try:
            return path is not None and self._tree.read(f"{path}/cpu.rt_runtime_us").strip() == "0"
        except SyscallError:
            return False

    def stats(self) -> dict[str, Any]:
        from libcontainer.cgroups import stats1

        return stats1.collect(self._tree, self.paths)

    def watch(self) -> Watch:
        from libcontainer.cgroups.oom import Watch1

        return Watch1(self._tree, self.paths.get("memory", ""), self.paths.get("", ""), self.pids)

    def own_mounts(self) -> list[Hierarchy]:
        mounts: dict[str, Hierarchy] = {}
        for controller, path in self.paths.items():
            name = os.path.basename(_top(path))
            hierarchy = mounts.get(name)
            if hierarchy is None:
                data = controller if "=" in controller else name
                hierarchy = mounts[name] = Hierarchy(name, data if controller else None, path, [])
            if controller and controller not in (name, f"name={name}"):
                hierarchy.links.append(controller)
        return list(mounts.values())

    def exec_targets(self, sub: list[str] | None) -> list[str]:
        wanted = parse_sub(sub or [])
        if "" in wanted:
            paths = {name: inside(path, wanted[""]) for name, path in self.paths.items()}
        else:
            paths = dict(self.paths)
            for controller, below in wanted.items():
                if controller not in paths:
                    raise Error(f"unknown controller {controller} in SubCgroupPaths")
                paths[controller] = inside(paths[controller], below)
        return list(dict.fromkeys(paths.values()))


def _refuse_unified(resources: Resources) -> None:
    if resources.get("unified"):
        raise Error("invalid configuration: cannot use unified on cgroup v1")


def _unavailable(controller: str, field: str) -> Unsupported:
    return Unsupported(
        f"linux.resources.{field}: cannot set {controller} limit: container could not join or create cgroup"
    )


def _is_unified(path: str) -> bool:
    return _top(path) == f"{ROOT}/unified"


def _top(path: str) -> str:
    """The directory of the hierarchy: the first one below /sys/fs/cgroup."""
    return f"{ROOT}/{path[len(ROOT) + 1 :].partition('/')[0]}"


def new(cgroups_path: str, container_id: str, *, rootless: bool) -> Manager1:
    """An absolute path is below the top of each hierarchy, a relative one (the id by default) below our own
    cgroup."""
    mounts = find_mounts(own_cgroups())
    if "devices" not in mounts and not rootless:
        raise Unsupported("the devices cgroup controller is not mounted")
    wanted = clean(cgroups_path or container_id)
    paths = {}
    for controller, (top, own) in mounts.items():
        if wanted.startswith("/"):
            paths[controller] = top + wanted
        else:
            paths[controller] = f"{top if own == '/' else top + clean(own)}/{wanted}"
    return Manager1(paths, cgroups_path=cgroups_path, name=container_id, rootless=rootless)


def find_mounts(own: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Controller -> (where its hierarchy is mounted, our own cgroup in it), in the order of CONTROLLERS."""
    home = os.stat(ROOT).st_dev
    shared = {name: (hierarchy, path) for hierarchy, path in own.items() for name in hierarchy.split(",")}
    found = {}
    for controller in CONTROLLERS:
        if controller in shared:
            hierarchy, path = shared[controller]
            place = _mount(controller, hierarchy, path, home)
            if place:
                found[controller] = place
    return found


def _mount(controller: str, hierarchy: str, own: str, home: int) -> tuple[str, str] | None:
    """None: not mounted. The top directory of a whole hierarchy has inode 1 (kernfs); others show only a part
    of it."""
    top = f"{ROOT}/{controller.removeprefix('name=') or 'unified'}"
    if "," in hierarchy:
        top = _shared_directory(top, hierarchy)
    try:
        status = os.stat(top)
    except FileNotFoundError:
        return None
    if status.st_dev == home:
        return None
    return top, own if status.st_ino == 1 else _within_mount(top, own)


def _shared_directory(link: str, hierarchy: str) -> str:
    """Where co-mounted controllers are: behind the link that each has ("cpu"), or named as the kernel names
    them."""
    try:
        return f"{ROOT}/{os.path.basename(os.readlink(link))}"
    except OSError:
        return link if os.path.isdir(link) else f"{ROOT}/{hierarchy}"


def _within_mount(top: str, own: str) -> str:
    """Our own cgroup as this mount shows it: a container without a cgroup namespace sees the host's names in
    /proc."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        roots = [fields[3] for fields in (line.split(" ", 5) for line in file) if fields[4] == top]
    relative = os.path.relpath(own, roots[-1]) if roots else "."
    return "/" if relative == ".." or relative.startswith("../") else clean(f"/{relative}")
