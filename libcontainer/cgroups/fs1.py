"""cgroup v1 and hybrid: a directory in each hierarchy below /sys/fs/cgroup.

The rule of this file: few system calls, for a hybrid machine has ten or more hierarchies. Where they are is known
in hierarchies.py.
"""

from __future__ import annotations

import errno
import os

from libcontainer.cgroups import (
    Files,
    Hierarchy,
    Manager,
    inside,
    is_denied,
    own_cgroups,
    parse_sub,
)
from libcontainer.cgroups.files import ROOT, clean
from libcontainer.cgroups.freezer1 import Freezer
from libcontainer.cgroups.hierarchies import find_mounts
from libcontainer.errors import Error, SyscallError, Unsupported
from libcontainer.user_ns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups import Step
    from libcontainer.cgroups.oom import Watch
    from libcontainer.cgroups.resources import Plan, Resources, Write


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

    def _steps(self, resources: Resources) -> list[Step | None]:
        from libcontainer.cgroups.resources import V1

        _refuse_unified(resources)
        steps = [self._step(controller, plan, resources) if plan else None for controller, plan in V1]
        return [step for step in steps if step is None or step[1]]

    def _step(self, controller: str, plan: Plan, resources: Resources) -> Step:
        from libcontainer.cgroups.resources import Imagined

        path = self.paths.get(controller, "")
        writes = plan(resources, Files(self._tree, path) if path else Imagined())
        if writes and not path:
            raise _unavailable(controller, writes[0].field)
        return path, writes

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
        self._check_shares(directory, writes)

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
            if not controller:
                # the unified one of a hybrid host; runc shows it to no container, and could not restore one that has it
                continue
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
