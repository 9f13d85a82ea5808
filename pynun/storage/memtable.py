"""The write-ahead log's entries in memory, and the checkpoints that move them into the data.

LMDB copies each page that a commit changes. Scattered keys of a large database are on separate pages, so ten changes
cost twenty pages; in the log they cost three (measured: docs/performance.md). A checkpoint moves many entries at once
into the data, in key order: neighbours share pages, and a key changed a hundred times is written once. The log is in
the same LMDB file, so each commit is still all or nothing, and a reader of one commit sees matching log and data.

Entries of the log that are not in the data yet are in memory too (`entries`, bounded). Reads never use the log on disk.

A checkpoint works in rounds. A round takes the keys in the log at its start and writes their current entries into the
data, slice by slice. The commit of the last slice sets the number `checkpoint`: rows up to the start of the round are
obsolete. After a crash, all later rows are read again. Some may already be in the data, which is harmless: a row holds
a key's whole entry, not a difference.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_left
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pynun.engine.overlay import Entry
from pynun.storage import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import lmdb
    from lmdb import _Database

    from pynun.engine.overlay import Batch

    Pair = tuple[bytes, bytes]
    Logged = tuple[bytes, bytes | None]

ENTRIES_DUE: Final = 16_384
BYTES_DUE: Final = 4 * 1024 * 1024
"""With this many keys in memory, or bytes in rows, a checkpoint is due. The keys bound memory; the bytes bound the file
and the time to read the log at a start."""

ENTRIES_MAX: Final = 2 * ENTRIES_DUE
BYTES_MAX: Final = 3 * BYTES_DUE
"""From here on, the next batch waits for a checkpoint."""

NOT_LOGGED: Final = Entry(0, "")  # compared by identity: "the key is not in the log"

ENTRIES_ALL: Final = sys.maxsize - 1

_FEW: Final = 50
"""Up to this many new keys, inserting each is cheaper than sorting all."""


class Under(NamedTuple):
    """The log's entries for a range of keys."""

    entries: dict[bytes, Entry | None]
    """Sorted by LMDB key; None means removed."""
    full_keys: dict[bytes, bytes]
    """Full keys of entries whose LMDB key is shortened."""
    following: bytes | None
    """The first key not looked up in the log; None if all were."""


class Appended(NamedTuple):
    """A batch in the log."""

    record_bytes: int
    rows: int
    """Rows added."""


class Checkpointed(NamedTuple):
    """A slice of the log that was put into the data."""

    keys: list[bytes]
    checkpoint: int
    rows_removed: int


