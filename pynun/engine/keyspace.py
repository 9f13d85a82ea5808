"""The keys of all databases: reading them, and the one way in which they change, their watchers told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun import limits
from pynun.engine.conflict_ids import ConflictIds
from pynun.engine.key_layout import ADMIN_DATABASE, CONNECTIONS_KEY
from pynun.engine.overlay import Entry
from pynun.engine.permissions import is_security_key
from pynun.engine.scans import scan_slices
from pynun.engine.size_limit import growth
from pynun.engine.versions import VERSION_MAX, following
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pynun.engine.database import Database
    from pynun.engine.overlay import View
    from pynun.engine.size_limit import SizeLimit


class Keyspace:
    """The keys of one engine's databases."""

    def __init__(
        self,
        view: View,
        time_ns: Callable[[], int],
        key_bytes_max: int,
        on_admin_password: Callable[[str | None], None],
        on_security_change: Callable[[Database, str], None],
    ) -> None:
        """`on_admin_password` is told of the hash before the admin password changes, `on_security_change` of a `$$`
        key after it has changed.
        """
        self.view = view
        self.conflict_ids = ConflictIds(view, time_ns)
        self.refused_changes: str | None = None
        """Set while the store can't take changes: why. Commands that change data are refused with it."""
        self._ephemeral_bytes = 0
        """Memory of the values of all ephemeral keys."""
        self._key_bytes_max = key_bytes_max
        self._on_admin_password = on_admin_password
        self._on_security_change = on_security_change

    def read(self, database: Database, key: str) -> Entry | None:
        """The newest entry of a key."""
        return self.view.read(database.prefix + key.encode())

    def scan(self, prefix: bytes, key_prefix: str = "") -> list[str]:
        """The keys under a stored prefix that begin with `key_prefix`, in order, at once: only for short lists."""
        steps = scan_slices(self.view, prefix, key_prefix.encode())
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return [key.decode() for key in stop.value]

    def check_changeable(self) -> None:
        """Raises Refusal while the store can't take changes (docs/protocol.md section 9)."""
        if self.refused_changes is not None:
            raise messages.Refusal(messages.storage_failed(self.refused_changes))

    def check_new_key(self, key: str) -> None:
        """Raises Refusal if a key that does not exist is too long to be created (docs/protocol.md section 2)."""
        if len(key.encode()) > self._key_bytes_max:
            raise messages.key_too_long(self._key_bytes_max)

    def check_size(self, database: Database, texts: Mapping[str, str]) -> None:
        """Raises Refusal if a database can't hold these texts of keys beside the rest (docs/protocol.md section 9)."""
        if database.size_limit is not None:
            database.size_limit.check(sum(growth(key, self.read(database, key), text) for key, text in texts.items()))

    def _count_change(self, database: Database, limit: SizeLimit, key: str, text: str | None) -> None:
        """Raises Refusal if a change makes a database too large. What the admin rules by (`$$`) never does."""
        if key != CONNECTIONS_KEY:
            more = growth(key, self.read(database, key), text)
            if not is_security_key(key):
                limit.check(more)
            limit.take(more)

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
        if key in database.ephemeral:
            self.put_ephemeral(database, key, entry)
            return
        if database.size_limit is not None:
            self._count_change(database, database.size_limit, key, entry.text)
        if key[:1] == "$":
            self.write(database, key, entry)
        else:
            self._put_plain(database, key, entry)
        self.view.count_operation()

    def write(self, database: Database, key: str, entry: Entry) -> None:
        """What `put` does without its checks: changes of the server itself come this way."""
        if key == CONNECTIONS_KEY:
            self.write_connections(database, entry)
            return
        if key == "$$token" and database.name == ADMIN_DATABASE:
            self._on_admin_password(entry.text)  # before they hear of it
        self._put_plain(database, key, entry)
        if key.startswith("$$"):
            self._on_security_change(database, key)

    def write_connections(self, database: Database, entry: Entry) -> None:
        """Write `$connections`, which is in memory only."""
        self.view.keep(database.connections_key, entry)
        if CONNECTIONS_KEY in database.watchers:
            database.notify(CONNECTIONS_KEY, messages.changed(CONNECTIONS_KEY, entry.version, entry.text), 0)

    def _put_plain(self, database: Database, key: str, entry: Entry) -> None:
        """Put a key that means nothing to the server: nearly all there are."""
        view = self.view
        view.write(database.prefix + key.encode(), entry)
        if key in database.watchers:
            database.notify(key, messages.changed(key, entry.version, entry.text), view.depends)

    def put_ephemeral(self, database: Database, key: str, entry: Entry) -> None:
        """The change of a key that a session has made ephemeral, its watchers told.

        Raises Refusal if the value is too long, or longer than a short one while the memory for all is used up.
        """
        if len(entry.text.encode()) > limits.EPHEMERAL_BYTES_MAX:
            raise messages.ephemeral_too_long(limits.EPHEMERAL_BYTES_MAX)
        stored = database.stored_key(key)
        more = _memory(entry.text)
        is_short = more <= limits.EPHEMERAL_BYTES_SHORT
        old = self.view.volatile.get(stored)
        if old is not None:
            more -= _memory(old.text)
        if not is_short and more > 0 and self._ephemeral_bytes + more > limits.EPHEMERAL_BYTES_ALL:
            raise messages.ephemeral_full(limits.EPHEMERAL_BYTES_ALL)
        self._ephemeral_bytes += more
        self.view.write_ephemeral(stored, entry)
        database.notify(key, messages.changed(key, entry.version, entry.text), 0)

    def remove_ephemeral(self, database: Database, key: str) -> None:
        """The end of an ephemeral key, its watchers told."""
        self.forget_ephemeral(database, key)
        database.notify(key, messages.removed(key), 0)

    def forget_ephemeral(self, database: Database, key: str) -> None:
        """The end of an ephemeral key of a database that is dropped."""
        del database.ephemeral.pop(key).ephemeral[key]
        stored = database.stored_key(key)
        self._ephemeral_bytes -= _memory(self.view.volatile[stored].text)
        self.view.write_ephemeral(stored, None)

    def put_silently(self, stored: bytes, entry: Entry | None) -> None:
        """A change that nobody can watch: a key that goes into conflict, the index of conflicts."""
        self.check_changeable()
        self.view.write(stored, entry)

    def remove(self, database: Database, key: str) -> None:
        """Remove a key, its watchers told. Raises Refusal while the store can't take changes."""
        if key in database.ephemeral:
            self.remove_ephemeral(database, key)
            return
        self.check_changeable()
        if database.size_limit is not None:
            self._count_change(database, database.size_limit, key, None)
        view = self.view
        stored = database.stored_key(key)
        view.write(stored, None)
        view.count_operation()
        database.notify(key, messages.removed(key), view.depends)
        if key.startswith("$$"):
            self._on_security_change(database, key)


def _memory(text: str) -> int:
    """The most bytes of memory that its characters take (PEP 393)."""
    return len(text) if text.isascii() else 4 * len(text)
