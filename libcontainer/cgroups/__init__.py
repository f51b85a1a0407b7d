"""Control groups: one interface over cgroup v1, hybrid and v2.

The rule of this file: what both versions share; a back end (fs1.py, fs2.py) is imported only when it is
needed, and what only `create` needs (resources.py, devices.py, ebpf.py) only by `set`.

    manager = cgroups.new("/pod/name", "id")     paths are known from here on; nothing exists yet
    manager.check_usable()
    manager.create(resources)                    the directories
    manager.join(pid)                            or the fast way in, below
    manager.set(resources)                       limits and devices
    manager = cgroups.load(state["cgroup_paths"])    later verbs
    manager.kill(); manager.delete()

The fast way in. Writing a pid to cgroup.procs takes cgroup_threadgroup_rwsem for writing, and after an idle
moment that waits for an RCU grace period: 7 to 16 ms. Two ways do not wait: clone3(CLONE_INTO_CGROUP) into a
v2 directory, and, on v1, a single-threaded process writing "0" for itself to `tasks` (kernel/cgroup/cgroup.c,
cgroup_procs_write_start). So: place = create_for_clone(resources), clone3 into it, create(resources)
meanwhile, and the new process writes "0" to each of open_tasks(). `exec` has open_for_join(), where all
directories are there already.
"""

from __future__ import annotations

import errno
import os
import time

from libcontainer.cgroups.files import BENEATH, ROOT, Tree, clean, remove
from libcontainer.cgroups.names import inside, own_cgroups, parse_own, parse_sub
from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    from libcontainer.cgroups.oom import Watch
    from libcontainer.cgroups.resources import Resources, Write

    Step = tuple[str, list[Write]]  # a directory, and what to write there

__all__ = ["Hierarchy", "Manager", "clean", "inside", "load", "mode", "new", "own_cgroups", "parse_own", "parse_sub"]

_DENIED = (errno.EPERM, errno.EACCES, errno.EROFS)
_SIGKILL = 9
_BELOW = ROOT + "/"


class Hierarchy:
    """What a mount of type `cgroup` in a container needs to know of one hierarchy.

    name: of the directory below /sys/fs/cgroup, "" on v2. data: the mount data of a v1 mount ("cpu,cpuacct",
    "name=systemd"), None for cgroup2. directory: the container's own, for a bind mount. links: the names
    that point to it ("cpu", "cpuacct").
    """

    __slots__ = ("data", "directory", "links", "name")

    def __init__(self, name: str, data: str | None, directory: str, links: list[str]) -> None:
        self.name = name
        self.data = data
        self.directory = directory
        self.links = links


