"""The notify socket as a container sees it: through a read-only bind mount, as an unprivileged user."""

from __future__ import annotations

import array
import gc
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from libcontainer.notify_socket import NotifySocket
from tests.root.conftest import LIMIT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Runs in a mount namespace of its own, where /mnt is what /run/notify is to a container.
CONTAINER = """
set -e
mount --make-rprivate /
mount --bind "$1" /mnt
mount -o remount,bind,ro,nosuid,noexec,nodev /mnt
exec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 -c '
import os, socket
for attempt in (lambda: os.unlink("/mnt/notify.sock"), lambda: open("/mnt/x", "w")):
    try: attempt()
    except OSError: pass
    else: raise SystemExit("the directory is writable")
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.connect("/mnt/notify.sock")
sock.send(b"STATUS=starting")
fd = os.open("/dev/null", os.O_RDONLY)
socket.send_fds(sock, [b"FDSTORE=1"], [fd])
socket.send_fds(sock, [b"READY=1\\nMAINPID=1"], [fd])
'
"""


def told(manager: socket.socket) -> bytes:
    data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(64))
    for _, _, payload in ancillary:
        for fd in array.array("i", payload):
            os.close(fd)
            data += b" + fd"
    return data


def test_an_unprivileged_container_says_ready(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o711)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "host.sock"))
        manager.settimeout(LIMIT)
        notify = NotifySocket(str(state), str(tmp_path / "host.sock"))
        notify.make_directory()
        notify.bind()
        gc.collect()  # what an earlier test has left open
        before = len(os.listdir("/proc/self/fd"))
        with subprocess.Popen(["unshare", "-m", "sh", "-c", CONTAINER, "sh", notify.directory]) as container:
            answers: list[bool] = []
            alive = lambda: container.poll() is None
            thread = threading.Thread(target=lambda: answers.append(notify.forward(container.pid, alive)))
            thread.start()
            pid = str(container.pid).encode()
            assert [told(manager) for _ in range(3)] == [
                b"READY=1\n",
                b"MAINPID=%s\n" % pid,
                b"BARRIER=1 + fd",
            ]
            thread.join(LIMIT)
            assert container.wait(LIMIT) == 0
        assert answers == [True]
        assert (
            len(os.listdir("/proc/self/fd")) == before
        )  # none of the container's descriptors stayed with us
        notify.close()
