"""What holds for any sequence of mount options."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.mount_options import MOUNT_ATTR__ATIME, known_options, parse

WORDS = st.sampled_from([*known_options(), "idmap", "size=1m", "defaults"])


@given(st.lists(WORDS))
def test_no_bit_is_both_set_and_cleared(words: list[str]) -> None:
    options = parse(words)
    assert not options.flags & options.cleared
    # The access time is a choice: to choose, the kernel wants the whole mask cleared (mount_setattr(2)).
    assert not options.rec_set & options.rec_clear & ~MOUNT_ATTR__ATIME
    assert options.rec_clear & MOUNT_ATTR__ATIME in (0, MOUNT_ATTR__ATIME)
    if options.rec_set & MOUNT_ATTR__ATIME:
        assert options.rec_clear & MOUNT_ATTR__ATIME


@given(st.lists(WORDS), WORDS)
def test_the_last_word_counts(words: list[str], last: str) -> None:
    alone, options = parse([last]), parse([*words, last])
    assert options.flags & alone.flags == alone.flags
    assert options.cleared & alone.cleared == alone.cleared
    assert options.rec_set & alone.rec_set == alone.rec_set
    assert options.rec_clear & alone.rec_clear == alone.rec_clear
    assert alone.idmap is None or options.idmap == alone.idmap


@given(st.lists(st.text()))
def test_no_word_but_the_empty_one_is_lost(words: list[str]) -> None:
    known = {*known_options(), "idmap", "ridmap"}
    assert parse(words).data == [word for word in words if word and word not in known]
