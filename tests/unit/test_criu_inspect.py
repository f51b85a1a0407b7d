"""What is read from directories of images; these are made with pycriu's own encoder."""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from libcontainer import Error
from libcontainer.criu import chain, images
from libcontainer.criu.inspect import inspect
from libcontainer.errors import Unsupported, describe
from tests.images import FOWN, PAGE, STATS, Maker, link_parent


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "images")


@pytest.fixture
def checkpoint(maker: Maker) -> Maker:
    maker.checkpoint()
    return maker


def look(maker: Maker, **options: Any) -> dict[str, Any]:
    return inspect(str(maker.directory), **options)


def refusal(maker: Maker) -> str:
    with pytest.raises((Error, OSError)) as caught:
        look(maker)
    return describe(caught.value)


def test_the_overview(checkpoint: Maker) -> None:
    found = look(checkpoint)
    assert found["directory"] == str(checkpoint.directory)
    assert found["kind"] == "checkpoint"
    assert found["criu"]["version"] == "4.2.1 (gitid 0)"
    assert found["criu"]["host"] == "h Linux 6"
    assert found["criu"]["lsm"] == "apparmor"
    assert found["timings"]["dump"].items() >= STATS.items()
    assert found["timings"]["restore"] is None
    assert found["stdio"] == ["/dev/null", "pipe:[1]", "pipe:[2]"]
    assert found["created"].startswith("20")
    assert found["size"] >= 4 * PAGE


def test_everything_has_a_json_form(checkpoint: Maker) -> None:
    found = look(checkpoint)
    assert json.loads(json.dumps(found)) == found


def test_processes(checkpoint: Maker) -> None:
    init, child = look(checkpoint)["processes"]
    assert (init["pid"], init["ppid"], child["pid"], child["ppid"]) == (1, 0, 2, 1)
    assert init["state"] == "alive"
    assert (init["uid"], init["gid"], init["lsmProfile"]) == (1000, 1000, "the-profile")
    assert init["executable"] == "/bin/busybox"
    assert init["arguments"] == ["/bin/sleep", "100"]
    assert init["cwd"] == "/home"
    assert init["memory"] == {"virtual": 0x10000, "images": 2 * PAGE, "parent": PAGE, "lazy": PAGE}


def test_a_zombie_has_no_memory_and_no_files(checkpoint: Maker) -> None:
    core = {"task_state": 6, "exit_code": 0, "personality": 0, "flags": 0, "blk_sigset": "0x0", "comm": "dead"}
    checkpoint.write("core-2.img", "CORE", {"mtype": "UNKNOWN", "tc": core})
    dead = look(checkpoint)["processes"][1]
    assert dead == {"pid": 2, "ppid": 1, "pgid": 2, "sid": 1, "command": "dead", "state": "zombie"}


def test_arguments_of_more_than_a_page(checkpoint: Maker) -> None:
    checkpoint.process(1, b"x" * 4090 + b"\0yz\0")
    assert look(checkpoint)["processes"][0]["arguments"] == ["x" * 4090, "yz"]


@pytest.mark.parametrize("flags", [1, 2], ids=["parent", "lazy"])
def test_arguments_that_are_elsewhere(checkpoint: Maker, flags: int) -> None:
    checkpoint.pagemap(1, 1, (0x10000, 2, flags))
    assert look(checkpoint)["processes"][0]["arguments"] is None


def test_arguments_from_the_parent(checkpoint: Maker, tmp_path: Path) -> None:
    parent = Maker(tmp_path / "pre")
    parent.inventory()
    parent.pagemap(1, 1, (0xF000, 3, 4))
    content = bytes(PAGE + 100) + b"/bin/sleep\x00100\x00"
    (parent.directory / "pages-1.img").write_bytes(content.ljust(3 * PAGE, b"\0"))
    link_parent(checkpoint.directory, "../pre")
    checkpoint.pagemap(1, 1, (0x10000, 2, 1))
    assert look(checkpoint)["processes"][0]["arguments"] == ["/bin/sleep", "100"]


def test_open_files(checkpoint: Maker) -> None:
    found = {file["fd"]: file for file in look(checkpoint)["processes"][0]["files"]}
    assert found[0] == {"fd": 0, "id": 1, "type": "file", "name": "/dev/null", "access": "rw", "position": 7}
    assert (found[1]["name"], found[1]["access"], found[1]["deleted"]) == ("/tmp/a\x1b[31mred", "w", True)
    assert (found[5]["type"], found[5]["name"], found[5]["access"]) == ("pipe", "pipe:[55]", "w")
    assert (found[6]["type"], found[6]["name"]) == ("eventfd", "count 3")


