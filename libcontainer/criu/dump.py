"""Dump: a container's processes into an image directory.

CRIU stops the processes, asks for the external files (query-ext-files), writes the images, and says post-dump; up to then
everything can be taken back, and is after any failure: the container goes on running.
"""

from __future__ import annotations

import os

from libcontainer.criu import features, freezer, images_dir, messages, mounts, namespaces, network, options, stdio
from libcontainer.criu.failure import CriuFailed, explain
from libcontainer.criu.rpc import STALL, Session
from libcontainer.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.container import Container
    from libcontainer.criu.messages import Message
    from libcontainer.criu.options import CheckpointOptions
    from libcontainer.criu.rpc import Notification

LOG_LEVEL = 4
LOG_FILE = "dump.log"
MARKER = "checkpoint"  # in the container's directory while its images are all that is left of it


class Dump:
    """One dump (or pre-dump) of a container into the directory `images`, with its log in `work`."""

    __slots__ = ("_container", "_handlers", "_images", "_options", "_version", "_work", "session")

    def __init__(self, container: Container, wanted: CheckpointOptions, images: int, work: int) -> None:
        self._container = container
        self._options = wanted
        self._images = images
        self._work = work
        self._version = 0
        self._handlers: dict[str, Callable[[Notification], None]] = {
            "query-ext-files": self._external_files,
            "post-dump": self._dumped,
            "status-ready": self._ready,
        }

    def run(self) -> None:
        """Do it; CriuFailed quotes the log."""
        was_frozen = self._container.cgroup.frozen()
        try:
            with Session(pass_fds=(self._images, self._work), stall=STALL + self._options.timeout) as self.session:
                self._version = features.check_version(self.session)
                self._talk()
        except CriuFailed as err:
            freezer.release(self._container.cgroup, was_frozen=was_frozen)
            self._explain(err)
            raise

    def _talk(self) -> None:
        kind = messages.DUMP
        if self._options.pre_dump:
            features.require_feature(self.session, "mem_track")
            kind = messages.SINGLE_PRE_DUMP if self._version >= features.SINGLE_PRE_DUMP else messages.PRE_DUMP
        if self._options.lazy_pages:
            features.require_feature(self.session, "lazy_pages")
        request = self._request()
        self._log(request)
        self.session.request(kind, request, self._notified)

    def _explain(self, err: CriuFailed) -> None:
        directory = self._options.work_path or self._options.image_path
        explain(err, self._work, os.path.join(directory, LOG_FILE), self._container.log)

    # -- the request

    def _request(self) -> Message:
        """What is always sent, then what was asked for."""
        container, wanted = self._container, self._options
        request = messages.options(
            images_dir_fd=self._images,
            work_dir_fd=self._work,
            log_level=LOG_LEVEL,
            log_file=LOG_FILE,
            pid=container.state.init_process_pid,
            root=container.saved.rootfs,
            manage_cgroups=True,
            manage_cgroups_mode=wanted.manage_cgroups_mode,
            notify_scripts=True,
            orphan_pts_master=True,
            empty_ns=messages.CLONE_NEWNET,
            leave_running=wanted.leave_running,
            tcp_established=wanted.tcp_established,
            tcp_skip_in_flight=wanted.tcp_skip_in_flight,
            ext_unix_sk=wanted.ext_unix_sk,
            shell_job=wanted.shell_job,
            file_locks=wanted.file_locks,
            link_remap=wanted.link_remap,
            lazy_pages=wanted.lazy_pages,
            auto_dedup=wanted.auto_dedup,
        )
        request.external.extend(namespaces.external(container.saved, request.pid, self._version))
        if self._version < features.QUERY_EXT_FILES and not wanted.pre_dump:  # it would not ask
            request.external.extend(self._external())
        self._add_environment(request)
        self._add_given(request)
        return request

    def _add_environment(self, request: Message) -> None:
        """What follows from the host and the container's config."""
        frozen = freezer.directory(self._container.cgroup, self._version)
        if frozen is not None:
            request.freeze_cgroup = frozen
        config = options.config_file(self._container.annotations)
        if config is not None:
            request.config_file = config

    def _add_given(self, request: Message) -> None:
        """Flags whose absence leaves CRIU its default."""
        wanted = self._options
        if wanted.parent_path:
            request.parent_img = wanted.parent_path
            request.track_mem = True
        if wanted.page_server is not None:
            request.ps.address, request.ps.port = wanted.page_server
        if wanted.timeout:
            request.timeout = wanted.timeout
        if wanted.ghost_limit:
            request.ghost_limit = wanted.ghost_limit
        if wanted.tcp_close:
            features.require(self._version, features.TCP_CLOSE, "--tcp-close")
            request.tcp_close = True
        lock = network.choose(wanted.network_lock, request.pid, self._version, tcp_established=wanted.tcp_established)
        if lock is not None:
            request.network_lock = lock

    def _log(self, request: Message) -> None:
        for field, value in request.ListFields():
            text = " ".join(str(value).split())
            self._container.log("debug", f"CRIU option {field.name} with value {text}")

    # -- notifications

    def _notified(self, notification: Notification) -> None:
        self._container.log("debug", f"notify: {notification.script}")
        handler = self._handlers.get(notification.script)
        if handler is not None:
            handler(notification)

    def _external_files(self, notification: Notification) -> None:
        """All processes are stopped: what is mounted now is what will be dumped."""
        notification.options = messages.options(external=self._external())

    def _external(self) -> list[str]:
        """The keys of what CRIU shall leave alone."""
        container = self._container
        descriptors = stdio.names(container)
        images_dir.write_descriptors(self._images, descriptors)
        keys = mounts.of_container(container.state.init_process_pid, container.saved, self._options.ext_mounts)
        return [*keys, *stdio.external(descriptors)]

    def _dumped(self, _notification: Notification) -> None:
        """The images are complete."""
        path = os.path.join(self._container.directory, MARKER)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as err:
            raise Error("unable to mark the container as checkpointed") from err

    def _ready(self, _notification: Notification) -> None:
        """Lazy: the images but for the memory are complete, the page server listens."""
        self.session.no_deadline()
        if self._options.status_fd is not None:
            os.write(self._options.status_fd, b"\0")
            os.close(self._options.status_fd)
