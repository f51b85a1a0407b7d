"""restore: a container from a checkpoint and its bundle; directory, state, cgroup and hooks around a Restore, and rollback of
all of it.

The bundle's config.json says what the container is: where its cgroup, rootfs and bind mounts are, its limits and hooks. The
images say what its processes were doing; rlimits, capabilities, seccomp and labels are theirs and come back with them.
"""

from __future__ import annotations

import os

from libcontainer import child, faults, loopback, namespaces, remote
from libcontainer.child import check_open
from libcontainer.container_create import Making, read_spec
from libcontainer.criu import features, images_dir, message_queues, mounts, mounts_own, mounts_sidecar, restore
from libcontainer.criu.failure import CriuFailed
from libcontainer.criu.mounts_sources import Host
from libcontainer.criu.mounts_stage import Stage
from libcontainer.criu.progress import Progress
from libcontainer.errors import Error, Unsupported, describe
from libcontainer.namespaces import CLONE_NEWNET, paths_of
from libcontainer.plan import Plan
from libcontainer.state import check_id, now_rfc3339nano, process_start_time
from libcontainer.user_ns import in_user_namespace, read_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.container import Container
    from libcontainer.container_create import Options
    from libcontainer.criu.restore_options import RestoreOptions

STAGE = "criu-root"
MARKER = "checkpoint"
CGROUP_ROOT = "/sys/fs/cgroup"
STDIO = 3
HELPERS = 16  # processes, at the most, that CRIU needs beside those that it restores: tar, gzip, a daemon for cgroups ...


def restore_container(
    container_id: str,
    root: str,
    bundle: str,
    spec: dict[str, Any] | None,
    options: Options,
    wanted: RestoreOptions,
    progress: Progress | None = None,
) -> Container:
    """Restore; on failure nothing of it stays. `progress` is told how far it has come."""
    check_id(container_id)
    check_open(options.stdio)
    if options.rootless_euid or in_user_namespace():
        raise Unsupported("only root of the initial user namespace can restore: CRIU may do nothing of it as somebody else")
    bundle = os.path.realpath(bundle)
    making = _Restoration(container_id, os.path.abspath(root), bundle, read_spec(spec, bundle, options), options)
    making.wanted = wanted
    try:
        with progress or Progress() as making.progress:
            return making.run()
    except BaseException:
        making.roll_back()
        raise


