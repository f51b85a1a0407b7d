"""Which lines of the host's ps are a container's."""

from __future__ import annotations

import pytest

from libcontainer.errors import Error
from pyrunc.commands.ps import select

EF = """\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 10:00 ?        00:00:01 /sbin/init
root          12       1  0 10:00 ?        00:00:00 sleep 1
root         112       1  0 10:00 ?        00:00:00 sleep 12
"""


def test_the_header_and_the_lines_of_the_pids() -> None:
    assert list(select(EF, [12])) == [EF.splitlines()[0], EF.splitlines()[2]]


def test_without_pids_the_header_only() -> None:
    assert list(select(EF, [])) == EF.splitlines()[:1]


def test_the_column_is_found_by_its_title() -> None:
    assert list(select("COMMAND PID\nsleep 7\nsh 8\n", [8])) == ["COMMAND PID", "sh 8"]


@pytest.mark.parametrize("text", ["", "COMMAND\nsleep\n", "PPID\n1\n"])
def test_no_such_column(text: str) -> None:
    with pytest.raises(Error, match="^couldn't find PID field in ps output$"):
        list(select(text, [1]))


@pytest.mark.parametrize("line", ["a x", "a"])
def test_a_line_without_a_number_there(line: str) -> None:
    with pytest.raises(Error, match="^unexpected pid"):
        list(select(f"COMMAND PID\n{line}\n", [1]))
