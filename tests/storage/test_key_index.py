"""The keys of the memtable in order: whatever is added and asked, it says what sorting all of them would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pynun.storage.memtable import KeyIndex
from tests.properties.effort import effort

_keys = st.binary(max_size=3) | st.text("ab", max_size=4).map(str.encode)
_many = st.randoms(use_true_random=False).map(lambda dice: [dice.randbytes(dice.randrange(3)) for _ in range(80)])
_added = st.lists(_keys, max_size=8) | _many


@effort(200)
@given(
    before=st.sets(_keys),
    rounds=st.lists(st.tuples(_added, _keys, _keys, st.integers(1, 5)), max_size=6),
)
def test_a_part_of_the_keys_is_what_sorting_them_gives(
    before: set[bytes], rounds: list[tuple[list[bytes], bytes, bytes, int]]
) -> None:
    index = KeyIndex()
    index.fill(before)
    known = set(before)
    for added, start, first, count_max in rounds:
        for key in added:
            index.add(key)
        known.update(added)
        expected = sorted(key for key in known if key.startswith(start) and key >= first)
        behind = expected[count_max] if len(expected) > count_max else None
        assert index.between(start, first, count_max) == (expected[:count_max], behind)


def test_what_is_added_while_it_is_filled_is_there_once() -> None:
    index = KeyIndex()
    index.add(b"b")
    index.fill([b"a", b"b"])
    assert index.between(b"", b"", 9) == ([b"a", b"b"], None)