def test_sockets(checkpoint: Maker) -> None:
    tcp, unix = look(checkpoint)["sockets"]
    assert (tcp["protocol"], tcp["state"]) == ("tcp", "established")
    assert (tcp["local"], tcp["remote"]) == ("127.0.0.1:80", "10.0.0.2:9999")
    assert (tcp["unread"], tcp["unsent"]) == (11, 22)
    assert tcp["owners"] == [{"pid": 1, "fd": 3}, {"pid": 2, "fd": 3}]
    assert (unix["family"], unix["type"], unix["state"], unix["local"]) == ("unix", "stream", "listening", "@hidden")


def test_mounts(checkpoint: Maker) -> None:
    root, volume = look(checkpoint)["mounts"]
    assert (root["destination"], root["type"], root["options"]) == ("/", "tmpfs", ["ro", "relatime"])
    assert "external" not in root
    assert (volume["destination"], volume["type"], volume["external"]) == ("/vol", "ext4", "volume")
    assert volume["options"] == ["ro", "relatime", "shared:3", "master:4"]


def test_namespaces_that_are_not_the_hosts(checkpoint: Maker) -> None:
    found = look(checkpoint)["namespaces"]
    assert list(found) == ["pid", "net", "uts", "mnt", "user"]
    assert found["net"] == {"id": 10, "external": "extRootNetNS"}
    assert found["uts"]["hostname"] == "the-host"
    assert found["user"]["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


def test_the_log_and_statistics_may_be_elsewhere(checkpoint: Maker, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("dump.log", "stats-dump"):
        (checkpoint.directory / name).rename(work / name)
    assert look(checkpoint)["criu"]["version"] is None
    assert look(checkpoint)["timings"]["dump"] is None
    found = look(checkpoint, work=str(work))
    assert found["criu"]["version"] == "4.2.1 (gitid 0)"
    assert found["timings"]["dump"]["pages_written"] == 3


# -- chains


def test_a_pre_dump(maker: Maker) -> None:
    maker.pre_dump()
    found = look(maker)
    assert found["kind"] == "pre-dump"
    assert found["processes"] == [{"pid": 1, "memory": {"images": 4 * PAGE, "parent": 0, "lazy": 0}}]


def test_a_chain(checkpoint: Maker, tmp_path: Path) -> None:
    for name, target in (("first", ""), ("second", "../first")):
        parent = Maker(tmp_path / name)
        parent.pre_dump()
        if target:
            link_parent(parent.directory, target)
    link_parent(checkpoint.directory, "../second")
    found = look(checkpoint)["parents"]
    assert [parent["directory"] for parent in found] == ["../second", "../first"]
    assert [parent["timings"]["dump"]["pages_written"] for parent in found] == [4, 4]


def test_a_chain_that_is_broken(checkpoint: Maker) -> None:
    link_parent(checkpoint.directory, "../gone")
    assert "unable to open the parent images ../gone of" in refusal(checkpoint)


def test_a_chain_that_is_a_circle(checkpoint: Maker, tmp_path: Path) -> None:
    parent = Maker(tmp_path / "pre")
    parent.pre_dump()
    link_parent(parent.directory, "../images")
    link_parent(checkpoint.directory, "../pre")
    assert "lead back" in refusal(checkpoint)


def test_a_chain_without_end(checkpoint: Maker, tmp_path: Path) -> None:
    for number in range(chain.DEEPEST + 1):
        (tmp_path / f"{number}").mkdir()
        link_parent(tmp_path / f"{number}", f"../{number + 1}")
    link_parent(checkpoint.directory, "../0")
    assert "longer than" in refusal(checkpoint)


# -- what is no image, or not a good one


def test_an_empty_directory(maker: Maker) -> None:
    assert refusal(maker).endswith("is no directory of checkpoint images: it has no inventory.img")


def test_a_directory_that_is_not_there(maker: Maker) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(f"{maker.directory}/gone")


@pytest.mark.parametrize(
    "name", ["inventory", "pstree", "core-1", "ids-2", "fs-1", "mm-1", "pagemap-1", "fdinfo-1", "files", "mountpoints-13"]
)
def test_a_link_is_not_followed(checkpoint: Maker, name: str, tmp_path: Path) -> None:
    file = checkpoint.directory / f"{name}.img"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert f"{name}.img: too many levels of symbolic links" in refusal(checkpoint)


@pytest.mark.parametrize("name", ["stats-dump", "dump.log", "descriptors.json", "pages-1.img"])
def test_nor_is_one_beside_the_images(checkpoint: Maker, name: str, tmp_path: Path) -> None:
    file = checkpoint.directory / name
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    if name == "dump.log":
        assert look(checkpoint)["criu"]["version"] is None
    else:
        assert name in refusal(checkpoint)


def test_a_fifo_does_not_keep_us_waiting(checkpoint: Maker) -> None:
    (checkpoint.directory / "files.img").unlink()
    os.mkfifo(checkpoint.directory / "files.img")
    assert refusal(checkpoint) == "files.img is no regular file"


def test_the_wrong_kind_of_image(checkpoint: Maker) -> None:
    (checkpoint.directory / "pstree.img").write_bytes((checkpoint.directory / "files.img").read_bytes())
    assert refusal(checkpoint) == "image pstree.img does not begin as one of kind PSTREE does"


def test_a_message_that_ends_early(checkpoint: Maker) -> None:
    """By a tag that ends a group: one way of protobuf's to read it is to take what there is, and warn."""
    for name in ("files.img", "core-1.img"):
        file = checkpoint.directory / name
        content = file.read_bytes()
        (size,) = struct.unpack_from("<I", content, 8)
        broken = content[12 : 12 + size] + b"\x0c"
        file.write_bytes(content[:8] + struct.pack("<I", size + 1) + broken + content[12 + size :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as outside of pytest
            assert refusal(checkpoint).startswith(f"image {name} has an entry that cannot be decoded: ")
        file.write_bytes(content)


def test_a_process_twice(checkpoint: Maker) -> None:
    checkpoint.tree((1, 0), (1, 0))
    assert refusal(checkpoint) == "image pstree.img has process 1 twice"


def test_an_entry_that_says_it_is_huge(checkpoint: Maker) -> None:
    file = checkpoint.directory / "pstree.img"
    content = bytearray(file.read_bytes())
    content[8:12] = struct.pack("<I", 0x7FFFFFFF)
    file.write_bytes(content)
    assert refusal(checkpoint) == "image pstree.img is larger than any that is believed"


@pytest.mark.parametrize(
    ("limit", "most", "image"),
    [("MOST_KEPT", 9, "files.img"), ("TEXT", 300, "core-1.img"), ("BUDGET", 20, "pagemap-1.img")],
)
def test_no_more_is_read_than_is_allowed(
    checkpoint: Maker, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, image: str
) -> None:
    """A small file may stand for much: one of descriptors for those of many processes, a name for a thousand of them."""
    monkeypatch.setattr(images, limit, most)
    assert refusal(checkpoint).endswith("the images describe more than is read of one checkpoint")


def test_one_file_of_descriptors_for_many_processes(checkpoint: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_KEPT", 300)
    look(checkpoint)
    processes = [(pid, 0) for pid in range(1, 40)]
    checkpoint.tree(*processes)
    for pid, _ in processes[2:]:
        for image in ("core", "ids", "fs", "mm", "pagemap"):
            os.link(checkpoint.directory / f"{image}-1.img", checkpoint.directory / f"{image}-{pid}.img")
    assert "describe more than is read" in refusal(checkpoint)


def test_one_long_name_for_many_descriptors(checkpoint: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "TEXT", 1 << 16)
    name = "/" + "x" * 20_000
    reg = {"id": 1, "flags": 2, "pos": 0, "fown": FOWN, "name": name}
    checkpoint.write("files.img", "FILES", {"type": "REG", "id": 1, "reg": reg})
    checkpoint.write("fdinfo-1.img", "FDINFO", {"id": 1, "flags": 0, "type": "REG", "fd": 0})
    assert look(checkpoint)["processes"][0]["files"][0]["name"] == name
    found = ({"id": 1, "flags": 0, "type": "REG", "fd": fd} for fd in range(9))
    checkpoint.write("fdinfo-1.img", "FDINFO", *found)
    assert "fdinfo-1.img: the images describe more" in refusal(checkpoint)


def test_a_log_of_one_endless_line(checkpoint: Maker) -> None:
    os.truncate(checkpoint.directory / "dump.log", 1 << 40)
    assert look(checkpoint)["criu"]["version"] == "4.2.1 (gitid 0)"


def test_files_that_nobody_knows(checkpoint: Maker) -> None:
    checkpoint.write("files.img", "FILES")
    process = look(checkpoint)["processes"][0]
    assert process["executable"] is None
    assert process["files"][0]["type"] == "unknown"


def test_damaged_images_are_refused_or_read_but_nothing_else(checkpoint: Maker) -> None:
    """Cut off, and with bytes changed, at places all over each file."""
    chance = random.Random(4)
    for file in sorted(checkpoint.directory.iterdir()):
        good = file.read_bytes()
        for _ in range(12):
            content = bytearray(good)
            for _ in range(chance.randrange(3)):
                content[chance.randrange(len(good))] = chance.randrange(256)
            file.write_bytes(content[: chance.choice((len(good), chance.randrange(len(good) + 1)))])
            try:
                look(checkpoint)
            except Error as error:
                assert describe(error)
        file.write_bytes(good)
    assert look(checkpoint)["kind"] == "checkpoint"


def test_without_pycriu_the_package_is_named(checkpoint: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycriu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycriu", None)
    with pytest.raises(Unsupported, match="install python3-pycriu"):
        look(checkpoint)


def test_the_search_path_is_as_before(checkpoint: Maker) -> None:
    before = sys.path[:]
    images.Pycriu()
    assert sys.path == before
