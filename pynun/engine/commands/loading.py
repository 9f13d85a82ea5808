"""Importing and copying databases while others are served (docs/protocol.md section 2, `pynun.engine.loads`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pynun.engine.conflicts import parse_waiting
from pynun.engine.effects import HashSecret, Pause
from pynun.engine.key_layout import (
    ADMIN_DATABASE,
    ARBITER_KEY,
    CONNECTIONS_KEY,
    ID_BYTES,
    index_key,
    parse_record,
    parse_strategy,
)
from pynun.engine.loads import ChangeTracker
from pynun.engine.overlay import Entry
from pynun.engine.patterns import EVERY_KEY
from pynun.engine.permissions import is_secret_key, user_key
from pynun.engine.scans import scan_page, scan_slices
from pynun.engine.secret_hashes import is_secret_hash
from pynun.engine.versions import IMPORTED_VERSION_MAX
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Generator

    from pynun.engine.database import Database
    from pynun.engine.effects import Answer, Need, Steps
    from pynun.engine.loads import Load
    from pynun.engine.overlay import View
    from pynun.engine.session import Session

_CATCH_UP_ROUNDS: Final = 100
_CATCH_UP_KEYS: Final = 500
"""What may be copied again in the last step, which is not divided: a few milliseconds."""

ROWS_MAX: Final = 1000
"""Rows in one command: they are read in one step."""

_TOLD_AT_ONCE: Final = 100
"""Watched keys looked at in one step when a database was replaced: about a millisecond."""


def begin_import(session: Session, name: str, strategy: str, is_replacing: bool) -> str:
    """Begin an import."""
    engine = session.engine
    _check_target(session, name, is_replacing=is_replacing)
    number, _ = engine.loads.begin(name, parse_strategy(strategy), is_replacing=is_replacing)
    return messages.report("import", {"id": number, "replaces": engine.find_database(name) is not None})


def import_keys(session: Session, number: int, text: str) -> Steps:
    """Put rows into an import; replies when they are on disk."""
    engine = session.engine
    load = engine.loads.find(number)
    with engine.loads.working(load):
        rows = _parsed(text)
        for place, row in enumerate(rows, 1):
            key, version, value = _checked(place, row)
            if load.has(key):
                raise messages.not_importable(place, f"the key {key!r} is there twice")
            if is_secret_key(key):
                value = yield from _hashed(session, load, place, value)
            load.check_room(key, value, engine.context.database_bytes_max)
            session.keyspace.check_changeable()
            load.put(key, Entry(version, value), parse_waiting(key, value))
            yield from load.breathe()
        yield from load.settle()
    return None


def end_import(session: Session, number: int, token: str | None) -> Steps:
    """Make an import visible."""
    engine = session.engine
    load = engine.loads.find(number)
    with engine.loads.working(load):
        yield from session.keyspace.conflict_ids.find_newest()
        engine.loads.check(load)
        existing = engine.find_database(load.name)
        if existing is not None and load.is_replacing:
            yield from _keep_secrets(session, existing, load)
        elif not load.has("$$token"):
            if token is None:
                raise messages.NO_TOKEN_IMPORTED
            hash_text = yield HashSecret(token)
            engine.loads.check(load)
            load.put("$$token", Entry(0, str(hash_text)))
        _check_target(session, load.name, is_replacing=load.is_replacing)
        session.keyspace.conflict_ids.pass_over(load.newest_conflict)
        database, replaced = engine.swap_in(load)
    if replaced is not None:
        yield from _tell_watchers(session, database, replaced)
    return messages.report("imported", {"name": load.name, "keys": load.keys, "replaced": replaced is not None})


def cancel_import(session: Session, number: int) -> None:
    """Give up an import."""
    session.engine.loads.end(session.engine.loads.find(number))


def copy_database(session: Session, source_name: str, name: str, token: str | None) -> Steps:
    """Copy a database, as it is when the copy becomes visible."""
    engine = session.engine
    source = engine.database(source_name)
    if source_name == ADMIN_DATABASE:
        raise messages.ADMIN_STAYS
    _check_target(session, name, is_replacing=False)
    _, load = engine.loads.begin(name, source.strategy)
    with engine.loads.working(load), ChangeTracker(engine.view, source.prefix, source.pending_prefix) as tracker:
        hash_text = None
        if token is not None:
            hash_text = yield HashSecret(token)
            engine.loads.check(load)
        yield from _copy_keys(session, source, load)
        changed = yield from _catch_up(session, source, load, tracker)
        # From here on without a pause: what changes now is in this batch or a later one.
        for stored in changed:
            _copy_entry(session, source, load, stored)
        if hash_text is not None:
            load.put("$$token", Entry(0, str(hash_text)))
        _check_target(session, name, is_replacing=False)
        engine.swap_in(load)
    return messages.report("copied", {"name": name, "keys": load.keys})


def _check_target(session: Session, name: str, *, is_replacing: bool) -> None:
    """Raises Refusal if no load may get this name."""
    if name == ADMIN_DATABASE:
        raise messages.ADMIN_STAYS
    if session.engine.find_database(name) is None:
        session.keyspace.check_new_key(name)
    elif not is_replacing:
        raise messages.DATABASE_EXISTS
    session.keyspace.check_changeable()


# --- rows


def _parsed(text: str) -> list[Any]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list):
        raise messages.NOT_ROWS
    if len(rows) > ROWS_MAX:
        raise messages.not_importable(ROWS_MAX + 1, f"at most {ROWS_MAX} rows in one command")
    return rows


def _checked(place: int, row: object) -> tuple[str, int, str]:
    match row:
        case [str(key), int(version), str(value)] if type(version) is int and abs(version) <= IMPORTED_VERSION_MAX:
            pass
        case _:
            raise messages.not_importable(place, "it is not [KEY, VERSION, VALUE]")
    if not key or " " in key or "\n" in key:
        raise messages.not_importable(place, "a key can't be empty or contain spaces or line breaks")
    if key == CONNECTIONS_KEY:
        raise messages.not_importable(place, f"{CONNECTIONS_KEY} is counted by the server and can't be imported")
    try:
        f"{key}{value}".encode()
    except UnicodeEncodeError:
        raise messages.not_importable(place, "its text holds half a character (a lone surrogate)") from None
    return key, version, value


def _hashed(session: Session, load: Load, place: int, value: str) -> Generator[Need, Answer, str]:
    """The hash of an imported token, which may be one already."""
    if not value:
        raise messages.not_importable(place, "the token is empty")
    if not is_secret_hash(value):
        value = str((yield HashSecret(value)))
        session.engine.loads.check(load)
    limit = session.engine.context.credentials.hash_limit
    if not limit.allows(value):
        raise messages.hash_costs_too_much(str(limit))
    return value


# --- copying


def _copy_keys(session: Session, source: Database, load: Load) -> Generator[Need, Answer, None]:
    """Copy all keys, page by page; what changes meanwhile is for `_catch_up`."""
    engine, prefix = session.engine, source.prefix
    last: bytes | None = b""
    while last is not None:
        with engine.listing_budget.open() as listing:
            names, last = yield from scan_page(engine.view, prefix, EVERY_KEY, last, listing, with_security=True)
        for name in names:
            _copy_entry(session, source, load, prefix + name)
            yield from load.breathe()
            _check_source(session, source, prefix)


def _catch_up(
    session: Session, source: Database, load: Load, tracker: ChangeTracker
) -> Generator[Need, Answer, set[bytes]]:
    """Copy again what changed, until little is left; returns that. Raises Refusal if it never is."""
    prefix = source.prefix
    for _ in range(_CATCH_UP_ROUNDS):
        changed = tracker.take()
        if len(changed) <= _CATCH_UP_KEYS:
            return changed
        for stored in changed:
            _copy_entry(session, source, load, stored)
            yield from load.breathe()
            _check_source(session, source, prefix)
        yield from load.settle()
        _check_source(session, source, prefix)
    raise messages.changes_too_fast()


def _check_source(session: Session, source: Database, prefix: bytes) -> None:
    """Raises Refusal if the database that is copied was dropped or replaced, or nothing can be stored now."""
    if source.is_dropped or source.prefix != prefix:
        raise messages.NOT_A_DATABASE
    session.keyspace.check_changeable()


def _copy_entry(session: Session, source: Database, load: Load, stored: bytes) -> None:
    """Copy what a database has under a stored key: a key, or an entry of its index of conflicts."""
    view = session.view
    entry = view.read(stored)
    if stored[:ID_BYTES] == source.pending_prefix:
        load.set_index(stored[ID_BYTES:], entry is not None)
        return
    key = stored[ID_BYTES:].decode()
    if key == CONNECTIONS_KEY:
        return
    if entry is None:
        load.remove(key)
        return
    named = parse_record(key)
    is_pending = named is not None and view.read(index_key(source.pending_prefix, *named)) is not None
    load.put(key, entry, parse_waiting(key, entry.text) if is_pending else None)


def _keep_secrets(session: Session, existing: Database, load: Load) -> Generator[Need, Answer, None]:
    """Keep the tokens of a database that an import without them replaces, as they are in the end."""
    engine, prefix = session.engine, existing.prefix
    kept = {"$$token"} if not load.has("$$token") else set()
    with ChangeTracker(engine.view, prefix) as tracker:
        for name in (yield from scan_slices(engine.view, prefix, user_key("").encode())):
            if not load.has(name.decode()):
                kept.add(name.decode())
        engine.loads.check(load)
        for key in sorted(kept):
            _copy_entry(session, existing, load, existing.stored_key(key))
            yield from load.breathe()
            _check_source(session, existing, prefix)
        for stored in tracker.take():
            key = stored[ID_BYTES:].decode()
            if key in kept or (is_secret_key(key) and not load.has(key)):
                _copy_entry(session, existing, load, stored)


# --- after it


def _tell_watchers(session: Session, database: Database, replaced: bytes) -> Generator[Need, Answer, None]:
    """Tell who watches keys that the replaced data had otherwise. Goes on to the end whatever becomes of the session.

    Arbiters are disconnected: when they come again, they are sent the conflicts that there are now.
    """
    view = session.view
    for watcher in list(database.watchers.get(ARBITER_KEY, ())):
        if watcher in database.sessions and watcher.peer is not None:
            watcher.peer.disconnect()
    keys = iter(list(database.watchers))
    try:
        for number, key in enumerate(keys, 1):
            _tell(view, database, replaced, key)
            if number % _TOLD_AT_ONCE == 0:
                yield Pause()
    finally:
        for key in keys:
            _tell(view, database, replaced, key)


def _tell(view: View, database: Database, replaced: bytes, key: str) -> None:
    entry = view.read(database.stored_key(key))
    if key != CONNECTIONS_KEY and entry != view.read(replaced + key.encode()):
        texts = messages.removed(key) if entry is None else messages.changed(key, entry.version, entry.text)
        database.notify(key, texts, view.depends)
