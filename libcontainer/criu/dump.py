"""Dump: a container's processes into an image directory.

CRIU stops the processes, asks for the external files (query-ext-files), writes the images, and says post-dump; up to then
everything can be taken back, and is after any failure: the container goes on running.
"""

from __future__ import annotations

import os

from libcontainer.criu import (
    config_file,
    dump_request,
    features,
    freezer,
    images_dir,
    messages,
    mounts_sidecar,
    network_lock,
    regular,
    stdio,
    strangers,
)
from libcontainer.criu.dump_request import LOG_FILE
from libcontainer.criu.failure import CriuFailed, explain
from libcontainer.criu.progress import DUMP, PRE_DUMP, Images, resident_bytes
from libcontainer.criu.rpc import STALL, Session
from libcontainer.errors import Error, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from libcontainer.container import Container
    from libcontainer.criu.messages import Message
    from libcontainer.criu.options import CheckpointOptions
    from libcontainer.criu.progress import Progress
    from libcontainer.criu.rpc import Notification

STATS_FILE = "stats-dump"
MARKER = "checkpoint"  # in the container's directory while its images are all that is left of it


class Dump:
    """One dump (or pre-dump) of a container into the directory `images`, with its log in `work`."""

    __slots__ = (
        "_config",
        "_container",
        "_handlers",
        "_images",
        "_locks",
        "_options",
        "_progress",
        "_version",
        "_work",
        "session",
    )

    def __init__(self, container: Container, wanted: CheckpointOptions, images: int, work: int, progress: Progress) -> None:
        self._container = container
        self._options = wanted
        self._images = images
        self._work = work
        self._progress = progress
        self._version = 0
        self._config = -1
        self._locks = False  # CRIU has begun to hold the network still
        self._handlers: dict[str, Callable[[Notification], None]] = {
            "network-lock": self._locked,
            "query-ext-files": self._external_files,
            "post-dump": self._dumped,
            "status-ready": self._ready,
        }

    def run(self) -> None:
        """Do it; CriuFailed quotes the log."""
        was_frozen = self._container.cgroup.frozen()
        stall = STALL + self._options.timeout
        tick = self._progress.tick if self._progress.watched else None
        images_dir.admit(self._images, *images_dir.root_of(self._container.state.init_process_pid))
        try:
            with Session(pass_fds=(self._images, self._work), stall=stall, tick=tick) as self.session:
                self._talk()
        except BaseException as err:
            self._take_back(was_frozen)
            if isinstance(err, CriuFailed):
                self._explain(err)
            raise
        finally:
            if self._config >= 0:
                os.close(self._config)

    def _talk(self) -> None:
        self._version = features.check_version(self.session)
        kind = self._kind()
        if self._options.lazy_pages:
            self._require_server()
            features.require_feature(self.session, "lazy_pages")
            features.require_large_pipes()
        request = self._request(kind)
        wanted = PRE_DUMP if self._options.pre_dump else DUMP
        self._progress.begin(wanted, Images(self._images, new=True), self._to_write)
        images_dir.clear(self._images)
        regular.clear(self._work, LOG_FILE, STATS_FILE)
        self.session.request(kind, request, self._notified)

    def _require_server(self) -> None:
        """CRIU would serve the memory at any port, which nobody knows, for as long as it takes."""
        if self._options.page_server is None and not config_file.exists(config_file.of(self._container.annotations)):
            raise Error("--lazy-pages needs --page-server ADDRESS:PORT, where the other host gets the memory")

    def _request(self, kind: int) -> Message:
        request = dump_request.build(
            self._container, self._options, images=self._images, work=self._work, version=self._version
        )
        if self._options.lazy_pages and self._options.page_server is not None:
            self._config = config_file.with_address(config_file.of(self._container.annotations), request.ps.address)
            request.config_file = config_file.path_of(self._config)
        if self._version < features.QUERY_EXT_FILES and kind == messages.DUMP:  # it would not ask
            request.external.extend(self._external())
        for field, value in request.ListFields():
            self._container.log("debug", f"CRIU option {field.name} with value {' '.join(str(value).split())}")
        return request

    def _to_write(self) -> int:
        """What has been written before need not be written again, and nobody knows how much that is."""
        return 0 if self._options.parent_path else resident_bytes(self._container.cgroup.pids())

    def _kind(self) -> int:
        if not self._options.pre_dump:
            return messages.DUMP
        features.require_feature(self.session, "mem_track")
        return messages.SINGLE_PRE_DUMP if self._version >= features.SINGLE_PRE_DUMP else messages.PRE_DUMP

    # -- notifications

    def _notified(self, notification: Notification) -> None:
        self._container.log("debug", f"notify: {notification.script}")
        self._progress.notified(notification.script)
        handler = self._handlers.get(notification.script)
        if handler is not None:
            handler(notification)

    def _external_files(self, notification: Notification) -> None:
        """All processes are stopped: what is mounted and open now is what will be dumped."""
        notification.options = messages.options(external=self._external())
        if not self._options.keeps_running:
            strangers.warn(self._container)

    def _external(self) -> list[str]:
        """The keys of what CRIU shall leave alone."""
        container = self._container
        descriptors = stdio.names(container, terminals=self._options.shell_job)
        images_dir.write_descriptors(self._images, descriptors)
        keys = mounts_sidecar.name_mounts(container, self._images, self._options.ext_mounts)
        return [*keys, *stdio.external(descriptors)]

    def _locked(self, _notification: Notification) -> None:
        self._locks = True

    def _dumped(self, _notification: Notification) -> None:
        """The images are complete."""
        if self._options.keeps_running:
            return
        try:
            os.close(os.open(self._marker(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as err:
            raise Error("unable to mark the container as checkpointed") from err

    def _ready(self, _notification: Notification) -> None:
        """Lazy: the images but for the memory are complete, the page server listens."""
        self.session.no_deadline()
        if self._options.status_fd is not None:
            os.write(self._options.status_fd, b"\0")
            os.close(self._options.status_fd)

    # -- failing

    def _take_back(self, was_frozen: bool) -> None:
        """What a CRIU that has been killed, or we, have left."""
        freezer.release(self._container.cgroup, was_frozen=was_frozen)
        if self._locks and self.session.died:
            self._unlock()
        try:
            os.unlink(self._marker())
        except FileNotFoundError:
            pass

    def _unlock(self) -> None:
        try:
            init = self._container.state.init_process_pid
            network_lock.release(init, {init, *self._container.cgroup.pids()})
        except (Error, OSError) as err:
            self._container.log("warning", f"the container's network may still be locked by CRIU: {describe(err)}")

    def _marker(self) -> str:
        return os.path.join(self._container.directory, MARKER)

    def _explain(self, err: CriuFailed) -> None:
        directory = self._options.work_path or self._options.image_path
        explain(err, self._work, os.path.join(directory, LOG_FILE), self._container.log)
