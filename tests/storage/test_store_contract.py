"""What every store has to do, asked of each: the dict, the LMDB file, that behind delays and failures, and etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.engine.overlay import Batch, Entry
from pynun.errors import StorageError
from pynun.storage.store import LmdbStore
from tests.cluster.owner import owned_store
from tests.properties.effort import effort
from tests.storage.faulty_store import NO_ROOM, FaultyStore, WritableStore
from tests.storage.memory_store import MemoryStore
from tools.clients.server import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE, NEXT = b"\0\0\0\1", b"\0\0\0\2"
STEM = "é" * 240
"""480 bytes: with it, keys are at and beyond what LMDB takes as a key, and share more than it can tell apart."""


@pytest.fixture(name="store", params=["memory", "lmdb", "faulty", "replicated"])
def _store(request: pytest.FixtureRequest, disk_folder: Path) -> Iterator[WritableStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    lmdb_store = LmdbStore(disk_folder / "data")
    match request.param:
        case "lmdb":
            yield lmdb_store
        case "faulty":
            yield FaultyStore(lmdb_store)
        case "replicated":
            yield owned_store(lmdb_store)
    lmdb_store.close()


def write(store: WritableStore, entries: dict[bytes, Entry | None], operations: int = 0) -> None:
    """Write a batch; a store that can fail fails first, and must then be as it was."""
    batch = Batch(store.revision + 1)
    batch.entries.update(entries)
    if isinstance(store, FaultyStore):
        before = {key: store.get(key) for key in entries}
        store.fail_next()
        with pytest.raises(StorageError, match=NO_ROOM):
            store.write(batch, operations)
        assert {key: store.get(key) for key in entries} == before
    store.write(batch, operations)
    assert (store.revision, store.operations) == (batch.revision, operations)


def put(store: WritableStore, *names: str, database: bytes = DATABASE) -> None:
    """Write keys of one database, each with its name as its text."""
    write(store, {database + name.encode(): Entry(len(name), name) for name in names})


def listed(store: WritableStore, start: str = "", *, slice_keys: int = 100, database: bytes = DATABASE) -> list[str]:
    """The keys that begin with `start`, gathered slice by slice as the engine does."""
    first = database + start.encode()
    names: list[bytes] = []
    position: bytes | None = b""
    is_sorted = True
    slices = 0
    while position is not None:
        found, position, is_slice_sorted = store.scan(first, position, slice_keys)
        assert len(found) <= slice_keys
        names += found
        is_sorted = is_sorted and is_slice_sorted
        slices += 1
        assert slices < 1000, "the scan does not come to an end"
    assert not is_sorted or names == sorted(names)
    assert len(names) == len(set(names)), "a key was listed twice"
    return sorted(name.decode() for name in names)


# --- entries ---------------------------------------------------------------------------------------------------


def test_an_absent_key_has_no_entry(store: WritableStore) -> None:
    assert store.get(DATABASE + b"k") is None


@pytest.mark.parametrize("text", ["", "v", "two  words", "ünïcödé🙂", "\0", "x" * 1_000_000])
@pytest.mark.parametrize("key", ["k", "ü", STEM, STEM + "k" * 40, "k" * 100_000])
def test_an_entry_comes_back_as_it_was_written(store: WritableStore, key: str, text: str) -> None:
    write(store, {DATABASE + key.encode(): Entry(7, text)})
    assert store.get(DATABASE + key.encode()) == Entry(7, text)


@pytest.mark.parametrize("version", [-2, 0, 1, 2**31 - 1, 2**31, 2**63 - 1])
@pytest.mark.parametrize("key", ["k", "k" * 600])
def test_every_version_comes_back(store: WritableStore, key: str, version: int) -> None:
    write(store, {DATABASE + key.encode(): Entry(version, "v")})
    assert store.get(DATABASE + key.encode()) == Entry(version, "v")


@pytest.mark.parametrize("length", [1, 474, 475, 506, 507, 508, 509, 600])
def test_a_key_of_any_length_is_written_changed_and_removed(store: WritableStore, length: int) -> None:
    key = DATABASE + b"k" * length
    write(store, {key: Entry(0, "one")})
    write(store, {key: Entry(1, "two")})
    assert store.get(key) == Entry(1, "two")
    assert listed(store) == ["k" * length]
    write(store, {key: None})
    assert store.get(key) is None
    assert listed(store) == []


def test_long_keys_that_begin_alike_are_different_keys(store: WritableStore) -> None:
    names = [STEM + "a" * 40, STEM + "a" * 41, STEM + "b" * 40, STEM + "a" * 39 + "b", STEM, STEM + "a"]
    put(store, *names)
    for name in names:
        assert store.get(DATABASE + name.encode()) == Entry(len(name), name)
    write(store, {DATABASE + names[0].encode(): None})
    assert listed(store) == sorted(names[1:])


def test_the_same_key_in_two_databases_is_two_keys(store: WritableStore) -> None:
    for name in ("k", "k" * 600):
        write(store, {DATABASE + name.encode(): Entry(1, "one"), NEXT + name.encode(): Entry(2, "two")})
        assert store.get(DATABASE + name.encode()) == Entry(1, "one")
        assert store.get(NEXT + name.encode()) == Entry(2, "two")


def test_removing_what_is_not_there_is_no_fault(store: WritableStore) -> None:
    write(store, {DATABASE + b"k": None, DATABASE + b"k" * 600: None})
    assert listed(store) == []


def test_a_batch_puts_and_removes_together(store: WritableStore) -> None:
    put(store, "a", "b")
    write(store, {DATABASE + b"a": None, DATABASE + b"b": Entry(9, "new"), DATABASE + b"c": Entry(0, "c")})
    assert store.get(DATABASE + b"a") is None
    assert store.get(DATABASE + b"b") == Entry(9, "new")
    assert listed(store) == ["b", "c"]


def test_an_empty_batch_changes_nothing(store: WritableStore) -> None:
    put(store, "a")
    write(store, {})
    assert listed(store) == ["a"]


# --- scanning --------------------------------------------------------------------------------------------------


def test_nothing_is_listed_of_nothing(store: WritableStore) -> None:
    assert listed(store) == []
    put(store, "a", database=NEXT)
    assert listed(store) == []


@pytest.mark.parametrize("slice_keys", [1, 2, 3, 4, 5, 100])
def test_keys_are_listed_in_slices_of_any_size(store: WritableStore, slice_keys: int) -> None:
    put(store, "a", "b", "ü", "🙂", "zz", *("k" * length for length in (1, 470, 510, 600, 601)))
    put(store, "of another", "k" * 600, database=NEXT)
    put(store, "of a third", "k" * 600, database=b"\0\0\0\0")
    expected = sorted(["a", "b", "ü", "🙂", "zz", *("k" * length for length in (1, 470, 510, 600, 601))])
    assert listed(store, slice_keys=slice_keys) == expected


@pytest.mark.parametrize("slice_keys", [1, 2, 100])
@pytest.mark.parametrize("start", ["a", "ab", "abc", "b", "c", "x", "ü"])
def test_a_prefix_lists_what_begins_with_it(store: WritableStore, start: str, slice_keys: int) -> None:
    names = ["a", "ab", "abc", "abd", "b", "ba", "ü", "üa", "aü"]
    put(store, *names)
    assert listed(store, start, slice_keys=slice_keys) == sorted(name for name in names if name.startswith(start))


@pytest.mark.parametrize("slice_keys", [1, 2, 3, 100])
@pytest.mark.parametrize("more", ["", "a", "ab", "a" * 26, "a" * 27, "a" * 28, "a" * 29, "a" * 60, "b"])
def test_a_prefix_may_be_longer_than_any_key_of_lmdb(store: WritableStore, more: str, slice_keys: int) -> None:
    names = [
        STEM[:-1],
        STEM,
        *(STEM + "a" * count for count in (1, 2, 26, 27, 28, 29, 59, 60, 61)),
        STEM + "b",
        STEM + "ab",
    ]
    put(store, *names)
    expected = sorted(name for name in names if name.startswith(STEM + more))
    assert listed(store, STEM + more, slice_keys=slice_keys) == expected


@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_slice_that_ends_before_the_prefix_itself_goes_on_behind_it(store: WritableStore, before: int) -> None:
    # The prefix is longer than what a long key is found by, so the scan begins before it; a slice may end just there.
    start = STEM + "m" * 10
    names = [STEM + "a" * number for number in range(1, before + 1)]
    put(store, *names, start, start + "x", start + "y" * 60)
    assert listed(store, start, slice_keys=before) == [start, start + "x", start + "y" * 60]


def test_a_slice_is_in_order_where_no_long_key_is(store: WritableStore) -> None:
    put(store, "b", "a", "c")
    assert store.scan(DATABASE, b"", 10) == ([b"a", b"b", b"c"], None, True)


def test_a_scan_may_begin_at_any_key(store: WritableStore) -> None:
    names = sorted(["a", "ab", "b", "b" * 505, "b" * 507, "b" * 508, "b" * 600, STEM, STEM + "z" * 26, STEM + "z" * 27,
                    STEM + "z" * 28, STEM + "y" * 90, STEM + "z" * 90, "ü" * 400], key=str.encode)  # fmt: skip
    put(store, *names)
    put(store, "of another", "k" * 600, database=NEXT)
    for place, after in enumerate(names):
        found, following, _ = store.scan(DATABASE, DATABASE + after.encode(), 100)
        assert following is None
        assert set(names[place:]) <= {name.decode() for name in found} <= set(names)
    assert store.scan(DATABASE, DATABASE + b"\xff" * 600, 100)[0] == []
    assert len(store.scan(DATABASE, DATABASE + b"ab", 100)[0]) == len(names) - 1


def test_a_key_that_goes_while_a_scan_is_under_way_takes_no_other_along(store: WritableStore) -> None:
    put(store, *"abcdef")
    names, position, _ = store.scan(DATABASE, b"", 2)
    assert names == [b"a", b"b"]
    write(store, {DATABASE + b"c": None, DATABASE + b"b": None})
    assert position is not None
    assert store.scan(DATABASE, position, 10)[0] == [b"d", b"e", b"f"]


# --- measuring -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slice_keys", [1, 2, 3, 100])
def test_entries_are_counted_with_the_bytes_of_key_and_text(store: WritableStore, slice_keys: int) -> None:
    names = ["a", "ü", "k" * 507, "k" * 508, STEM + "a" * 60]
    write(store, {DATABASE + name.encode(): Entry(3, "ö" * number) for number, name in enumerate(names)})
    put(store, "of another", "k" * 600, database=NEXT)
    count = size = 0
    position: bytes | None = b""
    while position is not None:
        found, found_bytes, position = store.measure_database(DATABASE, position, slice_keys)
        assert found <= slice_keys
        count += found
        size += found_bytes
    assert count == len(names)
    assert size == sum(len(name.encode()) + 2 * number for number, name in enumerate(names))


def test_nothing_is_counted_of_nothing(store: WritableStore) -> None:
    assert store.measure_database(DATABASE, b"", 10) == (0, 0, None)
    put(store, "a", database=NEXT)
    assert store.measure_database(DATABASE, b"", 10) == (0, 0, None)


# --- any history at all ----------------------------------------------------------------------------------------

_texts = st.sampled_from(("", "v", "ü🙂", "x" * 2000))
_names = st.builds(
    lambda stem, tail: stem + tail,
    st.sampled_from(("", "k", STEM, STEM + "a" * 30)),
    st.text(st.sampled_from("abü"), min_size=1, max_size=3) | st.text(st.just("a"), min_size=20, max_size=70),
)
_batches = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from((DATABASE, NEXT)), _names),
        st.none() | st.builds(Entry, st.integers(-2, 2**40), _texts),
        max_size=6,
    ),
    max_size=5,
)


@given(batches=_batches, start=st.just("") | _names, slice_keys=st.integers(1, 4))
@effort(60)
@pytest.mark.timeout(300)
def test_the_file_keeps_what_a_dict_keeps(
    batches: list[dict[tuple[bytes, str], Entry | None]], start: str, slice_keys: int
) -> None:
    with new_folder() as folder:
        store, memory = LmdbStore(folder), MemoryStore()
        try:
            for number, changes in enumerate(batches):
                entries = {database + name.encode(): entry for (database, name), entry in changes.items()}
                for one in (store, memory):
                    write(one, entries, operations=number)
            touched = {database + name.encode() for changes in batches for database, name in changes}
            for _ in range(2):  # and again by another process's eyes
                for key in touched:
                    assert store.get(key) == memory.get(key)
                for database in (DATABASE, NEXT):
                    for prefix in ("", start, start[:-1]):
                        assert listed(store, prefix, slice_keys=slice_keys, database=database) == listed(
                            memory, prefix, slice_keys=slice_keys, database=database
                        )
                store.close()
                store = LmdbStore(folder)
                assert (store.revision, store.operations) == (memory.revision, memory.operations)
        finally:
            store.close()
