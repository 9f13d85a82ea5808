"""Read one state of a data folder, of any format, beside a running server or without one. Changes nothing.

What is stored is in two places: LMDB, and the records of the write-ahead log that are not in LMDB yet. The log's files
are locked first, then the LMDB transaction begins, then the records are read: so none is missing.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pynun.errors import PynunError, StorageError
from pynun.storage import schema
from pynun.storage.environment import reason, what_to_do
from pynun.storage.format_2 import FORMAT as FORMAT_2
from pynun.storage.format_2 import read_rows
from pynun.storage.wal.reader import LogReader
from pynun.storage.wal.recovery import LogError
from pynun.storage.wal.segment import GLOB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import lmdb

    from pynun.engine.overlay import Entry

_TRIES: Final = 10
"""A server may reuse a file of the log before it is locked."""


class ViewError(PynunError):
    """A folder's data can't be read as it is: the text says why, and what to do."""


class View(NamedTuple):
    """One state of a data folder."""

    format: int
    transaction: lmdb.Transaction
    """Its default database is that of the data."""
    changes: dict[bytes, Entry | None]
    """What the log has and the data may lack, by full key; None means removed."""
    revision: int
    operations: int


@contextlib.contextmanager
def view(environment: lmdb.Environment, folder: Path) -> Iterator[View]:
    """The newest state.

    Raises ViewError, StorageError if the log can't be read, and lmdb.Error, struct.error or UnicodeDecodeError if the
    data is damaged.
    """
    data = environment.open_db(schema.DATA_DATABASE, create=False)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for tries_left in reversed(range(_TRIES)):
            with contextlib.ExitStack() as stack:
                try:
                    # The log's files are needed until they are read; the transaction, as long as the view.
                    with LogReader(descriptor) as log:
                        found = _read(environment, stack.enter_context(environment.begin(db=data)), log)
                except LogError as error:
                    if tries_left:
                        continue
                    raise ViewError(what_to_do(error, is_in_use=_is_log_in_use(environment))) from None
                except OSError as error:
                    raise StorageError(f"{GLOB}: {reason(error)}") from None
                yield found
                return
    finally:
        os.close(descriptor)


def _is_log_in_use(environment: lmdb.Environment) -> bool:
    meta = environment.open_db(schema.META_DATABASE, create=False)
    with environment.begin(db=meta) as transaction:
        if schema.decode_format(transaction.get(schema.FORMAT_KEY, b"")) <= FORMAT_2:
            return False
        return schema.decode_log_mark(transaction.get(schema.LOG_KEY, b"")).is_in_use


def _read(environment: lmdb.Environment, transaction: lmdb.Transaction, log: LogReader) -> View:
    meta = environment.open_db(schema.META_DATABASE, txn=transaction, create=False)

    def value(key: bytes) -> bytes:
        return cast("bytes", transaction.get(key, b"", db=meta))

    number = schema.decode_format(value(schema.FORMAT_KEY))
    if number > schema.FORMAT:
        raise ViewError(
            f"it has format {number}, newer than this program's {schema.FORMAT}: use the version that wrote it, or a"
            " newer one"
        )
    revision, operations = schema.decode_state(value(schema.STATE_KEY))
    changes: dict[bytes, Entry | None] = {}
    if number <= FORMAT_2:
        for batch in read_rows(environment, transaction, meta):
            changes.update(batch)
    else:
        mark = schema.decode_log_mark(value(schema.LOG_KEY))
        checkpoint = schema.decode_checkpoint(value(schema.CHECKPOINT_KEY))
        for record in log.read(mark.log_id, checkpoint, is_in_use=mark.is_in_use):
            changes.update(schema.decode_changes(record.changes))
            revision, operations = record.revision, record.operations
    return View(number, transaction, changes, revision, operations)
