"""What this CRIU on this kernel can do. CRIU is asked; its version tells only which fields it knows."""

from __future__ import annotations

import fcntl
import os

from libcontainer.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.criu.rpc import Session

MINIMUM = 30000
CGROUP2_FREEZER = 31400
EXTERNAL_NET = 31100
EXTERNAL_PID = 31500
SINGLE_PRE_DUMP = 31700
NETWORK_LOCK = 31600
NETWORK_LOCK_SKIP = 31900
QUERY_EXT_FILES = 31900
NFT_AGAIN = 40200
TCP_CLOSE = 31200
LSM = 31600
TIME_NAMESPACE = 31400

PIPE = 4 << 20  # PIPE_MAX_SIZE pages of criu/page-pipe.c

# CRIU's name, runc's name, what to do
_CURES = {
    "mem_track": (
        "MemTrack",
        "this kernel does not track written memory, pre-dump needs CONFIG_MEM_SOFT_DIRTY; dump without --pre-dump",
    ),
    "lazy_pages": (
        "LazyPages",
        "this kernel gives no userfaultfd with non-cooperative events; dump without --lazy-pages",
    ),
}


def check_version(session: Session) -> int:
    """The version, if it is not too old for everything."""
    version = session.version()
    require(version, MINIMUM)
    return version


def require(version: int, least: int, what: str = "") -> None:
    """Raise Unsupported if this CRIU is older."""
    if version < least:
        prefix = f"{what}: " if what else ""
        raise Unsupported(f"{prefix}CRIU version {version} must be {least} or higher")


def require_feature(session: Session, name: str) -> None:
    """Raise Unsupported, with the reason, unless CRIU can do it here."""
    if name not in session.features(name):
        title, cure = _CURES[name]
        raise Unsupported(f"criu is missing features: [{title}]: {cure}")


def require_large_pipes() -> None:
    """Raise Unsupported unless CRIU may have the pipes that lazy pages wait in.

    It does not look whether it has got them: both hosts fail when the first page is asked for.
    """
    if not has_large_pipes():
        raise Unsupported(
            f"--lazy-pages: CRIU needs pipes of {PIPE >> 20} MiB, which it may not make: give it CAP_SYS_RESOURCE, or raise "
            f"sysctl fs.pipe-max-size to {PIPE}"
        )


def has_large_pipes() -> bool:
    """Whether the kernel lets us, and so CRIU, make one."""
    ends = os.pipe()
    try:
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, PIPE)
    except PermissionError:
        return False
    finally:
        for end in ends:
            os.close(end)
    return True
