"""Images that try to reach out: whatever a root file system holds, nothing outside of it may be read, made or changed.

Every test has a directory of sentinels beside the bundle; its whole content is compared before and after. A container
either starts, with everything inside, or is refused with one clear error and leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.root.conftest import Bundle, Runtime, Sandbox

pytestmark = pytest.mark.root

NAME = "hostile"


class Outside:
    """What lies outside of the root file system, and must stay as it is."""

    __slots__ = ("before", "directory")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("proc", "sys", "dev", "etc", "target"):
            (directory / name).mkdir(parents=True)
        (directory / "etc/passwd").write_text("root:x:0:0:root:/stolen:/bin/sh\n")
        (directory / "file").write_text("precious\n")
        self.before = self.snapshot()

    def snapshot(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Every path with its mode, owner, size and content."""
        return {str(path): self.facts(path) for path in sorted(self.directory.rglob("*"))}

    @staticmethod
    def facts(path: Path) -> tuple[int, int, int, bytes]:
        """What a runtime that goes astray would change."""
        found = path.lstat()
        return found.st_mode, found.st_uid, found.st_rdev, path.read_bytes() if stat.S_ISREG(found.st_mode) else b""

    def assert_untouched(self) -> None:
        """Nothing was made, removed or changed."""
        assert self.snapshot() == self.before

    def link(self, link: Path, name: str, *, relative: bool) -> None:
        """A symlink in the image to a sentinel: by its absolute path, or by many `..` and that path."""
        target = str(self.directory / name)
        link.symlink_to("../" * 40 + target.lstrip("/") if relative else target)


class Case:
    """One hostile image, and what surrounds it."""

    __slots__ = ("bundle", "outside", "runtime", "sandbox")

    def __init__(self, sandbox: Sandbox, runtime: Runtime, bundle: Bundle, outside: Outside) -> None:
        self.sandbox, self.runtime, self.bundle, self.outside = sandbox, runtime, bundle, outside

    def attempt(self) -> tuple[int, str]:
        """Run; it works, or is refused in words, and nothing is left either way."""
        self.bundle.write()
        status, text = self.runtime.run("run", "--bundle", str(self.bundle.path), NAME)
        assert "Traceback" not in text
        assert status == 0 or "level=error" in text, text
        self.sandbox.assert_clean()
        assert not (self.runtime.root / NAME).exists()
        return status, text

    def replace_by_link(self, name: str, *, relative: bool) -> None:
        """/name of the image becomes a symlink to outside/name."""
        path = self.bundle.rootfs / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        self.outside.link(path, name, relative=relative)

    def mount(self, destination: str, source: Path | str = "", kind: str = "bind", *options: str) -> None:
        """One more mount."""
        flags = [*options, *(["bind"] if kind == "bind" else [])]
        self.bundle.spec["mounts"].append(
            {"destination": destination, "type": kind, "source": str(source) or kind, "options": flags}
        )


@pytest.fixture
def case(sandbox: Sandbox, runtime: Runtime) -> Iterator[Case]:
    """A root file system that can be written, beside sentinels that are compared after the test."""
    outside = Outside(sandbox.directory / "outside")
    bundle = sandbox.bundle()
    bundle.spec["root"]["readonly"] = False
    bundle.args("true")
    yield Case(sandbox, runtime, bundle, outside)
    outside.assert_untouched()


