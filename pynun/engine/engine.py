"""The engine: all databases of one server, and the one way in which anything changes.

It owns no task, file, socket, clock or source of randomness; what it needs of them is given to it. All calls come
from one thread. Errors a client must see are raised as `Refusal`; anything else that is raised is a fault of ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pynun.engine import tombstones
from pynun.engine.audit_events import NoAudit
from pynun.engine.conflict_ids import ConflictIds
from pynun.engine.counters import Counters
from pynun.engine.database import Database
from pynun.engine.key_layout import (
    ADMIN_DATABASE,
    CATALOGUE,
    CONNECTIONS_KEY,
    HOUSEKEEPING,
    LAST_IDENTIFIER,
    Strategy,
    parse_strategy,
    prefixes,
)
from pynun.engine.listings import Listings
from pynun.engine.overlay import Entry, View
from pynun.engine.paces import Paces
from pynun.engine.permissions import (
    EVERYONE,
    NO_GRANTS,
    Rules,
    is_security_key,
    parse_grants,
    permission_key,
    permitted_user,
    user_of_secret,
)
from pynun.engine.rooms import Room, growth
from pynun.engine.scans import scan_slices
from pynun.engine.sleeping import Newest
from pynun.engine.versions import VERSION_MAX, following
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pynun.engine.audit_events import Audit
    from pynun.engine.effects import Credentials
    from pynun.engine.overlay import Store
    from pynun.engine.session import Session

_START_PASSWORD: Final = HOUSEKEEPING + b"start-password"
"""The stored key of the hash of the admin password that was given at the last start."""

_MEASURED_READS = 100


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine is told of the world around it."""

    admin_user: str
    address: str
    """What `cluster-state` and `rp` say of this node: HOST:PORT of its TCP listener."""
    process_id: int
    time_ns: Callable[[], int]
    """Nanoseconds since 1970, for the ids of conflicts."""
    credentials: Credentials
    watches_max: int = 10_000
    """Keys that one session may watch."""
    keys_max: int = 1_000_000
    """Keys that one answer to `keys` may list."""
    listing_bytes_max: int = 32 * 1024**2
    """Bytes of such an answer."""
    key_bytes_max: int = 8192
    """Bytes of a key that is new."""
    database_bytes_max: int | None = None
    """Bytes of the keys and values of one database; None: any number."""
    changes_per_second_max: int | None = None
    """Changes that one session may make in a second; None: any number."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that only grow."""
    group_of: Callable[[str], str] = str
    """The network of a client's address, for what counts by clients."""
    audit: Audit = field(default_factory=NoAudit)


