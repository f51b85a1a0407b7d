"""Restore: processes from an image directory, as our children.

CRIU is put into the container's cgroups and into a mount namespace of its own (mounts_stage.py); what it starts is in the
cgroups from its first moment, and sees the sources of the external mounts. It tells when the namespaces are there
(setup-namespaces: hooks), when the processes are, stopped (post-restore: the state is saved), and hands over the master of
a terminal (orphan-pts-master).
"""

from __future__ import annotations

import fcntl
import os

from libcontainer.criu import (
    config_file,
    features,
    images_dir,
    inventory,
    lsm,
    messages,
    mounts_image,
    mounts_peers,
    mounts_sources,
    options,
    regular,
    stdio,
)
from libcontainer.criu.failure import CriuFailed, explain
from libcontainer.criu.mounts_stage import Stage
from libcontainer.criu.namespaces import EXTERNAL
from libcontainer.criu.progress import RESTORE, Images, resident_bytes
from libcontainer.criu.rpc import Session
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from libcontainer.cgroups import Manager
    from libcontainer.criu.messages import Message
    from libcontainer.criu.mounts_sidecar import Sidecar
    from libcontainer.criu.mounts_sources import Host
    from libcontainer.criu.progress import Progress
    from libcontainer.criu.restore_options import RestoreOptions
    from libcontainer.criu.rpc import Notification
    from libcontainer.plan import Plan

LOG_LEVEL = 4
LOG_FILE = "restore.log"
STATS_FILE = "stats-restore"
# /proc/PID/ns names of those that restore joins by path (criu/namespaces.c, join_ns_add()); of the others CRIU makes new ones
JOINED = {"user": "user", "ipc": "ipc", "uts": "uts", "time": "time", "mount": "mnt"}
FIRST_FREE = 3


class Events:
    """What the container does at certain moments of a restore."""

    __slots__ = ()

    def enter(self, criu: int) -> None:
        """CRIU is there and shall be where its children will be: in the container's cgroups, whose limits hold then."""
        raise NotImplementedError

    def namespaces_ready(self, pid: int) -> None:
        """The namespaces are there, and one process in them."""
        raise NotImplementedError

    def restored(self, pid: int, version: int) -> None:
        """All processes are there, and stand still."""
        raise NotImplementedError

    def terminal(self, master: int) -> None:
        """The master of the terminal whose slave the processes have."""
        raise NotImplementedError


