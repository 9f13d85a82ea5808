"""The LMDB file of an open data folder: checked, written by one transaction at a time, opened again after a failure."""

from __future__ import annotations

import contextlib
import logging
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from pynun.errors import DamageError, MapFullError, PynunError, ReopenError, StartError, StorageError
from pynun.storage import schema
from pynun.storage.environment import (
    DAMAGE,
    FATAL,
    damaged,
    fatal_reason,
    not_ours,
    open_to_write,
    reason,
    unusable,
    why_not_written,
)
from pynun.storage.integrity.page_walk import check_pages
from pynun.storage.migration import migrate
from pynun.storage.open_files import OpenFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pynun.storage.folder_lock import FolderLock

_log = logging.getLogger("nun_db")


class Notes(NamedTuple):
    """What the file says of itself."""

    revision: int
    operations: int
    checkpoint: int
    mark: schema.LogMark


class DataFile:
    """The data file of one store."""

    def __init__(self, folder: Path, lock: FolderLock, keep_old: Callable[[Path, int], Path] | None) -> None:
        """Open and check it, and convert older formats: for `keep_old` see `pynun.storage.migration.migrate`. Raises
        StartError and OSError.
        """
        self._folder = folder
        self._refused = ""  # why the last write failed
        self._is_unsettled = False  # whether the disk may have other first pages than this process sees
        self._writing = threading.Lock()  # held by a transaction that writes, or to open the file again
        self.reading_in_thread = threading.Lock()
        """Held by a thread that reads: the map must not move meanwhile (LMDB, mdb_env_set_mapsize)."""
        self.environment = open_to_write(folder)
        try:
            self.files = OpenFiles(folder, lock, self.environment.stat()["psize"])
            try:
                self._open_databases(keep_old)
                self.files.wrote()
            except BaseException:
                self.files.close()
                raise
        except BaseException:
            self.environment.close()
            raise

    def close(self) -> None:
        """Close it."""
        self.files.close()
        self.environment.close()

    def _open_databases(self, keep_old: Callable[[Path, int], Path] | None) -> None:
        environment = self.environment
        try:
            check_pages(self._folder, environment)
            self.meta = environment.open_db(schema.META_DATABASE, create=False)
            with environment.begin(db=self.meta) as transaction:
                format_value = transaction.get(schema.FORMAT_KEY)
                if transaction.get(schema.STATE_KEY) is None:
                    format_value = None
            if format_value is None:
                raise StartError(not_ours(self._folder))
            number = schema.decode_format(format_value)
            if number > schema.FORMAT:
                raise StartError(
                    f"the data in {self._folder} has format {number}, newer than this program's {schema.FORMAT}: "
                    "start the version that wrote it, or a newer one (nothing was changed)"
                )
            self.data = environment.open_db(schema.DATA_DATABASE, create=False)
            if number < schema.FORMAT:
                migrate(environment, self._folder, number, keep_old)
            self.read_notes()
        except (lmdb.NotFoundError, lmdb.IncompatibleError, struct.error, UnicodeDecodeError):
            raise StartError(not_ours(self._folder)) from None
        except DAMAGE as error:
            raise StartError(damaged(self._folder, error)) from error
        except lmdb.Error as error:
            raise StartError(unusable(self._folder, why_not_written(self._folder, error))) from error

    def read_notes(self) -> Notes:
        """Raises struct.error if they make no sense, and lmdb.Error."""
        with self.environment.begin(db=self.meta) as transaction:
            return Notes(
                *schema.decode_state(transaction.get(schema.STATE_KEY, b"")),
                schema.decode_checkpoint(transaction.get(schema.CHECKPOINT_KEY, b"")),
                schema.decode_log_mark(transaction.get(schema.LOG_KEY, b"")),
            )

    @contextlib.contextmanager
    def transaction(self, *, is_rescue: bool) -> Iterator[lmdb.Transaction]:
        """A write transaction in the data."""
        with self._writing:
            self.files.check(is_rescue=is_rescue)
            if self._is_unsettled:
                self.files.settle()
                self._is_unsettled = False
            try:
                with self.environment.begin(write=True, db=self.data) as transaction:
                    yield transaction
            except FATAL:
                raise
            except (lmdb.Error, OSError) as error:
                self.files.failed()
                self._refused = reason(error)
                raise
            self.files.wrote()

    def ours(self, error: lmdb.Error | OSError) -> PynunError:
        """The error to raise for one of LMDB or the disk."""
        if isinstance(error, lmdb.MapFullError):
            return MapFullError("the memory map of the data is full")
        if isinstance(error, lmdb.PanicError):
            return ReopenError(self._refused)
        if isinstance(error, FATAL):
            return DamageError(fatal_reason(error, self._refused))
        return StorageError(reason(why_not_written(self._folder, error)))

    def grow(self) -> None:
        """Double the memory map. Only while no thread writes. Raises StorageError."""
        try:
            with self.reading_in_thread:
                self.environment.set_mapsize(self.environment.info()["map_size"] * 2)
        except (lmdb.Error, OSError) as error:
            raise StorageError(reason(error)) from error

    def reopen(self) -> None:
        """Open the data file again if LMDB can't go on: a write of one of its first pages failed, so that LMDB does not
        know what they are. Called on the loop. Raises DamageError if the file can't be opened, or is damaged.
        """
        with self._writing, self.reading_in_thread:
            try:
                self.environment.begin().abort()
            except lmdb.PanicError:
                pass
            else:
                return
            if not self.files.is_data_in_place:
                raise DamageError(self._refused)
            self.environment.close()
            try:
                self.environment = open_to_write(self._folder)
                check_pages(self._folder, self.environment)
            except StartError as error:
                raise DamageError(f"{self._refused}; {error}") from None
            self.meta = self.environment.open_db(schema.META_DATABASE, create=False)
            self.data = self.environment.open_db(schema.DATA_DATABASE, create=False)
            self._is_unsettled = True
            self.files.wrote()
        _log.warning("the data file was opened again after a write failed (%s): it is not damaged", self._refused)
