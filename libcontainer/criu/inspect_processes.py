"""The processes of a checkpoint, and how much of the memory of each is in which of its images."""

from __future__ import annotations

import os

from libcontainer.criu.images import BadImage, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
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


# by the flags of an entry: what its pages count as; one that is in the file is nothing else
_KINDS = (0, _IN_PARENT, _LAZY, _LAZY, _PRESENT, _PRESENT, _PRESENT, _PRESENT)

if TYPE_CHECKING:
    # pages that follow each other: address, how many, kind, and how many are before them in the file of pages
    Run = tuple[int, int, int, int]


class PageMap:
    """pagemap-N.img: what of a process's (or of shared) memory an image directory knows. There may be millions of runs."""

    __slots__ = ("counts", "pages_id", "runs")

    def __init__(self, images: Images, name: str) -> None:
        entries = images.entries(name, "PAGEMAP")
        head = next(entries, None)
        self.pages_id = int(head.pages_id) if head is not None else 0
        self.runs: list[Run] = []
        self.counts = {0: 0, _IN_PARENT: 0, _LAZY: 0, _PRESENT: 0}
        for entry in entries:
            kind = _KINDS[entry.flags & 7] if entry.HasField("flags") else _IN_PARENT if entry.in_parent else _PRESENT
            count = entry.nr_pages or entry.compat_nr_pages
            self.runs.append((entry.vaddr, count, kind, self.counts[_PRESENT]))
            self.counts[kind] += count


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
    return {name: int(pages.counts[kind]) * page for name, kind in kinds.items()}


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
        run = next((run for run in pages.runs if run[0] <= address < run[0] + run[1] * page), None)
        if run is None:
            return None
        start, _, kind, before = run
        if kind == _PRESENT:
            return _read(images, f"pages-{pages.pages_id}.img", before * page + address - start, page)
        if kind != _IN_PARENT:
            return None
    return None


def _read(images: Images, name: str, offset: int, size: int) -> bytes | None:
    with images.open(name) as file:
        if offset >= 1 << 63:
            return None
        data = os.pread(file.fileno(), size, offset)
    return data if len(data) == size else None
