"""Watches without permission sleep: they count, get no events, and wake later (docs/protocol.md section 4).

A change costs nothing more for it: among the watchers of a key, a `Sleeper` stands in the place of a session that may
not read the key, and notes that it missed something. Only then is the key read when the watch wakes. The newest entry
is sent if it is another than the one at the time when the watch fell asleep, which is what was last sent or known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun import limits
from pynun.engine import conflicts
from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY
from pynun.engine.sleeper import Sleeper
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.database import Database, Member
    from pynun.engine.keyspace import Keyspace
    from pynun.engine.sleeper import News


class TooMuchError(Exception):
    """There is too much to look up or send at once; the watcher is disconnected instead."""


class Newest:
    """The entries that watched keys of a database have now, each read once, for all sessions reviewed together."""

    def __init__(self, keyspace: Keyspace, database: Database, *, is_after_loss: bool = False) -> None:
        """`is_after_loss`: changes were lost. A watch that wakes has missed nothing then, for what took its permission
        away was lost with all that followed; one that falls asleep may have been sent something that was lost.
        """
        self.is_after_loss = is_after_loss
        self._keyspace = keyspace
        self._database = database
        self._hashes: dict[str, int] = {}
        self._events: dict[str, Event] = {}
        self._characters_left = limits.SLEEPING_CHARACTERS_READ_MAX
        self._characters_told = 0

    def hash(self, key: str) -> int | None:
        """A hash of the key's entry; None if so much was read already that it is not looked at."""
        if self.is_after_loss:
            return None
        known = self._hashes.get(key)
        if known is None and self._characters_left > 0:
            entry = self._keyspace.read(self._database, key)
            self._characters_left -= limits.SLEEPING_ENTRY_CHARACTERS + (0 if entry is None else len(entry.text))
            known = self._hashes[key] = hash(entry)
        return known

    def events(self, sleeper: Sleeper, key: str) -> list[Event]:
        """What tells a watch that wakes what it missed. Raises TooMuchError."""
        if self.is_after_loss:
            return []
        events = []
        if key in sleeper.missed:
            event = self._event(key)
            if self._hashes[key] != sleeper.known[key]:
                events.append(event)
        if key == ARBITER_KEY and None in sleeper.missed:
            events += self._conflicts_after(sleeper.conflict_id)
        return events

    def _event(self, key: str) -> Event:
        event = self._events.get(key)
        if event is None:
            entry = self._keyspace.read(self._database, key)
            self._hashes[key] = hash(entry)
            texts = messages.removed(key) if entry is None else messages.changed(key, entry.version, entry.text)
            event = self._events[key] = self._told(key, texts)
        return event

    def _conflicts_after(self, conflict_id: int) -> list[Event]:
        keyspace, database = self._keyspace, self._database
        records = conflicts.some_pending_records(keyspace, database, conflict_id)
        if records is None:
            raise TooMuchError
        entries = (keyspace.read(database, record) for record in records)
        return [self._told(None, (entry.text,)) for entry in entries if entry is not None]

    def _told(self, key: str | None, texts: tuple[str, ...]) -> Event:
        if self._characters_told > limits.WAKING_CHARACTERS_MAX:
            raise TooMuchError
        self._characters_told += sum(map(len, texts))
        return Event(key, texts, self._keyspace.view.depends)

    def note_conflicts(self, sleeper: Sleeper) -> None:
        """An arbiter falls asleep, and was sent the conflicts that there are."""
        if self.is_after_loss:
            sleeper.conflict_id = 0
            sleeper.missed.add(None)
        else:
            sleeper.conflict_id = self._keyspace.conflict_ids.upcoming - 1


def review(session: Member, newest: News) -> None:
    """Put watches to sleep that the session may not have, and wake those that it may have again."""
    database, sleeper = session.selected, session.sleeper
    for key in session.watches:
        is_asleep = sleeper is not None and key in sleeper.known
        if session.may_read(key) is not is_asleep:
            continue
        if is_asleep and sleeper is not None:
            _wake(session, database, sleeper, key, newest)
        else:
            sleeper = put_to_sleep(session, key, newest)


def put_to_sleep(session: Member, key: str, newest: News) -> Sleeper:
    """Put a watch to sleep that the session may not have now; returns what stands in its place."""
    sleeper = session.sleeper
    if sleeper is None:
        sleeper = session.sleeper = Sleeper()
    session.selected.replace_watcher(key, session, sleeper)
    sleeper.known[key] = newest.hash(key)
    if newest.is_after_loss:
        sleeper.missed.add(key)
    if key == ARBITER_KEY:
        newest.note_conflicts(sleeper)
    return sleeper


def _wake(session: Member, database: Database, sleeper: Sleeper, key: str, newest: News) -> None:
    news: list[Event] = []
    try:
        news = newest.events(sleeper, key)
    except TooMuchError:
        if session.peer is not None:
            session.peer.disconnect()  # it may come again, and read what it wants
    sleeper.forget(key)
    database.replace_watcher(key, sleeper, session)
    for event in news:
        session.outbox.event(event)
