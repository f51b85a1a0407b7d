"""checkpoint: the states in which it may be, the directories, the dump, and the end of a container that was dumped."""

from __future__ import annotations

import os

from libcontainer.criu import images_dir
from libcontainer.criu.dump import Dump
from libcontainer.criu.progress import Progress
from libcontainer.errors import Error, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container
    from libcontainer.criu.options import CheckpointOptions


def checkpoint(container: Container, options: CheckpointOptions, progress: Progress | None = None) -> None:
    """Dump the container; unless it shall go on running it is deleted then. `progress` is told how far it has come."""
    status = container.status()
    if status in ("created", "stopped"):
        raise Error(f"Container cannot be checkpointed in {status} state")
    images = images_dir.make(options.image_path)
    try:
        work = images_dir.make(options.work_path) if options.work_path else os.dup(images)
        try:
            with progress or Progress() as watcher:
                _dump(container, options, images, work, watcher)
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
