"""The log's entries in memory, and the rounds that move them into the data.

A round moves many entries at once into the data, in key order: neighbours share pages, and a key changed a hundred
times is written once. Entries of the log that are not in the data yet are in memory too (`entries`, bounded). Reads
never use the log on disk.

A round takes the keys that are in the log at its start and puts their current entries into the data, slice by slice.
The commit of the last slice sets the number `checkpoint` to the newest revision at the start of the round, never a
later one: batches come meanwhile, and the data does not have all of them.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.engine.overlay import Entry
from pynun.storage import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import lmdb
    from lmdb import _Database

    Pair = tuple[bytes, bytes]
    Logged = tuple[bytes, bytes | None]

ENTRIES_DUE: Final = 16_384
"""With this many keys in memory, a round is due."""

ENTRIES_MAX: Final = 2 * ENTRIES_DUE
"""From here on, the next batch waits for one."""

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


class Moved(NamedTuple):
    """A slice of the entries, put into the data in one commit."""

    entries: list[tuple[bytes, Entry | None]]
    """With their LMDB keys; None means to be removed."""
    checkpoint: int | None
    """The data then has everything up to this revision; None if the round is not over."""


class Memtable:
    """The memtable of one store. The loop changes it, or the writing thread while the loop waits. Other threads may
    read meanwhile.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry | None] = {}
        """By LMDB key, entries not in the data yet; None means removed."""
        self._full_keys: dict[bytes, bytes] = {}  # of entries whose LMDB key is shortened
        self._looking: Final = threading.Lock()  # held while the index is used
        self._index: KeyIndex | None = None
        self._round: list[bytes] = []  # LMDB keys still to be put, last one first
        self._round_revision = 0

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

    # --- changing ----------------------------------------------------------------------------------------------

    def take(self, changes: Iterable[tuple[bytes, Entry | None]]) -> None:
        """Add the changes of a batch that is in the log."""
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

    @property
    def is_due(self) -> bool:
        """Whether a slice should move into the data now."""
        return self.is_in_round or len(self.entries) >= ENTRIES_DUE

    @property
    def is_full(self) -> bool:
        """Whether it is so large that the next batch must wait."""
        return len(self.entries) >= ENTRIES_MAX

    @property
    def is_in_round(self) -> bool:
        """Whether a round has begun and is not over."""
        return bool(self._round)

    def begin_round(self, revision: int) -> None:
        """Begin a round. `revision` is that of the newest batch, and everything up to it must have been taken."""
        self._round = sorted(self.entries.copy(), reverse=True)
        self._round_revision = revision

    def put_slice(self, transaction: lmdb.Transaction, data: _Database, count_max: int) -> Moved:
        """Put the next entries of the round into the data. Pass the result to `moved` when the transaction is on disk.
        May run in a thread while entries are taken."""
        entries = [(stored, self.entries[stored]) for stored in self._round[: -count_max - 1 : -1]]
        puts: list[Pair] = []
        for stored, entry in entries:
            if entry is None:
                transaction.delete(stored, db=data)
            else:
                puts.append((stored, schema.encode_value(self._full_keys.get(stored, stored), entry)))
        with transaction.cursor(data) as cursor:
            cursor.putmulti(puts)
        return Moved(entries, self._round_revision if len(entries) == len(self._round) else None)

    def moved(self, done: Moved) -> None:
        """The slice is on disk. Entries that were changed since stay."""
        entries = self.entries
        for stored, entry in done.entries:
            if entries[stored] is entry:
                del entries[stored]
                self._full_keys.pop(stored, None)
        del self._round[len(self._round) - len(done.entries) :]
        if not self._round:
            self._index = None  # most of its keys are obsolete


def in_order(changes: Mapping[bytes, Entry | None]) -> list[Logged]:
    """Changes by full key, in LMDB's form, sorted."""
    memtable = Memtable()
    memtable.take(changes.items())
    return memtable.pairs(b"")[0]


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
