"""The databases of a server: creating, listing, measuring and dropping them (docs/protocol.md section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.engine import conflicts, tombstones
from pynun.engine.commands.listing import PAGE_ROWS, names_after, place_behind
from pynun.engine.effects import HashSecret, Pause
from pynun.engine.key_layout import CATALOGUE, parse_strategy
from pynun.engine.overlay import Entry
from pynun.engine.size_limit import growth
from pynun.engine.versions import following
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.effects import Steps
    from pynun.engine.session import Session

_SLICE_ENTRIES: Final = 2048
"""Entries measured before others get their turn: about a millisecond."""


def create_database(session: Session, name: str, token: str, strategy: str) -> Steps:
    """Create a database with a token."""
    engine = session.engine
    if engine.find_database(name) is not None:
        raise messages.DATABASE_EXISTS
    session.keyspace.check_changeable()
    hash_text = yield HashSecret(token)
    assert isinstance(hash_text, str)
    engine.create_database(name, hash_text, parse_strategy(strategy))
    return messages.CREATE_DB_SUCCESS


def list_databases(session: Session, after: str) -> Steps:
    """A page of the databases, in the order of their names."""
    engine = session.engine
    names = yield from names_after(session, CATALOGUE, "", after)
    rows = [
        {"name": name, "strategy": database.strategy, "connections": len(database.sessions)}
        for name in names[:PAGE_ROWS]
        if (database := engine.find_database(name)) is not None
    ]
    return messages.report(
        "databases",
        {
            "databases": rows,
            "next": place_behind(names[PAGE_ROWS - 1]) if len(names) > PAGE_ROWS else None,
            "being_removed": tombstones.count_unfinished(engine.view, engine.loads.identifiers),
        },
    )


def measure_database(session: Session, name: str) -> Steps:
    """How many keys a database has on disk, and how many bytes they and their values take."""
    engine = session.engine
    store, database = engine.view.store, engine.database(name)
    keys = size = 0
    position: bytes | None = b""
    while position is not None:
        slice_keys, slice_bytes, position = store.measure_database(database.prefix, position, _SLICE_ENTRIES)
        keys += slice_keys
        size += slice_bytes
        if position is not None:
            yield Pause()
    if engine.find_database(name) is not database:
        raise messages.NOT_A_DATABASE
    return messages.report("database-size", {"name": name, "keys": keys, "bytes": size})


def drop_database(session: Session, name: str) -> str:
    """Drop a database; its keys are removed from disk afterwards."""
    session.engine.drop_database(session.engine.database(name))
    return messages.DROP_DB_SUCCESS


def rename_database(session: Session, old: str, new: str) -> str:
    """Rename a database, and the records of its unresolved conflicts, which name it."""
    engine, keyspace = session.engine, session.keyspace
    database = engine.database(old)
    records = conflicts.some_pending_records(keyspace, database, 0)
    if records is None:
        raise messages.too_many_conflicts_to_rename()
    engine.rename_database(database, new)
    for record in records:
        entry = keyspace.read(database, record)
        waiting = None if entry is None else conflicts.parse_waiting(record, entry.text)
        if entry is not None and waiting is not None:
            text = conflicts.renamed(waiting, new)
            if database.size_limit is not None:
                database.size_limit.take(growth(record, entry, text))
            keyspace.write(database, record, Entry(following(entry.version), text))
    return messages.RENAME_DB_SUCCESS
