"""The store over power cuts: whatever the disk kept of the log, nothing acknowledged is lost.

The log's files are on a simulated disk, which loses unsynced sectors. The data is in LMDB: a commit of it is done or
not done when the power is cut.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.engine.overlay import Batch, Entry
from pynun.errors import StorageError
from pynun.storage import first_store, memtable
from pynun.storage import store as store_module
from pynun.storage.open_files import OpenFiles
from pynun.storage.store import LmdbStore
from pynun.storage.wal.write_ahead_log import WriteAheadLog
from tests.properties.effort import effort
from tests.storage.wal.life import SIZE
from tests.storage.wal.simulated_disk import CrashError, SimulatedDisk
from tools.clients.server import new_folder

if TYPE_CHECKING:
    from pathlib import Path

CRASHES = 200
CRASHES_OF_A_LIFE = 5
KEYS = [b"\0\0\0\1k%d" % number for number in range(12)]

totals: Counter[str] = Counter()


class Life:
    """A data folder over many crashes, and what must be in it."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder = folder
        self.random = random
        self._move_chance = random.choice([0.03, 0.1, 0.4])  # with few moves, rounds last while files are used again
        self.disk = SimulatedDisk(random)
        self.stored: dict[bytes, Entry | None] = {}
        self.pending: dict[bytes, Entry | None] = {}
        self.revision = 0

    def open(self) -> LmdbStore:
        """Start, and fail unless everything acknowledged is there, and the last batch whole or not at all."""
        store = LmdbStore(self.folder)
        found = {key: store.get(key) for key in KEYS}
        before = {key: self.stored.get(key) for key in KEYS}
        assert found in (before, before | self.pending)
        if self.pending:
            totals["there" if found == before | self.pending else "not there"] += 1
        self.stored, self.pending = found, {}
        return store

    def work(self, store: LmdbStore) -> bool:
        """Do one of the things that a server does with its store; False if it was a stop."""
        choice = self.random.random()
        if choice < 0.97 - self._move_chance:
            self.change(store)
        elif choice < 0.97:
            store.move(self.random.randint(1, 5))
            if self.random.random() < 0.5:
                self.change(store)  # the loop logs a batch before it knows of the slice
            store.moved()
        else:
            store.retire_log()
            totals["clean stops"] += not store._mark.is_in_use
            return False
        return True

    def change(self, store: LmdbStore) -> None:
        """Store a batch, by the log or not, or have it refused."""
        self.revision = max(self.revision, store.revision) + 1  # that of a refused batch may be on the disk
        batch = Batch(self.revision)
        for key in self.random.sample(KEYS, self.random.randint(1, 4)):
            text = "x" * self.random.choice([1, 300, 700])
            batch.entries[key] = self.random.choice([None, Entry(batch.revision, text)])
        self.pending = batch.entries
        try:
            if self.random.random() < 0.05:
                store.write(batch, batch.revision)
            else:
                store.append(batch, batch.revision)
        except StorageError:
            totals["refused"] += 1
        else:
            totals["stored"] += 1
            self.stored |= batch.entries
        self.pending = {}


@effort(CRASHES // CRASHES_OF_A_LIFE)
@given(st.integers(0, 2**64 - 1))
def live(seed: int) -> None:
    random = Random(seed)
    with new_folder() as folder, pytest.MonkeyPatch.context() as patch:
        life = Life(folder, random)
        for module in (store_module, first_store):
            patch.setattr(module, "Disk", lambda *_, **_options: life.disk)
        patch.setattr(store_module, "WriteAheadLog", partial(WriteAheadLog, size=SIZE))
        patch.setattr(first_store, "SEGMENT_BYTES", SIZE)
        patch.setattr(memtable, "ENTRIES_DUE", 8)
        check, wrote = OpenFiles.check, OpenFiles.wrote

        def before_a_commit(files: OpenFiles, *, is_rescue: bool = False) -> None:
            life.disk.step()
            check(files, is_rescue=is_rescue)

        def after_a_commit(files: OpenFiles) -> None:
            life.disk.step()
            wrote(files)

        patch.setattr(OpenFiles, "check", before_a_commit)
        patch.setattr(OpenFiles, "wrote", after_a_commit)
        for _ in range(CRASHES_OF_A_LIFE):
            life.disk.calls, life.disk.crash_at = 0, random.randint(30, random.choice([300, 3000]))
            with contextlib.suppress(CrashError):
                while True:
                    with contextlib.closing(life.open()) as store:
                        while life.work(store):
                            pass
            life.disk = life.disk.crashed() if random.random() < 0.8 else life.disk.killed()
        life.disk.crash_at = None
        life.open().close()


def test_nothing_acknowledged_is_lost_in_a_power_cut() -> None:
    """`NUN_TEST_EFFORT=10` makes it 2,000 crashes."""
    live()
    assert totals["stored"] > CRASHES
    assert totals["there"]
    assert totals["not there"]
    assert totals["clean stops"]
