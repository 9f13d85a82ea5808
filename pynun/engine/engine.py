"""The engine: all databases of a server, and all changes to them.

It owns no task, file, socket, clock or randomness; it is given what it needs. All calls come from one thread. Errors
for clients are raised as `Refusal`; any other exception is a bug.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pynun.engine import administrators, tombstones
from pynun.engine.audit_events import NoAudit
from pynun.engine.change_rate import ChangeRates
from pynun.engine.database import Database, new_identifier
from pynun.engine.key_layout import (
    ADMIN_DATABASE,
    CATALOGUE,
    CONNECTIONS_KEY,
    HOUSEKEEPING,
    LAST_IDENTIFIER,
    Strategy,
    parse_strategy,
)
from pynun.engine.keyspace import Keyspace
from pynun.engine.listing_budget import ListingBudget
from pynun.engine.loads import Loads
from pynun.engine.overlay import Entry, View
from pynun.engine.permissions import (
    EVERYONE,
    NO_GRANTS,
    Rules,
    parse_grants,
    permission_key,
    permitted_user,
    user_of_secret,
)
from pynun.engine.size_limit import SizeLimit, growth
from pynun.engine.sleeping_watches import Newest
from pynun.engine.tombstones import note_key
from pynun.engine.versions import VERSION_MAX
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.audit_events import Audit
    from pynun.engine.cluster import Cluster
    from pynun.engine.counters import Counters
    from pynun.engine.database import Member
    from pynun.engine.effects import Credentials
    from pynun.engine.loads import Load
    from pynun.engine.overlay import Store

_START_PASSWORD: Final = HOUSEKEEPING + b"start-password"
"""The stored key of the hash of the admin password given at the last start."""

_MEASURED_READS = 100


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine needs from outside."""

    admin_user: str
    address: str
    """This node's address in `cluster-state` and `rp`: HOST:PORT of its TCP listener."""
    process_id: int
    time_ns: Callable[[], int]
    """Nanoseconds since 1970, for the ids of conflicts."""
    credentials: Credentials
    watches_max: int = 10_000
    """Keys that one session may watch."""
    keys_max: int = 1_000_000
    """Keys in one reply to `keys`."""
    listing_bytes_max: int = 32 * 1024**2
    """Bytes of such a reply."""
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
    system_users: frozenset[str] = frozenset({"root"})
    """Who may log in without a password on the server's machine: the audit trail has these names for nobody else."""
    is_disk_scarce: Callable[[], bool] = lambda: False
    """Whether imports and copies would take the room that clients need for their changes."""
    audit: Audit = field(default_factory=NoAudit)
    cluster: Cluster | None = None
    """None: this is a single node."""
    on_first_change: Callable[[], None] = lambda: None
    """Called when a batch got its first change: it is there to be written (`View`)."""
    on_drop: Callable[[], None] = lambda: None
    """Called when a database was dropped, or a load began or ended: keys may be there to be removed (`tombstones`)."""
    on_unmeasured: Callable[[Database], None] = lambda _: None
    """Called when it is not known how much a database holds that has a limit (`Database.size_limit`)."""


