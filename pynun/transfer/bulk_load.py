"""Load databases unseen, then make them visible all at once. All imports use it.

A database is loaded under an id without a name, with the same note that a dropped database has. `swap_in` gives it its
name and removes the note, in one batch. If the import fails before that (a bad line, a kill, a full disk), the existing
databases are unchanged, and `purge` removes the leftovers. Memory is bounded by `BATCH_BYTES_MAX`, whatever the size of
a database. Merging into an existing one is the exception: that is one transaction, of which LMDB keeps up to 512 MiB of
changed pages in memory.
"""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING, Final

from pynun.engine import tombstones
from pynun.engine.key_layout import (
    ADMIN_DATABASE,
    CATALOGUE,
    LAST_CONFLICT,
    LAST_IDENTIFIER,
    index_key,
    newest_of,
    prefixes,
)
from pynun.engine.overlay import Batch, Entry
from pynun.engine.scans import scan_all
from pynun.engine.tombstones import note_key
from pynun.errors import MapFullError, StorageError, TransferError
from pynun.storage.data_write import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pynun.engine.key_layout import Strategy
    from pynun.storage.store import LmdbStore

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
BATCH_ENTRIES_MAX: Final = 4096
"""LMDB takes and keeps up to 4 KiB of memory for the page of each, also in a server that runs on after an import."""


class SwapIn(enum.Enum):
    """How a loaded database takes its place in the end."""

    NEW = enum.auto()
    """Replace the database that has the name."""
    OVER = enum.auto()
    """Add its keys to the database that has the name; the new ones win."""
    UNDER = enum.auto()
    """Add its keys to the database that has the name; the existing ones win."""


class LoadedDatabase:
    """A database being made."""

    def __init__(self, load: BulkLoad, name: str, identifier: int, strategy: Strategy, how: SwapIn) -> None:
        self.name = name
        self.identifier = identifier
        self.strategy: Strategy = strategy
        self.how = how
        self.keys_count = 0
        """For the code that fills it."""
        self.prefix, self.pending_prefix = prefixes(identifier)
        self._load = load

    def get(self, key: str) -> Entry | None:
        return self._load.get(self.prefix + key.encode())

    def put(self, key: str, entry: Entry) -> None:
        self._load.newest_conflict = newest_of((key,), self._load.newest_conflict)
        self._load.put(self.prefix + key.encode(), entry)

    def remove(self, key: str) -> None:
        self._load.put(self.prefix + key.encode(), None)

    def put_pending(self, key: str, conflict: int, is_pending: bool) -> None:
        """Say whether a conflict of a key waits for an arbiter."""
        self._load.put(index_key(self.pending_prefix, key, conflict), Entry(0, "") if is_pending else None)

    def has_pending(self, key: str) -> bool:
        """Whether a conflict of the key waits for an arbiter."""
        self._load.flush()
        return bool(self._load.store.scan(self.pending_prefix + f"{key} ".encode(), b"", 1)[0])

    def all_keys(self) -> Iterator[str]:
        """All its keys."""
        self._load.flush()
        return (name.decode() for name in scan_all(self._load.store, self.prefix))

    def secrets_of_namesake(self) -> dict[str, Entry]:
        """The `$$` entries of the database that currently has its name."""
        store = self._load.store
        present = store.get(CATALOGUE + self.name.encode())
        if present is None:
            return {}
        prefix = prefixes(present.version)[0]
        found: dict[str, Entry] = {}
        for name in scan_all(store, prefix + b"$$"):
            entry = store.get(prefix + name)
            assert entry is not None
            found[name.decode()] = entry
        return found

    def keys_with_version(self, version: int) -> list[str]:
        """The keys that have a version."""
        self._load.flush()
        entries = self._load.store.read_all(self.prefix)
        return [key.decode() for key, entry in entries if entry.version == version]