class _Restoration(Making, restore.Events):
    """One restore. Its resources are those of a create, but that CRIU makes the processes."""

    again = True
    __slots__ = ("_console", "_fds", "_pid", "progress", "wanted")

    wanted: RestoreOptions
    progress: Progress

    def run(self) -> Container:
        self._pid = 0
        self._fds: list[int] = []
        self._console: Callable[[int, str], None] | None = self._connect()
        self._check_free()
        images, work = self._open_directories()
        self._make_directory()
        self._notify_directory()
        self.plan = self._plan()
        self._first_state()
        self._admit(images)
        self.make_cgroup()
        self._restore(images, work)
        self._limit_processes(0)
        self._close()
        assert self.container is not None  # _first_state() made it
        return self.container

    def _plan(self) -> Plan:
        plan = Plan(
            self.id,
            self.spec,
            self.bundle,
            passed_fds=STDIO,
            no_pivot=self.options.no_pivot,
            rootless_euid=self.options.rootless_euid,
            rootless_cgroups=self.options.rootless_cgroups,
        )
        if not plan.has("mount"):
            raise Unsupported("a container without a mount namespace of its own cannot be restored")
        joined = plan.joined("user")
        if joined is not None:
            plan.uid_map, plan.gid_map = _maps_of(joined)
        plan.adopt_cgroup(self.cgroup)
        return plan

    def _open_directories(self) -> tuple[int, int]:
        images = images_dir.open_dir(self.wanted.image_path)
        self._fds.append(images)
        images_dir.check_whole(images)
        images_dir.check(images)
        work = images_dir.make(self.wanted.work_path) if self.wanted.work_path else os.dup(images)
        self._fds.append(work)
        return images, work

    def _admit(self, images: int) -> None:
        """CRIU reads images as the container's root too."""
        if self.plan.userns:
            uid, gid = self.plan.host_root()
            images_dir.admit(images, uid, gid)
            images_dir.admit_files(images, gid)

    def limit(self) -> None:
        """CRIU is in the cgroup too, with its helpers: a limit that the container just keeps would not let it in."""
        super().limit()
        self._limit_processes(HELPERS)

    def _limit_processes(self, more: int) -> None:
        pids = (self.plan.linux.get("resources") or {}).get("pids") or {}
        if pids.get("limit", 0) > 0:
            self.cgroup.set({"pids": {"limit": pids["limit"] + more}}, devices=False)

    def _restore(self, images: int, work: int) -> None:
        run = restore.Restore(
            self.plan,
            self.cgroup,
            self,
            self.wanted,
            images=images,
            work=work,
            stdio=self.options.stdio,
            log=self.options.log,
            progress=self.progress,
        )
        place = os.path.join(self.directory, STAGE)
        os.mkdir(place, 0o711)
        try:
            with Stage(self.plan, place, self.options.log) as stage:
                run.run(stage, self._host(), mounts_sidecar.read(images, self.root, self.bundle))
        except CriuFailed:
            if self.cgroup.oom_kills():
                raise Error("container was OOM-killed while it was restored (memory limit too low?)") from None
            raise
        finally:
            os.rmdir(place)

    def _host(self) -> Host:
        """What config.json and this host have for the images' keys."""
        root = os.open(self.plan.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            placed = [(mounts.resolve(root, "/" + mount.target), mount) for mount in self.plan.mounts]
        finally:
            os.close(root)
        return Host(
            binds={point: mount for point, mount in placed if mount.bind},
            file_systems={point: mount for point, mount in placed if not mount.bind and mounts_own.is_strange(mount.fstype)},
            devices=[node.path for node in self.plan.nodes],
            cgroups=self._cgroup_directories(),
            fill_dev=self.plan.dev_filled and not self.plan.bind_devices and self.plan.userns,
        )

    def _cgroup_directories(self) -> dict[str, str]:
        """Of the cgroup mounts of a container without a cgroup namespace."""
        found = {}
        for mount in self.plan.mounts:
            if self.plan.shows_cgroups(mount):
                for hierarchy in self.plan.cgroup_hierarchies:
                    point = f"/{mount.target}/{hierarchy.name}".rstrip("/")
                    found[point] = hierarchy.directory if self.cgroup.version == 1 else CGROUP_ROOT
        return found

    # -- events of the restore

    def enter(self, criu: int) -> None:
        """Limits come afterwards: a unit of systemd's is there when it has its first process."""
        self.cgroup.join(criu)
        self.limit()
        faults.point("restore.cgroup")

    def namespaces_ready(self, pid: int) -> None:
        self._pid = pid
        if self.plan.new & CLONE_NEWNET:  # CRIU leaves it empty; connections within the container need their way
            loopback.up_in(pid)
        self.place(pid)
        self.runtime_hooks(pid)
        faults.point("restore.hooks")

    def restored(self, pid: int, version: int) -> None:
        """The processes stand still: whoever looks now finds a container that runs."""
        self._pid = pid
        assert self.container is not None
        state = self.container.state
        state.init_process_pid = pid
        state.init_process_start = process_start_time(pid) or 0
        state.created = now_rfc3339nano()
        state.namespace_paths = paths_of(pid)
        self._add_time_namespace(state.config, version)
        if self.plan.userns:
            message_queues.give(pid, *self.plan.host_root())
        self.container.save()
        faults.point("restore.saved")

    def _add_time_namespace(self, config: dict[str, Any], version: int) -> None:
        """CRIU makes one, so that clocks do not jump: what exec starts has to join it."""
        known = [entry.get("type") for entry in config.get("namespaces") or ()]
        if "NEWTIME" not in known and version >= features.TIME_NAMESPACE and os.path.exists("/proc/self/ns/time"):
            config["namespaces"] = [*(config.get("namespaces") or ()), {"type": "NEWTIME", "path": ""}]

    def terminal(self, master: int) -> None:
        if self._console is not None:
            self._console(master, "orphan-pts-master")

    # -- giving up

    def _close(self) -> None:
        super()._close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def roll_back(self) -> None:
        """CRIU has killed what it had restored, unless it died itself."""
        try:
            if self.made_directory and self.cgroup.exists() and self.cgroup.pids():
                self.cgroup.kill()
            if self._pid:
                self._reap(self._pid)
        except (Error, OSError) as err:
            self.options.log("warning", f"cleaning up after a failed restore: {describe(err)}")
        super().roll_back()

    def _reap(self, pid: int) -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass


def _maps_of(path: str) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """The id maps of a user namespace: what /proc says of a process in it."""
    channel, helper = remote.spawn(())
    try:
        opened = namespaces.open_paths([("user", path)])
        try:
            namespaces.join(channel, opened)
        finally:
            namespaces.close_all(opened)
        return read_map(f"/proc/{helper}/uid_map"), read_map(f"/proc/{helper}/gid_map")
    finally:
        channel.close()
        child.reap(helper)
