"""The log of format 2, in rows of an LMDB database.

LMDB copies each page that a commit changes. Scattered keys of a
large database are on separate pages, so ten changes cost twenty pages; in the log they cost three (measured:
docs/performance.md). It is in the same file as the data, so each commit is still all or nothing, and a reader of one
commit sees matching log and data.

Rows up to the number `checkpoint` are obsolete: the data has them. After a crash,
all later rows are read again. Some may already be in the data, which is harmless: a row holds a key's whole entry, not
a difference.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pynun.storage import schema
from pynun.storage.memtable import Memtable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lmdb
    from lmdb import _Database

    from pynun.engine.overlay import Batch
    from pynun.storage.memtable import Logged, Pair

BYTES_DUE: Final = 4 * 1024 * 1024
"""With this many bytes in rows, a checkpoint is due: they bound the file and the time to read the log at a start."""

BYTES_MAX: Final = 3 * BYTES_DUE
"""From here on, the next batch waits for a checkpoint."""


class Appended(NamedTuple):
    """A batch in the log."""

    record_bytes: int
    rows: int
    """Rows added."""


class LogRows:
    """The rows of one store. Only the thread that writes uses it."""

    def __init__(self, database: _Database) -> None:
        self._database: Final = database
        self._bytes = 0  # since the last checkpoint
        self._round_bytes = 0  # of them, those before the round began
        self._rows = 0  # on disk, obsolete ones too
        self._checkpoint = 0

    def load(self, transaction: lmdb.Transaction, checkpoint: int) -> Iterator[tuple[int, bytes]]:
        """The records after a checkpoint, with their revisions. Raises lmdb.Error and struct.error if the log is
        damaged."""
        self._checkpoint = checkpoint
        self._rows = transaction.stat(self._database)["entries"]
        with transaction.cursor(self._database) as cursor:
            if cursor.set_range(schema.log_key(checkpoint + 1)):
                rows = cast("Iterator[Pair]", cursor.iternext())
                for revision, group in groupby(rows, key=lambda row: schema.log_revision(row[0])):
                    record = b"".join(value for _, value in group)
                    self._bytes += len(record)
                    yield revision, record

    def append(self, transaction: lmdb.Transaction, batch: Batch) -> Appended:
        """Put a batch into the log. Pass the result to `appended` when the transaction is on disk."""
        record = schema.encode_changes(batch.entries)
        size = schema.LOG_ROW_BYTES
        rows = [
            (schema.log_key(batch.revision, row), record[at : at + size])
            for row, at in enumerate(range(0, len(record), size))
        ]
        with transaction.cursor(self._database) as cursor:
            cursor.putmulti(rows, append=True)
        return Appended(len(record), len(rows) - self.remove_old(transaction, 2 * len(rows)))

    def appended(self, appended: Appended) -> None:
        """The batch is on disk."""
        self._rows += appended.rows
        self._bytes += appended.record_bytes

    def remove_old(self, transaction: lmdb.Transaction, count_max: int) -> int:
        """Remove obsolete rows, few at a time: LMDB must record in the next commit what this one frees."""
        count = 0
        with transaction.cursor(self._database) as cursor:
            cursor.first()
            # After the last row the key is empty.
            while count < count_max and (key := cast("bytes", cursor.key())):
                if schema.log_revision(key) > self._checkpoint:
                    break
                cursor.delete()
                count += 1
        return count

    def removed(self, count: int) -> None:
        """The removal of so many obsolete rows is on disk."""
        self._rows -= count

    @property
    def is_due(self) -> bool:
        """Whether the rows should become obsolete by a checkpoint now."""
        return self._bytes >= BYTES_DUE

    @property
    def is_full(self) -> bool:
        """Whether the next batch must wait."""
        return self._bytes >= BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether no row is left."""
        return not self._rows

    def begin_round(self) -> None:
        """A round of moving entries into the data begins."""
        self._round_bytes = self._bytes

    def release(self, checkpoint: int) -> None:
        """The data has everything up to this revision."""
        self._checkpoint = checkpoint
        self._bytes -= self._round_bytes
        self._round_bytes = 0


def read_log(environment: lmdb.Environment, transaction: lmdb.Transaction, meta: _Database) -> list[Logged]:
    """The log's newer entries of a data file, in LMDB's form, sorted.

    Raises lmdb.Error, struct.error, UnicodeDecodeError if the file is damaged.
    """
    checkpoint = cast("bytes | None", transaction.get(schema.CHECKPOINT_KEY, db=meta))
    if checkpoint is None:  # format 1
        return []
    memtable = Memtable()
    rows = LogRows(environment.open_db(schema.LOG_DATABASE, txn=transaction, create=False))
    for _, record in rows.load(transaction, schema.decode_checkpoint(checkpoint)):
        memtable.take(schema.decode_changes(record).items())
    return memtable.pairs(b"")[0]