class BulkLoad:
    """The databases of one import, which must be the only writer of the store."""

    def __init__(self, store: LmdbStore) -> None:
        """Remove the leftovers of an interrupted import. Raises TransferError."""
        self.store = store
        self.newest_conflict = 0
        """The highest imported conflict id. The server continues above it."""
        self._databases: list[LoadedDatabase] = []
        self._batch = Batch(store.revision + 1)
        purge(store)

    def begin(self, name: str, strategy: Strategy, how: SwapIn = SwapIn.NEW) -> LoadedDatabase:
        """Make an invisible database. Raises TransferError."""
        self.flush()
        last = self.store.get(LAST_IDENTIFIER)
        identifier = 1 if last is None else last.version + 1
        self.put(LAST_IDENTIFIER, Entry(identifier, ""))
        self.put(note_key(identifier), Entry(identifier, name))
        self.flush()
        loaded = LoadedDatabase(self, name, identifier, strategy, how)
        self._databases.append(loaded)
        return loaded

    def get(self, stored: bytes) -> Entry | None:
        if stored in self._batch.entries:
            return self._batch.entries[stored]
        return self.store.get(stored)

    def put(self, stored: bytes, entry: Entry | None) -> None:
        batch = self._batch
        batch.entries[stored] = entry
        batch.bytes_estimated += len(stored) + 64 + (0 if entry is None else len(entry.text))
        if batch.bytes_estimated > BATCH_BYTES_MAX or len(batch.entries) > BATCH_ENTRIES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write the gathered entries. Raises TransferError."""
        if self._batch.entries:
            self._batch = _write(self.store, self._batch)

    def swap_in(self, notes: Mapping[bytes, Entry]) -> None:
        """Make all databases visible at once, and put `notes` (housekeeping keys) with them.

        Raises TransferError if none became visible.
        """
        admin = self._admin()
        entries: dict[bytes, Entry | None] = dict(notes)
        copies: list[Copy] = []
        for loaded in self._databases:
            existing = self.store.get(CATALOGUE + loaded.name.encode())
            if loaded.how is SwapIn.NEW or existing is None:
                entries[CATALOGUE + loaded.name.encode()] = Entry(loaded.identifier, loaded.strategy)
                entries[note_key(loaded.identifier)] = None
                if existing is not None:
                    entries[note_key(existing.version)] = Entry(existing.version, loaded.name)
            else:
                is_over = loaded.how is SwapIn.OVER
                targets = prefixes(existing.version)
                copies += [
                    Copy(loaded.prefix, targets[0], is_over),
                    Copy(loaded.pending_prefix, targets[1], is_over),
                ]
            name_key = admin + loaded.name.encode()
            if self._admin_entry(admin, loaded.name) is None:
                entries[name_key] = Entry(0, "{}")
        noted = self.store.get(LAST_CONFLICT)
        if noted is not None and noted.version < self.newest_conflict:  # without a note, the server searches for it
            entries[LAST_CONFLICT] = Entry(self.newest_conflict, "")
        self.flush()
        self._batch.entries.update(entries)
        self._batch = _write(self.store, self._batch, copies)
        with contextlib.suppress(TransferError):  # done; a server removes the replaced keys when it has space
            purge(self.store)

    def discard(self) -> None:
        """Remove what was loaded. Raises TransferError."""
        self._batch = Batch(self.store.revision + 1)
        purge(self.store)

    def _admin(self) -> bytes:
        """The prefix of the stored keys of `$admin`, which names every database."""
        existing = self.store.get(CATALOGUE + ADMIN_DATABASE.encode())
        if existing is not None:
            return prefixes(existing.version)[0]
        for loaded in self._databases:
            if loaded.name == ADMIN_DATABASE:
                return loaded.prefix
        return self.begin(ADMIN_DATABASE, "newer").prefix

    def _admin_entry(self, admin: bytes, name: str) -> Entry | None:
        """The entry of a database's name in `$admin`, also before it is swapped in."""
        found = self.get(admin + name.encode())
        for loaded in self._databases:
            if loaded.name == ADMIN_DATABASE and found is None:
                found = loaded.get(name)
        return found


def purge(store: LmdbStore) -> None:
    """Remove the keys of databases that have no name. Raises TransferError."""
    while keys := tombstones.next_keys(store, BATCH_ENTRIES_MAX):
        batch = Batch(store.revision + 1)
        batch.entries.update(dict.fromkeys(keys))
        _write(store, batch)


def write_notes(store: LmdbStore, notes: Mapping[bytes, Entry]) -> None:
    """Put notes (housekeeping keys). Raises TransferError."""
    batch = Batch(store.revision + 1)
    batch.entries.update(notes)
    _write(store, batch)


def _write(store: LmdbStore, batch: Batch, copies: Iterable[Copy] = ()) -> Batch:
    """Make a batch durable; returns the next, empty one. Raises TransferError."""
    copies = list(copies)
    while True:
        try:
            store.write(batch, store.operations, copies)
        except MapFullError:
            store.grow()
        except StorageError as error:
            raise TransferError(
                f"the data can't be written in {store.folder}: {error}; nothing was imported, free up space and try "
                "again"
            ) from None
        else:
            return Batch(batch.revision + 1)