class Memtable:
    """The memtable and log of one store. The writing thread changes them; others may read meanwhile."""

    def __init__(self, database: _Database) -> None:
        self._database: Final = database
        self.entries: dict[bytes, Entry | None] = {}
        """By LMDB key, entries not in the data yet; None means removed."""
        self._full_keys: dict[bytes, bytes] = {}  # of entries whose LMDB key is shortened
        self._looking: Final = threading.Lock()  # held while the index is used
        self._index: KeyIndex | None = None
        self._bytes = 0  # of rows since the last checkpoint
        self._rows = 0  # on disk, obsolete ones too
        self._newest = 0  # revision of the last batch
        self._checkpoint = 0
        self._round: list[bytes] = []  # LMDB keys still to be put, last one first
        self._round_revision = 0
        self._round_bytes = 0

    def load(self, transaction: lmdb.Transaction, checkpoint: int) -> None:
        """Read the log. Raises lmdb.Error, struct.error, UnicodeDecodeError if it is damaged."""
        self._checkpoint = self._newest = checkpoint
        self._rows = transaction.stat(self._database)["entries"]
        for revision, record in _records(transaction, self._database, checkpoint):
            self._newest = revision
            self._take(schema.decode_changes(record).items(), len(record))

    # --- reading -----------------------------------------------------------------------------------------------

    def under(self, start: bytes, first: bytes = b"", count_max: int = ENTRIES_ALL) -> Under:
        """The entries whose LMDB keys begin with `start`, from `first` on. Call it before reading the data: entries
        moved meanwhile may be missing, and a later transaction finds them in the data.
        """
        entries: dict[bytes, Entry | None] = {}
        full_keys: dict[bytes, bytes] = {}
        following: bytes | None = first
        while following is not None and not entries and self.entries:
            with self._looking:
                keys, following = self._ordered().between(start, following, count_max)
            for stored in keys:
                entry = self.entries.get(stored, NOT_LOGGED)
                if entry is NOT_LOGGED:
                    continue
                if schema.is_long(stored):
                    key = self._full_keys.get(stored)
                    if key is None:  # put into the data since the line before
                        continue
                    full_keys[stored] = key
                entries[stored] = entry
        return Under(entries, full_keys, following if entries else None)

    def pairs(
        self, start: bytes, first: bytes = b"", count_max: int = ENTRIES_ALL
    ) -> tuple[list[Logged], bytes | None]:
        """The entries in LMDB's form, with None for removed ones, and the key after them."""
        entries, full_keys, following = self.under(start, first, count_max)
        return [
            (stored, None if entry is None else schema.encode_value(full_keys.get(stored, stored), entry))
            for stored, entry in entries.items()
        ], following

    def _ordered(self) -> KeyIndex:
        index = self._index
        if index is None:
            # Publish it to the writing thread first, then fill it: a key added meanwhile is in one or both.
            index = self._index = KeyIndex()
            index.fill(self.entries.copy())
        return index

    # --- appending ---------------------------------------------------------------------------------------------

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
        return Appended(len(record), len(rows) - self._remove_old(transaction, 2 * len(rows)))

    def appended(self, batch: Batch, appended: Appended) -> None:
        """The batch is on disk."""
        self._rows += appended.rows
        if batch.entries:
            self._newest = batch.revision
            self._take(batch.entries.items(), appended.record_bytes)

    def _take(self, changes: Iterable[tuple[bytes, Entry | None]], record_bytes: int) -> None:
        entries = self.entries
        # One by one, in order: the note of a dropped database comes last in its batch, and must not
        # become visible before the changes it refers to (`pynun.engine.tombstones`).
        for key, entry in changes:
            stored = key
            if len(key) > schema.KEY_BYTES_MAX:
                stored = schema.stored_key(key)
                self._full_keys[stored] = key  # first: readers that find the entry look here next
            is_new = stored not in entries
            entries[stored] = entry
            if is_new and (index := self._index) is not None:
                index.add(stored)
        self._bytes += record_bytes

    def _remove_old(self, transaction: lmdb.Transaction, count_max: int) -> int:
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

    # --- checkpoints -------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether the log is so large that a slice should move into the data now."""
        return bool(self._round) or len(self.entries) >= ENTRIES_DUE or self._bytes >= BYTES_DUE

    @property
    def is_full(self) -> bool:
        """Whether the log is so large that the next batch must wait."""
        return len(self.entries) >= ENTRIES_MAX or self._bytes >= BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether the data has everything and no obsolete row is left."""
        return not self.entries and not self._rows

    def checkpoint(
        self, transaction: lmdb.Transaction, meta: _Database, data: _Database, count_max: int, rows_max: int
    ) -> Checkpointed:
        """Put a slice into the data. Pass the result to `checkpointed` when the transaction is on disk."""
        if not self._round:
            self._round = sorted(self.entries, reverse=True)
            self._round_revision = self._newest
            self._round_bytes = self._bytes
        keys = self._round[: -count_max - 1 : -1]
        puts: list[Pair] = []
        for stored in keys:
            entry = self.entries[stored]
            if entry is None:
                transaction.delete(stored, db=data)
            else:
                puts.append((stored, schema.encode_value(self._full_keys.get(stored, stored), entry)))
        with transaction.cursor(data) as cursor:
            cursor.putmulti(puts)
        checkpoint = self._checkpoint
        if len(keys) == len(self._round):
            # Otherwise, after a crash, a row already put into the data could overwrite a newer entry that
            # was never in the log.
            checkpoint = self._newest if len(keys) == len(self.entries) else self._round_revision
            transaction.put(schema.CHECKPOINT_KEY, schema.encode_checkpoint(checkpoint), db=meta)
        return Checkpointed(keys, checkpoint, self._remove_old(transaction, rows_max))

    def checkpointed(self, done: Checkpointed) -> None:
        """The slice is on disk."""
        for stored in done.keys:
            del self.entries[stored]
            self._full_keys.pop(stored, None)
        del self._round[len(self._round) - len(done.keys) :]
        self._rows -= done.rows_removed
        self._checkpoint = done.checkpoint
        if not self._round:
            self._bytes = self._bytes - self._round_bytes if self.entries else 0
            self._index = None  # most of its keys are obsolete


class KeyIndex:
    """A sorted index of the keys, for range lookups.

    It is made at the first lookup and dropped from time to time, so changes cost next to nothing without lookups. It
    may hold keys that the memtable has lost, and holds all present ones. The writing thread calls `add`; one other
    thread at a time calls the rest.
    """

    def __init__(self) -> None:
        self._ordered: list[bytes] = []
        self._added: list[bytes] = []  # unsorted; the writing thread only appends
        self.add: Final = self._added.append
        """Add a key, which may exist already."""

    def fill(self, keys: Iterable[bytes]) -> None:
        """Add the keys from before the first `add`, each once."""
        self._ordered = sorted(keys)

    def between(self, start: bytes, first: bytes, count_max: int) -> tuple[list[bytes], bytes | None]:
        """The sorted keys that begin with `start`, from `first` on, and the one after them if there are more."""
        self._put_in_order()
        ordered = self._ordered
        low = bisect_left(ordered, max(start, first))
        found = ordered[low : low + count_max + 1]
        # Those that begin with `start` come first.
        end = bisect_left(found, True, key=lambda key: not key.startswith(start))
        if end > count_max:
            return found[:count_max], found[count_max]
        return found[:end], None

    def _put_in_order(self) -> None:
        # Copy, then remove as many: the writing thread may append at any moment.
        added = self._added[:]
        if not added:
            return
        del self._added[: len(added)]
        ordered = self._ordered
        if len(added) <= _FEW:
            for key in added:
                at = bisect_left(ordered, key)
                if at == len(ordered) or ordered[at] != key:
                    ordered.insert(at, key)
        else:
            end = len(ordered)
            for key in set(added):
                at = bisect_left(ordered, key, 0, end)
                if at == end or ordered[at] != key:
                    ordered.append(key)
            ordered.sort()


def read_log(environment: lmdb.Environment, transaction: lmdb.Transaction, meta: _Database) -> list[Logged]:
    """The log's newer entries of a data file, in LMDB's form, sorted.

    Raises lmdb.Error, struct.error, UnicodeDecodeError if the file is damaged.
    """
    checkpoint = cast("bytes | None", transaction.get(schema.CHECKPOINT_KEY, db=meta))
    if checkpoint is None:  # format 1
        return []
    log = Memtable(environment.open_db(schema.LOG_DATABASE, txn=transaction, create=False))
    log.load(transaction, schema.decode_checkpoint(checkpoint))
    return log.pairs(b"")[0]


def merged(pairs: Iterable[Pair], logged: Sequence[Logged]) -> Iterator[Pair]:
    """Sorted pairs of the data merged with the log's, which win."""
    at, end = 0, len(logged)
    for pair in pairs:
        stored = pair[0]
        while at < end and logged[at][0] < stored:
            if (value := logged[at][1]) is not None:
                yield logged[at][0], value
            at += 1
        if at < end and logged[at][0] == stored:
            continue  # yielded in the next turn
        yield pair
    for stored, value in logged[at:]:
        if value is not None:
            yield stored, value


def _records(transaction: lmdb.Transaction, database: _Database, after: int) -> Iterator[tuple[int, bytes]]:
    """The log's entries of the batches after a revision."""
    with transaction.cursor(database) as cursor:
        if cursor.set_range(schema.log_key(after + 1)):
            rows = cast("Iterator[Pair]", cursor.iternext())
            for revision, group in groupby(rows, key=lambda row: schema.log_revision(row[0])):
                yield revision, b"".join(value for _, value in group)
