"""The options of a dump request: what is always sent, what follows from container and host, what was asked for."""

from __future__ import annotations

from libcontainer.criu import config_file, features, freezer, messages, namespaces, network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container
    from libcontainer.criu.messages import Message
    from libcontainer.criu.options import CheckpointOptions

LOG_LEVEL = 4
LOG_FILE = "dump.log"
# CheckpointOptions and criu_opts call these the same.
SWITCHES = (
    "leave_running",
    "tcp_established",
    "tcp_skip_in_flight",
    "ext_unix_sk",
    "shell_job",
    "file_locks",
    "link_remap",
    "lazy_pages",
    "auto_dedup",
)


def build(container: Container, wanted: CheckpointOptions, *, images: int, work: int, version: int) -> Message:
    """criu_opts for this CRIU; `images` and `work` are descriptors of directories."""
    request = messages.options(
        images_dir_fd=images,
        work_dir_fd=work,
        log_level=LOG_LEVEL,
        log_file=LOG_FILE,
        pid=container.state.init_process_pid,
        root=container.saved.rootfs,
        manage_cgroups=True,
        manage_cgroups_mode=wanted.manage_cgroups_mode,
        notify_scripts=True,
        orphan_pts_master=True,
        empty_ns=messages.CLONE_NEWNET,
        **{name: getattr(wanted, name) for name in SWITCHES},
    )
    request.external.extend(namespaces.external(container.saved, request.pid, version))
    _add_environment(request, container, version)
    _add_given(request, wanted, version)
    network.warn(container, request.network_lock, version)
    return request


def _add_environment(request: Message, container: Container, version: int) -> None:
    """What follows from the host and the container's config."""
    frozen = freezer.directory(container.cgroup, version)
    if frozen is not None:
        request.freeze_cgroup = frozen
    config = config_file.of(container.annotations)
    if config is not None:
        request.config_file = config


def _add_given(request: Message, wanted: CheckpointOptions, version: int) -> None:
    """Flags whose absence leaves CRIU its default."""
    if wanted.parent_path:
        request.parent_img = wanted.parent_path
        request.track_mem = True
    if wanted.page_server is not None:
        request.ps.address, request.ps.port = wanted.page_server
    if wanted.timeout:
        request.timeout = wanted.timeout
    if wanted.ghost_limit is not None:
        request.ghost_limit = wanted.ghost_limit
    if wanted.tcp_close:
        features.require(version, features.TCP_CLOSE, "--tcp-close")
        request.tcp_close = True
    lock = network.choose(wanted.network_lock, request.pid, version, tcp_established=wanted.tcp_established)
    if lock is not None:
        request.network_lock = lock
