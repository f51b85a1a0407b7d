"""Memory that moves before or after the processes do: pre-dump chains, page servers, lazy pages between two hosts.

They need a kernel that tracks written pages (soft-dirty), and lazy pages CAP_SYS_RESOURCE (CRIU's pipes): the VM has both.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcontainer.criu.features import has_large_pipes
from tests.root.conftest import LIMIT, Bundle, Runtime, Sandbox, wait_until
from tests.root.hosts import Host
from tests.root.laboratory import MAPPED

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("criu")]

PYTHON = "/usr/bin/python3"
MEBIBYTES = 24
# Holds memory of which it changes one mebibyte each time /go changes, and says in /sum what its checksum is. It maps nothing
# more meanwhile: a mapping that grows counts as written, all of it (VM_SOFTDIRTY).
HOLDER = f"""
import hashlib, mmap, os, time
size = {MEBIBYTES} << 20
held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
def fill(start, end):
    for at in range(start, end, 4096):
        held[at:at + 4096] = os.urandom(4096)
fill(0, size)
seen = None
while True:
    go = open("/go").read()
    if go != seen:
        if go.startswith("change"):
            at = len(go) % {MEBIBYTES} << 20
            fill(at, at + (1 << 20))
        seen = go
        total = hashlib.sha256()
        for at in range(0, size, 4096):
            total.update(held[at:at + 4096])
        with open("/sum.new", "w") as f:
            f.write(go + " " + total.hexdigest())
        os.rename("/sum.new", "/sum")
    time.sleep(0.05)
