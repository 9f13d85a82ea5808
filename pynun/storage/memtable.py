"""What is on disk in the write-ahead log and not in the data yet, in memory; and how it gets into the data.

LMDB copies each page that a commit changes. Keys spread over a large database have pages of their own, so ten changes
cost twenty pages; in the log they cost three (measured: docs/performance.md). A checkpoint moves entries from the log
into the data, many at once and in the order of the keys: so neighbours share their pages, and a key that changed a
hundred times is put once. The log is in the same LMDB file, so each commit still is all or nothing, and a reader
of one commit sees log and data as they belong together.

What the log holds beyond the data is in memory too (`entries`, bounded): reading never looks into the log on disk.

A checkpoint has rounds. A round begins with the keys that the log holds then, and puts them into the data, slice by
slice, as they are when their turn comes. When it is through, rows up to its beginning say nothing new: the number
`checkpoint` says so, in the commit of the last slice. After a crash all rows beyond that number are read again; it does
no harm that some of them are in the data already, for a row says what a key is, not how it changes.
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
"""With so many keys in memory, or so many bytes in rows, a checkpoint is due: the former bound memory, the latter the
file and the time that a start takes to read the log."""

ENTRIES_MAX: Final = 2 * ENTRIES_DUE
BYTES_MAX: Final = 3 * BYTES_DUE
"""With so much, the next batch waits for one."""

NOT_LOGGED: Final = Entry(0, "")  # compared by identity: "the log says nothing of the key"

ENTRIES_ALL: Final = sys.maxsize - 1

_FEW: Final = 50
"""So many new keys cost less when each is put into its place than when all are sorted."""


class Under(NamedTuple):
    """What the log says of a part of the keys."""

    entries: dict[bytes, Entry | None]
    """By LMDB key, in order; None means removed."""
    full_keys: dict[bytes, bytes]
    """Of those whose LMDB key is not the whole key."""
    following: bytes | None
    """From this key on the log was not asked; None: it says nothing more."""


class Appended(NamedTuple):
    """A batch in the log."""

    record_bytes: int
    rows: int
    """How many more rows there are now."""


class Checkpointed(NamedTuple):
    """A slice of the log in the data."""

    keys: list[bytes]
    checkpoint: int
    rows_removed: int


class Memtable:
    """That of one store, and its log. Changed by the one thread that writes; read by others meanwhile."""

    def __init__(self, database: _Database) -> None:
        self._database: Final = database
        self.entries: dict[bytes, Entry | None] = {}
        """By LMDB key, what the data does not have yet; None means removed."""
        self._full_keys: dict[bytes, bytes] = {}  # of those whose LMDB key is not the whole key
        self._looking: Final = threading.Lock()  # held by whoever uses the index
        self._index: KeyIndex | None = None
        self._bytes = 0  # of rows since the last checkpoint
        self._rows = 0  # on disk, those that say nothing any more too
        self._newest = 0  # revision of the last batch
        self._checkpoint = 0
        self._round: list[bytes] = []  # LMDB keys still to be put, last one first
        self._round_revision = 0
        self._round_bytes = 0

    def load(self, transaction: lmdb.Transaction, checkpoint: int) -> None:
        """Read what the data does not have yet. Raises lmdb.Error, struct.error, UnicodeDecodeError: it is damaged."""
        self._checkpoint = self._newest = checkpoint
        self._rows = transaction.stat(self._database)["entries"]
        for revision, record in _records(transaction, self._database, checkpoint):
            self._newest = revision
            self._take(schema.decode_changes(record).items(), len(record))

    # --- reading -----------------------------------------------------------------------------------------------

    def under(self, start: bytes, first: bytes = b"", count_max: int = ENTRIES_ALL) -> Under:
        """The entries whose LMDB keys begin with `start`, from `first` on: to be asked before the data is.

        What is put into the data meanwhile may be missing: whoever then begins a transaction finds it there.
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
        """The same as LMDB would hold them, None instead of a value for what was removed; and what is behind them."""
        entries, full_keys, following = self.under(start, first, count_max)
        return [
            (stored, None if entry is None else schema.encode_value(full_keys.get(stored, stored), entry))
            for stored, entry in entries.items()
        ], following

    def _ordered(self) -> KeyIndex:
        index = self._index
        if index is None:
            # First to be seen by the thread that writes, then filled: a key that comes meanwhile is in one or in both.
            index = self._index = KeyIndex()
            index.fill(self.entries.copy())
        return index

    # --- appending ---------------------------------------------------------------------------------------------

    def append(self, transaction: lmdb.Transaction, batch: Batch) -> Appended:
        """Put a batch into the log; what it returns is for `appended`, when the transaction is on disk."""
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
        # One by one, in the order in which they came: the note that a database was dropped comes last in its batch, and
        # must not be seen before what it speaks of (`pynun.engine.tombstones`).
        for key, entry in changes:
            stored = key
            if len(key) > schema.KEY_BYTES_MAX:
                stored = schema.stored_key(key)
                self._full_keys[stored] = key  # first: whoever finds the entry looks here next
            is_new = stored not in entries
            entries[stored] = entry
            if is_new and (index := self._index) is not None:
                index.add(stored)
        self._bytes += record_bytes

    def _remove_old(self, transaction: lmdb.Transaction, count_max: int) -> int:
        """Remove rows that say nothing any more, few at a time: what a commit frees, LMDB has to note in the next."""
        count = 0
        with transaction.cursor(self._database) as cursor:
            cursor.first()
            # The key is empty behind the last one.
            while count < count_max and (key := cast("bytes", cursor.key())):
                if schema.log_revision(key) > self._checkpoint:
                    break
                cursor.delete()
                count += 1
        return count

    # --- checkpoints -------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether there is so much in the log that a part of it should be put into the data now."""
        return bool(self._round) or len(self.entries) >= ENTRIES_DUE or self._bytes >= BYTES_DUE

    @property
    def is_full(self) -> bool:
        """Whether there is so much in the log that the next batch has to wait."""
        return len(self.entries) >= ENTRIES_MAX or self._bytes >= BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether the data has everything, and nothing is left to be removed."""
        return not self.entries and not self._rows

    def checkpoint(
        self, transaction: lmdb.Transaction, meta: _Database, data: _Database, count_max: int, rows_max: int
    ) -> Checkpointed:
        """Put a slice into the data; what it returns is for `checkpointed`, when the transaction is on disk."""
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
            # Without this, a row whose entry was put by this round already could be read again over a newer entry that
            # never was in the log.
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
            self._index = None  # most of its keys are gone


class KeyIndex:
    """The keys in order, so that a part of them is found without looking at all of them.

    Made when somebody first asks, and dropped now and then: so it costs changes next to nothing while nobody asks. It
    may hold keys that the memtable has no more, and holds all that it had when the index was made and all that were
    added since. `add` is called by the one thread that writes, the rest by one other at a time.
    """

    def __init__(self) -> None:
        self._ordered: list[bytes] = []
        self._added: list[bytes] = []  # not in order yet; the thread that writes only ever appends
        self.add: Final = self._added.append
        """Take a key, which may be there already."""

    def fill(self, keys: Iterable[bytes]) -> None:
        """Take the keys that were there before anybody called `add`; each once."""
        self._ordered = sorted(keys)

    def between(self, start: bytes, first: bytes, count_max: int) -> tuple[list[bytes], bytes | None]:
        """The keys that begin with `start`, from `first` on, in order, and the one behind them if there are more."""
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
        # A copy, and then as many are removed: the thread that writes may append at any moment.
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
    """What the log of a data file says beyond its data, as LMDB would hold it, in order.

    Raises lmdb.Error, struct.error, UnicodeDecodeError: the file is damaged.
    """
    checkpoint = cast("bytes | None", transaction.get(schema.CHECKPOINT_KEY, db=meta))
    if checkpoint is None:  # format 1
        return []
    log = Memtable(environment.open_db(schema.LOG_DATABASE, txn=transaction, create=False))
    log.load(transaction, schema.decode_checkpoint(checkpoint))
    return log.pairs(b"")[0]


def merged(pairs: Iterable[Pair], logged: Sequence[Logged]) -> Iterator[Pair]:
    """Pairs of the data in order, and what the log says, which wins."""
    at, end = 0, len(logged)
    for pair in pairs:
        stored = pair[0]
        while at < end and logged[at][0] < stored:
            if (value := logged[at][1]) is not None:
                yield logged[at][0], value
            at += 1
        if at < end and logged[at][0] == stored:
            continue  # told in the next turn
        yield pair
    for stored, value in logged[at:]:
        if value is not None:
            yield stored, value


def _records(transaction: lmdb.Transaction, database: _Database, after: int) -> Iterator[tuple[int, bytes]]:
    """What the log holds of the batches after a revision."""
    with transaction.cursor(database) as cursor:
        if cursor.set_range(schema.log_key(after + 1)):
            rows = cast("Iterator[Pair]", cursor.iternext())
            for revision, group in groupby(rows, key=lambda row: schema.log_revision(row[0])):
                yield revision, b"".join(value for _, value in group)