class Engine:
    """All databases of one server."""

    def __init__(self, store: Store, context: Context, *, revision: int, operations: int, is_relaxed: bool) -> None:
        self.context = context
        self.view = View(store, revision=revision, operations=operations, is_relaxed=is_relaxed)
        self.counters = Counters()
        self.listings = Listings(context.listing_bytes_max)
        self._databases: dict[str, Database] = {}
        self.sessions: dict[int, Session] = {}
        """Those that are open, by their number, which grows."""
        self.watches_bytes = 0
        """About the memory that all their watches take."""
        self._sessions_entered = 0
        per_second = context.changes_per_second_max
        self.paces = None if per_second is None else Paces(per_second, context.clock, context.group_of)
        self.conflict_ids = ConflictIds(self)
        self.refused_changes: str | None = None
        """Set while the store can't take changes: why. Commands that change data are refused with it."""
        self.on_drop: Callable[[], None] = lambda: None
        """Called when a database was dropped: its keys are there to be removed (`tombstones`)."""
        self.on_unmeasured: Callable[[Database], None] = lambda _: None
        """Called when it is not known how much a database holds that has a limit (`Database.room`)."""

    # --- databases ---------------------------------------------------------------------------------------------

    def find_database(self, name: str) -> Database | None:
        """The database of that name, None if there is none."""
        # Read also if it is known already: a reply that says so depends on it.
        entry = self.view.read(CATALOGUE + name.encode()) if name else None
        if entry is None:
            return None
        database = self._databases.get(name)
        if database is None:
            database = self._databases[name] = Database(name, entry.version, parse_strategy(entry.text))
            database.room = self._new_room(name)
            if database.room is not None:
                self.on_unmeasured(database)
        return database

    def _new_room(self, name: str) -> Room | None:
        bytes_max = self.context.database_bytes_max
        return None if bytes_max is None or name == ADMIN_DATABASE else Room(bytes_max)

    def database(self, name: str) -> Database:
        """The database of that name. Raises Refusal `Not a valid database name`."""
        database = self.find_database(name)
        if database is None:
            raise messages.NOT_A_DATABASE
        return database

    def create_database(self, name: str, token_hash: str, strategy: Strategy) -> Database:
        """Make a database. Raises Refusal if there is one of that name."""
        if self.find_database(name) is not None:
            raise messages.DATABASE_EXISTS
        self.check_changeable()
        self.check_new_key(name)
        last = self.view.read(LAST_IDENTIFIER)
        identifier = 1 if last is None else last.version + 1
        self.view.write(LAST_IDENTIFIER, Entry(identifier, ""))
        self.view.write(CATALOGUE + name.encode(), Entry(identifier, strategy))
        if name != ADMIN_DATABASE:
            self.view.count_operation()
        database = Database(name, identifier, strategy)
        self._databases[name] = database
        database.room = self._new_room(name)
        if database.room is not None:
            database.room.take(growth("$$token", None, token_hash))
            database.room.is_known = True
        self.view.write(database.stored_key("$$token"), Entry(0, token_hash))
        admin = database if name == ADMIN_DATABASE else self.database(ADMIN_DATABASE)
        self._put(admin, name, Entry(0, "{}"))
        return database

    def drop_database(self, database: Database) -> None:
        """Take a database away at once: its name, its data, its sessions. Raises Refusal while that can't be stored.

        Sessions that had it selected are told nothing, like those whose token is changed: an event that nobody asked
        for would be taken for a reply. Every later command of theirs that needs a database is refused.
        """
        if database.name == ADMIN_DATABASE:
            raise messages.ADMIN_NOT_DROPPABLE
        self.check_changeable()
        self.view.write(CATALOGUE + database.name.encode(), None)
        tombstones.note(self.view, database)
        self.view.count_operation()
        del self._databases[database.name]
        database.is_dropped = True
        database.watchers.clear()
        for session in database.sessions:
            session.lose_database()
        database.sessions.clear()
        self.view.volatile.pop(database.stored_key(CONNECTIONS_KEY), None)
        admin = self.database(ADMIN_DATABASE)
        if self.read(admin, database.name) is not None:
            self.view.write(admin.stored_key(database.name), None)
            admin.notify(database.name, messages.removed(database.name), self.view.depends)
        self.on_drop()

    def database_names(self) -> list[str]:
        """The names of all databases, in order."""
        return [name for name in self.scan(CATALOGUE) if name]

    def databases_in_use(self) -> list[Database]:
        """The databases that sessions have selected."""
        return [database for database in self._databases.values() if database.sessions]

    def prepare(self, admin_token_hash: str, start_password_hash: str | None = None) -> None:
        """Before the first session: the admin database is there, and its token is the admin password's hash.

        `start_password_hash` is that of the password given at this start, to be compared with that of the next.
        """
        admin = self.find_database(ADMIN_DATABASE)
        if admin is None:
            self.create_database(ADMIN_DATABASE, admin_token_hash, "newer")
        elif self.admin_token_hash() != admin_token_hash:
            self.change(admin, "$$token", admin_token_hash)
        if start_password_hash not in (None, self.start_password_hash()):
            self.view.write(_START_PASSWORD, Entry(0, start_password_hash))

    def start_password_hash(self) -> str | None:
        """The hash of the password that was given at the last start; None before the first."""
        entry = self.view.read(_START_PASSWORD)
        return None if entry is None else entry.text

    def admin_token_hash(self) -> str | None:
        """The hash of the admin password; None before the first start."""
        admin = self.find_database(ADMIN_DATABASE)
        entry = None if admin is None else self.view.read(admin.stored_key("$$token"))
        return None if entry is None else entry.text

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, database: Database, key: str) -> Entry | None:
        return self.view.read(database.stored_key(key))

    def scan(self, prefix: bytes, key_prefix: str = "") -> list[str]:
        """The keys under a stored prefix that begin with `key_prefix`, in order, at once: only for short lists."""
        steps = scan_slices(self.view, prefix, key_prefix.encode())
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return [key.decode() for key in stop.value]

    def measure_get_ms(self) -> float:
        """How long a read takes now, in milliseconds: measured when asked for, so that reads pay nothing for it."""
        clock = self.context.time_ns
        began_ns = clock()
        for _ in range(_MEASURED_READS):
            self.view.store.get(LAST_IDENTIFIER)
        return (clock() - began_ns) / _MEASURED_READS / 1e6

    # --- changing ----------------------------------------------------------------------------------------------

    def check_changeable(self) -> None:
        """Raises Refusal while the store can't take changes (docs/protocol.md section 9)."""
        if self.refused_changes is not None:
            raise messages.Refusal(messages.storage_failed(self.refused_changes))

    def check_new_key(self, key: str) -> None:
        """Raises Refusal if a key that does not exist is too long to be created (docs/protocol.md section 2)."""
        if len(key.encode()) > self.context.key_bytes_max:
            raise messages.key_too_long(self.context.key_bytes_max)

    def check_room(self, database: Database, texts: Mapping[str, str]) -> None:
        """Raises Refusal if a database can't hold these texts of keys beside the rest (docs/protocol.md section 9)."""
        if database.room is not None:
            database.room.check(sum(growth(key, self.read(database, key), text) for key, text in texts.items()))

    def _count_change(self, database: Database, room: Room, key: str, text: str | None) -> None:
        """Raises Refusal if a change makes a database too large. What the admin rules by (`$$`) never does."""
        if key != CONNECTIONS_KEY:
            more = growth(key, self.read(database, key), text)
            if not is_security_key(key):
                room.check(more)
            room.take(more)

    def change(self, database: Database, key: str, text: str) -> None:
        """Set a key whatever its version, also one in conflict: old version plus one, at least 0."""
        old = self.read(database, key)
        self.put(database, key, Entry(0 if old is None else following(old.version), text))

    def check_version(self, key: str, version: int) -> None:
        """Raises Refusal if a change would give a key a version of more than 32 bits."""
        if version > VERSION_MAX:
            raise messages.version_out_of_range(key)

    def put(self, database: Database, key: str, entry: Entry) -> None:
        """The change of one key, its watchers told.

        Raises Refusal while it can't be stored, and for a version of more than 32 bits.
        """
        if self.refused_changes is not None:
            self.check_changeable()
        if entry[0] > VERSION_MAX:
            if key != "$$token":
                raise messages.version_out_of_range(key)
            entry = Entry(0, entry.text)  # it can't be removed, and must always be changeable
        if database.room is not None:
            self._count_change(database, database.room, key, entry.text)
        if key[:1] == "$":
            self._put(database, key, entry)
        else:
            self._put_plain(database, key, entry)
        self.view.count_operation()

    def _put(self, database: Database, key: str, entry: Entry) -> None:
        if key == CONNECTIONS_KEY:
            self.view.volatile[database.stored_key(key)] = entry
            database.notify(key, messages.changed(key, entry.version, entry.text), 0)
            return
        if key == "$$token" and database.name == ADMIN_DATABASE:
            self._end_admins(entry.text)  # before they hear of it
        self._put_plain(database, key, entry)
        if key.startswith("$$"):
            self._security_changed(database, key)

    def _put_plain(self, database: Database, key: str, entry: Entry) -> None:
        """Put a key that means nothing to the server: nearly all there are."""
        view = self.view
        view.write(database.prefix + key.encode(), entry)
        if key in database.watchers:
            database.notify(key, messages.changed(key, entry.version, entry.text), view.depends)

    def put_silently(self, stored: bytes, entry: Entry | None) -> None:
        """A change that nobody can watch: a key that goes into conflict, the index of conflicts."""
        self.check_changeable()
        self.view.write(stored, entry)

    def remove(self, database: Database, key: str) -> None:
        """Remove a key, its watchers told. Raises Refusal while the store can't take changes."""
        self.check_changeable()
        if database.room is not None:
            self._count_change(database, database.room, key, None)
        view = self.view
        stored = database.stored_key(key)
        view.write(stored, None)
        view.count_operation()
        database.notify(key, messages.removed(key), view.depends)
        if key.startswith("$$"):
            self._security_changed(database, key)

    # --- presence and permissions ------------------------------------------------------------------------------

    def enter(self, session: Session) -> int:
        """A session opens; the number that it gets."""
        self._sessions_entered += 1
        self.sessions[self._sessions_entered] = session
        return self._sessions_entered

    def count_connections(self, database: Database) -> None:
        """The number of sessions that have the database selected changed: `$connections` says so."""
        old = self.view.volatile.get(database.stored_key(CONNECTIONS_KEY))
        count = str(len(database.sessions))
        version = 0 if old is None or old.version >= VERSION_MAX else old.version + 1
        self._put(database, CONNECTIONS_KEY, Entry(version, count))

    def rules_for(self, database: Database, user: str) -> Rules | None:
        """What `user` may do; None: everything (the database's own token, without an entry for `all`)."""
        entry = self.read(database, permission_key(user))
        if entry is None:
            return None if user == EVERYONE else NO_GRANTS
        rules = database.rules.get(user)
        if rules is None:
            rules = database.rules[user] = Rules(parse_grants(entry.text))
        return rules

    def _security_changed(self, database: Database, key: str) -> None:
        user = permitted_user(key)
        if user is not None:
            database.rules.pop(user, None)
            rules = self.rules_for(database, user)
            newest = Newest(self, database)
            for session in list(database.sessions):
                if session.user == user:
                    session.set_rules(rules, newest)
            return
        user = user_of_secret(key)
        if user is not None:
            # Whoever came in with the old token is out: its watches end with its selection. An admin needs no token
            # while it is one (`Session.lose_admin`).
            for session in list(database.sessions):
                if session.user == user and not session.is_admin:
                    session.leave()

    def _end_admins(self, hash_text: str | None) -> None:
        """Whoever is admin by a password that does not have this hash is admin no more."""
        for session in list(self.sessions.values()):
            if session.is_admin and hash_text not in session.admin_hashes:
                session.lose_admin()

    def reload_after_loss(self) -> None:
        """Changes that sessions acted on were lost (the commit failed): read again what is remembered of them."""
        self.view.depends = 0  # no command runs
        admin_hash = self.admin_token_hash()
        for name, database in list(self._databases.items()):
            entry = self.view.read(CATALOGUE + name.encode())
            if entry is None or prefixes(entry.version)[0] != database.prefix:  # gone, or another one of that name
                for session in list(database.sessions):
                    session.leave()
                del self._databases[name]
                self.view.volatile.pop(database.stored_key(CONNECTIONS_KEY), None)  # the next one gets its identifier
                continue
            database.rules.clear()
            if database.room is not None:
                database.room.is_known = False
                self.on_unmeasured(database)
            newest = Newest(self, database, is_after_loss=True)
            for session in list(database.sessions):
                if session.is_admin and admin_hash not in session.admin_hashes:
                    session.lose_admin(newest)
                session.leave_if_revoked()
                if session.database is not None:
                    session.set_rules(self.rules_for(database, session.user), newest)
        self._end_admins(admin_hash)
