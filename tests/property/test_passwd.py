"""Any bytes are an /etc/passwd; what is found in it does not depend on how it arrives."""

from __future__ import annotations

import os
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from libcontainer import passwd

FIELD = st.sampled_from([b"", b"0", b"00", b"7", b"70", b"x", b"/h", b"#", b"\0", b"\xff"])
LINE = st.lists(FIELD, max_size=8).map(b":".join)
FILE = st.lists(LINE, max_size=20).map(b"\n".join) | st.binary(max_size=200)


def home(content: bytes, uid: int, piece: int) -> str | None:
    fd = os.memfd_create("passwd")
    try:
        os.pwrite(fd, content, 0)
        with mock.patch.object(passwd, "PIECE", piece):
            return passwd.home_of(fd, uid)
    finally:
        os.close(fd)


def expected(content: bytes, uid: int) -> str | None:
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if (
            len(fields) > 5
            and fields[2].isdigit()
            and int(fields[2]) == uid
            and line[:1] != b"#"
            and b"\0" not in line
        ):
            return os.fsdecode(fields[5]) or None
    return None


@given(FILE, st.sampled_from([0, 7, 70]), st.integers(1, 64))
def test_as_the_plain_reading(content: bytes, uid: int, piece: int) -> None:
    assert home(content, uid, piece) == expected(content, uid)
