"""The processes of a checkpoint, and how much of the memory of each is in which of its images."""

from __future__ import annotations

import os

from libcontainer.criu.images import BadImage, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from libcontainer.criu.images import Images, Message

# criu/include/pid.h
_STATES = {1: "alive", 2: "zombie", 3: "stopped", 4: "helper", 6: "zombie"}
_ZOMBIES = ("zombie", "helper")
# criu/include/pagemap.h
_IN_PARENT, _LAZY, _PRESENT = 1, 2, 4
_VSYSCALL = 1 << 3  # of vma_entry.status: mapped into every process, and no memory of it
_AT_PAGESZ = 6
_PAGE_SIZES = tuple(1 << shift for shift in range(12, 17))
_LONGEST_ARGUMENTS = 4096


class Run:
    """Pages that follow each other: where they are in the process, in the file of pages, and in which directory."""

    __slots__ = ("address", "count", "flags", "offset")

    def __init__(self, address: int, count: int, flags: int, offset: int) -> None:
        self.address = address
        self.count = count
        self.flags = flags
        self.offset = offset  # pages before it in the file, if it is there


class PageMap:
    """pagemap-N.img: what of a process's (or of shared) memory an image directory knows."""

    __slots__ = ("pages_id", "runs")

    def __init__(self, images: Images, name: str) -> None:
        entries = images.entries(name, "PAGEMAP")
        head = next(entries, None)
        self.pages_id = int(head.pages_id) if head is not None else 0
        self.runs = list(_runs(entries))

    def count(self, flag: int) -> int:
        """Pages of the runs with this flag; one that is in the file is nothing else."""
        return sum(run.count for run in self.runs if _kind(run.flags) == flag)


def _runs(entries: Iterator[Message]) -> Iterator[Run]:
    offset = 0
    for entry in entries:
        count = int(entry.nr_pages or entry.compat_nr_pages)
        flags = int(entry.flags) if entry.HasField("flags") else _IN_PARENT if entry.in_parent else _PRESENT
        yield Run(int(entry.vaddr), count, flags, offset)
        if flags & _PRESENT:
            offset += count


def _kind(flags: int) -> int:
    return next((flag for flag in (_PRESENT, _LAZY, _IN_PARENT) if flags & flag), 0)


def processes(chain: Sequence[Images], names: dict[int, str]) -> list[dict[str, Any]]:
    """In the order of pstree.img, parents first. `names`: the paths of regular files, by id."""
    found: dict[int, dict[str, Any]] = {}
    for entry in chain[0].entries("pstree.img", "PSTREE"):
        if entry.pid in found:
            raise BadImage(f"image pstree.img has process {entry.pid} twice")
        found[entry.pid] = _process(chain, entry, names)
    return list(found.values())


def memory_only(images: Images) -> list[dict[str, Any]]:
    """A pre-dump has no processes, only memory."""
    page = os.sysconf("SC_PAGESIZE")
    return [{"pid": pid, "memory": _memory(PageMap(images, f"pagemap-{pid}.img"), page)} for pid in images.numbers("pagemap")]


def shared_memory(images: Images) -> list[dict[str, Any]]:
    """Anonymous memory that several processes may have in common."""
    page = os.sysconf("SC_PAGESIZE")
    found = images.numbers("pagemap-shmem")
    return [{"id": number, **_memory(PageMap(images, f"pagemap-shmem-{number}.img"), page)} for number in found]


def _process(chain: Sequence[Images], entry: Message, names: dict[int, str]) -> dict[str, Any]:
    images, pid = chain[0], int(entry.pid)
    core = images.only(f"core-{pid}.img", "CORE")
    state = _STATES.get(core.tc.task_state, "unknown")
    found: dict[str, Any] = {
        "pid": pid,
        "ppid": int(entry.ppid),
        "pgid": int(entry.pgid),
        "sid": int(entry.sid),
        "command": text(core.tc.comm),
        "state": state,
    }
    if state not in _ZOMBIES:  # of which nothing else is kept
        found.update(_identity(core))
        found["threads"] = sorted(map(int, entry.threads))
        found.update(_image(chain, pid, names))
    return found


def _identity(core: Message) -> dict[str, Any]:
    creds = core.thread_core.creds
    found: dict[str, Any] = {"uid": int(creds.euid), "gid": int(creds.egid)}
    if creds.lsm_profile:
        found["lsmProfile"] = text(creds.lsm_profile)
    return found


def _image(chain: Sequence[Images], pid: int, names: dict[int, str]) -> dict[str, Any]:
    """What it executes and where, and its memory."""
    images = chain[0]
    mm = images.only(f"mm-{pid}.img", "MM")
    fs = images.only(f"fs-{pid}.img", "FS")
    pages = PageMap(images, f"pagemap-{pid}.img")
    page = _page_size(mm)
    virtual = sum(int(vma.end - vma.start) for vma in mm.vmas if not vma.status & _VSYSCALL)
    return {
        "executable": names.get(mm.exe_file_id),
        "arguments": _arguments(chain, pid, pages, mm, page),
        "cwd": names.get(fs.cwd_id),
        "memory": {"virtual": virtual, **_memory(pages, page)},
    }


def _memory(pages: PageMap, page: int) -> dict[str, int]:
    kinds = {"images": _PRESENT, "parent": _IN_PARENT, "lazy": _LAZY}
    return {name: pages.count(flag) * page for name, flag in kinds.items()}


def _page_size(mm: Message) -> int:
    """Of the machine that it comes from, as the process was told it."""
    vector = [int(word) for word in mm.mm_saved_auxv[:128]]
    told = dict(zip(vector[::2], vector[1::2], strict=False)).get(_AT_PAGESZ)
    return told if told in _PAGE_SIZES else os.sysconf("SC_PAGESIZE")


def _arguments(chain: Sequence[Images], pid: int, pages: PageMap, mm: Message, page: int) -> list[str] | None:
    """Its command line, which is in its memory; None if that is not at hand (yet to be fetched, or without a page)."""
    start, end = int(mm.mm_arg_start), int(mm.mm_arg_end)
    if not 0 < end - start <= _LONGEST_ARGUMENTS:
        return None
    data = b""
    while start + len(data) < end:
        at = start + len(data)
        piece = _page(chain, pid, pages, at // page * page, page)
        if piece is None:
            return None
        data += piece[at % page : at % page + end - at]
    return [os.fsdecode(word) for word in data.removesuffix(b"\0").split(b"\0")]


def _page(chain: Sequence[Images], pid: int, pages: PageMap, address: int, page: int) -> bytes | None:
    """A page of a process from the newest images that have it."""
    for depth, images in enumerate(chain):
        if depth:
            pages = PageMap(images, f"pagemap-{pid}.img")
        run = next((run for run in pages.runs if run.address <= address < run.address + run.count * page), None)
        if run is None:
            return None
        if run.flags & _PRESENT:
            offset = run.offset * page + address - run.address
            return _read(images, f"pages-{pages.pages_id}.img", offset, page)
        if not run.flags & _IN_PARENT:
            return None
    return None


def _read(images: Images, name: str, offset: int, size: int) -> bytes | None:
    with images.open(name) as file:
        if offset >= 1 << 63:
            return None
        data = os.pread(file.fileno(), size, offset)
    return data if len(data) == size else None
