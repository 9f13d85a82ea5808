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
    from collections.abc import Collection

    from pynun.engine.database import Database
    from pynun.engine.overlay import Store, View

NOTES: Final = HOUSEKEEPING + b"dropped "
"""Stored keys of the notes begin with it: version = identifier, text = the name it had."""


def note_key(identifier: int) -> bytes:
    """The stored key of the note of a database."""
    return NOTES + b"%010d" % identifier


def note(view: View, database: Database) -> None:
    """Note that a database was dropped, in the batch that removes its name."""
    view.write(note_key(database.identifier), Entry(database.identifier, database.name))


def count_unfinished(view: View, loading: Collection[int] = ()) -> int:
    """How many dropped databases may still have keys on disk; those that are being filled (`loads`) do not count."""
    unwritten = view.unwritten(NOTES)
    kept = {HOUSEKEEPING + name for name in scan_all(view.store, NOTES)} - unwritten.keys()
    kept |= {key for key, entry in unwritten.items() if entry is not None}
    return len(kept - {note_key(identifier) for identifier in loading})


def remove_slice(view: View, count_max: int, loading: Collection[int] = ()) -> bool:
    """Put the removal of some keys of a dropped database into the batch; False if no key is left of any.

    Only notes that are on disk count: whatever the database had in the batches up to its note is on disk then too, and
    nothing is put under its identifier later. To be called again when the batch is on disk. Databases that are being
    filled (`loads`) stay, and so does one that was just named: the removal of its note is not on disk yet.
    """
    named = {key for key, entry in view.unwritten(NOTES).items() if entry is None}
    keys = next_keys(view.store, count_max, named | {note_key(identifier) for identifier in loading})
    for key in keys:
        view.write(key, None)
    return bool(keys)


def next_keys(store: Store, count_max: int, kept: Collection[bytes] = ()) -> list[bytes]:
    """Some keys on disk of a database that has no name; its note when there are no others; [] if there is no note.

    `kept` are notes that do not count.
    """
    notes, _, _ = store.scan(NOTES, b"", 1 + len(kept))  # not all: thousands may have been dropped at once
    found = [key for name in notes if (key := HOUSEKEEPING + name) not in kept]
    if not found:
        return []
    key = found[0]
    entry = store.get(key)
    assert entry is not None
    for prefix in prefixes(entry.version):
        names, _, _ = store.scan(prefix, b"", count_max)
        if names:
            return [prefix + name for name in names]
    return [key]