# --- symlinks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_as_symlinks(case: Case, name: str, *, relative: bool) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: refused by name."""
    case.replace_by_link(name, relative=relative)
    status, text = case.attempt()
    assert status == 1
    assert "must be mounted on ordinary directory" in text


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
@pytest.mark.parametrize("mounted", [True, False], ids=["tmpfs", "image"])
def test_dev_as_symlink(case: Case, *, mounted: bool, relative: bool) -> None:
    """CVE-2026-41579: the nodes are made inside, or it is refused; with /dev a mount or just a directory of the image."""
    if not mounted:
        case.bundle.spec["mounts"] = [
            entry for entry in case.bundle.spec["mounts"] if not entry["destination"].startswith("/dev")
        ]
    case.replace_by_link("dev", relative=relative)
    case.attempt()


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
@pytest.mark.parametrize("destination", ["/link", "/link/below/it", "/etc/passwd", "/etc/new", "/target/x"])
def test_mountpoints_through_symlinks(case: Case, destination: str, *, relative: bool) -> None:
    """Binds of a file and of a directory, whose targets are resolved inside or refused."""
    case.outside.link(case.bundle.rootfs / "link", "target", relative=relative)
    case.replace_by_link("etc", relative=relative)
    case.replace_by_link("target", relative=relative)
    source = case.sandbox.directory / "source"
    source.mkdir()
    case.mount(destination, source)
    case.attempt()
    case.bundle.spec["mounts"].pop()
    (case.sandbox.directory / "plain").write_text("from the source\n")
    case.mount(destination, case.sandbox.directory / "plain")
    case.attempt()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../../../etc/passwd"])
def test_symlinked_mountpoint_covers_the_inner_file(case: Case, target: str) -> None:
    """The container's own /etc/passwd, not the host's."""
    host = Path("/etc/passwd").read_bytes()
    (case.bundle.rootfs / "link").symlink_to(target)
    (case.sandbox.directory / "plain").write_text("covered\n")
    case.mount("/link", case.sandbox.directory / "plain")
    case.bundle.args("cat", "/etc/passwd")
    assert case.attempt() == (0, "covered\n")
    assert Path("/etc/passwd").read_bytes() == host


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
def test_dangling_symlink_as_mountpoint(case: Case, *, relative: bool) -> None:
    """Its target is made inside, never case.outside."""
    case.outside.link(case.bundle.rootfs / "link", "made/by/mistake", relative=relative)
    case.mount("/link", kind="tmpfs")
    case.attempt()


def test_symlink_loop_as_mountpoint(case: Case) -> None:
    """Refused, without an endless walk."""
    (case.bundle.rootfs / "one").symlink_to("two")
    (case.bundle.rootfs / "two").symlink_to("one")
    case.mount("/one/x", kind="tmpfs")
    assert case.attempt()[0] == 1


def test_deep_chain_of_symlinks(case: Case) -> None:
    """More links than the kernel follows (40)."""
    for number in range(60):
        (case.bundle.rootfs / f"link{number}").symlink_to(f"link{number + 1}")
    (case.bundle.rootfs / "link60").mkdir()
    case.mount("/link0", kind="tmpfs")
    case.attempt()


@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
def test_masked_and_readonly_symlinks(case: Case, key: str, *, relative: bool) -> None:
    """A path that leads out masks nothing of the host."""
    case.outside.link(case.bundle.rootfs / "file", "file", relative=relative)
    case.outside.link(case.bundle.rootfs / "target", "target", relative=relative)
    case.bundle.spec["linux"][key] = ["/file", "/target", "/target/below"]
    case.attempt()
    (case.outside.directory / "target/x").touch()  # still a directory that can be written
    (case.outside.directory / "target/x").unlink()


