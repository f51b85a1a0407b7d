"""The words of mount options. Expected numbers are from the kernel's headers, written out."""

from __future__ import annotations

import pytest

from libcontainer import mount_options
from libcontainer.mount_options import attributes, known_options, parse


def test_an_empty_word_is_nothing() -> None:
    assert parse(["", "size=1m", ""]).data == ["size=1m"]


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("ro", 1),
        ("nosuid", 2),
        ("nodev", 4),
        ("noexec", 8),
        ("sync", 16),
        ("remount", 32),
        ("mand", 64),
        ("dirsync", 128),
        ("nosymfollow", 256),
        ("noatime", 1024),
        ("nodiratime", 2048),
        ("bind", 4096),
        ("rbind", 4096 | 16384),
        ("silent", 1 << 15),
        ("relatime", 1 << 21),
        ("iversion", 1 << 23),
        ("strictatime", 1 << 24),
        ("lazytime", 1 << 25),
    ],
)
def test_words_that_set(word: str, flag: int) -> None:
    options = parse([word])
    assert (options.flags, options.cleared, options.data) == (flag, 0, [])


@pytest.mark.parametrize(
    ("clear", "word"),
    [
        ("rw", "ro"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("exec", "noexec"),
        ("async", "sync"),
        ("nomand", "mand"),
        ("atime", "noatime"),
        ("diratime", "nodiratime"),
        ("norelatime", "relatime"),
        ("nostrictatime", "strictatime"),
        ("nolazytime", "lazytime"),
        ("noiversion", "iversion"),
        ("loud", "silent"),
        ("symfollow", "nosymfollow"),
    ],
)
def test_words_that_clear_undo_and_are_remembered(clear: str, word: str) -> None:
    flag = parse([word]).flags
    options = parse([word, clear])
    assert (options.flags, options.cleared) == (0, flag)
    options = parse([clear, word])
    assert (options.flags, options.cleared) == (flag, 0)


def test_propagation_keeps_its_order() -> None:
    options = parse(["rslave", "ro", "shared"])
    assert options.propagation == [(1 << 19) | (1 << 14), 1 << 20]
    assert options.flags == 1


@pytest.mark.parametrize("word", ["size=64m", "defaults", "acl", "mode=755", "RO", "gid=5,uid=3"])
def test_other_words_are_data(word: str) -> None:
    options = parse(["nodev", word])
    assert (options.flags, options.data) == (4, [word])


@pytest.mark.parametrize(
    ("words", "on", "off"),
    [
        (["rro"], 0x1, 0),
        (["rrw"], 0, 0x1),
        (["rnosuid", "rnodev", "rnoexec"], 0xE, 0),
        (["rsuid", "rdev", "rexec"], 0, 0xE),
        (["rnodiratime"], 0x80, 0),
        (["rnosymfollow"], 0x200000, 0),
        (["rnoatime"], 0x10, 0x70),
        (["rstrictatime"], 0x20, 0x70),
        (["rrelatime"], 0, 0x70),
        (["ratime"], 0, 0x70),
        (["rnoatime", "rstrictatime"], 0x20, 0x70),
        (["rro", "rrw"], 0, 0x1),
        (["rrw", "rro"], 0x1, 0),
    ],
)
def test_recursive_attributes(words: list[str], on: int, off: int) -> None:
    options = parse(words)
    assert (options.rec_set, options.rec_clear, options.flags, options.data) == (on, off, 0, [])


def test_extensions_and_id_maps() -> None:
    options = parse(["tmpcopyup", "ridmap"])
    assert (options.extensions, options.idmap, options.data) == (["tmpcopyup"], "ridmap", [])
    assert parse(["idmap"]).idmap == "idmap"
    assert parse([]).idmap is None


def test_known_options() -> None:
    known = known_options()
    assert known == sorted(set(known))
    assert {"tmpcopyup", "rro", "bind", "runbindable", "nosymfollow"} <= set(known)
    assert not {"idmap", "ridmap", "defaults", "acl"} & set(known)
    assert all(not parse([word]).data for word in known)


@pytest.mark.parametrize(
    ("flags", "attr"),
    [
        (0, 0),
        (1 | 2 | 4 | 8, 0xF),
        (mount_options.MS_NOATIME, 0x10),
        (mount_options.MS_STRICTATIME, 0x20),
        (mount_options.MS_NOATIME | mount_options.MS_STRICTATIME, 0x20),
        (mount_options.MS_RELATIME | mount_options.MS_NODIRATIME, 0x80),
        (mount_options.MS_NOSYMFOLLOW, 0x200000),
        (mount_options.MS_BIND | mount_options.MS_REC | mount_options.MS_SYNCHRONOUS, 0),
    ],
)
def test_attributes(flags: int, attr: int) -> None:
    assert attributes(flags) == attr