class Manager:
    """The cgroups of one container.

    paths: as state.json has them: v1 controller -> absolute directory (hybrid: "" -> the unified one),
    v2 {"": directory}. Empty on v1 if none could be made for a rootless container.
    absent: rootless, and no cgroup could be made (nor is one needed): joining and limits are no-ops.
    """

    version = 0
    _resolve = BENEATH

    def __init__(
        self, paths: dict[str, str], *, cgroups_path: str = "", name: str = "", rootless: bool = False
    ) -> None:
        self.paths = paths
        self.absent = False
        self._cgroups_path = cgroups_path
        self._name = name
        self._rootless = rootless
        self._created = False
        self._made: list[str] = []
        self._fresh: set[str] = set()
        self._tree = Tree(self._resolve)

    # --- what the back ends differ in ---

    @property
    def _primary(self) -> str:
        """The directory that says which processes belong to the container."""
        raise NotImplementedError

    def create(self, resources: Resources | None) -> None:
        """Make the directories; rollback() removes just those that were made here."""
        raise NotImplementedError

    def set(self, resources: Resources, *, spec_devices: Collection[str] = (), devices: bool = True) -> None:
        """Apply linux.resources.

        Device rules get the defaults, less those whose path `spec_devices` redefines; devices=False leaves
        them as they are (`update`).
        """
        for step in self._steps(resources):
            if step is not None:
                self._put(*step)
            elif devices:
                from libcontainer.cgroups.devices import with_defaults

                self.set_devices(with_defaults(resources.get("devices") or [], spec_devices))

    def _steps(self, resources: Resources) -> list[Step | None]:
        """What set() writes, in order; None is the place of the device rules. What can be refused without
        writing is refused here, so that nothing has changed then."""
        raise NotImplementedError

    def set_devices(self, rules: list[dict[str, Any]]) -> None:
        """Make `rules` (complete, see devices.with_defaults) the device rules."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether this cgroup (not one above it) is frozen."""
        return frozen(self._tree, self.paths)

    def freeze(self) -> None:
        """Stop every process; returns when they stand."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let them run again."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for lack of memory; 0 where that is not counted."""
        raise NotImplementedError

    def lacks_real_time(self) -> bool:
        """Whether SCHED_FIFO and SCHED_RR are refused for want of cpu.rt_runtime_us (CONFIG_RT_GROUP_SCHED, v1)."""
        return False

    def stats(self) -> dict[str, Any]:
        """What the container has used, in the form of runc's events (stats.py)."""
        raise NotImplementedError

    def watch(self) -> Watch:
        """Notice out-of-memory events and the end of the last process, from now on."""
        raise NotImplementedError

    def own_mounts(self) -> list[Hierarchy]:
        """The hierarchies, for a mount of type `cgroup`."""
        raise NotImplementedError

    def exec_targets(self, sub: list[str] | None) -> list[str]:
        """The directories that `exec --cgroup` names, one a hierarchy; without an argument the container's
        own."""
        raise NotImplementedError

    def create_for_clone(self, resources: Resources | None, pid: int = 0) -> int | None:
        """The part of create() that CLONE_INTO_CGROUP needs, and its descriptor: on v2 all of it, on a hybrid
        machine the unified directory, else nothing and None. create() may follow in any case.

        pid: of the process that is going to clone. The systemd driver moves that instead.
        """
        raise NotImplementedError

    def open_tasks(self, directories: list[str] | None = None) -> list[int]:
        """The v1 `tasks` files of `directories` (default: the container's), for the new process to write "0"
        to."""
        raise NotImplementedError

    def open_for_join(self, directories: list[str] | None = None) -> tuple[int | None, list[int]]:
        """(directory for CLONE_INTO_CGROUP or None, open_tasks()): together they join all of `directories`.

        The caller closes the descriptors.
        """
        raise NotImplementedError

    # --- the same on all ---

    def describe_runc(self) -> dict[str, str]:
        """name, path and scope_prefix as runc's state.json has them in config.cgroups."""
        if self._cgroups_path:
            return {"path": clean(self._cgroups_path), "scope_prefix": ""}
        return {"name": self._name, "path": "", "scope_prefix": ""}

    def exists(self) -> bool:
        """Whether the container's cgroup is there."""
        return bool(self.paths) and self._tree.exists(self._primary)

    def vanished(self) -> bool:
        """Whether somebody has removed what create() made."""
        return False

    def check_usable(self) -> None:
        """Refuse a cgroup that somebody else lives in, or that would freeze our init."""
        count = len(self.pids()) if self.exists() else 0
        if count:
            raise Error(f"container's cgroup is not empty: {count} process(es) found")
        if self.frozen():  # v1: it may exist in the freezer's hierarchy alone
            raise Error("container's cgroup unexpectedly frozen")

    def pids(self, recursive: bool = True) -> list[int]:
        """The container's processes, those in its sub-cgroups too; none if there is no cgroup."""
        return self._tree.pids(self._primary, recursive) if self.paths else []

    def open_for_clone(self) -> int | None:
        """A descriptor for CLONE_INTO_CGROUP that makes join() needless; None where there is no such
        thing."""
        return None

    def join(self, pid: int) -> None:
        """Move a process in."""
        if not self.absent:
            self.join_dirs(pid, self.exec_targets(None))

    def join_dirs(self, pid: int, directories: list[str]) -> None:
        """Move a process into each of these directories."""
        for directory in directories:
            self._enter(pid, directory)

    def _enter(self, pid: int, directory: str) -> None:
        """EINVAL: the process is still TASK_NEW, its fork has not finished; it soon will."""
        for _ in range(5):
            try:
                return self._tree.write(f"{directory}/cgroup.procs", str(pid))
            except SyscallError as error:
                if error.errno != errno.EINVAL:
                    raise
                last = error
            time.sleep(0.03)
        raise last

    def kill(self) -> None:
        """SIGKILL to every process of the whole subtree."""
        try:
            self.freeze()
        except (OSError, Error):
            return self._kill_moving()
        try:
            _kill_each(self.pids())
        finally:
            self.release()

    def _kill_moving(self) -> None:
        """No freezer: forks may outrun one round of signals, so go on until nobody is left."""
        for _ in range(100):
            pids = self.pids()
            if not pids:
                return
            _kill_each(pids)
            self.release()
            time.sleep(0.001)

    def release(self) -> None:
        """Let the killed die. On v2 the frozen do at once, but the cgroup would be said to be paused for ever."""
        if self.frozen():
            self.thaw()

    def delete(self) -> None:
        """Remove the cgroups and what the container made below them."""
        for path in dict.fromkeys(self.paths.values()):
            remove(path)

    def rollback(self) -> None:
        """Undo create(): parents that others have come to use in the meantime stay."""
        own = set(self.paths.values())
        for path in reversed(self._made):
            if path in own:
                remove(path)
            else:
                _rmdir_if_unused(path)
        self._made.clear()

    def _mkdir(self, path: str) -> bool:
        """Make a directory and its parents; False if it was there. A parent may vanish by another one's
        rollback."""
        if path == ROOT:
            return False
        for _ in range(5):
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._mkdir(os.path.dirname(path))
            except OSError as error:
                raise SyscallError("mkdir", error.errno or 0, path) from None
            else:
                self._made.append(path)
                self._fresh.add(path)
                return True
        raise SyscallError("mkdir", errno.ENOENT, path)

    def _is_fresh(self, path: str) -> bool:
        """Whether we made it and have not set its device rules yet. Asking is using: the answer is True
        once."""
        fresh = path in self._fresh
        self._fresh.discard(path)
        return fresh

    def _put(self, directory: str, writes: list[Write]) -> None:
        """Do the writes in order, the `late` ones that the kernel refused once more at the end."""
        again = []
        for write in writes:
            try:
                self._tree.write(f"{directory}/{write.file}", write.value)
            except SyscallError as error:
                if error.errno == errno.EINVAL and write.late:
                    again.append(write)
                elif error.errno != errno.ENOENT or not write.optional:
                    raise self._refused(directory, write, error) from error
        for write in again:
            write.late = False
        if again:
            self._put(directory, again)

    def values(self, resources: Resources) -> list[tuple[str, str]]:
        """Paths and texts, as they are now, of the single-valued files that set() would write."""
        steps = [step for step in self._steps(resources) if step]
        paths = dict.fromkeys(f"{directory}/{write.file}" for directory, writes in steps for write in writes)
        found = [(path, self._tree.read(path).strip()) for path in paths if self._tree.exists(path)]
        return [(path, text) for path, text in found if text and "\n" not in text]

    def put_back(self, values: list[tuple[str, str]]) -> None:
        """Undo a set(). Limits depend on each other: what is refused is tried once more after the others."""
        refused = []
        for path, text in reversed(values):
            try:
                self._tree.write(path, text)
            except SyscallError:
                refused.append((path, text))
        for path, text in refused:
            self._tree.write(path, text)

    def _refused(self, _directory: str, write: Write, _error: SyscallError) -> Error:
        return Error(f"linux.resources.{write.field}")