class Engine:
    """All databases of one server."""

    def __init__(
        self, store: Store, context: Context, counters: Counters, *, revision: int, operations: int, is_relaxed: bool
    ) -> None:
        self.context = context
        self.view = View(
            store,
            revision=revision,
            operations=operations,
            is_relaxed=is_relaxed,
            on_first_change=context.on_first_change,
        )
        self.counters = counters
        self.listing_budget = ListingBudget(context.listing_bytes_max)
        self.loads = Loads(self.view, context.clock, context.on_drop, context.is_disk_scarce)
        self._databases: dict[str, Database] = {}
        self.sessions: dict[int, Member] = {}
        """Open sessions by number, in order."""
        self.watches_bytes = 0
        """Approximate memory of all their watches."""
        self._sessions_entered = 0
        per_second = context.changes_per_second_max
        self.change_rates = None if per_second is None else ChangeRates(per_second, context.clock, context.group_of)
        self.keyspace = Keyspace(
            self.view, context.time_ns, context.key_bytes_max, self._end_first_admins, self._security_changed
        )

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
            database.size_limit = self._new_size_limit(name)
            if database.size_limit is not None:
                self.context.on_unmeasured(database)
        return database

    def _new_size_limit(self, name: str) -> SizeLimit | None:
        bytes_max = self.context.database_bytes_max
        return None if bytes_max is None or name == ADMIN_DATABASE else SizeLimit(bytes_max)

    def database(self, name: str) -> Database:
        """The database of that name. Raises Refusal `Not a valid database name`."""
        database = self.find_database(name)
        if database is None:
            raise messages.NOT_A_DATABASE
        return database

    def create_database(self, name: str, token_hash: str, strategy: Strategy) -> Database:
        """Create a database. Raises Refusal if it exists."""
        if self.find_database(name) is not None:
            raise messages.DATABASE_EXISTS
        self.keyspace.check_changeable()
        self.keyspace.check_new_key(name)
        identifier = new_identifier(self.view)
        self.view.write(CATALOGUE + name.encode(), Entry(identifier, strategy))
        if name != ADMIN_DATABASE:
            self.view.count_operation()
        database = Database(name, identifier, strategy)
        self._databases[name] = database
        database.size_limit = self._new_size_limit(name)
        if database.size_limit is not None:
            database.size_limit.take(growth("$$token", None, token_hash))
            database.size_limit.is_known = True
        self.view.write(database.stored_key("$$token"), Entry(0, token_hash))
        admin = database if name == ADMIN_DATABASE else self.database(ADMIN_DATABASE)
        self.keyspace.write(admin, name, Entry(0, "{}"))
        return database

    def drop_database(self, database: Database) -> None:
        """Drop a database: its name, data and sessions. Raises Refusal while that can't be stored.

        Sessions that selected it are not told, like those whose token changed: clients would take an unexpected event
        for a reply. Their later commands that need a database are refused.
        """
        if database.name == ADMIN_DATABASE:
            raise messages.ADMIN_NOT_DROPPABLE
        self.keyspace.check_changeable()
        self.view.write(CATALOGUE + database.name.encode(), None)
        tombstones.note(self.view, database)
        self.view.count_operation()
        del self._databases[database.name]
        database.is_dropped = True
        database.watchers.clear()
        for session in database.sessions:
            session.lose_database()
        database.sessions.clear()
        for key in list(database.ephemeral):
            self.keyspace.forget_ephemeral(database, key)
        self.view.forget(database.connections_key)
        self._forget_name(database.name)
        self.context.on_drop()

    def rename_database(self, database: Database, name: str) -> None:
        """Give a database another name; its sessions keep it. Raises Refusal."""
        if database.name == ADMIN_DATABASE:
            raise messages.ADMIN_STAYS
        if self.find_database(name) is not None:
            raise messages.DATABASE_EXISTS
        self.keyspace.check_changeable()
        self.keyspace.check_new_key(name)
        old = database.name
        self.view.write(CATALOGUE + old.encode(), None)
        self.view.write(CATALOGUE + name.encode(), Entry(database.identifier, database.strategy))
        self.view.count_operation()
        database.note_before()
        del self._databases[old]
        self._databases[name] = database
        database.name = name
        self._forget_name(old)
        self.keyspace.write(self.database(ADMIN_DATABASE), name, Entry(0, "{}"))

    def _forget_name(self, name: str) -> None:
        admin = self.database(ADMIN_DATABASE)
        if self.keyspace.read(admin, name) is not None:
            self.view.write(admin.stored_key(name), None)
            admin.notify(name, messages.removed(name), self.view.depends)

    def swap_in(self, load: Load) -> tuple[Database, bytes | None]:
        """Give a load its name: it is a database then, all of it. The caller has checked that it may have it.

        Returns it, and the prefix of the data that it replaced. Sessions that selected a replaced one have the new one
        selected, as far as their tokens and permissions are valid there; what they watch is for the caller to tell.
        """
        database = self.find_database(load.name)
        replaced = None
        self.view.write(CATALOGUE + load.name.encode(), Entry(load.identifier, load.strategy))
        self.view.write(note_key(load.identifier), None)
        self.view.count_operation()
        self.loads.end(load)
        if database is None:
            database = self._databases[load.name] = Database(load.name, load.identifier, load.strategy)
            self.keyspace.write(self.database(ADMIN_DATABASE), load.name, Entry(0, "{}"))
        else:
            tombstones.note(self.view, database)
            replaced = database.prefix
            database.note_before()
            self._take_identifier(database, load.identifier)
            database.strategy = load.strategy
            database.rules.clear()
            self.view.losses += 1  # listings under way are made again
        database.size_limit = self._new_size_limit(load.name)
        if database.size_limit is not None:
            database.size_limit.bytes, database.size_limit.is_known = load.bytes, True
        for session in list(database.sessions):
            session.leave_if_revoked()
            if session.database is not None:
                session.set_rules(self.rules_for(database, session.user))
        return database, replaced

    def _take_identifier(self, database: Database, identifier: int) -> None:
        """Have a database's data under another identifier, its count of sessions and its ephemeral keys too."""
        names = (CONNECTIONS_KEY, *database.ephemeral)
        moved = {name: self.view.forget(database.stored_key(name)) for name in names}
        database.take_identifier(identifier)
        for name, entry in moved.items():
            if entry is not None:
                self.view.keep(database.stored_key(name), entry)

    def database_names(self) -> list[str]:
        """The names of all databases, in order."""
        return [name for name in self.keyspace.scan(CATALOGUE) if name]

    def databases_in_use(self) -> list[Database]:
        """The databases that sessions selected."""
        return [database for database in self._databases.values() if database.sessions]

    def prepare(self, admin_token_hash: str, start_password_hash: str | None = None) -> None:
        """Before the first session: create the admin database, whose token is the admin password's hash.

        `start_password_hash` is that of the password given at this start, to be compared with that of the next.
        """
        admin = self.find_database(ADMIN_DATABASE)
        if admin is None:
            self.create_database(ADMIN_DATABASE, admin_token_hash, "newer")
        elif self.admin_token_hash() != admin_token_hash:
            self.keyspace.change(admin, "$$token", admin_token_hash)
        if start_password_hash not in (None, self.start_password_hash()):
            self.view.write(_START_PASSWORD, Entry(0, start_password_hash))

    def start_password_hash(self) -> str | None:
        """The hash of the password given at the last start; None before the first."""
        entry = self.view.read(_START_PASSWORD)
        return None if entry is None else entry.text

    def admin_token_hash(self) -> str | None:
        """The hash of the admin password; None before the first start."""
        admin = self.find_database(ADMIN_DATABASE)
        entry = None if admin is None else self.view.read(admin.stored_key("$$token"))
        return None if entry is None else entry.text

    def measure_get_ms(self) -> float:
        """How long a read takes, in milliseconds: measured on request, so that reads cost nothing more."""
        clock = self.context.time_ns
        began_ns = clock()
        for _ in range(_MEASURED_READS):
            self.view.store.get(LAST_IDENTIFIER)
        return (clock() - began_ns) / _MEASURED_READS / 1e6

    # --- presence and permissions ------------------------------------------------------------------------------

    def enter(self, session: Member) -> int:
        """Open a session; returns its number."""
        self._sessions_entered += 1
        self.sessions[self._sessions_entered] = session
        return self._sessions_entered

    def count_connections(self, database: Database) -> None:
        """Update `$connections` after the number of the database's sessions changed."""
        old = self.view.volatile.get(database.connections_key)
        count = str(len(database.sessions))
        version = 0 if old is None or old.version >= VERSION_MAX else old.version + 1
        self.keyspace.write_connections(database, Entry(version, count))

    def rules_for(self, database: Database, user: str) -> Rules | None:
        """What `user` may do; None: everything (the database's own token, without an entry for `all`)."""
        entry = self.keyspace.read(database, permission_key(user))
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
            newest = Newest(self.keyspace, database)
            for session in list(database.sessions):
                if session.user == user:
                    session.set_rules(rules, newest)
            return
        user = user_of_secret(key)
        if user is not None:
            # Sessions with the old token lose their selection and watches. An admin needs no token
            # while it is one (`Session.lose_admin`).
            for session in list(database.sessions):
                if session.user == user and not session.is_admin:
                    session.leave()

    def administrator_hash(self, name: str) -> str | None:
        """The hash of an administrator's password; None if there is none of that name."""
        if name == self.context.admin_user:
            return self.admin_token_hash()
        return administrators.read_hash(self.view, name)

    def end_admins(self, name: str, hash_text: str | None) -> list[Member]:
        """End the rights of an administrator's sessions whose password does not have this hash; returns them."""
        ended = [
            session
            for session in self.sessions.values()
            if session.admin_name == name and session.admin_hashes and hash_text not in session.admin_hashes
        ]
        for session in ended:
            session.lose_admin()
        return ended

    def _end_first_admins(self, hash_text: str | None) -> None:
        self.end_admins(self.context.admin_user, hash_text)

    def _has_lost_password(self, session: Member) -> bool:
        """Whether the password that made it admin is not stored any more."""
        return bool(session.admin_hashes) and (
            self.administrator_hash(session.admin_name or "") not in session.admin_hashes
        )

    def reload_after_loss(self) -> None:
        """Changes that sessions acted on were lost (the commit failed): reload what was cached of them."""
        self.view.depends = 0  # no command runs
        self.loads.clear()
        self._find_again()
        for database in list(self._databases.values()):
            database.rules.clear()
            if database.size_limit is not None:
                database.size_limit.is_known = False
                self.context.on_unmeasured(database)
            newest = Newest(self.keyspace, database, is_after_loss=True)
            for session in list(database.sessions):
                if self._has_lost_password(session):
                    session.lose_admin(newest)
                session.leave_if_revoked()
                if session.database is not None:
                    session.set_rules(self.rules_for(database, session.user), newest)
        for session in list(self.sessions.values()):
            if self._has_lost_password(session):
                session.lose_admin()

    def _find_again(self) -> None:
        """Forget databases that were lost; those whose renaming or replacement was lost are what they were."""
        lost = [one for one in self._databases.values() if self._catalogued(one.name) != one.identifier]
        for database in lost:
            del self._databases[database.name]
        for database in lost:
            entries = [(name, self.view.read(CATALOGUE + name.encode()), number) for name, number in database.before]
            found = [(name, entry) for name, entry, number in entries if entry is not None and entry.version == number]
            if found:
                database.name, entry = found[-1]
                self._take_identifier(database, entry.version)
                database.strategy = parse_strategy(entry.text)
                self._databases[database.name] = database
                continue
            for session in list(database.sessions):
                session.leave()
            self.view.forget(database.connections_key)  # the next one gets its identifier

    def _catalogued(self, name: str) -> int | None:
        """The identifier of the database of that name."""
        entry = self.view.read(CATALOGUE + name.encode())
        return None if entry is None else entry.version