@pytest.mark.parametrize("up", ["", "../../../.."], ids=["absolute", "dotdot"])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_masked_and_readonly_places_behind_symlinks(case: Case, kind: str, up: str) -> None:
    """What they lead to inside is hidden, and protected."""
    place = case.bundle.rootfs / "place"
    for name in ("hidden", "protected"):
        (place / name).mkdir(parents=True)
        (place / name / "file").write_text(f"{name}\n")
        (case.bundle.rootfs / name).symlink_to(f"{up}/place/{name}" + ("/file" if kind == "file" else ""))
    case.bundle.spec["linux"].update(maskedPaths=["/hidden"], readonlyPaths=["/protected"])
    case.bundle.args("sh", "-c", "cat /place/*/file; echo more >> /place/protected/file; true")
    _status, text = case.attempt()
    assert "hidden\n" not in text
    assert "protected\n" in text
    assert "can't create /place/protected/file: Read-only file system" in text


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
def test_cwd_symlink(case: Case, *, relative: bool) -> None:
    """A working directory that is missing is made inside."""
    case.outside.link(case.bundle.rootfs / "work", "made", relative=relative)
    case.bundle.spec["process"]["cwd"] = "/work/sub"
    case.attempt()


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "dotdot"])
def test_device_paths_through_symlinks(case: Case, *, relative: bool) -> None:
    """linux.devices outside of /dev, through a link."""
    case.outside.link(case.bundle.rootfs / "nodes", "target", relative=relative)
    case.bundle.spec["linux"]["devices"] = [{"path": "/nodes/null", "type": "c", "major": 1, "minor": 3}]
    case.attempt()


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_passwd_symlink(case: Case, name: str) -> None:
    """HOME does not come from a file of the host."""
    (case.bundle.rootfs / "etc" / name).unlink()
    case.outside.link(case.bundle.rootfs / "etc" / name, "etc/passwd", relative=True)
    case.bundle.args("sh", "-c", "echo $HOME")
    assert "stolen" not in case.attempt()[1]


def test_tmpcopyup_of_symlinks(case: Case) -> None:
    """Links are copied as links, never followed."""
    (case.bundle.rootfs / "data").mkdir()
    case.outside.link(case.bundle.rootfs / "data/file", "file", relative=False)
    case.outside.link(case.bundle.rootfs / "data/dir", "etc", relative=False)
    case.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    case.bundle.args("sh", "-c", "cat /data/file; ls /data/dir/; true")
    assert "precious" not in case.attempt()[1]


# --- other kinds of files --------------------------------------------------------------------------------------


def test_fifo_as_passwd(case: Case) -> None:
    """Nobody waits for a writer, in run or in exec."""
    case.bundle.args("sleep", "1000")
    case.runtime.ok("run", "--detach", "--bundle", str(case.bundle.path), NAME)
    (case.bundle.rootfs / "etc/passwd").unlink()
    os.mkfifo(case.bundle.rootfs / "etc/passwd")
    status, text = case.runtime.run("exec", "--user", "1000", NAME, "true")
    assert status == 0 or "level=error" in text
    case.runtime.ok("delete", "--force", NAME)
    case.bundle.args("true")
    case.attempt()


def test_huge_passwd(case: Case) -> None:
    """1 GiB (sparse): an answer at once, without that much memory."""
    with (case.bundle.rootfs / "etc/passwd").open("wb") as file:
        file.truncate(1 << 30)
    case.bundle.args("sh", "-c", 'echo "[$HOME]"')
    status, text = case.attempt()
    assert status == 1 or text == "[/]\n"


def test_passwd_without_newline(case: Case) -> None:
    """One line of 64 MiB."""
    (case.bundle.rootfs / "etc/passwd").write_text("x" * (64 << 20))
    case.attempt()


@pytest.mark.parametrize("device", [(1, 5), (1, 9), (5, 0)], ids=["zero", "urandom", "tty"])
def test_device_as_passwd(case: Case, device: tuple[int, int]) -> None:
    """A node that never ends is not read."""
    (case.bundle.rootfs / "etc/passwd").unlink()
    os.mknod(case.bundle.rootfs / "etc/passwd", stat.S_IFCHR | 0o666, os.makedev(*device))
    case.attempt()


MAKERS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "file": Path.touch,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o666),
    "dangling": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_wrong_kind_of_mountpoint(case: Case, name: str, kind: str) -> None:
    """Where the config mounts a directory, the image has something else."""
    (case.bundle.rootfs / name).rmdir()
    MAKERS[kind](case.bundle.rootfs / name)
    status, _text = case.attempt()
    assert status == 1 or kind == "dangling"


@pytest.mark.parametrize("kind", ["fifo", "device", "file", "socket"])
def test_file_bind_on_special_files(case: Case, kind: str) -> None:
    """A file can be bound on anything but a directory; nothing of it is opened for that."""
    MAKERS[kind](case.bundle.rootfs / "mountpoint")
    (case.sandbox.directory / "plain").write_text("covered\n")
    case.mount("/mountpoint", case.sandbox.directory / "plain")
    case.bundle.args("cat", "/mountpoint")
    assert case.attempt() == (0, "covered\n")