"""


def tracks_memory() -> bool:
    """Whether a page that has just been written has bit 55 (Documentation/admin-guide/mm/soft-dirty.rst)."""
    area = mmap.mmap(-1, mmap.PAGESIZE)
    area[0] = 1
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // mmap.PAGESIZE * 8)
        return bool(int.from_bytes(file.read(8), "little") >> 55 & 1)


tracked = pytest.mark.skipif(not tracks_memory(), reason="this kernel has no soft-dirty bit")
lazy = pytest.mark.skipif(not has_large_pipes(), reason="no large pipes: CAP_SYS_RESOURCE, or sysctl fs.pipe-max-size")


class Holder:
    """A container with memory to move, and the directories of its images."""

    def __init__(self, sandbox: Sandbox, runtime: Runtime, *, user_namespace: bool = False) -> None:
        self.sandbox = sandbox
        self.runtime = runtime
        self.bundle: Bundle = sandbox.bundle()
        self.directory = sandbox.directory / "moving"
        self.directory.mkdir()
        self.directory.chmod(0o711)
        self.name = sandbox.name
        self.changes = 0
        spec = self.bundle.spec
        spec["root"]["readonly"] = False
        for name in ("usr", "lib", "lib64"):
            if Path("/", name).is_dir():
                mount = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
                spec["mounts"].append(mount)
        (self.bundle.rootfs / "go").write_text("start")
        if user_namespace:
            spec["linux"]["namespaces"].append({"type": "user"})
            spec["linux"].update(uidMappings=MAPPED, gidMappings=MAPPED)
            subprocess.run(["chown", "-R", "100000:100000", str(self.bundle.rootfs)], check=True)
        self.bundle.args(PYTHON, "-ISc", HOLDER)
        self.quietly("run", "--detach", "--bundle", str(self.bundle.path), self.name)
        self.sum = self.told("start")

    def quietly(self, *arguments: str) -> None:
        log = self.directory / "log"
        status, _ = self.runtime.run("--log", str(log), *arguments, out=Path("/dev/null"))
        assert status == 0, log.read_text()

    def told(self, what: str) -> str:
        """The checksum that it gives for this word."""
        path = self.bundle.rootfs / "sum"
        wait_until(lambda: path.exists() and path.read_text().startswith(f"{what} "))
        return path.read_text().split()[1]

    def change(self) -> None:
        """A mebibyte more is another."""
        self.changes += 1
        word = "change" + "x" * self.changes
        (self.bundle.rootfs / "go").write_text(word)
        self.sum = self.told(word)

    def assert_unharmed(self) -> None:
        """What runs now holds what was held."""
        (self.bundle.rootfs / "go").write_text("check")
        assert self.told("check") == self.sum

    def images(self, name: str) -> Path:
        return self.directory / name

    def checkpoint(self, name: str, *flags: str) -> None:
        self.quietly("checkpoint", "--image-path", str(self.images(name)), *flags, self.name)

    def chain(self) -> None:
        """Two pre-dumps, each against the last, with changes in between."""
        self.checkpoint("one", "--pre-dump")
        self.change()
        self.checkpoint("two", "--pre-dump", "--parent-path", "../one")
        self.change()

    def pages(self, name: str) -> int:
        """Bytes of memory in a directory of images."""
        return sum(path.stat().st_size for path in self.images(name).glob("pages-*.img"))

    def blocks(self, name: str) -> int:
        """Bytes that it takes on the disk."""
        return sum(path.stat().st_blocks for path in self.images(name).glob("pages-*.img")) * 512

    def restore(self, name: str, *flags: str) -> None:
        self.quietly(
            *("restore", "--detach", "--bundle", str(self.bundle.path), "--image-path", str(self.images(name))),
            *(*flags, self.name),
        )


@tracked
@pytest.mark.parametrize("user_namespace", [False, True])
def test_each_pre_dump_holds_what_was_written_since_the_last(
    sandbox: Sandbox, runtime: Runtime, user_namespace: bool
) -> None:
    holder = Holder(sandbox, runtime, user_namespace=user_namespace)
    holder.chain()
    assert runtime.status(holder.name) == "running"
    holder.checkpoint("last", "--parent-path", "../two")
    assert runtime.run("state", holder.name)[0] == 1
    whole = MEBIBYTES << 20
    assert holder.pages("one") >= whole
    assert 1 << 20 <= holder.pages("two") < whole / 2
    assert 1 << 20 <= holder.pages("last") < whole / 2
    assert os.readlink(holder.images("two") / "parent") == "../one"
    assert os.readlink(holder.images("last") / "parent") == "../two"
    holder.restore("last")
    holder.assert_unharmed()


@tracked
def test_a_chain_that_the_container_s_user_could_not_follow_is_refused(sandbox: Sandbox, runtime: Runtime) -> None:
    """Restore reads the parents' images as that user: a dump must not end in images that cannot be restored."""
    holder = Holder(sandbox, runtime, user_namespace=True)
    holder.checkpoint("one", "--pre-dump")
    holder.directory.chmod(0o700)
    images = ("--image-path", str(holder.images("last")), "--parent-path", "../one")
    status, text = runtime.run("checkpoint", *images, holder.name)
    assert status == 1
    assert f"(user 100000) may not search {holder.directory}" in text
    assert runtime.status(holder.name) == "running"


@tracked
def test_a_pre_dump_holds_nothing_but_memory(sandbox: Sandbox, runtime: Runtime) -> None:
    holder = Holder(sandbox, runtime)
    holder.checkpoint("one", "--pre-dump")
    names = {path.name for path in holder.images("one").iterdir()}
    assert "pages-1.img" in names
    assert not {"core-1.img", "files.img", "descriptors.json"} & names
    holder.assert_unharmed()


@tracked
def test_auto_dedup_frees_what_the_last_dump_replaces(sandbox: Sandbox, runtime: Runtime) -> None:
    used = {}
    for flags in ((), ("--auto-dedup",)):
        holder = Holder(sandbox, runtime)
        holder.checkpoint("one", "--pre-dump")
        for _ in range(8):
            holder.change()
        holder.checkpoint("last", "--parent-path", "../one", *flags)
        used[flags] = holder.blocks("one")
        holder.restore("last")
        holder.assert_unharmed()
        runtime.ok("delete", "--force", holder.name)
        shutil.rmtree(holder.directory)
        shutil.rmtree(holder.bundle.path)
    assert used["--auto-dedup",] <= used[()] - (6 << 20)


