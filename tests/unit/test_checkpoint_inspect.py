"""How `checkpoint inspect` prints what it has found, and which arguments mean it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.__main__ import main
from pyrunc.checkpoint_stats import lines, size
from pyrunc.commands import checkpoint_inspect as report
from pyrunc.commands.checkpoint import COMMAND
from tests.images import Maker, link_parent


def process(pid: int, ppid: int) -> dict[str, Any]:
    return {"pid": pid, "ppid": ppid}


def shape(*processes: dict[str, Any]) -> list[tuple[int, int]]:
    return [(found["pid"], depth) for found, depth in report.tree(processes)]


def test_children_are_under_their_parents() -> None:
    assert shape(process(1, 0), process(2, 1), process(3, 2), process(4, 1)) == [(1, 0), (2, 1), (3, 2), (4, 1)]


def test_children_before_their_parents() -> None:
    assert shape(process(3, 2), process(2, 1), process(1, 0)) == [(1, 0), (2, 1), (3, 2)]


def test_processes_that_are_each_others_parents() -> None:
    assert shape(process(1, 0), process(2, 3), process(3, 2), process(4, 4)) == [(1, 0), (2, 0), (3, 1), (4, 0)]


def test_a_deep_tree() -> None:
    assert len(shape(*(process(number, number - 1) for number in range(1, 5000)))) == 4999


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Zürich 東京", "Zürich 東京"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b31m\x7f", "\\u009b31m\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\U000e0041", "\\U000e0041"),
        (b"\xff".decode(errors="surrogateescape"), "\\xff"),
        ("x" * 300, "x" * 256 + "..."),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    assert report.cell(text) == shown


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert report.table([("A", "B"), ("long", "x"), ("\x1b", "")]) == "A     B\nlong  x\n\\x1b\n"


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes(amount: int, words: str) -> None:
    assert size(amount) == words


def test_statistics_in_words() -> None:
    found = dict(lines({"frozen_time": 1500, "pages_written": 7, "page_pipes": 1}))
    assert found == {"frozen": "1.5 ms", "pages written": "7"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["inspect", "dir"], "inspect"), (["inspect"], ""), (["other", "dir"], ""), (["inspect", "a", "b"], "")],
)
def test_which_arguments_mean_it(arguments: list[str], word: str) -> None:
    assert COMMAND.word(arguments) == word


# -- the command


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    maker = Maker(tmp_path / "images")
    maker.checkpoint()
    return maker.directory


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["pyrunc", "checkpoint", *arguments])
    return status, *capfd.readouterr()


def test_everything_is_in_it(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capfd, "inspect", str(directory))
    assert status == 0
    found = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "kind checkpoint",
        "criu 4.2.1 (gitid 0)",
        "hostname the-host",
        "uid map 0 100000 65536",
        "net namespace external: extRootNetNS",
        "frozen 170.1 ms",
        "2 2 1 1000:1000 alive 1 8.0 KiB 4.0 KiB 4.0 KiB 64.0 KiB /bin/sleep 100",
        "/vol ext4 none / ro,relatime,shared:3,master:4 volume",
        "tcp stream established 127.0.0.1:80 10.0.0.2:9999 1/3 2/3",
        "1 1 file w 7 /tmp/a\\x1b[31mred (deleted)",
    ):
        assert line in found, text
    assert "    /bin/sleep 100\n" in text, "the child is not under its parent"
    assert "\x1b" not in text


def test_a_pre_dump_has_memory_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    maker = Maker(tmp_path / "images")
    maker.pre_dump()
    status, text, _ = run(capfd, "inspect", str(maker.directory))
    assert status == 0
    assert "PROCESSES\nPID  IMAGES    PARENT\n1    16.0 KiB  0 B\n" in text
    assert "SOCKETS" not in text


def test_a_chain_has_a_column_for_each(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parent = Maker(directory.parent / "pre")
    parent.pre_dump()
    link_parent(directory, "../pre")
    status, text, _ = run(capfd, "inspect", str(directory))
    assert status == 0
    found = [" ".join(line.split()) for line in text.splitlines()]
    assert "DUMP PARENT ../pre" in found
    assert "pages written 3 4" in found


def test_as_json(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capfd, "--format", "json", "inspect", str(directory))
    assert status == 0
    assert json.loads(text)["criu"]["version"] == "4.2.1 (gitid 0)"


def test_another_format(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, _, errors = run(capfd, "--format", "yaml", "inspect", str(directory))
    assert (status, "invalid format option" in errors) == (1, True)


def test_what_is_no_directory_of_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Maker(tmp_path)
    status, _, errors = run(capfd, "inspect", str(tmp_path))
    assert (status, "is no directory of checkpoint images" in errors) == (1, True)


def test_a_container_may_be_called_inspect(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = main(["pyrunc", "--root", str(tmp_path), "checkpoint", "inspect"])
    assert (status, "container does not exist" in capfd.readouterr().err) == (1, True)


def test_two_containers_are_too_many(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, errors = run(capfd, "one", "two")
    assert (status, '\\"checkpoint\\" requires exactly 1 argument(s)' in errors) == (1, True)