@pytest.mark.parametrize("kind", MAKERS)
def test_working_directory_of_another_kind(case: Case, kind: str) -> None:
    """Refused, and not waited for."""
    MAKERS[kind](case.bundle.rootfs / "work")
    case.bundle.spec["process"]["cwd"] = "/work"
    status, _text = case.attempt()
    assert status == 1 or kind == "dangling"


@pytest.mark.parametrize("kind", ["fifo", "socket", "dangling"])
def test_command_of_another_kind(case: Case, kind: str) -> None:
    """What cannot be executed."""
    MAKERS[kind](case.bundle.rootfs / "command")
    case.bundle.args("/command")
    assert case.attempt()[0] == 1


# --- /dev/null of the image ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "file", "fifo", "zero"])
def test_dev_null_replaced(case: Case, kind: str) -> None:
    """CVE-2025-31133: without a tmpfs on /dev, masks must not bind what the image calls /dev/null."""
    case.bundle.spec["mounts"] = [entry for entry in case.bundle.spec["mounts"] if not entry["destination"].startswith("/dev")]
    null = case.bundle.rootfs / "dev/null"
    if kind == "link":
        case.outside.link(null, "file", relative=True)
    elif kind == "file":
        null.write_text("not the null device\n")
    elif kind == "fifo":
        os.mkfifo(null)
    else:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (case.bundle.rootfs / "secret").write_text("secret\n")
    case.bundle.spec["linux"]["maskedPaths"] = ["/secret", "/proc/keys"]
    case.bundle.args("head", "-c", "100", "/secret")
    _status, text = case.attempt()
    assert "secret\n" not in text
    assert "not the null" not in text


@pytest.mark.parametrize("place", ["image", "volume"])
@pytest.mark.parametrize("masked", [True, False])
def test_dev_null_is_a_block_device(case: Case, place: str, *, masked: bool) -> None:
    """1:3 is /dev/ram3 too: neither masks nor stdio get that."""
    spec = case.bundle.spec
    spec["mounts"] = [entry for entry in spec["mounts"] if not entry["destination"].startswith("/dev")]
    null = case.bundle.rootfs / "dev/null"
    if place == "volume":
        null = case.bundle.path / "null"
        case.mount("/dev", case.bundle.path)
    os.mknod(null, stat.S_IFBLK | 0o666, os.makedev(1, 3))
    spec["linux"]["maskedPaths"] = ["/proc/keys"] if masked else []
    spec["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    case.bundle.write()
    status, text = case.runtime.run("create", "--bundle", str(case.bundle.path), NAME)  # whose stdin is the host's
    assert status == 1
    assert ("container's /dev/null is invalid" if place == "volume" else "/dev/null has incorrect ftype: 0x6000") in text


@pytest.mark.parametrize("kind", ["regular", "device"])
def test_pipe_that_is_none(case: Case, kind: str) -> None:
    """linux.devices has a named pipe where the image has something else: that is not given to the pipe's owner."""
    place = case.bundle.rootfs / "pipe"
    if kind == "regular":
        place.write_text("")
    else:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    case.bundle.spec["linux"]["devices"] = [{"path": "/pipe", "type": "p", "uid": 1000, "gid": 1000}]
    case.bundle.args("true")
    status, text = case.attempt()
    assert status == 1
    assert "incorrect ftype" in text
    assert place.stat().st_uid == 0


def test_console_replaced(case: Case) -> None:
    """CVE-2025-52565: /dev/console of the image is a link out."""
    case.bundle.spec["mounts"] = [entry for entry in case.bundle.spec["mounts"] if entry["destination"] != "/dev"]
    (case.bundle.rootfs / "dev/pts").mkdir()
    case.outside.link(case.bundle.rootfs / "dev/console", "file", relative=True)
    case.outside.link(case.bundle.rootfs / "dev/ptmx", "file", relative=True)
    case.bundle.spec["process"]["terminal"] = True
    case.attempt()


def test_device_cgroup_holds_for_nodes_of_the_image(case: Case) -> None:
    """A node in the image is of no use without a rule."""
    os.mknod(case.bundle.rootfs / "mem", stat.S_IFCHR | 0o666, os.makedev(1, 1))
    case.bundle.args("head", "-c", "1", "/mem")
    assert "not permitted" in case.runtime.run("run", "--bundle", str(case.bundle.path), NAME)[1]


def test_image_is_a_symlink(case: Case) -> None:
    """root.path may not be or contain one."""
    case.bundle.rootfs.rename(case.sandbox.directory / "moved")
    case.bundle.rootfs.symlink_to(case.sandbox.directory / "moved")
    status, text = case.attempt()
    assert status == 1
    assert "invalid rootfs: not an absolute path, or a symlink" in text


# --- races ----------------------------------------------------------------------------------------------------------


class Swapper:
    """A thread that exchanges a directory of the image and a symlink out of it, as fast as it can.

    (renameat2(2) with RENAME_EXCHANGE would be one call less; two renames leave moments where nothing is there, which
    is one more case.)
    """

    def __init__(self, directory: Path, link: Path) -> None:
        self.directory, self.link = directory, link
        self.aside = directory.with_name(directory.name + ".aside")
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.swap)

    def swap(self) -> None:
        """Until told to stop."""
        while not self.stop.is_set():
            for source, target in self.moves():
                try:
                    os.rename(source, target)
                except OSError:  # the runtime has made or mounted something there
                    self.stop.wait(0.001)

    def moves(self) -> tuple[tuple[Path, Path], ...]:
        """The link in the directory's place, and back."""
        there = ((self.directory, self.aside), (self.link, self.directory))
        back = ((self.directory, self.link), (self.aside, self.directory))
        return there + back

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop.set()
        self.thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("destination", ["/race/new/directory", "/race"])
