"""checkpoint: the states in which it may be, the directories, the dump, and the end of a container that was dumped."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

from libcontainer.criu import images_dir
from libcontainer.criu.dump import Dump
from libcontainer.criu.progress import Progress
from libcontainer.errors import Error, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from libcontainer.container import Container
    from libcontainer.criu.options import CheckpointOptions


def checkpoint(container: Container, options: CheckpointOptions, progress: Progress | None = None) -> None:
    """Dump the container; unless it shall go on running it is deleted then. `progress` is told how far it has come."""
    status = container.status()
    if status in ("created", "stopped"):
        raise Error(f"Container cannot be checkpointed in {status} state")
    with _alone(container):
        _checkpoint(container, options, progress or Progress())


@contextmanager
def _alone(container: Container) -> Iterator[None]:
    """CRIUs that stop the same processes hinder each other, until all of them give up. The lock ends with us at the latest."""
    directory = os.open(container.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(directory)
        yield
    finally:
        os.close(directory)


def _lock(directory: int) -> None:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Error("another checkpoint of this container is being made: wait for its end") from None


def _checkpoint(container: Container, options: CheckpointOptions, progress: Progress) -> None:
    images = images_dir.make(options.image_path)
    try:
        work = images_dir.make(options.work_path) if options.work_path else os.dup(images)
        try:
            with progress:
                _dump(container, options, images, work, progress)
        finally:
            os.close(work)
    finally:
        os.close(images)
    if not options.keeps_running:
        _delete(container)


def _dump(container: Container, options: CheckpointOptions, images: int, work: int, progress: Progress) -> None:
    if options.parent_path:
        images_dir.check_parent(images, options.parent_path)
        owner = images_dir.root_of(container.state.init_process_pid)
        images_dir.check_reachable(images, options.parent_path, *owner)
    Dump(container, options, images, work, progress).run()


def _delete(container: Container) -> None:
    """The images are good: what goes wrong now is no reason to call the checkpoint failed."""
    try:
        container.delete(force=True)
    except (Error, OSError) as err:
        container.log("warning", f"unable to delete the checkpointed container: {describe(err)}")
