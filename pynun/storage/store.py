"""The data folder as a store: read entries, and write batches into the log or the data.

The loop's thread reads. Each read has its own transaction, which ends before anything else runs, so none pins old
pages. The thread that calls `log`, `move` or `write` is the only writer; `logged` and `moved` then tell the reads, on
the loop.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Final, cast

import lmdb

from pynun.engine.key_layout import ID_BYTES
from pynun.errors import DamageError, MapFullError, StartError, StorageError
from pynun.storage import schema
from pynun.storage.data_write import put_batch
from pynun.storage.disk_room import DiskRoom
from pynun.storage.environment import (
    DAMAGE,
    FATAL,
    NO_ROOM,
    damaged,
    end_killed_restore,
    fatal_reason,
    not_ours,
    open_to_write,
    reason,
    unusable,
    why_not_written,
)
from pynun.storage.first_store import make_store
from pynun.storage.folder_lock import FolderLock
from pynun.storage.integrity.page_walk import check_pages
from pynun.storage.log_rows import LogRows
from pynun.storage.memtable import NOT_LOGGED, Memtable, merged
from pynun.storage.open_files import OpenFiles
from pynun.storage.range_scan import Slice, entries_under, scan_both, size_of, totals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pynun.engine.overlay import Batch, Entry, LongName
    from pynun.storage.data_write import Copy
    from pynun.storage.log_rows import Appended
    from pynun.storage.memtable import Moved, Pair
    from pynun.storage.range_scan import AnyPair

_LOGGED_BYTES_MAX: Final = 1 << 20
"""A larger batch goes directly into the data: writing it twice would cost more than it saves."""

_SLICE_KEYS: Final = 1024
"""Keys that a checkpoint moves in one commit while nobody waits for the next."""

_AT_ONCE_BYTES_MAX: Final = 64 * 1024
"""A larger batch takes longer to write than a thread costs."""

_OLD_ROWS: Final = 64
"""Obsolete log rows that a checkpoint removes with each slice of entries."""

_SHORT_SECONDS: Final = 2.0
"""How long a batch may wait for a checkpoint on a nearly full disk, where it may move one key at a time."""

_SHORT_ENTRIES: Final = 16
"""On a nearly full disk, batches of up to this many entries skip the log."""

_REFUSED_AT_ONCE: Final = (lmdb.MapFullError, *FATAL)
"""What no smaller commit would get by."""


class LmdbStore:
    """An open data folder. Only one process at a time can have it open."""

    def __init__(self, folder: Path, on_damage: Callable[[DamageError], None] = lambda _: None) -> None:
        """Open or make the folder. `on_damage` is called by a read that finds the file damaged, in its thread, before
        the read raises the error. Raises StartError with cause and remedy.
        """
        self.folder = folder
        self._on_damage = on_damage
        self._refused = ""  # why the last write failed
        self._memtable = Memtable()
        self._appended: Appended | None = None  # by `log`, for `logged`
        self._moved: Moved | None = None  # by `move`, for `moved`
        self._reading_in_thread = threading.Lock()  # the map must not move meanwhile (LMDB, mdb_env_set_mapsize)
        with contextlib.ExitStack() as stack:
            lock = FolderLock(folder)
            stack.callback(lock.close)
            self._room = DiskRoom(lock.folder)
            end_killed_restore(folder)
            try:
                if not os.path.lexists(folder / schema.DATA_FILE):
                    make_store(folder, lock)
                self._environment = open_to_write(folder)
                stack.callback(self._environment.close)
                self.files = OpenFiles(folder, lock, self._environment.stat()["psize"])
                stack.callback(self.files.close)
                self._open_databases()
                self.files.wrote()
            except OSError as error:
                raise StartError(unusable(folder, error)) from None
            self._close = stack.pop_all().close

    def _open_databases(self) -> None:
        environment = self._environment
        try:
            check_pages(self.folder, environment)
            self._meta = environment.open_db(schema.META_DATABASE, create=False)
            with environment.begin(db=self._meta) as transaction:
                format_value = transaction.get(schema.FORMAT_KEY)
                state_value = transaction.get(schema.STATE_KEY)
            if format_value is None or state_value is None:
                raise StartError(not_ours(self.folder))
            number = schema.decode_format(format_value)
            if number > schema.FORMAT:
                raise StartError(
                    f"the data in {self.folder} has format {number}, newer than this program's {schema.FORMAT}: "
                    "start the version that wrote it, or a newer one (nothing was changed)"
                )
            self._data = environment.open_db(schema.DATA_DATABASE, create=False)
            self.revision, self.operations = schema.decode_state(state_value)
            if number < schema.FORMAT:
                self._migrate()
            self._rows = LogRows(environment.open_db(schema.LOG_DATABASE, create=False))
            with environment.begin(db=self._meta) as transaction:
                checkpoint = schema.decode_checkpoint(transaction.get(schema.CHECKPOINT_KEY, b""))
                for _, record in self._rows.load(transaction, checkpoint):
                    self._memtable.take(schema.decode_changes(record).items())
            self._logged_revision = self.revision
        except (lmdb.NotFoundError, lmdb.IncompatibleError, struct.error, UnicodeDecodeError):
            raise StartError(not_ours(self.folder)) from None
        except DAMAGE as error:
            raise StartError(damaged(self.folder, error)) from error
        except lmdb.Error as error:
            raise StartError(unusable(self.folder, why_not_written(self.folder, error))) from error

    def _migrate(self) -> None:
        """Format 1 had no log."""
        with self._environment.begin(write=True, db=self._meta) as transaction:
            self._environment.open_db(schema.LOG_DATABASE, txn=transaction)
            transaction.put(schema.CHECKPOINT_KEY, schema.encode_checkpoint(self.revision))
            transaction.put(schema.FORMAT_KEY, schema.encode_format(schema.FORMAT))

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Entry | None:
        """The entry of four bytes and text."""
        stored = key if len(key) <= schema.KEY_BYTES_MAX else schema.stored_key(key)
        entry = self._memtable.entries.get(stored, NOT_LOGGED)
        if entry is not NOT_LOGGED:
            return entry
        try:
            with self._environment.begin(db=self._data) as transaction:
                value = transaction.get(stored)
        except FATAL as error:
            raise self._tell_damage(error) from error
        return None if value is None else schema.decode_value(key, value)

    def scan(
        self, start: bytes, position: bytes, count_max: int, long_names: list[LongName] | None = None
    ) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the keys that begin with `start`: see `pynun.engine.overlay.Store.scan`."""
        try:
            return scan_both(self._environment, self._data, self._memtable, start, position, count_max, long_names)
        except FATAL as error:
            raise self._tell_damage(error) from error

    def read_long(self, name: LongName, first: int, size: int) -> bytes | None:
        """A part of a long name: see `pynun.engine.overlay.Store.read_long`."""
        if self._memtable.entries.get(name.stored, NOT_LOGGED) is None:
            return None
        try:
            with self._environment.begin(db=self._data, buffers=True) as transaction:
                value = transaction.get(name.stored)
                return None if value is None else schema.long_key(value, ID_BYTES + first, size)
        except FATAL as error:
            raise self._tell_damage(error) from error

    def _tell_damage(self, error: Exception) -> DamageError:
        """The error for a read that finds the file unreliable; tells the owner of the store, which must stop."""
        damage = DamageError(fatal_reason(error, self._refused))
        self._on_damage(damage)
        return damage

    def measure(self, position: bytes, count_max: int) -> Slice:
        """A slice of all that is stored, from `position` on (first b""), by databases. May be called in a thread.

        Raises StorageError.
        """
        try:
            with self._reading_in_thread, self._pairs(b"", position, count_max) as (pairs, behind):
                return totals_of(pairs, behind, count_max)
        except lmdb.Error as error:
            raise StorageError(reason(error)) from error

    @property
    def entries(self) -> int:
        """Number of keys in the data, the server's own included; new ones arrive with a checkpoint."""
        with self._environment.begin() as transaction:
            return int(transaction.stat(self._data)["entries"])

    @property
    def used_bytes(self) -> int:
        """Size of the data file's used part; pages that are free again count too."""
        return int((self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"])

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How large a slice of the entries under `prefix` is: see `pynun.engine.overlay.Store.measure_database`."""
        with self._pairs(prefix, position or prefix, count_max) as (pairs, behind):
            return size_of(pairs, behind, count_max)

    @contextlib.contextmanager
    def _pairs(self, prefix: bytes, first: bytes, count_max: int) -> Iterator[tuple[Iterator[AnyPair], bytes | None]]:
        """LMDB's keys and values that begin with `prefix`, from `first` on, valid in the context.

        Also returns where they end if there are more: then they include up to `count_max` keys of the log.
        """
        logged, behind = self._memtable.pairs(prefix, first, count_max)
        # Never copy values: a slice is bounded in keys only, and each value may be as long as a message.
        with self._environment.begin(db=self._data, buffers=True) as transaction, transaction.cursor() as cursor:
            found: Iterator[AnyPair] = iter(cursor.iternext()) if cursor.set_range(first) else iter(())
            pairs = takewhile(lambda pair: pair[0][: len(prefix)] == prefix, found) if prefix else found
            if not logged:
                yield pairs, None
            else:
                ours = cast("Iterator[Pair]", ((bytes(key), value) for key, value in pairs))
                if behind is not None:
                    ours = takewhile(lambda pair: pair[0] < behind, ours)
                yield merged(ours, logged), behind

    def read_all(self, prefix: bytes) -> Iterator[tuple[bytes, Entry]]:
        """All current entries under a prefix, keys without their first four bytes.

        Not for a serving server: pages replaced meanwhile stay in use.
        """
        logged, _ = self._memtable.pairs(prefix)
        with self._environment.begin(db=self._data) as transaction:
            yield from entries_under(transaction, prefix, logged)

    # --- writing -----------------------------------------------------------------------------------------------

    def append(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Write a batch to the log; it is on disk and can be read when this returns. Raises as `log` does."""
        self.log(batch, operations, is_rescue=is_rescue)
        self.logged(batch)

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Write a batch to the log; it is on disk when this returns, and read after `logged`. Called in a thread.

        With `is_rescue`, write even if the file was removed: while open, it can still be saved. Raises StorageError if
        nothing was written; retry (after `grow` for a MapFullError; never for a TakenAwayError). Raises DamageError if
        the file is unreliable.
        """
        self._appended = None
        with self._telling():
            self.files.check(is_rescue=is_rescue)
            if batch.bytes_estimated > _LOGGED_BYTES_MAX:
                self._write_past_log(batch, operations, ())
                return
            if not self._room.is_short_for(batch.bytes_estimated):
                while self._memtable.is_full or self._rows.is_full:
                    self._checkpoint(_SLICE_KEYS)
                try:
                    self._append(batch, operations)
                except _REFUSED_AT_ONCE:
                    raise
                except (lmdb.Error, OSError) as error:
                    self._failed(error)
                    self._room.ran_out()
                    if self.is_drained:
                        raise
                else:
                    return
            self._write_where_space_is_short(batch, operations)

    def can_log_at_once(self, batch: Batch) -> bool:
        """Whether `log` has nothing to do for this batch but one small commit."""
        is_full = self._memtable.is_full or self._rows.is_full or self._room.is_short
        return batch.bytes_estimated <= _AT_ONCE_BYTES_MAX and not is_full

    def logged(self, batch: Batch) -> None:
        """Have reads find what `log` wrote. Called on the loop, before another batch is logged."""
        if self._appended is not None:
            self._rows.appended(self._appended)
            self._memtable.take(batch.entries.items())
            self._logged_revision = batch.revision
            self._appended = None

    def _append(self, batch: Batch, operations: int) -> None:
        with self._environment.begin(write=True) as transaction:
            appended = self._rows.append(transaction, batch)
            transaction.put(schema.STATE_KEY, schema.encode_state(batch.revision, operations), db=self._meta)
        self.files.wrote()
        self._appended = appended

    def _write_where_space_is_short(self, batch: Batch, operations: int) -> None:
        """Write without a log: remove the log, and free its pages."""
        deadline = time.monotonic() + _SHORT_SECONDS
        count = _SLICE_KEYS
        while self._memtable.entries:
            if time.monotonic() > deadline:
                raise StorageError(NO_ROOM)  # for this batch; later ones find a smaller log
            count = min(2 * self._checkpoint(count), _SLICE_KEYS)
        if not self.is_drained:
            self._checkpoint(_OLD_ROWS)
        try:
            self._write(batch, operations, ())
        except _REFUSED_AT_ONCE:
            raise
        except (lmdb.Error, OSError):
            if len(batch.entries) <= _SHORT_ENTRIES:
                raise
            # One commit would need more free pages than exist. The log needs few, and moves in parts.
            self._append(batch, operations)

    def write(self, batch: Batch, operations: int, copies: Sequence[Copy] = ()) -> None:
        """Write a batch, and copies before it, directly into the data, durably. Raises as `append` does."""
        with self._telling():
            self.files.check()
            self._write_past_log(batch, operations, copies)

    def _write_past_log(self, batch: Batch, operations: int, copies: Sequence[Copy]) -> None:
        while self._memtable.entries:
            self._checkpoint(_SLICE_KEYS)
        self._write(batch, operations, copies)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the log is large enough to call `move` between batches."""
        return self._memtable.is_due or self._rows.is_due

    @property
    def is_drained(self) -> bool:
        """Whether `move` has nothing left to do."""
        return not self._memtable.entries and self._rows.is_empty

    @property
    def logged_entries(self) -> int:
        """Number of keys whose newest entry is in the log."""
        return len(self._memtable.entries)

    def checkpoint(self, count_max: int) -> None:
        """Move up to this many entries from the log into the data, where nothing reads meanwhile."""
        self.move(count_max)
        self.moved()

    def move(self, count_max: int) -> None:
        """Put up to this many entries of the log into the data. Called in a thread; raises as `log` does."""
        with self._telling():
            self.files.check()
            self._move(count_max)

    def moved(self) -> None:
        """Have reads find in the data what `move` put there. Called on the loop, before `move` is called again."""
        if self._moved is not None:
            self._memtable.moved(self._moved)
            self._moved = None

    def _checkpoint(self, count_max: int) -> int:
        """As `checkpoint`, but raises LMDB's errors. Returns the slice size that succeeded."""
        count_max = self._move(count_max)
        self.moved()
        return count_max

    def _move(self, count_max: int) -> int:
        """As `move`, but raises LMDB's errors. Returns the slice size that succeeded."""
        if not self._memtable.is_in_round:
            self._memtable.begin_round(self._logged_revision)
            self._rows.begin_round()
        while True:
            rows_max = min(count_max, _OLD_ROWS) if self._memtable.entries else count_max
            try:
                with self._environment.begin(write=True) as transaction:
                    moved = self._memtable.put_slice(transaction, self._data, count_max)
                    if (revision := moved.checkpoint) is not None:
                        transaction.put(schema.CHECKPOINT_KEY, schema.encode_checkpoint(revision), db=self._meta)
                    removed = self._rows.remove_old(transaction, rows_max)
            except _REFUSED_AT_ONCE:
                raise
            except (lmdb.Error, OSError):
                if count_max == 1:
                    raise
                count_max = max(1, count_max // 8)  # which takes fewer free pages
            else:
                self.files.wrote()
                self._moved = moved
                self._rows.removed(removed)
                if revision is not None:
                    self._rows.release(revision)
                return count_max

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Convert LMDB's errors into ours."""
        try:
            yield
        except lmdb.MapFullError:
            raise MapFullError("the memory map of the data is full") from None
        except FATAL as error:
            raise DamageError(fatal_reason(error, self._refused)) from error
        except (lmdb.Error, OSError) as error:
            self._failed(error)
            raise StorageError(reason(why_not_written(self.folder, error))) from error

    def _failed(self, error: Exception) -> None:
        self.files.failed()
        self._refused = reason(error)

    def grow(self) -> None:
        """Double the memory map. Only while no thread writes. Raises StorageError."""
        try:
            with self._reading_in_thread:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
        except (lmdb.Error, OSError) as error:
            raise StorageError(reason(error)) from error

    def _write(self, batch: Batch, operations: int, copies: Sequence[Copy]) -> None:
        with self._environment.begin(write=True, db=self._data) as transaction:
            put_batch(transaction, self._meta, batch, operations, copies)
        self.files.wrote()
        self._logged_revision = batch.revision
        self._rows.begin_round()
        self._rows.release(batch.revision)

    def clear_dead_readers(self) -> None:
        """Clear killed readers of other processes (backups), which would make the file grow."""
        self._environment.reader_check()

    def close(self) -> None:
        """Release the folder. All writes are on disk already."""
        self._close()
