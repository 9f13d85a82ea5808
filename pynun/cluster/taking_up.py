"""Sessions that another owner, or an earlier link, has served go on here: of one term.

Their nodes say what they watch and what their clients know of it, so that they are told what moved meanwhile. They
bring their ephemeral keys too, which are in no data. Until all may be back, nobody is told that a key has ended which a
session that is not back yet may bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pynun import limits
from pynun.cluster.link_records import KNOWN_BYTES, known
from pynun.engine import conflicts
from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY
from pynun.engine.overlay import Entry
from pynun.engine.permissions import Permission
from pynun.engine.sleeping_watches import Newest, put_to_sleep
from pynun.engine.versions import IN_CONFLICT
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynun.cluster.link_records import Kept
    from pynun.engine.database import Database, Member
    from pynun.engine.engine import Engine
    from pynun.engine.session import Session


class TooMuchMissedError(Exception):
    """There is too much to tell at once: the client had better connect again, and read what it needs."""


class TakingUp:
    """The taking up of one session, one thing that its node says after another."""

    def __init__(self, session: Session, absences: Absences) -> None:
        """The session has selected its database already, if it had one."""
        self._session = session
        self._absences = absences
        self._characters = 0  # told
        database = session.database
        self._newest = None if database is None else Newest(session.keyspace, database)

    def watch(self, key: str, known_before: bytes) -> None:
        """It watched this key, of which its client knows so much. Raises TooMuchMissedError."""
        session, newest = self._session, self._newest
        database = session.database
        if database is None or newest is None:
            return
        database.watch(session, key)
        session.view.depends = 0  # no command runs
        if key == ARBITER_KEY:
            self._arbitrate(int.from_bytes(known_before, "big"), newest)
        elif not session.may_read(key):
            sleeper = put_to_sleep(session, key, newest)
            if self._texts(key) is not None and self._is_news(key, known_before):
                sleeper.known[key] = None
                sleeper.missed.add(key)
        elif self._is_news(key, known_before) and not self._absences.await_return(session, key, known_before):
            self._tell(key, self._texts(key) or ())

    def _arbitrate(self, identifier: int, newest: Newest) -> None:
        session = self._session
        database, keyspace = session.selected, session.keyspace
        if not session.may_read(ARBITER_KEY):
            sleeper = put_to_sleep(session, ARBITER_KEY, newest)
            sleeper.conflict_id = identifier
            sleeper.missed.add(None)
            return
        records = conflicts.some_pending_records(keyspace, database, identifier)
        if records is None:
            raise TooMuchMissedError
        for record in records:
            entry = keyspace.read(database, record)
            if entry is not None:
                self._tell(None, (entry.text,))

    def _texts(self, key: str) -> tuple[str, ...] | None:
        """What tells of a key as it is; None: nobody is told while it is in conflict."""
        entry = self._session.keyspace.read(self._session.selected, key)
        if entry is None:
            return messages.removed(key)
        return None if entry.version == IN_CONFLICT else messages.changed(key, entry.version, entry.text)

    def _is_news(self, key: str, known_before: bytes) -> bool:
        texts = self._texts(key)
        return texts is not None and known(texts, is_volatile=False)[1:] != known_before[1:]

    def _tell(self, key: str | None, texts: Sequence[str]) -> None:
        self._characters += sum(map(len, texts))
        if self._characters > limits.WAKING_CHARACTERS_MAX:
            raise TooMuchMissedError
        view = self._session.view
        revision = view.depends or view.batch.revision - 1  # one that is stored: it is no ephemeral key
        self._session.outbox.event(Event(key, tuple(texts), revision))

    def keep(self, kept: Kept) -> bool:
        """It had this ephemeral key; whether it has it again."""
        session = self._session
        database, keyspace, key = session.database, session.keyspace, kept.key
        if (
            database is None
            or key[:1] == "$"
            or len(session.ephemeral) >= limits.EPHEMERAL_KEYS_MAX
            or keyspace.read(database, key) is not None
        ):
            return False
        watchers = database.watchers.pop(key, None)  # told below: most of them know it
        try:
            session.check_permission(Permission.WRITE, key)
            keyspace.put_ephemeral(database, key, Entry(kept.version, kept.text))
        except messages.Refusal:
            return False
        finally:
            if watchers:
                database.watchers[key] = watchers
        database.ephemeral[key] = session
        session.ephemeral[key] = None
        event = Event(key, messages.changed(key, kept.version, kept.text), 0)
        waiting = self._absences.end(database, key)
        now = known(event.texts, is_volatile=True)
        for watcher in watchers or ():
            if waiting.get(watcher) != now:
                watcher.outbox.event(event)
        return True


class Absences:
    """Ephemeral keys that may come back, and the sessions that watch and know them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._awaited: dict[tuple[Database, str], dict[object, bytes]] | None = {}

    def await_return(self, session: Member, key: str, known_before: bytes) -> bool:
        """Whether a watched key that is gone was an ephemeral one, and may come back."""
        if self._awaited is None or len(known_before) != KNOWN_BYTES or not known_before[0]:
            return False
        if self._engine.keyspace.read(session.selected, key) is not None:
            return False
        self._awaited.setdefault((session.selected, key), {})[session] = known_before
        return True

    def end(self, database: Database, key: str) -> dict[object, bytes]:
        """It is back, or never will be; returns who knew it, and what."""
        return {} if self._awaited is None else self._awaited.pop((database, key), {})

    async def run(self, stopping: trio.Event) -> None:
        """Wait until all sessions may be back, or the term ends; then tell which keys have ended."""
        with trio.move_on_after(limits.HOLD_SECONDS):
            await stopping.wait()
            return
        awaited, self._awaited = self._awaited, None
        for (database, key), sessions in (awaited or {}).items():
            if not database.is_dropped and self._engine.keyspace.read(database, key) is None:
                event = Event(key, messages.removed(key), 0)
                for watcher in list(database.watchers.get(key, ())):
                    if watcher in sessions:
                        watcher.outbox.event(event)
