"""The write-ahead log: what it holds, that reading never tells it from the data, and that no end of a process does."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import lmdb
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pynun.engine.overlay import Batch, Entry
from pynun.errors import StartError
from pynun.storage import memtable, schema
from pynun.storage.snapshot import snapshot
from pynun.storage.store import LmdbStore
from pynun.storage.wal.reader import LogReader
from pynun.storage.wal.segment import GLOB
from pynun.storage.wal.segment_format import RECORDS_AT
from pynun.storage.wal.write_ahead_log import FILES_MAX
from tests.properties.effort import effort
from tests.storage.memory_store import MemoryStore
from tests.storage.steps import checkpoint
from tools.clients.server import clean_environment, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DATABASE = b"\0\0\0\1"
STEM = "é" * 240
"""480 bytes: with it, keys are at and beyond what LMDB takes as a key."""


@pytest.fixture(name="store")
def _store(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "data")) as store:
        yield store


def batch_of(revision: int, entries: Mapping[str, Entry | None]) -> Batch:
    """Entries of one database as a batch."""
    batch = Batch(revision)
    batch.entries.update({DATABASE + name.encode(): entry for name, entry in entries.items()})
    return batch


def append(store: LmdbStore, **texts: str | None) -> None:
    """Put keys and texts into the log."""
    entries = {name: None if text is None else Entry(1, text) for name, text in texts.items()}
    store.append(batch_of(store.revision + 1, entries), 0)


@contextlib.contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of the data: LMDB refuses to open a folder twice in a process."""
    with new_folder() as other:
        for path in (folder / schema.DATA_FILE, *folder.glob(GLOB)):
            shutil.copy(path, other)
        yield other


