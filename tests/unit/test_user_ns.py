"""Id maps as text, and what decides how they are written."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from libcontainer import user_ns
from libcontainer.errors import Error, InvalidSpec, describe


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


MAPS = [mapping(0, 1000, 1), mapping(1, 100000, 65536)]


def test_the_kernels_format() -> None:
    assert user_ns.map_lines(MAPS) == b"0 1000 1\n1 100000 65536\n"
    assert user_ns.parse_map("         0       1000          1\n         1     100000      65536\n") == MAPS
    assert user_ns.parse_map("") == []


def test_lookups() -> None:
    assert [user_ns.host_id(MAPS, i) for i in (0, 1, 65536, 65537)] == [1000, 100000, 165535, None]
    assert [user_ns.container_id(MAPS, i) for i in (1000, 100000, 165535, 0, 165536)] == [
        0,
        1,
        65536,
        None,
        None,
    ]
    assert user_ns.host_id([], 0) is None


@pytest.mark.parametrize(
    ("maps", "path"),
    [
        ([mapping(0, 0, 0)], "m[0].size"),
        ([mapping(0, -1, 1)], "m[0].hostID"),
        ([mapping(0xFFFFFFFF, 0, 1)], "m[0].containerID"),
        ([mapping(0, 10, 0xFFFFFFFF)], "m[0].hostID"),
        ([mapping(0, 0, 10), mapping(9, 100, 1)], "m[1].containerID"),
        ([mapping(9, 5, 10), mapping(0, 0, 6)], "m[0].hostID"),
        ([mapping(i, i, 1) for i in range(341)], "m"),
    ],
)
def test_refused_with_a_path(maps: list[dict[str, int]], path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        user_ns.validate(maps, "m")
    assert caught.value.path == path


def test_accepted() -> None:
    user_ns.validate(MAPS, "m")
    user_ns.validate([mapping(0, 0, 0xFFFFFFFF)], "m")
    user_ns.validate([mapping(i, i, 1) for i in range(340)], "m")


@pytest.mark.parametrize(
    ("content", "inside"),
    [("0 0 4294967295\n", False), ("0 1000 1\n", True), ("", True), ("0 0 65536\n", True)],
)
def test_in_user_namespace(content: str, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_ns, "read_map", lambda _: user_ns.parse_map(content))
    assert user_ns.in_user_namespace() is inside


class Writes:
    """What write_maps writes and runs, with files that refuse as the kernel would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: type[OSError] | None = None) -> None:
        self.written: list[tuple[str, bytes]] = []
        self.refused = refused
        monkeypatch.setattr(user_ns, "_write", self.write)
        monkeypatch.setattr(os, "getegid", lambda: 1000)

    def write(self, path: str, data: bytes) -> None:
        if self.refused and path.endswith("_map"):
            code = 1 if self.refused is PermissionError else 22
            raise OSError(code, os.strerror(code), path)
        self.written.append((path, data))


@pytest.mark.parametrize(
    ("rootless", "gids", "denied"),
    [
        (True, [mapping(0, 1000, 1)], True),
        (True, [mapping(5, 1000, 1)], True),
        (True, [mapping(0, 1000, 1), mapping(1, 100000, 10)], False),
        (True, [mapping(0, 100000, 1)], False),
        (False, [mapping(0, 1000, 1)], False),
    ],
)
def test_setgroups_is_denied_only_where_it_must_be(
    rootless: bool, gids: list[dict[str, int]], denied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes(monkeypatch)
    user_ns.write_maps(7, MAPS, gids, rootless_euid=rootless)
    expected = [("/proc/7/setgroups", b"deny")] if denied else []
    expected += [("/proc/7/uid_map", user_ns.map_lines(MAPS)), ("/proc/7/gid_map", user_ns.map_lines(gids))]
    assert writes.written == expected


def tool(directory: Path, name: str, log: Path, status: int = 0) -> None:
    script = f"#!/bin/sh\necho $0 $* >> {shlex.quote(str(log))}\necho why >&2\nexit {status}\n"
    (directory / name).write_text(script)
    (directory / name).chmod(0o755)


def test_mapping_tools_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writes(monkeypatch, PermissionError)
    log = tmp_path / "log"
    for name in ("newuidmap", "newgidmap"):
        tool(tmp_path, name, log)
    monkeypatch.setenv("PATH", f".:{tmp_path}")
    user_ns.write_maps(7, MAPS, [mapping(0, 1000, 1), mapping(1, 2, 3)], rootless_euid=True)
    assert log.read_text().splitlines() == [
        f"{tmp_path}/newuidmap 7 0 1000 1 1 100000 65536",
        f"{tmp_path}/newgidmap 7 0 1000 1 1 2 3",
    ]


def test_mapping_tool_found_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writes(monkeypatch, PermissionError)
    tool(tmp_path, "newuidmap", tmp_path / "log")
    monkeypatch.delenv("PATH")
    monkeypatch.setattr(user_ns, "DEFAULT_PATH", str(tmp_path))
    user_ns.write_maps(7, MAPS, [], rootless_euid=True)
    assert (tmp_path / "log").exists()


def test_mapping_tool_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writes(monkeypatch, PermissionError)
    tool(tmp_path, "newuidmap", tmp_path / "log", status=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Error) as caught:
        user_ns.write_maps(7, MAPS, [], rootless_euid=True)
    assert describe(caught.value) == (
        "failed to update /proc/7/uid_map: operation not permitted: newuidmap: exit status 1, stdout: , stderr: why\n"
    )


def test_mapping_tool_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    Writes(monkeypatch, PermissionError)
    monkeypatch.delenv("PATH", raising=False)
    monkeypatch.setattr(user_ns, "DEFAULT_PATH", "/nonexistent")
    with pytest.raises(Error) as caught:
        user_ns.write_maps(7, MAPS, [], rootless_euid=True)
    assert describe(caught.value).startswith(
        "failed to update /proc/7/uid_map: operation not permitted: newuidmap not found in $PATH"
    )


def test_other_errors_are_not_for_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    Writes(monkeypatch, OSError)
    with pytest.raises(Error) as caught:
        user_ns.write_maps(7, MAPS, [], rootless_euid=True)
    assert describe(caught.value) == "failed to update /proc/7/uid_map: invalid argument"


def test_a_process_that_is_gone() -> None:
    with pytest.raises(Error) as caught:
        user_ns.write_maps(2**22 + 1, MAPS, [], rootless_euid=False)
    assert describe(caught.value).endswith("/uid_map: no such file or directory")