def test_race_on_a_mountpoint(case: Case, destination: str) -> None:
    """CVE-2021-30465, CVE-2024-45310: 50 containers start while a shared directory is swapped for a link out."""
    (case.bundle.rootfs / "race").mkdir()
    case.outside.link(case.bundle.rootfs / "race.link", "target", relative=True)
    case.mount(destination, kind="tmpfs")
    case.bundle.write()
    with Swapper(case.bundle.rootfs / "race", case.bundle.rootfs / "race.link"):
        started = 0
        for number in range(50):
            status, text = case.runtime.run("run", "--bundle", str(case.bundle.path), f"{NAME}-{number}")
            started += status == 0
            assert "Traceback" not in text
            case.outside.assert_untouched()
    assert started, "not one of them ever started"
    case.sandbox.assert_clean()


@pytest.mark.slow
def test_race_on_proc(case: Case) -> None:
    """CVE-2019-19921: /proc is swapped for a link while containers start."""
    case.outside.link(case.bundle.rootfs / "proc.link", "proc", relative=True)
    with Swapper(case.bundle.rootfs / "proc", case.bundle.rootfs / "proc.link"):
        for number in range(25):
            case.runtime.run("run", "--bundle", str(case.bundle.path), f"{NAME}-{number}")
            case.outside.assert_untouched()
    case.sandbox.assert_clean()


def test_a_running_container_changes_what_exec_uses(case: Case) -> None:
    """passwd, /proc and the working directory are the container's to change; exec is not led out by them."""
    case.bundle.args("sleep", "1000")
    case.runtime.ok("run", "--detach", "--bundle", str(case.bundle.path), NAME)
    (case.bundle.rootfs / "etc/passwd").unlink()
    case.outside.link(case.bundle.rootfs / "etc/passwd", "etc/passwd", relative=True)
    case.outside.link(case.bundle.rootfs / "work", "target", relative=True)
    assert "stolen" not in case.runtime.ok("exec", NAME, "sh", "-c", "echo $HOME")
    assert case.runtime.run("exec", "--cwd", "/work", NAME, "touch", "made")[0] != 0
