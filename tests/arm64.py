"""A pytest plugin: the tests of the init on an arm64 build of it, under user-mode emulation.

    PYRUNC_ARM64_INIT=/path/to/init pytest -p tests.arm64 tests/unit/test_nsexec_init.py

Where both are processes of this machine, batches must have arm64's numbers: they are chosen when sysnr is imported.
"""

from __future__ import annotations

import os
from unittest import mock

EMULATOR = "qemu-aarch64-static"
COMMAND = (EMULATOR, os.environ["PYRUNC_ARM64_INIT"])



def pytest_configure() -> None:
    """Before any test module is imported."""
    system, node, release, version, _ = os.uname()
    with mock.patch("os.uname", return_value=os.uname_result((system, node, release, version, "aarch64"))):
        from libcontainer import inroot, sysnr
    assert (sysnr.CLOSE, inroot.STAT_MODE) == (57, 16), "somebody has imported them before"
    from tests import init_process

    init_process.default_command = lambda: COMMAND
