"""Watching keys and resolving conflicts (docs/protocol.md sections 2 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun import limits
from pynun.engine import conflicts
from pynun.engine.conflicts import is_unresolved
from pynun.engine.database import watch_bytes, watch_weight
from pynun.engine.effects import Drain
from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY
from pynun.engine.permissions import Permission, is_secret_key
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.effects import Steps
    from pynun.engine.session import Session


def watch(session: Session, key: str) -> None:
    engine, database = session.engine, session.selected
    most = engine.context.watches_max
    if key not in session.watches:
        if session.watches_weight + watch_weight(key) > most:
            raise messages.too_many_watches(most)
        more = watch_bytes(key)
        if engine.watches_bytes + more > limits.WATCHES_BYTES_MAX and (
            session.watches_bytes + more > limits.WATCHES_BYTES_OWN
        ):
            raise messages.too_many_watches_of_all()
        if 4 * len(key) > engine.context.key_bytes_max and session.keyspace.read(database, key) is None:
            session.keyspace.check_new_key(key)  # a character has four bytes at most
    database.watch(session, key)


def unwatch(session: Session, key: str) -> None:
    session.selected.unwatch(session, key)


def unwatch_all(session: Session) -> None:
    session.selected.unwatch_all(session)


def arbiter(session: Session) -> Steps:
    """Become an arbiter, by a watch of `$conflicts`, and get every unresolved record of the database."""
    session.check_permission(Permission.READ, ARBITER_KEY)
    database, keyspace = session.selected, session.keyspace
    watch(session, ARBITER_KEY)
    newest = 0
    yield from keyspace.conflict_ids.find_newest()
    upcoming = keyspace.conflict_ids.upcoming  # of those unused-marker-never-matches
    last: Event | None = None
    try:
        while missing := (yield from conflicts.oldest_records(keyspace, database, newest, upcoming)):
            for identifier, record in missing:
                newest = identifier
                entry = keyspace.read(database, record)
                if entry is None or not is_unresolved(entry.text):
                    continue  # it was resolved or removed while others had their turn
                if last is not None:
                    session.outbox.event(last)
                # One by one, as the client takes them: all records together may be any number of bytes.
                last = Event(None, (entry.text,), session.view.depends)
                yield Drain(session.outbox)
                session.check_permission(Permission.READ, ARBITER_KEY)
    except messages.Refusal:
        database.unwatch(session, ARBITER_KEY)  # it has not been told of all: no arbiter
        raise
    return None if last is None else list(last.texts)


def resolve(session: Session, identifier: int, name: str, key: str, version: int, value: str) -> None:
    """Resolve a conflict. The admin may name any database, others the selected one and a key they may write."""
    if not session.is_admin and session.database is None:
        raise messages.NO_DATABASE
    database = session.engine.database(name)
    if is_secret_key(key):
        raise messages.INVALID_VERSION  # secrets are never handed to an arbiter, so there is nothing to resolve
    if not session.is_admin:
        if session.database is not database:
            raise messages.NOT_AUTH
        session.check_permission(Permission.WRITE, key)
    conflicts.check_writable(session.keyspace, database, key)
    if session.change_bucket is not None:
        session.count_change(session.change_bucket)
    conflicts.resolve(session.keyspace, database, identifier, key, version, value)
