"""One client's session: who it is, what it selected and watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine import sleeping_watches
from pynun.engine.permissions import EVERYONE, Permission, is_security_key
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.change_rate import Bucket
    from pynun.engine.database import Database
    from pynun.engine.engine import Engine
    from pynun.engine.events import Outbox
    from pynun.engine.peer import Peer
    from pynun.engine.permissions import Rules, Secret
    from pynun.engine.sleeper import News, Sleeper


class Session:
    """One client's session. `pynun.engine.dispatch.CommandSession` runs its commands."""

    __slots__ = (
        "__weakref__",
        "admin_hashes",
        "admin_name",
        "change_bucket",
        "counters",
        "database",
        "done",
        "engine",
        "ephemeral",
        "identifier",
        "is_admin",
        "is_closed",
        "keyspace",
        "outbox",
        "peer",
        "rules",
        "secret",
        "since_ns",
        "sleeper",
        "user",
        "view",
        "watches",
        "watches_bytes",
        "watches_weight",
    )

    def __init__(self, engine: Engine, outbox: Outbox, peer: Peer | None = None) -> None:
        self.engine = engine
        self.peer = peer
        self.since_ns = engine.context.time_ns()
        self.identifier = engine.enter(self)
        self.view = engine.view
        self.keyspace = engine.keyspace
        self.counters = engine.counters
        self.done = engine.counters.done
        self.outbox = outbox
        self.change_bucket = None if engine.change_rates is None else engine.change_rates.open()
        """Its limit of changes per second; None: no limit."""
        self.is_admin = False
        self.admin_name: str | None = None
        """Who it is as admin."""
        self.admin_hashes: tuple[str, ...] = ()
        """Hashes of the passwords that make it admin: the one used at login, and the one it has set since. Empty for a
        system user, whom no password makes admin."""
        self.is_closed = False
        self.database: Database | None = None
        self.user = EVERYONE
        self.secret: Secret | None = None
        """The secret used to select the database; None if an administrator opened it."""
        self.rules: Rules | None = None
        """What the user may do in the selected database; None: everything."""
        self.watches: dict[str, None] = {}
        self.watches_bytes = 0
        """Approximate memory of its watches."""
        self.watches_weight = 0
        """Sum of the watches' weights (`watch_weight`), which the limit applies to."""
        self.ephemeral: dict[str, None] = {}
        """Keys of the selected database that end with it."""
        self.sleeper: Sleeper | None = None
        """Knows which of the watches sleep; None before the first one does."""

    def check_permission(self, permission: Permission, key: str) -> None:
        """Raises Refusal unless this session may do this to the key."""
        if is_security_key(key) and not self.is_admin:
            raise messages.SECURITY_KEY
        if self.database is None:
            raise messages.NO_DATABASE
        if not self._may(permission, key):
            raise messages.PERMISSION_DENIED

    def count_change(self, bucket: Bucket) -> None:
        """Count a change. Raises Refusal if there are too many; the admin has no limit."""
        if not self.is_admin and self.engine.change_rates is not None:
            self.engine.change_rates.take(self, bucket)

    def _may(self, permission: Permission, key: str) -> bool:
        """Check `$$` keys for admin rights, others for the permissions of the user who selected the database."""
        if is_security_key(key):
            return self.is_admin
        return self.rules is None or self.rules.allow(permission, key)

    def has_logged_in(self) -> bool:
        """Whether the client has shown a secret that is still valid."""
        return self.is_admin or self.database is not None

    @property
    def selected(self) -> Database:
        """The selected database; only for handlers of commands that need one."""
        assert self.database is not None
        return self.database

    def select(self, database: Database, user: str, secret: Secret | None) -> None:
        """Select a database as a user, by its secret; None: an administrator opened it, who may do everything.

        The count moves; watches that the user may not have sleep.
        """
        if self.database is not database:
            if self.database is not None:
                self.leave()
            self.database = database
            database.sessions[self] = None
            self.user, self.secret = user, secret
            self.set_rules(self.engine.rules_for(database, user))
            self.engine.count_connections(database)
        else:
            self.user, self.secret = user, secret
            self.set_rules(self.engine.rules_for(database, user))

    def leave(self) -> None:
        """Give up the selected database, its watches and its place in the count."""
        database = self.database
        if database is not None:
            if self.watches:
                database.unwatch_all(self)
            for key in list(self.ephemeral):
                self.keyspace.remove_ephemeral(database, key)
            database.sessions.pop(self, None)
            self.database = self.secret = None
            self.user = EVERYONE
            self.rules = None
            self.engine.count_connections(database)

    def lose_database(self) -> None:
        """The selected database was dropped, with all who watched: nothing is counted or told any more."""
        self.database = self.secret = self.sleeper = None
        self.user = EVERYONE
        self.rules = None
        self.watches.clear()
        self.watches_weight = 0
        self.hold_watches(-self.watches_bytes)

    def hold_watches(self, more: int) -> None:
        """Change the memory that the watches take by so many bytes."""
        self.watches_bytes += more
        self.engine.watches_bytes += more

    def set_rules(self, rules: Rules | None, newest: News | None = None) -> None:
        """Apply new rules: watches that they don't allow sleep, others wake (docs/protocol.md section 4)."""
        self.rules = None if self.secret is None else rules
        self._review_watches(newest)

    def become_admin(self, name: str, hash_text: str | None) -> None:
        """Make it admin by the password with this hash; None: as a system user."""
        self.is_admin, self.admin_name = True, name
        self.admin_hashes = () if hash_text is None else (hash_text,)
        self._review_watches()

    def lose_admin(self, newest: News | None = None) -> None:
        """End the admin rights, and check whether its selection and watches are still valid."""
        self.is_admin, self.admin_name, self.admin_hashes = False, None, ()
        self.leave_if_revoked()
        self._review_watches(newest)

    def leave_if_revoked(self) -> None:
        """Leave the database if the token it was selected with is no longer valid. An admin keeps it."""
        database, secret = self.database, self.secret
        if database is not None and not self.is_admin:
            entry = None if secret is None else self.keyspace.read(database, secret.key)
            if secret is None or entry is None or entry.text != secret.hash:
                self.leave()

    def _review_watches(self, newest: News | None = None) -> None:
        if self.watches and self.database is not None:
            sleeping_watches.review(self, newest or sleeping_watches.Newest(self.keyspace, self.database))

    def may_read(self, key: str) -> bool:
        """Whether this session may read that key of its database."""
        return self._may(Permission.READ, key)

    def close(self) -> None:
        """The client has left: remove its watches and its place in the count. Safe to call twice."""
        if not self.is_closed:
            self.is_closed = True
            del self.engine.sessions[self.identifier]
            self.leave()
