"""Conflicts: changes whose version is too old (docs/protocol.md section 5).

A conflict's record is the ordinary key `$conflicts_KEY_ID`, so clients can read and watch it. Which records are
unresolved is kept in an index of its own beside the data (`KEY ID`; a key holds no space, so the records of `a`,
`ab` and `a_1` are never confused), and changes together with the record in one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.engine.effects import Pause
from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY, CONNECTIONS_KEY, ID_BYTES, index_key, parse_record, record_key
from pynun.engine.overlay import Entry
from pynun.engine.permissions import is_security_key
from pynun.engine.scans import scan_slices
from pynun.engine.versions import IN_CONFLICT, following
from pynun.protocol import messages
from pynun.protocol.arguments import GIVEN_VERSION_MAX

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from pynun.engine.database import Database
    from pynun.engine.effects import Answer, Need
    from pynun.engine.keyspace import Keyspace


_UNRESOLVED: Final = "resolve "

PENDING_MAX = 1000
"""Unresolved conflicts of one key. More changes are refused until the arbiter catches up."""


PENDING_KEY_BYTES_MAX = 1024 * 1024
"""Unresolved conflicts of one key times its length, because each record contains the key."""

_SLICES_MAX = 16
"""Slices of a scan for them, a millisecond each: keys that begin alike and are longer than the store can tell apart are
read with them."""

_SLICES_AT_ONCE = 2
"""Of the index of conflicts, when an arbiter's watch wakes: a few milliseconds."""

_RECORDS_AT_ONCE = 1000
_RECORD_BYTES_AT_ONCE = 1024 * 1024
"""Records that an arbiter who arrives has looked up at once, and bytes of their keys."""


def pending_of(keyspace: Keyspace, database: Database, key: str, slices_max: int | None = None) -> list[int]:
    """The ids of a key's unresolved conflicts, oldest first. Raises Refusal if it takes more slices of a scan."""
    names = _index_names(keyspace, database, f"{key} ", slices_max)
    if names is None:
        raise messages.too_many_conflicts(PENDING_MAX)
    return sorted(int(name.rpartition(b" ")[2]) for name in names)


def _index_names(keyspace: Keyspace, database: Database, start: str, slices_max: int | None) -> list[bytes] | None:
    """The names in a database's index of conflicts that begin so; None if it takes more slices of a scan."""
    slices = 0
    scan = scan_slices(keyspace.view, database.pending_prefix, start.encode())
    while True:
        try:
            next(scan)
        except StopIteration as stop:
            names: list[bytes] = stop.value
            return names
        slices += 1
        if slices == slices_max:
            return None


def some_pending_records(keyspace: Keyspace, database: Database, after: int) -> list[str] | None:
    """The record keys of a database's unresolved conflicts whose ids are higher than `after`, oldest first.

    None if there are so many that it takes too long to find them, or to look them up, at once.
    """
    names = _index_names(keyspace, database, "", _SLICES_AT_ONCE)
    if names is None:
        return None
    parts = [name.decode().rpartition(" ") for name in names]
    found = sorted((number, key) for key, _, digits in parts if (number := int(digits)) > after)
    return None if len(found) > _RECORDS_AT_ONCE else [record_key(key, number) for number, key in found]


def oldest_records(
    keyspace: Keyspace, database: Database, after: int, before: int
) -> Generator[Need, Answer, list[tuple[int, str]]]:
    """The ids and record keys of some unresolved conflicts whose ids lie between two, the oldest first; [] if none."""
    prefix, store = database.pending_prefix, keyspace.view.store
    unwritten = keyspace.view.unwritten(prefix)
    found: list[tuple[int, bytes]] = []

    def take(names: Iterable[bytes]) -> None:
        parts = [name.rpartition(b" ") for name in names]
        found.extend((number, key) for key, _, digits in parts if after < (number := int(digits)) < before)
        if len(found) > _RECORDS_AT_ONCE:
            found.sort()
        size = 0
        for count, (_, key) in enumerate(found):
            size += len(key)
            if count == _RECORDS_AT_ONCE or (count and size > _RECORD_BYTES_AT_ONCE):
                found.sort()
                del found[count:]
                break

    take(key[ID_BYTES:] for key, entry in unwritten.items() if entry is not None)
    position: bytes | None = b""
    while position is not None:
        names, position, _ = store.scan(prefix, position, _RECORDS_AT_ONCE)
        take(name for name in names if prefix + name not in unwritten)
        if position is not None:
            yield Pause()
    return [(number, record_key(key.decode(), number)) for number, key in sorted(found)]


def apply_strategy(keyspace: Keyspace, database: Database, key: str, entry: Entry, given: int, value: str) -> int:
    """Apply the database's strategy to a conflict: the version that the change gets.

    Raises Refusal if it is not applied; with an arbiter, the conflict is recorded and sent first.
    """
    match database.strategy:
        case "newer":
            return following(entry.version)
        case _ if key in database.ephemeral:
            raise messages.INVALID_VERSION  # no decision about it may outlive it
        case "none":
            raise messages.INVALID_VERSION
        case "arbiter" if is_security_key(key):
            raise messages.INVALID_VERSION  # an arbiter need not be admin, and revoking must not wait for one
        case "arbiter":
            raise _hand_on(keyspace, database, key, entry, given, value)


