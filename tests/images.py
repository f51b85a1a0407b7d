"""Directories of checkpoint images, made with pycriu: a small container that never was."""

from __future__ import annotations

import importlib
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parent.parent
# where tools/criu puts it
FETCHED = TOP / "build/criu/tree/usr/lib/python3/dist-packages"
PAGE = 4096
FOWN = {"uid": 0, "euid": 0, "signum": 0, "pid_type": 0, "pid": 0}
STATS = {
    "freezing_time": 797,
    "frozen_time": 170_077,
    "memdump_time": 39_425,
    "memwrite_time": 26_036,
    "pages_scanned": 300,
    "pages_skipped_parent": 2,
    "pages_written": 3,
    "pages_lazy": 0,
}


def pycriu() -> Any:
    """pycriu.images: an installed one, or what tools/criu has fetched; the test is skipped where there is none."""
    if FETCHED.is_dir() and str(FETCHED) not in sys.path:
        sys.path.append(str(FETCHED))
    try:
        return importlib.import_module("pycriu.images")
    except ImportError as error:
        pytest.skip(f"no pycriu ({error}): tools/criu fetches it")


class Maker:
    """Writes images into a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.pycriu = pycriu()

    def write(self, name: str, magic: str, *entries: dict[str, Any]) -> None:
        with (self.directory / name).open("wb") as file:
            self.pycriu.dump({"magic": magic, "entries": list(entries)}, file)

    def stats(self, **changes: int) -> None:
        self.write("stats-dump", "STATS", {"dump": {**STATS, **changes}})

    def pagemap(self, pid: int | str, pages_id: int, *runs: tuple[int, int, int]) -> None:
        """Runs of (address, pages, flags)."""
        entries = [{"vaddr": at, "compat_nr_pages": n, "nr_pages": n, "flags": flags} for at, n, flags in runs]
        self.write(f"pagemap-{pid}.img", "PAGEMAP", {"pages_id": pages_id}, *entries)

    def inventory(self) -> None:
        ids: dict[str, Any] = {"vm_id": 1, "files_id": 1, "fs_id": 1, "sighand_id": 1, "pid_ns_id": 1, "net_ns_id": 2}
        ids.update(mnt_ns_id=3, uts_ns_id=4, user_ns_id=5)
        self.write("inventory.img", "INVENTORY", {"img_version": 2, "root_ids": ids, "lsmtype": "APPARMOR"})

    def tree(self, *entries: tuple[int, int]) -> None:
        """(pid, parent's pid) each."""
        known = [{"pid": pid, "ppid": ppid, "pgid": pid, "sid": 1, "threads": [pid]} for pid, ppid in entries]
        self.write("pstree.img", "PSTREE", *known)

    def process(self, pid: int, arguments: bytes = b"/bin/sleep\x00100\x00") -> None:
        """Two pages here, the first with its arguments, one in the parent, one lazy."""
        creds: dict[str, Any] = dict.fromkeys(("uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid"), 1000)
        creds.update(secbits=0, lsm_profile="the-profile")
        core = {"task_state": 1, "exit_code": 0, "personality": 0, "flags": 0, "blk_sigset": "0x0", "comm": "sleep"}
        thread = {"futex_rla": 0, "futex_rla_len": 0, "sched_nice": 0, "sched_policy": 0, "creds": creds}
        self.write(f"core-{pid}.img", "CORE", {"mtype": "UNKNOWN", "tc": core, "thread_core": thread})
        numbers = {"vm_id": pid, "files_id": pid, "fs_id": pid, "sighand_id": pid, "pid_ns_id": 9, "net_ns_id": 10}
        self.write(f"ids-{pid}.img", "IDS", {**numbers, "mnt_ns_id": 13, "uts_ns_id": 12, "user_ns_id": 14})
        self.write(f"fs-{pid}.img", "FS", {"cwd_id": 3, "root_id": 3})
        self.write(f"mm-{pid}.img", "MM", self._mm(len(arguments)))
        self.pagemap(pid, pid, (0x10000, 2, 4), (0x12000, 1, 1), (0x13000, 1, 2))
        (self.directory / f"pages-{pid}.img").write_bytes(b"\0" * 100 + arguments.ljust(2 * PAGE - 100, b"\0"))
        fds = [(1, "REG", 0), (2, "REG", 1), (4, "INETSK", 3), (5, "UNIXSK", 4), (6, "PIPE", 5), (7, "EVENTFD", 6)]
        self.write(f"fdinfo-{pid}.img", "FDINFO", *({"id": n, "flags": 0, "type": t, "fd": fd} for n, t, fd in fds))

    @staticmethod
    def _mm(size: int) -> dict[str, Any]:
        names = "start_code end_code start_data end_data start_stack start_brk brk arg_start arg_end env_start env_end"
        found: dict[str, Any] = {f"mm_{name}": 0 for name in names.split()}
        vma = {"start": 0x10000, "end": 0x20000, "pgoff": 0, "shmid": 0, "prot": 3, "flags": 2, "status": 1, "fd": -1}
        found.update(mm_arg_start=0x10000 + 100, mm_arg_end=0x10000 + 100 + size, exe_file_id=8)
        return {**found, "mm_saved_auxv": [6, PAGE], "vmas": [vma]}

    def files(self) -> None:
        def regular(number: int, name: str, flags: int = 0) -> dict[str, Any]:
            reg = {"id": number, "flags": flags, "pos": 7, "fown": FOWN, "name": name}
            return {"type": "REG", "id": number, "reg": reg}

        sk = {"so_sndbuf": 1, "so_rcvbuf": 1, "so_snd_tmo_sec": 0, "so_snd_tmo_usec": 0, "so_rcv_tmo_sec": 0}
        opts = {**sk, "so_rcv_tmo_usec": 0}
        inet: dict[str, Any] = {"id": 4, "ino": 0xABC, "family": 2, "type": 1, "proto": 6, "state": 1}
        inet.update(src_port=80, dst_port=9999, flags=2, backlog=0, fown=FOWN, opts=opts)
        inet["src_addr"], inet["dst_addr"] = [_word("127.0.0.1")], [_word("10.0.0.2")]
        unix: dict[str, Any] = {"id": 5, "ino": 77, "type": 1, "state": 10, "flags": 2, "uflags": 0, "backlog": 5, "peer": 0}
        unix.update(fown=FOWN, opts=opts, name="\0hidden")
        self.write(
            "files.img",
            "FILES",
            regular(1, "/dev/null", 2),
            regular(2, "/tmp/a\x1b[31mred", 1),
            regular(3, "/home"),
            {"type": "INETSK", "id": 4, "isk": inet},
            {"type": "UNIXSK", "id": 5, "usk": unix},
            {"type": "PIPE", "id": 6, "pipe": {"id": 6, "pipe_id": 55, "flags": 1, "fown": FOWN}},
            {"type": "EVENTFD", "id": 7, "efd": {"id": 7, "flags": 2, "fown": FOWN, "counter": 3}},
            regular(8, "/bin/busybox"),
        )
        self.write("remap-fpath.img", "REMAP_FPATH", {"orig_id": 2, "remap_id": 1, "remap_type": "GHOST"})
        stream = {"inq_len": 11, "inq_seq": 0, "outq_len": 22, "outq_seq": 0, "opt_mask": 0, "snd_wscale": 0}
        self.write("tcp-stream-abc.img", "TCP_STREAM", {**stream, "mss_clamp": 1, "extra": {"inq": "", "outq": ""}})

    def namespaces(self) -> None:
        def mount(number: int, point: str, kind: int, **more: Any) -> dict[str, Any]:
            entry = {"fstype": kind, "mnt_id": number, "root_dev": "0:59", "parent_mnt_id": 1, "flags": "0x200001"}
            return {**entry, "root": "/", "mountpoint": point, "source": "none", "options": "size=1k", **more}

        external = mount(2, "/vol", 0, fsname="ext4", ext_key="volume", shared_id=3, master_id=4)
        self.write("mountpoints-13.img", "MNTS", external, mount(1, "/", 5))
        self.write("utsns-12.img", "UTSNS", {"nodename": "the-host", "domainname": ""})
        extent = {"first": 0, "lower_first": 100_000, "count": 65_536}
        self.write("userns-14.img", "USERNS", {"uid_map": [extent], "gid_map": [extent]})
        self.write("netns-10.img", "NETNS", {"ext_key": "extRootNetNS"})

    def checkpoint(self) -> None:
        """All of it: init, and one process more."""
        self.inventory()
        self.tree((1, 0), (2, 1))
        self.process(1)
        self.process(2)
        self.files()
        self.namespaces()
        self.stats()
        log = "(00.000000) CRIU run id = x\n(00.000086) Version: 4.2.1 (gitid 0)\n(00.000095) Running on h Linux 6\n"
        (self.directory / "dump.log").write_text(log)
        (self.directory / "descriptors.json").write_text('["/dev/null","pipe:[1]","pipe:[2]"]')

    def pre_dump(self) -> None:
        """What a dump of memory alone leaves."""
        self.inventory()
        self.stats(pages_written=4)
        self.pagemap(1, 1, (0x12000, 4, 4))
        (self.directory / "pages-1.img").write_bytes(bytes(4 * PAGE))


def _word(address: str) -> int:
    return int(struct.unpack("=I", bytes(map(int, address.split("."))))[0])


def link_parent(directory: Path, target: str) -> None:
    os.symlink(target, directory / "parent")
