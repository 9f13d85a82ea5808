"""The data folder as a store: read entries, and write batches into the log or the data.

The loop's thread reads. Each read has its own transaction, which ends before anything else runs, so none pins old
pages. One thread calls `move` and `write`; that thread or the loop calls `log`, one batch at a time. Reads see a batch
or a move after `logged` or `moved` was called on the loop. While `log` runs, its thread owns the log's files and the
memtable; at all other times the loop owns them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Final, cast

import lmdb

from pynun.engine.key_layout import ID_BYTES
from pynun.errors import DamageError, StartError, StorageError, TakenAwayError
from pynun.storage import environment, schema
from pynun.storage.data_file import DataFile
from pynun.storage.data_write import put_batch
from pynun.storage.environment import FATAL, NO_ROOM, damaged, reason, unusable, what_to_do
from pynun.storage.first_store import make_store
from pynun.storage.folder_lock import FolderLock
from pynun.storage.memtable import NOT_LOGGED, Memtable, merged
from pynun.storage.range_scan import Slice, entries_under, scan_both, size_of, totals_of
from pynun.storage.wal.disk import Disk
from pynun.storage.wal.recovery import LogError
from pynun.storage.wal.write_ahead_log import WriteAheadLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pynun.engine.overlay import Batch, Entry, LongName
    from pynun.storage.data_write import Copy
    from pynun.storage.memtable import Moved, Pair
    from pynun.storage.range_scan import AnyPair

_LOGGED_BYTES_MAX: Final = 1 << 20
"""A larger batch goes directly into the data: writing it twice would cost more than it saves."""

_SLICE_KEYS: Final = 1024
"""Keys that a checkpoint moves in one commit while nobody waits for the next."""

_AT_ONCE_BYTES_MAX: Final = 64 * 1024
"""A larger batch takes longer to write than a thread costs."""

_SHORT_SECONDS: Final = 10.0
"""How long a batch may wait for room in the log on a nearly full disk, where a checkpoint moves few keys at a time."""

_UTF_8_MAX: Final = 4
"""Bytes of a character."""

_REFUSED_AT_ONCE: Final = (lmdb.MapFullError, *FATAL)
"""What no smaller commit would get by."""

_log = logging.getLogger("nun_db")


class LmdbStore:
    """An open data folder. Only one process at a time can have it open."""

    def __init__(
        self,
        folder: Path,
        on_damage: Callable[[DamageError], None] = lambda _: None,
        keep_old: Callable[[Path, int], Path] | None = None,
    ) -> None:
        """Open or make the folder. `on_damage` is called by a read that finds the file damaged, in its thread, before
        the read raises the error; `keep_old` before data of an older format is converted (`migrate`). Raises StartError
        with cause and remedy.
        """
        self.folder = folder
        self._on_damage = on_damage
        self._open(keep_old)

    def _open(self, keep_old: Callable[[Path, int], Path] | None = None) -> None:
        folder = self.folder
        self._memtable = Memtable()
        self._appended: tuple[int, int] | None = None  # by `log`, for `logged`: revision and operations
        self._moved: Moved | None = None  # by `move`, for `moved`
        with contextlib.ExitStack() as stack:
            lock = FolderLock(folder)
            stack.callback(lock.close)
            environment.end_killed_restore(folder)
            try:
                if not os.path.lexists(folder / schema.DATA_FILE):
                    make_store(folder, lock)
                self._file = DataFile(folder, lock, keep_old)
                stack.callback(self._file.close)
                self.files = self._file.files
                self._open_log(lock.folder)
                stack.callback(self._log.close)
                self._log.start()
            except OSError as error:
                raise StartError(unusable(folder, error)) from None
            self._close = stack.pop_all().close

    def _open_log(self, folder: int) -> None:
        revision, operations, self._released, self._mark = self._file.read_notes()
        environment.end_killed_restore_of_lost_data(self.folder, self._mark.log_id)
        try:
            self._log = WriteAheadLog(Disk(folder), self._mark.log_id, self._released, is_in_use=self._mark.is_in_use)
            for record in self._log.recovered:
                self._memtable.take(schema.decode_changes(record.changes).items())
                revision, operations = record.revision, record.operations
            self._log.recovered.clear()  # may be many MiB
        except LogError as error:
            remedy = what_to_do(error, is_in_use=self._mark.is_in_use)
            raise StartError(f"the data in {self.folder} can't be used: {remedy}") from None
        except (struct.error, UnicodeDecodeError) as error:
            raise StartError(damaged(self.folder, error)) from error
        self._logged = revision, operations

    @property
    def revision(self) -> int:
        """The newest batch that reads find."""
        return self._logged[0]

    @property
    def operations(self) -> int:
        """Changes as clients count them, up to that batch."""
        return self._logged[1]

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Entry | None:
        """The entry of four bytes and text."""
        stored = key if len(key) <= schema.KEY_BYTES_MAX else schema.stored_key(key)
        entry = self._memtable.entries.get(stored, NOT_LOGGED)
        if entry is not NOT_LOGGED:
            return entry
        try:
            with self._file.environment.begin(db=self._file.data) as transaction:
                value = transaction.get(stored)
        except FATAL as error:
            self._go_on(error)
            return self.get(key)
        return None if value is None else schema.decode_value(key, value)

    def scan(
        self, start: bytes, position: bytes, count_max: int, long_names: list[LongName] | None = None
    ) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the keys that begin with `start`: see `pynun.engine.overlay.Store.scan`."""
        try:
            return scan_both(
                self._file.environment, self._file.data, self._memtable, start, position, count_max, long_names
            )
        except FATAL as error:
            self._go_on(error)
            return self.scan(start, position, count_max, long_names)

    def read_long(self, name: LongName, first: int, size: int) -> bytes | None:
        """A part of a long name: see `pynun.engine.overlay.Store.read_long`."""
        if self._memtable.entries.get(name.stored, NOT_LOGGED) is None:
            return None
        try:
            with self._file.environment.begin(db=self._file.data, buffers=True) as transaction:
                value = transaction.get(name.stored)
                return None if value is None else schema.long_key(value, ID_BYTES + first, size)
        except FATAL as error:
            self._go_on(error)
            return self.read_long(name, first, size)

    def _go_on(self, error: lmdb.Error) -> None:
        """Open the file again if that is all a read needs. Otherwise the file is unreliable: tell the owner of the
        store, which must stop, and raise DamageError.
        """
        try:
            if not isinstance(error, lmdb.PanicError):
                raise self._file.ours(error) from error
            self.reopen()
        except DamageError as damage:
            self._on_damage(damage)
            raise

    def measure(self, position: bytes, count_max: int) -> Slice:
        """A slice of all that is stored, from `position` on (first b""), by databases. May be called in a thread.

        Raises StorageError.
        """
        try:
            with self._file.reading_in_thread, self._pairs(b"", position, count_max) as (pairs, behind):
                return totals_of(pairs, behind, count_max)
        except lmdb.Error as error:
            raise StorageError(reason(error)) from error

    @property
    def entries(self) -> int:
        """Number of keys in the data, the server's own included; new ones arrive with a checkpoint."""
        try:
            with self._file.environment.begin() as transaction:
                return int(transaction.stat(self._file.data)["entries"])
        except FATAL as error:
            self._go_on(error)
            return self.entries

    @property
    def used_bytes(self) -> int:
        """Size of the data file's used part; pages that are free again count too."""
        return int((self._file.environment.info()["last_pgno"] + 1) * self._file.environment.stat()["psize"])

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How large a slice of the entries under `prefix` is: see `pynun.engine.overlay.Store.measure_database`."""
        try:
            with self._pairs(prefix, position or prefix, count_max) as (pairs, behind):
                return size_of(pairs, behind, count_max)
        except FATAL as error:
            self._go_on(error)
            return self.measure_database(prefix, position, count_max)

    @contextlib.contextmanager
    def _pairs(self, prefix: bytes, first: bytes, count_max: int) -> Iterator[tuple[Iterator[AnyPair], bytes | None]]:
        """LMDB's keys and values that begin with `prefix`, from `first` on, valid in the context.

        Also returns where they end if there are more: then they include up to `count_max` keys of the log.
        """
        logged, behind = self._memtable.pairs(prefix, first, count_max)
        # Never copy values: a slice is bounded in keys only, and each value may be as long as a message.
        with (
            self._file.environment.begin(db=self._file.data, buffers=True) as transaction,
            transaction.cursor() as cursor,
        ):
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
        with self._file.environment.begin(db=self._file.data) as transaction:
            yield from entries_under(transaction, prefix, logged)

    # --- writing -----------------------------------------------------------------------------------------------

    def append(self, batch: Batch, operations: int) -> None:
        """Write a batch to the log; it is on disk and can be read when this returns. Raises as `log` does."""
        self.log(batch, operations)
        self.logged(batch)

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Write a batch to the log; it is on disk when this returns, and read after `logged`. Called in a thread, or on
        the loop if `can_log_at_once`.

        With `is_rescue`, write it into the open data file even if files were removed: it can still be saved. Raises
        StorageError if nothing was written; retry (after `grow` for a MapFullError, `reopen` for a ReopenError; never
        for a TakenAwayError). Raises DamageError if the data file is unreliable.
        """
        self._appended = None
        try:
            if is_rescue or batch.bytes_estimated > _LOGGED_BYTES_MAX:
                self._write_past_log(batch, operations, (), is_rescue=is_rescue)
                return
            changes = schema.encode_changes(batch.entries)
            if len(changes) > _LOGGED_BYTES_MAX:
                self._write_past_log(batch, operations, ())
                return
            self.files.check_beside()
            if not self._mark.is_in_use:
                self._put_mark(is_in_use=True)
            if self._memtable.is_full or not self._log.has_room(len(changes)):
                self._make_room(len(changes))
            if (name := self._log.removed_name) is not None:
                raise TakenAwayError(f"{name} was removed from the data folder")
            self._log.append(batch.revision, operations, time.time_ns(), changes)
            self._log.sync()
        except (lmdb.Error, OSError) as error:
            raise self._file.ours(error) from error
        self._appended = batch.revision, operations

    def can_log_at_once(self, batch: Batch) -> bool:
        """Whether `log` has nothing to do for this batch but one small write and a sync."""
        size = batch.bytes_estimated
        return (
            size <= _AT_ONCE_BYTES_MAX
            and self._mark.is_in_use
            and not self._memtable.is_full
            and self._log.has_room(_UTF_8_MAX * size)
        )

    def logged(self, batch: Batch) -> None:
        """Have reads find what `log` wrote. Called on the loop, before another batch is logged."""
        if self._appended is not None:
            self._memtable.take(batch.entries.items())
            self._logged = self._appended
            self._appended = None

    def _make_room(self, changes_bytes: int) -> None:
        """Have room for a record, and for its entries in memory."""
        deadline = time.monotonic() + _SHORT_SECONDS
        count = _SLICE_KEYS
        while self._memtable.is_full or not self._log.make_room(changes_bytes):
            if self.is_drained or (count < _SLICE_KEYS and time.monotonic() > deadline):
                raise StorageError(NO_ROOM)  # for this batch; later ones find a smaller log
            count = min(2 * self._checkpoint(count), _SLICE_KEYS)

    def write(self, batch: Batch, operations: int, copies: Sequence[Copy] = ()) -> None:
        """Write a batch, and copies before it, directly into the data, durably. Raises as `log` does."""
        try:
            self._write_past_log(batch, operations, copies)
        except (lmdb.Error, OSError) as error:
            raise self._file.ours(error) from error

    def _write_past_log(
        self, batch: Batch, operations: int, copies: Sequence[Copy], *, is_rescue: bool = False
    ) -> None:
        while self._memtable.entries:
            self._checkpoint(_SLICE_KEYS, is_rescue=is_rescue)
        with self._file.transaction(is_rescue=is_rescue) as transaction:
            put_batch(transaction, self._file.meta, batch, operations, copies)
        self._logged = batch.revision, operations
        self._release(batch.revision)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the log is large enough to call `move` between batches."""
        return self._memtable.is_due or self._log.is_release_due

    @property
    def is_drained(self) -> bool:
        """Whether `move` has nothing left to do: the data has everything."""
        return self._released == self._logged[0]

    @property
    def logged_entries(self) -> int:
        """Number of keys whose newest entry is in the log."""
        return len(self._memtable.entries)

    @property
    def log_files(self) -> int:
        """Number of log files that are needed."""
        return self._log.used_files

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Put up to this many entries of the log into the data, with `is_rescue` even if files were removed.

        Called in a thread; batches may be logged meanwhile. Raises as `log` does.
        """
        try:
            self._move(count_max, is_rescue=is_rescue)
        except (lmdb.Error, OSError) as error:
            raise self._file.ours(error) from error

    def moved(self) -> None:
        """Have reads find in the data what `move` put there. Called on the loop, before `move` is called again."""
        if self._moved is not None:
            self._memtable.moved(self._moved)
            if self._moved.checkpoint is not None:
                self._release(self._moved.checkpoint)
            self._moved = None

    def _release(self, checkpoint: int) -> None:
        self._released = checkpoint
        self._log.release(checkpoint)

    def _checkpoint(self, count_max: int, *, is_rescue: bool = False) -> int:
        """Move a slice where nothing reads meanwhile. Raises LMDB's errors. Returns the slice size that succeeded."""
        count_max = self._move(count_max, is_rescue=is_rescue)
        self.moved()
        return count_max

    def _move(self, count_max: int, *, is_rescue: bool) -> int:
        """As `move`, but raises LMDB's errors. Returns the slice size that succeeded."""
        if not self._memtable.is_in_round:
            self._round = self._logged  # before the entries: those of later batches may be among them
            self._memtable.begin_round(self._round[0])
        while True:
            try:
                with self._file.transaction(is_rescue=is_rescue) as transaction:
                    moved = self._memtable.put_slice(transaction, self._file.data, count_max)
                    if moved.checkpoint is not None:
                        transaction.put(schema.STATE_KEY, schema.encode_state(*self._round), db=self._file.meta)
                        checkpoint = schema.encode_checkpoint(moved.checkpoint)
                        transaction.put(schema.CHECKPOINT_KEY, checkpoint, db=self._file.meta)
            except _REFUSED_AT_ONCE:
                raise
            except (lmdb.Error, OSError):
                if count_max == 1:
                    raise
                count_max = max(1, count_max // 8)  # which takes fewer free pages
            else:
                self._moved = moved
                return count_max

    def retire_log(self) -> None:
        """If the data has everything, note there that the log's files are not needed. Called in a thread, last."""
        if self.is_drained and self._mark.is_in_use:
            try:
                self._put_mark(is_in_use=False)
            except (lmdb.Error, OSError) as error:
                raise self._file.ours(error) from error

    def _put_mark(self, *, is_in_use: bool) -> None:
        mark = self._mark._replace(is_in_use=is_in_use)
        with self._file.transaction(is_rescue=not is_in_use) as transaction:
            transaction.put(schema.LOG_KEY, schema.encode_log_mark(mark), db=self._file.meta)
        self._mark = mark

    def grow(self) -> None:
        """Double the memory map. Only while no thread writes. Raises StorageError."""
        self._file.grow()

    def reopen(self) -> None:
        """Open the data file again if LMDB can't go on. Called on the loop. Raises DamageError."""
        self._file.reopen()

    def why_elsewhere(self) -> str | None:
        """Which file was taken away, in words without a path. May be called in a thread. Raises DamageError."""
        why = self.files.look()
        if why is None:
            with contextlib.suppress(OSError):
                why = self._log.why_elsewhere()
        return why

    def how_to_rescue(self, why: str) -> str:
        """What an administrator can do after a file was taken away."""
        return self.files.how_to_rescue(why)

    def clear_dead_readers(self) -> None:
        """Clear killed readers of other processes (backups), which would make the file grow."""
        self._file.environment.reader_check()

    def replace(self, put: Callable[[], None]) -> None:
        """Have `put` put other data into the folder, which is closed and unlocked meanwhile. Only while nothing else
        uses the store. Raises what `put` raises, with the folder open again, and StartError.
        """
        self._close()
        try:
            put()
        finally:
            self._open()

    def close(self) -> None:
        """Release the folder. All writes are on disk already."""
        self._close()
