"""cgroup v2: one directory in the unified hierarchy.

The rule of this file: see Documentation/admin-guide/cgroup-v2.rst; a controller is there in a cgroup when
every cgroup above it names it in cgroup.subtree_control.
"""

from __future__ import annotations

import errno
import os
import select

from libcontainer.cgroups import (
    Files,
    Hierarchy,
    Manager,
    inside,
    own_cgroups,
    parse_own,
    parse_sub,
)
from libcontainer.cgroups.files import ROOT, SEALED, clean, read_all
from libcontainer.errors import Error, SyscallError, Unsupported
from libcontainer.user_ns import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from libcontainer.cgroups import Step
    from libcontainer.cgroups.oom import Watch
    from libcontainer.cgroups.resources import Resources, Write

_GONE = (errno.ENOENT, errno.ENODEV)
# A limit of these makes a threaded cgroup unusable.
_DOMAIN_CONTROLLERS = ("memory", "io", "cpu", "hugetlb")


class Manager2(Manager):
    """One directory, all controllers."""

    version = 2
    _resolve = SEALED

    @property
    def _primary(self) -> str:
        return self.paths[""]

    def create(self, resources: Resources | None) -> None:
        if self._created:
            return
        resources = resources or {}
        try:
            made = self._mkdir(self._primary)
            self._enable_controllers(made)
            self._check_type(resources)
            self._created = True
        except OSError as error:
            self._go_without(resources, error)

    def _go_without(self, resources: Resources, error: OSError) -> None:
        if not self._rootless or self._cgroups_path:
            raise error
        if _needs(resources):
            text = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
            raise Error(text) from error
        self.absent = True

    def _enable_controllers(self, made: bool) -> None:
        """Everything the kernel has, on each level above us. Where a parent already does so there is nothing
        to write."""
        available = self._tree.read(f"{ROOT}/cgroup.controllers").split()
        if made and set(self._tree.read(f"{self._primary}/cgroup.controllers").split()) >= set(available):
            return
        level = ROOT
        for name in self._primary[len(ROOT) + 1 :].split("/"):
            self._enable(f"{level}/cgroup.subtree_control", available)
            level = f"{level}/{name}"

    def _enable(self, file: str, controllers: list[str]) -> None:
        """All at once, or each that can be had: one that cannot is missed only when a limit needs it."""
        try:
            self._tree.write(file, " ".join(f"+{name}" for name in controllers))
        except OSError:
            for name in controllers:
                try:
                    self._tree.write(file, f"+{name}")
                except OSError:
                    continue

    def _check_type(self, resources: Resources) -> None:
        """Below a threaded cgroup a new one is invalid until it is threaded too, and then has few
        controllers."""
        path = self._primary
        kind = self._tree.read(f"{path}/cgroup.type").strip()
        if kind == "domain":
            return
        if _needs(resources, _DOMAIN_CONTROLLERS):
            what = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
            raise Error(f'cannot enter cgroupv2 "{path}" with domain controllers -- it is in {what}')
        if kind == "domain invalid":
            self._tree.write(f"{path}/cgroup.type", "threaded")

    def open_for_clone(self) -> int | None:
        return None if self.absent else self._tree.open(self._primary, os.O_PATH | os.O_DIRECTORY)

    def create_for_clone(self, resources: Resources | None, pid: int = 0) -> int | None:
        self.create(resources)
        return self.open_for_clone()

    def open_tasks(self, directories: list[str] | None = None) -> list[int]:
        return []

    def open_for_join(self, directories: list[str] | None = None) -> tuple[int | None, list[int]]:
        if directories is None:
            return self.open_for_clone(), []
        return self._tree.open(directories[0], os.O_PATH | os.O_DIRECTORY), []

    def _steps(self, resources: Resources) -> list[Step | None]:
        from libcontainer.cgroups.resources import V2

        if self.absent:
            return []
        look = Files(self._tree, self._primary)
        return [(self._primary, plan(resources, look)) if plan else None for _controller, plan in V2]

    def set_devices(self, rules: list[dict[str, Any]]) -> None:
        from libcontainer.cgroups.devices import evaluate

        if self.absent:
            return
        target = evaluate(rules)
        fresh = self._is_fresh(self._primary)
        if fresh and target.allows_all():
            return
        try:
            self._attach(target, fresh)
        except (OSError, Error):
            # bpf(2) is for the initial user namespace; a container in another one cannot make device nodes
            # either.
            if not (self._rootless or target.allows_all() or in_user_namespace()):
                raise

    def _attach(self, target: Any, fresh: bool) -> None:
        from libcontainer.cgroups import ebpf

        directory = self._tree.open(self._primary, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ebpf.attach(directory, ebpf.assemble(target), fresh=fresh)
        finally:
            os.close(directory)

    def _refused(self, directory: str, write: Write, error: SyscallError) -> Error:
        controller, dot, _ = write.file.partition(".")
        if write.field == "unified":
            return self._refused_unified(write.file, controller if dot else "", error)
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM) and not self._has(controller):
            return Unsupported(f"linux.resources.{write.field}: controller {controller} not available")
        return super()._refused(directory, write, error)

    def _refused_unified(self, file: str, controller: str, error: SyscallError) -> Error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
            if not controller:
                return Error(f'unified resource "{file}" must be in the form CONTROLLER.PARAMETER')
            if controller != "cgroup" and not self._has(controller):
                return Error(
                    f'unified resource "{file}" can\'t be set: controller "{controller}" not available'
                )
        return Error(f'unable to set unified resource "{file}"')

    def _has(self, controller: str) -> bool:
        return controller in self._tree.read(f"{self._primary}/cgroup.controllers").split()

    def freeze(self) -> None:
        """Returns when cgroup.events says so; the kernel notifies by POLLPRI."""
        self._tree.write(f"{self._primary}/cgroup.freeze", "1")
        try:
            events = self._tree.open(f"{self._primary}/cgroup.events", os.O_RDONLY)
            try:
                self._wait_frozen(events)
            finally:
                os.close(events)
        except BaseException:
            self.thaw()
            raise

    def _wait_frozen(self, events: int) -> None:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        for _ in range(1000):
            os.lseek(events, 0, os.SEEK_SET)
            if "frozen 1" in read_all(events).splitlines():
                return
            poll.poll(10)
        raise Error("unable to freeze")

    def thaw(self) -> None:
        try:
            self._tree.write(f"{self._primary}/cgroup.freeze", "0")
        except SyscallError as error:
            if error.errno not in _GONE:
                raise

    def kill(self) -> None:
        """cgroup.kill (Linux 5.14) is atomic; a threaded cgroup refuses it."""
        try:
            self._tree.write(f"{self._primary}/cgroup.kill", "1")
        except SyscallError as error:
            if error.errno not in (*_GONE, errno.EOPNOTSUPP):
                raise
            super().kill()
        else:
            self.release()

    def oom_kills(self) -> int:
        try:
            lines = self._tree.read(f"{self._primary}/memory.events").splitlines()
        except SyscallError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def stats(self) -> dict[str, Any]:
        from libcontainer.cgroups import stats2

        return stats2.collect(self._tree, self._primary)

    def watch(self) -> Watch:
        from libcontainer.cgroups.oom import Watch2

        return Watch2(self._tree, self._primary, self.pids)

    def own_mounts(self) -> list[Hierarchy]:
        return [Hierarchy("", None, self._primary, [])]

    def exec_targets(self, sub: list[str] | None) -> list[str]:
        wanted = parse_sub(sub or [])
        for controller in wanted:
            if controller:
                raise Error(f"unknown controller {controller} in SubCgroupPaths")
        return [inside(self._primary, wanted.get("", ""))]


def _needs(resources: Resources, controllers: tuple[str, ...] = ()) -> bool:
    """Whether a limit of one of these controllers (none named: of any) is asked for. Device rules are no
    limit."""
    from libcontainer.cgroups.resources import V2, Imagined

    plans = [plan for name, plan in V2 if plan and (not controllers or name in controllers)]
    return any(plan(resources, Imagined()) for plan in plans)


def current_directory(pid: int) -> str:
    """Where a process is now: init may have moved itself into a sub-cgroup."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return ROOT + clean(parse_own(file.read())[""])


def new(cgroups_path: str, container_id: str, *, rootless: bool) -> Manager2:
    """An absolute path is below the top; a relative one (the id by default) beside our own cgroup: ours has
    processes in it, so no controllers could be enabled for a child ("no internal processes")."""
    wanted = clean(cgroups_path or container_id)
    if not wanted.startswith("/"):
        wanted = f"{os.path.dirname(own_cgroups()[''])}/{wanted}"
    path = ROOT + clean(f"/{wanted}")
    return Manager2({"": path}, cgroups_path=cgroups_path, name=container_id, rootless=rootless)
