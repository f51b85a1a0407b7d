"""What a caller may say about a restore."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class RestoreOptions:
    """The flags of `restore` that are CRIU's; each attribute is what the flag of its name says.

    `ext_mounts`: key of an external mount -> path on this host, for those that config.json does not tell.
    """

    __slots__ = (
        "auto_dedup",
        "ext_mounts",
        "ext_unix_sk",
        "file_locks",
        "ignore_host_propagation",
        "image_path",
        "lazy_pages",
        "lsm_mount_context",
        "lsm_profile",
        "manage_cgroups_mode",
        "network_lock",
        "shell_job",
        "tcp_close",
        "tcp_established",
        "work_path",
    )

    def __init__(
        self,
        *,
        image_path: str,
        work_path: str = "",
        tcp_established: bool = False,
        tcp_close: bool = False,
        ext_unix_sk: bool = False,
        shell_job: bool = False,
        file_locks: bool = False,
        auto_dedup: bool = False,
        lazy_pages: bool = False,
        manage_cgroups_mode: str = "",
        network_lock: str = "",
        lsm_profile: str = "",
        lsm_mount_context: str = "",
        ext_mounts: Mapping[str, str] | None = None,
        ignore_host_propagation: bool = False,
    ) -> None:
        self.image_path = image_path
        self.work_path = work_path
        self.tcp_established = tcp_established
        self.tcp_close = tcp_close
        self.ext_unix_sk = ext_unix_sk
        self.shell_job = shell_job
        self.file_locks = file_locks
        self.auto_dedup = auto_dedup
        self.lazy_pages = lazy_pages
        self.manage_cgroups_mode = manage_cgroups_mode
        self.network_lock = network_lock
        self.lsm_profile = lsm_profile
        self.lsm_mount_context = lsm_mount_context
        self.ext_mounts = ext_mounts or {}
        self.ignore_host_propagation = ignore_host_propagation
