"""The text of --version; engines split its lines at "version " and ": "."""

from __future__ import annotations

import sys

from libcontainer.features import OCI_VERSION_MAX, libseccomp_version
from pyrunc import __version__


def text() -> str:
    lines = [
        f"pyrunc version {__version__}",
        f"commit: {commit() or 'unknown'}",
        f"spec: {OCI_VERSION_MAX}",
        f"python: {sys.version.split()[0]}",
    ]
    libseccomp = libseccomp_version()
    if libseccomp:
        lines.append(f"libseccomp: {libseccomp}")
    return "\n".join(lines) + "\n"


def commit() -> str:
    """What tools/commit wrote when this was built; "" without it."""
    try:
        from pyrunc.built import COMMIT
    except ImportError:
        return ""
    return COMMIT