class Restore:
    """One restore from the directory `images`, with its log in `work`."""

    __slots__ = (
        "_cgroup",
        "_events",
        "_handlers",
        "_images",
        "_log",
        "_members",
        "_options",
        "_owned",
        "_plan",
        "_progress",
        "_stdio",
        "_version",
        "_work",
        "pid",
        "session",
    )

    def __init__(
        self,
        plan: Plan,
        cgroup: Manager,
        events: Events,
        wanted: RestoreOptions,
        *,
        images: int,
        work: int,
        stdio: Sequence[int],
        log: Callable[..., None],
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._cgroup = cgroup
        self._events = events
        self._options = wanted
        self._images = images
        self._work = work
        self._stdio = stdio
        self._log = log
        self._progress = progress
        self._version = 0
        self._members: list[mounts_peers.Member] = []
        self._owned: list[int] = []  # descriptors for CRIU, to be closed when it has ended
        self.pid = 0
        self._handlers: dict[str, Callable[[Notification], None]] = {
            "setup-namespaces": self._namespaces,
            "post-restore": self._restored,
            "orphan-pts-master": self._terminal,
        }

    def run(self, stage: Stage, host: Host, noted: Sidecar) -> None:
        """Do it; CriuFailed quotes the log."""
        regular.clear(self._work, LOG_FILE, STATS_FILE)
        lsm.require_profiles(self._images, self._options.lsm_profile)
        if not self._options.file_locks and images_dir.has_file_locks(self._images):
            self._log("warning", "the file locks in the images are not restored, since --file-locks is not given")
        images = mounts_image.read(self._images)
        sources = mounts_sources.sources(images, host, self._options.ext_mounts, noted)
        try:
            self._images, self._work = self._own(stage.directory(self._images)), self._own(stage.directory(self._work))
            stage.open(sources)
            if self._options.network_lock:
                inventoried = inventory.with_network_lock(self._images, self._options.network_lock)
                stage.cover(self._images, inventory.FILE, inventoried)
            paths = stage.prepare(sources, images)
            self._set_apart(stage)
            stage.share(images, paths, sources, ignore=self._options.ignore_host_propagation)
            if not self._options.ignore_host_propagation:
                self._members = mounts_peers.peers(sources, self._plan)
                self._members += mounts_peers.slaves(stage.apart, sources, self._plan)
            self._run(stage, [f"mnt[{key}]:{path}" for key, path in paths.items()])
        finally:
            for fd in self._owned:
                os.close(fd)
            self._owned.clear()

    def _set_apart(self, stage: Stage) -> None:
        """What CRIU cannot make a slave it shall not try to."""
        if not stage.apart:
            return
        for name, content in mounts_image.without_masters(self._images, stage.apart):
            stage.cover(self._images, name, content)
        for mount in stage.apart:
            mount.master = 0

    def _own(self, fd: int) -> int:
        self._owned.append(fd)
        return fd

    def _run(self, stage: Stage, external: Sequence[str]) -> None:
        request = self._request(stage.root, external)
        self._add_namespaces(request, stage)
        try:
            with self._session(stage) as self.session:
                self._version = features.check_version(self.session)
                self._check()
                self._join_cgroup(request)
                for field, value in request.ListFields():
                    self._log("debug", f"CRIU option {field.name} with value {' '.join(str(value).split())}")
                self._progress.begin(RESTORE, self._restored_bytes, self._bytes_to_restore)
                self.session.request(messages.RESTORE, request, self._notified)
        except CriuFailed as err:
            directory = self._options.work_path or self._options.image_path
            explain(err, self._work, os.path.join(directory, LOG_FILE), self._log)
            raise

    def _session(self, stage: Stage) -> Session:
        streams = tuple(self._stdio[:3]) if self._options.shell_job else None
        tick = self._progress.tick if self._progress.watched else None
        return Session(pass_fds=self._owned, stdio=streams, mount_namespace=stage.namespace, tick=tick)  # type: ignore[arg-type]

    def _restored_bytes(self) -> int:
        return resident_bytes(pid for pid in self._cgroup.pids() if pid != self.session.pid)

    def _bytes_to_restore(self) -> int:
        """What of the parents' memory is still of use nobody knows, nor what lazy pages will be asked for."""
        chained = os.path.lexists(f"/proc/self/fd/{self._images}/parent")
        return 0 if chained or self._options.lazy_pages else Images(self._images, new=False)()

    def _check(self) -> None:
        wanted = self._options
        for given, least, flag in (
            (wanted.lsm_profile, features.LSM, "--lsm-profile"),
            (wanted.lsm_mount_context, features.LSM, "--lsm-mount-context"),
            (wanted.tcp_close, features.TCP_CLOSE, "--tcp-close"),
            (wanted.network_lock, features.NETWORK_LOCK, "--network-lock"),
        ):
            if given and self._version < least:
                raise Error(f"{flag} requires at least CRIU {least // 10000}.{least // 100 % 100}")

    # -- the request

    def _request(self, root: str, external: Sequence[str]) -> Message:
        wanted = self._options
        request = messages.options(
            images_dir_fd=self._images,
            work_dir_fd=self._work,
            log_level=LOG_LEVEL,
            log_file=LOG_FILE,
            evasive_devices=True,
            rst_sibling=True,
            root=root,
            manage_cgroups=True,
            manage_cgroups_mode=options.cgroup_mode(wanted.manage_cgroups_mode),
            notify_scripts=True,
            # A terminal that is not the container's own is the caller's: CRIU takes it from its stdin (criu/tty.c).
            orphan_pts_master=bool(self._plan.process.get("terminal")) or not wanted.shell_job,
            empty_ns=messages.CLONE_NEWNET,
            tcp_established=wanted.tcp_established,
            ext_unix_sk=wanted.ext_unix_sk,
            shell_job=wanted.shell_job,
            file_locks=wanted.file_locks,
            auto_dedup=wanted.auto_dedup,
            lazy_pages=wanted.lazy_pages,
            external=external,
        )
        self._add_given(request)
        self._add_stdio(request)
        return request

    def _add_given(self, request: Message) -> None:
        """Flags whose absence leaves CRIU its default."""
        wanted = self._options
        if wanted.tcp_close:
            request.tcp_close = True
        if wanted.lsm_profile:
            request.lsm_profile = wanted.lsm_profile
        if wanted.lsm_mount_context:
            request.lsm_mount_context = wanted.lsm_mount_context
        config = config_file.of(self._plan.spec.get("annotations") or {})
        if config is not None:
            request.config_file = config

    def _add_namespaces(self, request: Message, stage: Stage) -> None:
        """Those that config.json gives by path: network and pid were left out of the images, the others are joined."""
        for kind, path in self._plan.joins:
            if kind in EXTERNAL:
                request.inherit_fd.add(key=EXTERNAL[kind][1], fd=self._open_namespace(kind, path))
            elif kind not in JOINED:
                raise Error(f"Do not know how to handle namespace {kind}: CRIU cannot restore into a {kind} namespace by path")
        for kind, place in stage.namespaces([join for join in self._plan.joins if join[0] in JOINED]):
            request.join_ns.add(ns=JOINED[kind], ns_file=place)

    def _open_namespace(self, kind: str, path: str) -> int:
        try:
            return self._own(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise Error(f"Requested {kind} namespace {path} does not exist") from None

    def _add_stdio(self, request: Message) -> None:
        """Pipes and files of the host that the processes had as 0 to 2 become ours, by their names of old."""
        for fd, name in zip(self._stdio, images_dir.read_descriptors(self._images), strict=False):
            for key in stdio.inherit_keys(name):  # CRIU closes each of them
                ours = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
                request.inherit_fd.add(key=key, fd=self._own(ours))

    def _join_cgroup(self, request: Message) -> None:
        """CRIU goes where its children shall be; the cgroups in the images are made below, whatever they were named."""
        self._events.enter(self.session.pid)
        with open(f"/proc/{self.session.pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(":", 2) for line in file.read().splitlines()]
        for _, controllers, path in lines:
            for controller in controllers.split(","):
                request.cg_root.add(ctrl=controller, path=path)

    # -- notifications

    def _notified(self, notification: Notification) -> None:
        self._log("debug", f"notify: {notification.script}")
        self._progress.notified(notification.script)
        handler = self._handlers.get(notification.script)
        if handler is not None:
            handler(notification)

    def _namespaces(self, notification: Notification) -> None:
        self._events.namespaces_ready(notification.pid)

    def _restored(self, notification: Notification) -> None:
        self.pid = notification.pid
        mounts_peers.rejoin(notification.pid, self._members, self._log)
        self._events.restored(notification.pid, self._version)

    def _terminal(self, notification: Notification) -> None:
        if notification.fd is not None:
            self._events.terminal(notification.fd)