@pytest.mark.parametrize("flags", [(), ("--auto-dedup",)], ids=["", "auto-dedup"])
def test_a_restore_frees_the_memory_that_it_has_read_if_it_shall(
    sandbox: Sandbox, runtime: Runtime, flags: tuple[str, ...]
) -> None:
    holder = Holder(sandbox, runtime)
    holder.checkpoint("all")
    before = holder.blocks("all")
    holder.restore("all", *flags)
    holder.assert_unharmed()
    if flags:
        assert holder.blocks("all") <= before - (MEBIBYTES - 1 << 20)
    else:
        assert holder.blocks("all") == before


@tracked
def test_each_pre_dump_goes_to_the_other_host(
    sandbox: Sandbox, runtime: Runtime, hosts: tuple[Host, Host], criu: str
) -> None:
    """To its page server, which has the earlier ones; here no memory is written to the disk."""
    source, target = hosts
    holder = Holder(sandbox, runtime)
    there = holder.directory / "there"
    there.mkdir()
    holder.runtime = Runtime(source.wrapper(runtime.command, holder.directory / "pyrunc"), runtime.root, runtime.scratch)
    for name, parent, pre_dump in (("one", "", True), ("two", "../one", True), ("last", "../two", False)):
        (there / name).mkdir()
        chain = ["--prev-images-dir", parent] if parent else []
        place = ["--images-dir", str(there / name), "--address", target.address, "--port", "4444"]
        server = target.start(criu, "page-server", *place, *chain)
        wait_until(lambda: target.listens(4444))
        flags = [*(["--pre-dump"] if pre_dump else []), *(["--parent-path", parent] if parent else [])]
        holder.checkpoint(name, "--page-server", f"{target.address}:4444", *flags)
        assert server.wait(LIMIT) == 0
        assert holder.pages(name) == 0
        if pre_dump:
            holder.change()
    shutil.copytree(holder.images("last"), there / "last", dirs_exist_ok=True, ignore=shutil.ignore_patterns("parent"))
    sizes = {name: holder.pages(f"there/{name}") for name in ("one", "two", "last")}
    assert sizes["one"] >= MEBIBYTES << 20
    assert 1 << 20 <= sizes["two"] < MEBIBYTES << 19, sizes
    assert 1 << 20 <= sizes["last"] < MEBIBYTES << 19, sizes
    holder.restore("there/last")
    holder.assert_unharmed()


def listens(process: subprocess.Popen[bytes], name: str) -> bool:
    """Whether somebody on its host does, at a socket with this path: its name is there a little earlier. proc_net(5)"""
    accepting = "00010000"  # __SO_ACCEPTCON, net.h
    lines = [line.split() for line in Path(f"/proc/{process.pid}/net/unix").read_text().splitlines()[1:]]
    return any(fields[3] == accepting and fields[-1].endswith(name) for fields in lines)