def on_disk(folder: Path) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The changes in the log, a batch each, and the data."""
    with copied(folder) as other, lmdb.open(str(other), max_dbs=2, readonly=True, lock=False) as environment:
        meta, data = (environment.open_db(name, create=False) for name in (b"meta", b"data"))
        with environment.begin() as transaction:
            checkpoint = schema.decode_checkpoint(transaction.get(schema.CHECKPOINT_KEY, b"", db=meta))
            mark = schema.decode_log_mark(transaction.get(schema.LOG_KEY, b"", db=meta))
            descriptor = os.open(other, os.O_RDONLY)
            with LogReader(descriptor) as log:
                records = log.read(mark.log_id, checkpoint, is_in_use=mark.is_in_use)
            os.close(descriptor)
            return [record.changes for record in records], dict(transaction.cursor(data))


# --- what is where ---------------------------------------------------------------------------------------------


def test_a_batch_is_in_the_log_until_a_checkpoint_moves_it(store: LmdbStore) -> None:
    append(store, a="one", b="two")
    log, data = on_disk(store.folder)
    assert len(log) == 1
    assert data == {}
    checkpoint(store, 10)
    assert store.is_drained
    assert on_disk(store.folder) == (
        [],
        {DATABASE + b"a": struct.pack(">q", 1) + b"one", DATABASE + b"b": struct.pack(">q", 1) + b"two"},
    )


def test_the_bytes_of_the_log_are_those_of_the_format(store: LmdbStore) -> None:
    append(store, aé="xyz", b=None)
    assert on_disk(store.folder)[0] == [
        struct.pack(">IIq", 7, 3, 1)
        + DATABASE
        + b"a\xc3\xa9xyz"
        + struct.pack(">IIq", 5, 0xFFFFFFFF, 0)
        + DATABASE
        + b"b"
    ]


def test_a_large_batch_goes_into_the_data(store: LmdbStore) -> None:
    append(store, a="x" * 20_000)
    assert on_disk(store.folder)[1] == {}
    batch = batch_of(2, {"b": Entry(0, "y" * 2_000_000)})
    batch.bytes_estimated = 2_000_000
    store.append(batch, 0)
    log, data = on_disk(store.folder)
    assert log == []
    assert data.keys() == {DATABASE + b"a", DATABASE + b"b"}
    assert store.get(DATABASE + b"a") == Entry(1, "x" * 20_000)


def test_a_batch_is_large_by_its_bytes_not_its_letters(store: LmdbStore) -> None:
    append(store, a="é" * 700_000)
    assert on_disk(store.folder)[0] == []
    assert store.get(DATABASE + b"a") == Entry(1, "é" * 700_000)


def test_too_much_in_the_log_makes_the_next_batch_move_some(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memtable, "ENTRIES_MAX", 50)
    for number in range(200):
        append(store, **{f"k{number}": "v"})
        assert store.logged_entries <= 51
    assert len(on_disk(store.folder)[1]) >= 150


def test_full_log_files_make_the_next_batch_move_all(store: LmdbStore) -> None:
    texts = [str(number) * 900_000 for number in range(10)]
    for number in range(40):
        append(store, **{f"k{number % 7}": texts[number % 10]})
    assert len(list(store.folder.glob(GLOB))) == FILES_MAX
    assert len(on_disk(store.folder)[1]) == 7
    assert [store.get(DATABASE + b"k%d" % key) for key in (3, 4)] == [Entry(1, texts[8]), Entry(1, texts[9])]


def test_data_that_has_everything_needs_no_log(disk_folder: Path) -> None:
    store = LmdbStore(disk_folder)
    append(store, a="one")
    store.retire_log()  # too early: nothing happens
    with copied(disk_folder) as alone:
        for path in alone.glob(GLOB):
            path.unlink()
        with pytest.raises(StartError, match=r"the files log-\*\.wal are missing: without all files .* nun-db backup"):
            LmdbStore(alone)
    checkpoint(store, 10)
    store.retire_log()
    store.close()
    for path in disk_folder.glob(GLOB):
        path.unlink()
    with contextlib.closing(LmdbStore(disk_folder)) as again:
        assert again.get(DATABASE + b"a") == Entry(1, "one")
        append(again, a="two")
        with copied(disk_folder) as other, contextlib.closing(LmdbStore(other)) as crashed:
            assert crashed.get(DATABASE + b"a") == Entry(1, "two")


def test_a_log_without_its_data_is_refused(disk_folder: Path) -> None:
    store = LmdbStore(disk_folder)
    append(store, a="one")
    store.close()
    (disk_folder / schema.DATA_FILE).unlink()
    with pytest.raises(StartError, match=r"data\.mdb is missing in .*, but its log is there \(log-01\.wal\): put"):
        LmdbStore(disk_folder)
    assert not (disk_folder / schema.DATA_FILE).exists()


def test_the_log_of_other_data_is_refused(disk_folder: Path) -> None:
    for name in ("one", "two"):
        store = LmdbStore(disk_folder / name)
        append(store, a=name)
        store.close()
    shutil.copy(disk_folder / "one" / schema.DATA_FILE, disk_folder / "two")
    with pytest.raises(StartError, match=r"log-01\.wal belongs to other data: move it away"):
        LmdbStore(disk_folder / "two")


# --- after an end ----------------------------------------------------------------------------------------------


def test_what_was_moved_in_part_is_not_put_over_what_came_later(disk_folder: Path) -> None:
    """A record whose entry was put by a round that began before it must not be replayed over later data."""
    store = LmdbStore(disk_folder)
    append(store, a="1", b="1")
    checkpoint(store, 1)  # a; the round began with revision 1
    append(store, b="2")  # b is put by that round, with this text
    checkpoint(store, 1)
    assert store.logged_entries == 0
    store.write(batch_of(store.revision + 1, {"b": Entry(1, "3")}), 0)
    store.close()
    with contextlib.closing(LmdbStore(disk_folder)) as again:
        assert again.get(DATABASE + b"b") == Entry(1, "3")


def test_a_log_that_makes_no_sense_is_damage_and_left_alone(disk_folder: Path) -> None:
    store = LmdbStore(disk_folder)
    append(store, a="one")
    append(store, a="two")
    store.close()
    with (disk_folder / "log-01.wal").open("r+b") as log:
        log.seek(RECORDS_AT + 60)
        log.write(b"?")
    before = (disk_folder / schema.DATA_FILE).read_bytes()
    with pytest.raises(StartError, match=r"log-01\.wal is damaged at offset 8192: it was left untouched; restore a"):
        LmdbStore(disk_folder)
    assert (disk_folder / schema.DATA_FILE).read_bytes() == before


_WRITER = """
import itertools, pathlib, sys
from pynun.engine.overlay import Batch, Entry
from pynun.storage import memtable
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint
memtable.ENTRIES_DUE = 20
store = LmdbStore(pathlib.Path(sys.argv[1]))
for number in itertools.count(store.revision + 1):
    batch = Batch(number)
    for key in range(5):
        batch.entries[b"\\0\\0\\0\\1k%03d" % (number * 7 + key * 13 % 60)] = Entry(number, "x" * 100)
        batch.entries[b"\\0\\0\\0\\1k%03d" % (number * 11 % 60)] = None
        batch.entries[b"\\0\\0\\0\\1last"] = Entry(number, "")
    store.append(batch, number)
    print(number, flush=True)
    if store.is_checkpoint_due:
        checkpoint(store, 4)
