"""Dropped databases: the name goes at once, the keys later, slice by slice.

Dropping is one batch (`Engine.drop_database`): the name leaves the catalogue and a note of the identifier is written.
Identifiers are never reused, so a new database of the same name never sees an old key. The note is removed when no
key of the identifier is left on disk; after a crash the next start finds it and continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.engine.key_layout import HOUSEKEEPING, prefixes
from pynun.engine.overlay import Entry
from pynun.engine.scans import scan_all

if TYPE_CHECKING:
    from pynun.engine.database import Database
    from pynun.engine.overlay import Store, View

NOTES: Final = HOUSEKEEPING + b"dropped "
"""Stored keys of the notes begin with it: version = identifier, text = the name it had."""


def note_key(identifier: int) -> bytes:
    """The stored key of the note of a database."""
    return NOTES + b"%010d" % identifier


def note(view: View, database: Database) -> None:
    """Note that a database was dropped, in the batch that removes its name."""
    identifier = int.from_bytes(database.prefix, "big")
    view.write(note_key(identifier), Entry(identifier, database.name))


def count_unfinished(view: View) -> int:
    """How many dropped databases may still have keys on disk."""
    unwritten = view.unwritten(NOTES)
    kept = [name for name in scan_all(view.store, NOTES) if HOUSEKEEPING + name not in unwritten]
    return len(kept) + sum(entry is not None for entry in unwritten.values())


def remove_slice(view: View, count_max: int) -> bool:
    """Put the removal of some keys of a dropped database into the batch; False if no key is left of any.

    Only notes that are on disk count: whatever the database had in the batches up to its note is on disk then too, and
    nothing is put under its identifier later. To be called again when the batch is on disk.
    """
    keys = next_keys(view.store, count_max)
    for key in keys:
        view.write(key, None)
    return bool(keys)


def next_keys(store: Store, count_max: int) -> list[bytes]:
    """Some keys on disk of a database that has no name; its note when there are no others; [] if there is no note."""
    notes, _, _ = store.scan(NOTES, b"", 1)  # not all: thousands may have been dropped at once
    if not notes:
        return []
    key = HOUSEKEEPING + notes[0]
    entry = store.get(key)
    assert entry is not None
    for prefix in prefixes(entry.version):
        names, _, _ = store.scan(prefix, b"", count_max)
        if names:
            return [prefix + name for name in names]
    return [key]
