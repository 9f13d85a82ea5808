"""Watching keys and resolving conflicts (docs/protocol.md sections 2 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine import conflicts
from pynun.engine.database import ARBITER_KEY
from pynun.engine.permissions import Permission, is_secret_key
from pynun.language import messages

if TYPE_CHECKING:
    from pynun.engine.session import Session


def watch(session: Session, key: str) -> None:
    most = session.engine.context.watches_max
    if len(session.watches) >= most and key not in session.watches:
        raise messages.too_many_watches(most)
    session.selected.watch(session, key)


def unwatch(session: Session, key: str) -> None:
    session.selected.unwatch(session, key)


def unwatch_all(session: Session) -> None:
    session.selected.unwatch_all(session)


def arbiter(session: Session) -> list[str]:
    """From now on an arbiter; sent every unresolved record of the database first."""
    database, engine = session.selected, session.engine
    database.watch(session, ARBITER_KEY)
    entries = (engine.read(database, record) for record in conflicts.pending_records(engine, database))
    return [entry.text for entry in entries if entry is not None]


def resolve(session: Session, identifier: int, name: str, key: str, version: int, value: str) -> None:
    """An arbiter's decision. Admin may name any database, others the one they selected and a key they may write."""
    if not session.is_admin and session.database is None:
        raise messages.NO_DATABASE
    database = session.engine.database(name)
    if is_secret_key(key):
        raise messages.INVALID_VERSION  # secrets are never handed to an arbiter, so there is nothing to resolve
    if not session.is_admin:
        if session.database is not database:
            raise messages.NOT_AUTH
        session.check_permission(Permission.WRITE, key)
    conflicts.resolve(session.engine, database, identifier, key, version, value)