def _hand_on(
    keyspace: Keyspace, database: Database, key: str, entry: Entry, given: int, value: str
) -> messages.Refusal:
    if not database.has_arbiter():
        return messages.NO_ARBITER
    keyspace.check_changeable()
    pending = pending_of(keyspace, database, key, _SLICES_MAX)
    while pending and keyspace.read(database, record_key(key, pending[-1])) is None:  # removed with an older server
        keyspace.put_silently(index_key(database.pending_prefix, key, pending.pop()), None)
    if len(pending) >= PENDING_MAX or (len(pending) + 1) * len(key.encode()) > PENDING_KEY_BYTES_MAX:
        return messages.too_many_conflicts(PENDING_MAX)
    if pending:
        version, old = given + len(pending), record_key(key, pending[-1])
    else:
        version, old = entry.version, entry.text
    if version > GIVEN_VERSION_MAX:
        return messages.version_out_of_range(key)  # no `resolve` may name it
    identifier = keyspace.conflict_ids.following()
    record = record_key(key, identifier)
    text = messages.resolve(identifier, database.name, version, key, old, value)
    keyspace.put(database, record, Entry(0, text))
    keyspace.put_silently(index_key(database.pending_prefix, key, identifier), Entry(0, ""))
    if entry.version != IN_CONFLICT:
        keyspace.put_silently(database.stored_key(key), Entry(IN_CONFLICT, entry.text))
    event = Event(None, (text,), keyspace.view.depends)
    for watcher in database.watchers[ARBITER_KEY]:
        watcher.outbox.event(event)
    return messages.conflict_unresolved(record)


def check_writable(keyspace: Keyspace, database: Database, key: str) -> None:
    """Raises Refusal for `$` keys that no command changes, not even the admin's."""
    if key == CONNECTIONS_KEY:
        raise messages.CONNECTIONS_COUNTED
    named = parse_record(key)
    if named is not None and keyspace.view.read(index_key(database.pending_prefix, *named)) is not None:
        raise messages.conflict_pending(key)


def resolve(keyspace: Keyspace, database: Database, identifier: int, key: str, version: int, value: str) -> None:
    """Apply an arbiter's decision to the record and the key, which leaves conflict with its last one."""
    record = record_key(key, identifier)
    texts = {key: value}
    entry = keyspace.read(database, key)
    if entry is None:
        keyspace.check_new_key(key)
    given = version if entry is None or entry.version == IN_CONFLICT else entry.version
    new = following(given)
    keyspace.check_version(key, new)
    if keyspace.read(database, record) is not None:
        texts[record] = messages.resolved(value)
    keyspace.check_size(database, texts)  # all of it, or nothing
    if record in texts:
        keyspace.change(database, record, messages.resolved(value))
    indexed = index_key(database.pending_prefix, key, identifier)
    if keyspace.view.read(indexed) is not None:
        keyspace.put_silently(indexed, None)
    keyspace.put(database, key, Entry(IN_CONFLICT if _is_pending(keyspace, database, key) else new, value))


def _is_pending(keyspace: Keyspace, database: Database, key: str) -> bool:
    """Whether a conflict of the key can still be resolved. Ids whose records are gone are forgotten.

    Older servers allowed removing records. No arbiter gets those, so they must not block the key.
    """
    for identifier in pending_of(keyspace, database, key):
        if keyspace.read(database, record_key(key, identifier)) is not None:
            return True
        keyspace.put_silently(index_key(database.pending_prefix, key, identifier), None)
    return False


class Waiting(NamedTuple):
    """The contents of an unresolved conflict's record."""

    key: str
    identifier: int
    database: str
    text_behind: str
    """The record's text after the database's name."""


def is_unresolved(text: str) -> bool:
    """Whether a record's text is that of an unresolved conflict."""
    return text.startswith(_UNRESOLVED)


def parse_waiting(key: str, text: str) -> Waiting | None:
    """Read a record `$conflicts_KEY_ID` with the text `resolve ID DATABASE VERSION KEY OLD NEW`.

    None if it is resolved, or only looks like a record: anybody may set such a key.
    """
    named = parse_record(key) if text.startswith(_UNRESOLVED) else None
    parts = text.split(" ", 5)
    if named is None or len(parts) < 6:
        return None
    of, identifier = named
    if parts[1] != str(identifier) or parts[4] != of:
        return None
    return Waiting(of, identifier, parts[2], " ".join(parts[3:]))


def renamed(waiting: Waiting, database: str) -> str:
    """The text of a record of a database that has another name now."""
    return f"{_UNRESOLVED}{waiting.identifier} {database} {waiting.text_behind}"