class Files:
    """The files of one cgroup directory, as resources.Look asks for them."""

    __slots__ = ("_directory", "_tree")

    def __init__(self, tree: Tree, directory: str) -> None:
        self._tree = tree
        self._directory = directory

    def exists(self, file: str) -> bool:
        return self._tree.exists(f"{self._directory}/{file}")

    def read(self, file: str) -> str:
        return self._tree.read(f"{self._directory}/{file}")


def mode() -> str:
    """ "v2", "hybrid" or "v1". Only a cgroup2 file system has a cgroup.controllers in its top directory."""
    if os.path.exists(f"{ROOT}/cgroup.controllers"):
        return "v2"
    return "hybrid" if os.path.exists(f"{ROOT}/unified/cgroup.controllers") else "v1"


def new(
    cgroups_path: str,
    container_id: str,
    *,
    rootless: bool = False,
    systemd: bool = False,
    annotations: Mapping[str, str] | None = None,
    owner: int | None = None,
    log: Callable[..., None] | None = None,
) -> Manager:
    """The cgroups of a container that is about to be made.

    For systemd: `annotations` may have properties of the unit, `owner` is the host's uid that may make cgroups below.
    """
    if systemd:
        from libcontainer.cgroups import systemd as driver

        more = annotations or {}
        return driver.new(cgroups_path, container_id, rootless=rootless, annotations=more, owner=owner, log=log or _quiet)
    if mode() == "v2":
        from libcontainer.cgroups import fs2

        return fs2.new(cgroups_path, container_id, rootless=rootless)
    from libcontainer.cgroups import fs1

    return fs1.new(cgroups_path, container_id, rootless=rootless)


def load(
    paths: dict[str, str], *, rootless: bool = False, systemd: bool = False, log: Callable[..., None] | None = None
) -> Manager:
    """The cgroups of an existing container, from its state.json."""
    if not paths and not rootless:
        raise Error("state.json has no cgroup paths")
    for path in paths.values():
        if not path.startswith(_BELOW) or path != os.path.normpath(path):
            raise Error(f'invalid cgroup path "{path}": it must be clean, absolute and below {ROOT}')
    if systemd:
        from libcontainer.cgroups import systemd as driver

        return driver.load(paths, rootless=rootless, log=log or _quiet)
    if list(paths) == [""] and not _of_hybrid(paths[""]):
        from libcontainer.cgroups import fs2

        manager = fs2.Manager2(paths, rootless=rootless)
        manager.absent = rootless and not manager.exists()
        return manager
    from libcontainer.cgroups import fs1

    return fs1.Manager1(paths, rootless=rootless)


def _of_hybrid(path: str) -> bool:
    """Whether this is the unified directory of a hybrid machine: a rootless container may have no other."""
    return path.startswith(f"{ROOT}/unified/") and mode() == "hybrid"


def _quiet(_level: str, _message: str, **_fields: object) -> None:
    """The log of who wants none."""


def frozen(tree: Tree, paths: Mapping[str, str]) -> bool:
    """By what was asked of the container's own cgroup: a frozen ancestor sets neither file."""
    if "freezer" in paths:
        file = f"{paths['freezer']}/freezer.self_freezing"
    elif "" in paths:
        file = f"{paths['']}/cgroup.freeze"
    else:
        return False
    try:
        return tree.read(file).startswith("1")
    except SyscallError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return False
        raise


def is_denied(error: OSError) -> bool:
    """The errors that a rootless runtime has to expect."""
    return error.errno in _DENIED


def _kill_each(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, _SIGKILL)
        except ProcessLookupError:
            continue


def _rmdir_if_unused(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
            raise
