"""Write into the data file without the log: a batch, and the id of a new log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pynun.storage import schema
from pynun.storage.range_scan import entries_under

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb
    from lmdb import _Database

    from pynun.engine.overlay import Batch


class Copy(NamedTuple):
    """All entries under one prefix, to be put under another."""

    source: bytes
    target: bytes
    is_over: bool
    """Whether they replace existing entries."""


def put_batch(
    transaction: lmdb.Transaction, meta: _Database, batch: Batch, operations: int, copies: Sequence[Copy]
) -> None:
    """Put copies, and a batch over them, into the transaction's database. The log must hold nothing any more."""
    puts: list[tuple[bytes, bytes]] = []
    removals: list[bytes] = []
    for key, entry in sorted(batch.entries.items()):
        if entry is None:
            removals.append(schema.stored_key(key))
        else:
            puts.append((schema.stored_key(key), schema.encode_value(key, entry)))
    for copy in copies:
        for key, entry in entries_under(transaction, copy.source):
            target = copy.target + key
            stored = schema.stored_key(target)
            transaction.put(stored, schema.encode_value(target, entry), overwrite=copy.is_over)
    with transaction.cursor() as cursor:
        cursor.putmulti(puts)
    for key in removals:
        transaction.delete(key)
    transaction.put(schema.STATE_KEY, schema.encode_state(batch.revision, operations), db=meta)
    # Otherwise older records of the log would be put over it after a crash.
    transaction.put(schema.CHECKPOINT_KEY, schema.encode_checkpoint(batch.revision), db=meta)


def put_new_log_id(transaction: lmdb.Transaction, meta: _Database) -> None:
    """Give the data the id of a log without records: files of another log are not taken for its own."""
    mark = schema.LogMark(os.urandom(schema.LOG_ID_BYTES), is_in_use=False)
    transaction.put(schema.LOG_KEY, schema.encode_log_mark(mark), db=meta)
