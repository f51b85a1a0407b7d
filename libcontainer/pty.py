"""Terminals: a pty of the container's own devpts, its slave as stdio, its master for us (pts(4), ioctl_tty(2))."""

from __future__ import annotations

import errno
import os
import struct

from libcontainer import inroot, sysnr
from libcontainer.errors import Error
from libcontainer.remote import AT_EMPTY_PATH, OPEN_TREE_CLONE, Batch, Channel
from libcontainer.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.remote import Result

TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441
TIOCSWINSZ = 0x5414
TIOCSCTTY = 0x540E
DEVPTS_SUPER_MAGIC = 0x1CD1
PTMX = (5 << 8) | 2


def allocate(channel: Channel, root: int, *, size: bytes | None, uid: int, on_console: bool) -> tuple[int, str]:
    """Give the process behind `channel` a new pty as stdio and controlling terminal.

    Returns our descriptor of the master and the slave's name. With `on_console` the slave is also
    mounted on /dev/console. The image may have put anything at /dev/pts/ptmx: what is opened is checked
    to be ptmx of a devpts (CVE-2025-52565).
    """
    batch = Batch()
    number = batch.out(8)
    ptmx = _open_ptmx(batch, root)
    batch.send_back(ptmx)
    batch.call("ioctl", sysnr.IOCTL, ptmx, TIOCSPTLCK, batch.put(bytes(4)), path="TIOCSPTLCK")
    batch.call("ioctl", sysnr.IOCTL, ptmx, TIOCGPTN, number, path="TIOCGPTN")
    slave = batch.call("ioctl", sysnr.IOCTL, ptmx, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, path="TIOCGPTPEER")
    if size:
        batch.call("ioctl", sysnr.IOCTL, slave, TIOCSWINSZ, batch.put(size), path="TIOCSWINSZ")
    batch.tolerate(batch.call("fchown", sysnr.FCHOWN, slave, uid, -1, path="console"), errno.EPERM)
    if on_console:
        _mount_on_console(batch, root, slave)
    for fd in range(3):
        batch.call("dup3", sysnr.DUP3, slave, fd, 0)
    batch.call("ioctl", sysnr.IOCTL, slave, TIOCSCTTY, 0, path="TIOCSCTTY")
    reply = channel.run(batch)
    (index,) = struct.unpack_from("=I", reply.data)
    close = Batch()
    close.close(reply[ptmx])
    close.close(reply[slave])
    channel.run(close)
    return reply.fds[0], f"/dev/pts/{index}"


def hand_over(
    channel: Channel,
    root: int,
    process: dict[str, Any],
    receiver: Callable[[int, str], None] | None,
    *,
    on_console: bool,
) -> None:
    """Give the process its terminal, and the master to who receives it."""
    from libcontainer.console import winsize

    if receiver is None:
        raise Error("process.terminal is set, but nothing receives the console")
    uid = process["user"].get("uid", 0)
    size = winsize(process.get("consoleSize"))
    master, name = allocate(channel, root, size=size, uid=uid, on_console=on_console)
    try:
        receiver(master, name)
    finally:
        os.close(master)


def _open_ptmx(batch: Batch, root: int) -> Result:
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    ptmx = batch.openat2(root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, resolve=resolve)
    place = batch.put(bytes(144))
    batch.call("fstatfs", sysnr.FSTATFS, ptmx, place)
    batch.expect(place, 0, 8, DEVPTS_SUPER_MAGIC, errno.ENODEV)
    inroot.fstat_into(batch, ptmx, place)
    batch.expect(place, inroot.STAT_RDEV, 8, PTMX, errno.ENODEV)
    return ptmx


def _mount_on_console(batch: Batch, root: int, slave: Result) -> None:
    dev = batch.openat2(root, "dev", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
    made = batch.call("mknodat", sysnr.MKNODAT, dev, "console", 0o100666, 0, path="/dev/console")
    batch.tolerate(made, errno.EEXIST)
    mount = batch.open_tree(slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    flags = os.O_PATH | os.O_NOFOLLOW
    place = batch.openat2(dev, "console", flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    batch.move_mount(mount, place, "/dev/console")
    for fd in (place, mount, dev):
        batch.close(fd)