class Migration:
    """A lazy one: the processes move at once, their memory when it is used."""

    def __init__(self, holder: Holder, source: Host, target: Host, criu: str) -> None:
        self.holder = holder
        self.source = source
        self.target = target
        self.criu = criu
        self.work = holder.directory / "work"
        self.new = f"{holder.name}-new"
        self.base = [holder.runtime.command, "--root", str(holder.runtime.root), "--log", str(holder.directory / "log")]

    def dump(self, *flags: str) -> subprocess.Popen[bytes]:
        """Returns when the page server listens."""
        read, write = os.pipe()
        images = str(self.holder.images("lazy"))
        serve = ["--lazy-pages", "--page-server", f"{self.source.address}:4444", "--status-fd", str(write)]
        command = [*self.base, "checkpoint", "--image-path", images, *serve, *flags, self.holder.name]
        process = self.source.start(*command, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read, "rb") as status:
            assert status.read() == b"\0", (self.holder.directory / "log").read_text()
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        """The daemon of the other host; returns when it listens."""
        self.work.mkdir()
        images = self.holder.images("lazy")
        daemon = self.target.start(
            *(self.criu, "lazy-pages", "--page-server", "--address", self.source.address, "--port", "4444"),
            *("-D", str(images), "-W", str(self.work), "-o", "lazy.log", "-v4"),
        )
        wait_until(lambda: listens(daemon, "lazy-pages.socket"))
        return daemon

    def restore(self, status: int = 0) -> str:
        """What it has logged."""
        spec = self.holder.bundle.spec
        spec["linux"]["cgroupsPath"] = f"/{self.new}"
        self.holder.bundle.write()
        command = [*self.base, "restore", "--detach", "--lazy-pages", "--work-path", str(self.work)]
        paths = ["--bundle", str(self.holder.bundle.path), "--image-path", str(self.holder.images("lazy"))]
        restored = self.target.start(*command, *paths, self.new)
        ended = restored.wait(LIMIT * 2)
        said = (self.holder.directory / "log").read_text()
        assert ended == status, said
        return said

    def run(self, *flags: str) -> None:
        dump = self.dump(*flags)
        daemon = self.serve()
        try:
            self.restore()
            self.holder.assert_unharmed()
            assert daemon.wait(LIMIT) == 0, (self.work / "lazy.log").read_text()[-2000:]
            assert dump.wait(LIMIT) == 0, (self.holder.directory / "log").read_text()
        finally:
            for process in (dump, daemon):
                process.kill()
                process.wait()


@lazy
@pytest.mark.parametrize("precopy", [False, pytest.param(True, marks=tracked)])
def test_lazy_pages_between_two_hosts(
    sandbox: Sandbox, runtime: Runtime, hosts: tuple[Host, Host], criu: str, precopy: bool
) -> None:
    holder = Holder(sandbox, runtime)
    flags: tuple[str, ...] = ()
    if precopy:
        holder.chain()
        flags = ("--parent-path", "../two")
    migration = Migration(holder, *hosts, criu)
    migration.run(*flags)
    assert runtime.status(migration.new) == "running"
    assert runtime.run("state", holder.name)[0] == 1
    pages = holder.pages("lazy")
    assert pages < MEBIBYTES << 20 >> 2  # what is not lazy: shared, locked, and the like


@pytest.fixture
def userfaultfd_for_all() -> Iterator[Path]:
    """sysctl vm.unprivileged_userfaultfd, which a test may set."""
    switch = Path("/proc/sys/vm/unprivileged_userfaultfd")
    was = switch.read_text()
    yield switch
    switch.write_text(was)


@lazy
def test_lazy_pages_in_a_user_namespace(
    sandbox: Sandbox, runtime: Runtime, hosts: tuple[Host, Host], criu: str, userfaultfd_for_all: Path
) -> None:
    """The restoring host must let everybody have a userfaultfd. If it does not the container is not lost: it goes on."""
    userfaultfd_for_all.write_text("0")
    holder = Holder(sandbox, runtime, user_namespace=True)
    migration = Migration(holder, *hosts, criu)
    dump = migration.dump()
    daemon = migration.serve()
    said = migration.restore(status=1)
    assert "the container may not use userfaultfd: set sysctl vm.unprivileged_userfaultfd=1" in said
    assert runtime.run("state", migration.new)[0] == 1
    daemon.kill()
    daemon.wait()
    dump.terminate()
    assert dump.wait(LIMIT) == 1
    assert runtime.status(holder.name) == "running"
    holder.assert_unharmed()
    shutil.rmtree(holder.images("lazy"))
    shutil.rmtree(migration.work)
    userfaultfd_for_all.write_text("1")
    (holder.bundle.rootfs / "go").write_text("again")
    holder.told("again")
    migration.run()
