"""Watching keys and resolving conflicts (docs/protocol.md sections 2 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine import conflicts
from pynun.engine.database import ARBITER_KEY, watch_weight
from pynun.engine.permissions import Permission, is_secret_key
from pynun.engine.steps import Pause
from pynun.language import messages

if TYPE_CHECKING:
    from pynun.engine.session import Session
    from pynun.engine.steps import Steps


def watch(session: Session, key: str) -> None:
    most = session.engine.context.watches_max
    if key not in session.watches and session.watches_weight + watch_weight(key) > most:
        raise messages.too_many_watches(most)
    session.selected.watch(session, key)


def unwatch(session: Session, key: str) -> None:
    session.selected.unwatch(session, key)


def unwatch_all(session: Session) -> None:
    session.selected.unwatch_all(session)


def arbiter(session: Session) -> Steps:
    """From now on an arbiter; sent every unresolved record of the database first. It is a watch of `$conflicts`."""
    session.check_permission(Permission.READ, ARBITER_KEY)
    database, engine = session.selected, session.engine
    texts: dict[str, str] = {}
    while True:
        # What came while others had their turn is looked for again; the last look and the watch are one step.
        missing = [record for record in conflicts.pending_records(engine, database) if record not in texts]
        if not missing:
            break
        for number, record in enumerate(missing, 1):
            entry = engine.read(database, record)
            texts[record] = "" if entry is None else entry.text
            if number % _SLICE_RECORDS == 0:
                yield Pause()
                session.check_permission(Permission.READ, ARBITER_KEY)
    watch(session, ARBITER_KEY)
    return [text for text in texts.values() if text]


_SLICE_RECORDS = 256
"""Records read before others may work: about a millisecond."""


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
