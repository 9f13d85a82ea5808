"""A Nun-db database at run time: who selected it, who watches what. Its data is in the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY, CONNECTIONS_KEY, LAST_IDENTIFIER, prefixes
from pynun.engine.overlay import Entry

if TYPE_CHECKING:
    from pynun.engine.events import Outbox, Watcher
    from pynun.engine.key_layout import Strategy
    from pynun.engine.overlay import View
    from pynun.engine.peer import Peer
    from pynun.engine.permissions import Rules
    from pynun.engine.size_limit import SizeLimit
    from pynun.engine.sleeper import News, Sleeper


_BEFORE_MAX: Final = 10
"""More changes of one database than that are not lost together, except by a program that tries."""


def new_identifier(view: View) -> int:
    """An identifier for a database that no other has had."""
    last = view.read(LAST_IDENTIFIER)
    identifier = 1 if last is None else last.version + 1
    view.write(LAST_IDENTIFIER, Entry(identifier, ""))
    return identifier


def watch_weight(key: str) -> int:
    """A watch's weight towards the limit: one, and more for a key of thousands of characters."""
    return 1 + len(key) // 1024


def watch_bytes(key: str) -> int:
    """The approximate memory of a watch."""
    return 500 + len(key) * (1 if key.isascii() else 4)


class Member(Protocol):
    """What databases and the engine know of a session (`pynun.engine.session.Session`)."""

    identifier: int
    since_ns: int
    peer: Peer | None
    outbox: Outbox
    is_admin: bool
    admin_name: str | None
    admin_hashes: tuple[str, ...]
    database: Database | None
    user: str
    watches: dict[str, None]
    watches_weight: int
    ephemeral: dict[str, None]
    sleeper: Sleeper | None

    @property
    def selected(self) -> Database:
        """The selected database; only if there is one."""

    def hold_watches(self, more: int) -> None:
        """Change the memory that the watches take by so many bytes."""

    def may_read(self, key: str) -> bool:
        """Whether this session may read that key of its database."""

    def set_rules(self, rules: Rules | None, newest: News | None = None) -> None:
        """Apply new rules."""

    def lose_admin(self, newest: News | None = None) -> None:
        """End the admin rights."""

    def lose_database(self) -> None:
        """The selected database was dropped."""

    def leave(self) -> None:
        """Give up the selected database."""

    def leave_if_revoked(self) -> None:
        """Leave the database if the token it was selected with is no longer valid."""


class Database:
    """One database. Kept from first use until it is dropped, for its `$connections` count."""

    __slots__ = (
        "before",
        "connections_key",
        "ephemeral",
        "is_dropped",
        "name",
        "pending_prefix",
        "prefix",
        "rules",
        "sessions",
        "size_limit",
        "strategy",
        "watchers",
    )

    def __init__(self, name: str, identifier: int, strategy: Strategy) -> None:
        self.name = name
        self.strategy: Strategy = strategy
        self.is_dropped = False
        self.before: list[tuple[str, int]] = []
        """Names and identifiers before it was renamed or replaced, in case that is lost; the newest last."""
        self.take_identifier(identifier)
        self.size_limit: SizeLimit | None = None
        """Its size limit; None: no limit."""
        self.sessions: dict[Member, None] = {}
        self.watchers: dict[str, dict[Watcher, None]] = {}
        self.ephemeral: dict[str, Member] = {}
        """The ephemeral keys, and the session that each of them ends with."""
        self.rules: WeakValueDictionary[str, Rules] = WeakValueDictionary()
        """The rules of the users who are here, shared by their sessions."""

    @property
    def identifier(self) -> int:
        return int.from_bytes(self.prefix, "big")

    def note_before(self) -> None:
        """Remember what it is, before it is renamed or replaced."""
        self.before = [*self.before[-_BEFORE_MAX:], (self.name, self.identifier)]

    def take_identifier(self, identifier: int) -> None:
        """Have its data under this identifier."""
        self.prefix, self.pending_prefix = prefixes(identifier)
        """Prefixes of its stored keys: data, and index of unresolved conflicts."""
        self.connections_key = self.stored_key(CONNECTIONS_KEY)

    def stored_key(self, key: str) -> bytes:
        return self.prefix + key.encode()

    def notify(self, key: str, texts: tuple[str, ...], revision: int) -> None:
        """Tell everybody who watches `key`."""
        watchers = self.watchers.get(key)
        if watchers:
            event = Event(key, texts, revision)
            for watcher in watchers:
                watcher.outbox.event(event)

    def watch(self, session: Member, key: str) -> None:
        """Watching twice is one watch."""
        if key not in session.watches:
            self.watchers.setdefault(key, {})[session] = None
            session.watches[key] = None
            session.watches_weight += watch_weight(key)
            session.hold_watches(watch_bytes(key))

    def unwatch(self, session: Member, key: str) -> None:
        if key not in session.watches:
            return
        del session.watches[key]
        session.watches_weight -= watch_weight(key)
        session.hold_watches(-watch_bytes(key))
        watchers = self.watchers.get(key)
        if watchers is not None:
            watchers.pop(session, None)
            sleeper = session.sleeper
            if sleeper is not None and key in sleeper.known:
                watchers.pop(sleeper, None)
                sleeper.forget(key)
            if not watchers:
                del self.watchers[key]

    def replace_watcher(self, key: str, old: Watcher, new: Watcher) -> None:
        """Replace a key's watcher, a session or its `Sleeper`, with another."""
        watchers = self.watchers[key]
        del watchers[old]
        watchers[new] = None

    def unwatch_all(self, session: Member) -> None:
        for key in list(session.watches):
            self.unwatch(session, key)

    def has_arbiter(self) -> bool:
        """Whether an arbiter is connected. One whose watch sleeps does not count."""
        return any(watcher in self.sessions for watcher in self.watchers.get(ARBITER_KEY, ()))