"""


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_has_every_batch(disk_folder: Path) -> None:
    generator = random.Random(7)
    expected: dict[bytes, Entry | None] = {}
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(disk_folder)], stdout=subprocess.PIPE, env=clean_environment({})
        )
        assert child.stdout is not None
        for _ in range(generator.randrange(1, 60)):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split()]
        child.wait()
        child.stdout.close()
        with contextlib.closing(LmdbStore(disk_folder)) as store:
            assert store.revision >= max(acknowledged, default=0)
            last = store.get(DATABASE + b"last")
            assert last is not None
            assert last.version == store.revision, "the newest batch is there as a whole"
            expected = _replayed(store.revision)
            for key, entry in expected.items():
                assert store.get(key) == entry
            with snapshot_of_one(disk_folder) as found:
                assert found == {key: entry for key, entry in expected.items() if entry is not None}


def _replayed(revision: int) -> dict[bytes, Entry | None]:
    """What the writer above has written up to a batch."""
    entries: dict[bytes, Entry | None] = {}
    for number in range(1, revision + 1):
        for key in range(5):
            entries[DATABASE + b"k%03d" % (number * 7 + key * 13 % 60)] = Entry(number, "x" * 100)
            entries[DATABASE + b"k%03d" % (number * 11 % 60)] = None
            entries[DATABASE + b"last"] = Entry(number, "")
    return entries


@contextlib.contextmanager
def snapshot_of_one(folder: Path) -> Iterator[dict[bytes, Entry]]:
    """The entries of the database, read by the eyes of another program."""
    from pynun.storage.snapshot import Found

    with copied(folder) as other, snapshot(other) as found:
        yield {DATABASE + key.encode(): entry for key, entry in found.entries(Found(1, "none"))}


# --- any history at all ----------------------------------------------------------------------------------------

_names = st.sampled_from(
    [*(f"k{letter}" for letter in "abcdefgh"), STEM + "a", STEM + "a" * 30, STEM + "b" * 40, "m", ""]
)
_changes = st.dictionaries(_names, st.none() | st.builds(Entry, st.integers(-2, 9), st.text(max_size=3)), max_size=4)
_starts = st.sampled_from(["", "k", "ka", STEM[:10], STEM, STEM + "a" * 28, "z"])


class Histories(RuleBasedStateMachine):
    """Whatever is appended, written, moved and ended in whatever order, the store says what a dict says."""

    @initialize()
    def _open(self) -> None:
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(new_folder())
        self._store = LmdbStore(self._folder)
        self._memory = MemoryStore()
        self._scan: tuple[bytes, bytes | None, list[bytes], set[bytes]] | None = None

    def teardown(self) -> None:
        """Give everything back."""
        self._store.close()
        self._stack.close()

    @rule(changes=_changes, is_logged=st.booleans())
    def _change(self, changes: dict[str, Entry | None], is_logged: bool) -> None:
        batch = batch_of(self._store.revision + 1, changes)
        (self._store.append if is_logged else self._store.write)(batch, batch.revision)
        self._memory.write(batch, batch.revision)
        if self._scan is not None:
            self._scan[3].intersection_update(self._memory.entries)

    @rule(count_max=st.integers(1, 5))
    def _move(self, count_max: int) -> None:
        checkpoint(self._store, count_max)

    @rule()
    def _end(self) -> None:
        self._store.close()
        self._store = LmdbStore(self._folder)
        assert (self._store.revision, self._store.operations) == (self._memory.revision, self._memory.operations)

    @rule(start=_starts)
    def _begin_scan(self, start: str) -> None:
        first = DATABASE + start.encode()
        present = {key for key in self._memory.entries if key.startswith(first)}
        self._scan = first, b"", [], present

    @precondition(lambda self: self._scan is not None)
    @rule(count_max=st.integers(1, 4))
    def _go_on_scanning(self, count_max: int) -> None:
        assert self._scan is not None
        first, position, found, present = self._scan
        assert position is not None
        names, position, _ = self._store.scan(first, position, count_max)
        assert len(names) <= count_max
        found += [DATABASE + name for name in names]
        self._scan = first, position, found, present
        if position is None:
            assert len(found) == len(set(found))
            assert present <= set(found), "a key that was there all the time was not told"
            self._scan = None

    @invariant()
    def _reads_the_same(self) -> None:
        store, memory = self._store, self._memory
        for name in ("ka", "kb", STEM + "a" * 30, "m"):
            assert store.get(DATABASE + name.encode()) == memory.get(DATABASE + name.encode())

    @rule(start=_starts, count_max=st.integers(1, 4))
    def _lists_the_same(self, start: str, count_max: int) -> None:
        first = DATABASE + start.encode()
        found: list[bytes] = []
        position: bytes | None = b""
        while position is not None:
            names, position, _ = self._store.scan(first, position, count_max)
            found += names
        assert sorted(found) == [key[4:] for key in sorted(self._memory.entries) if key.startswith(first)]

    @rule(count_max=st.integers(1, 4))
    def _measures_the_same(self, count_max: int) -> None:
        totals = [0, 0]
        position: bytes | None = b""
        while position is not None:
            keys, size, position = self._store.measure_database(DATABASE, position, count_max)
            totals = [totals[0] + keys, totals[1] + size]
        assert (*totals, None) == self._memory.measure_database(DATABASE, b"", 1000)
        keys = 0
        position = b""
        while position is not None:
            found = self._store.measure(position, count_max)
            keys += found.totals.get(1, (0, 0))[0]
            position = found.following
        assert keys == len(self._memory.entries)

    @rule()
    def _others_read_the_same(self) -> None:
        with snapshot_of_one(self._folder) as found:
            assert found == self._memory.entries
        assert {DATABASE + key: entry for key, entry in self._store.read_all(DATABASE)} == self._memory.entries


TestHistories = Histories.TestCase
TestHistories.settings = effort(40, 40)
