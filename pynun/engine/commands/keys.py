"""Reading and changing keys (docs/protocol.md sections 2 and 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine import conflicts
from pynun.engine.changes import Entry
from pynun.engine.commands.login import hashed, stay_admin
from pynun.engine.database import ADMIN_DATABASE
from pynun.engine.patterns import parse_pattern
from pynun.engine.permissions import is_secret_key, permission_key
from pynun.engine.secret_hashes import is_secret_hash
from pynun.engine.steps import Pause
from pynun.engine.versions import IN_CONFLICT, next_version
from pynun.language import messages
from pynun.language.arguments import UNCONDITIONAL
from pynun.language.numbers import INT64_MAX, INT64_MIN, parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.database import Database
    from pynun.engine.patterns import Pattern
    from pynun.engine.session import Session
    from pynun.engine.steps import Steps

_JOIN_KEYS = 8192
"""Keys joined before others may work: well under a millisecond."""


def get(session: Session, key: str) -> str:
    database = session.selected
    entry = session.view.read(database.prefix + key.encode())
    return messages.value(None if entry is None else entry[1])


def get_safe(session: Session, key: str) -> str:
    database = session.selected
    entry = session.view.read(database.prefix + key.encode())
    return messages.VALUE_VERSION_ABSENT if entry is None else messages.value_version(entry[0], entry[1])


def set_value(session: Session, key: str, value: str) -> Steps | None:
    return change(session, session.selected, key, UNCONDITIONAL, value)


def set_safe(session: Session, key: str, version: int, value: str) -> Steps | None:
    return change(session, session.selected, key, version, value)


def change(session: Session, database: Database, key: str, given: int, value: str) -> Steps | None:
    """The change of a key that names version `given`; a secret is hashed first."""
    if key[:2] == "$$" and is_secret_key(key):
        return _change_secret(session, database, key, given, value)
    change_now(session, database, key, given, value)
    return None


def change_now(session: Session, database: Database, key: str, given: int, value: str) -> None:
    """Decide on the key's newest entry and change it. Raises Refusal if the change is a conflict that is not won."""
    engine = session.engine
    entry = session.view.read(database.prefix + key.encode())
    if entry is None:
        version = next_version(None, given)
    elif entry[0] == IN_CONFLICT:
        version = None
    else:
        version = next_version(entry[0], given)
    if version is None:
        assert entry is not None
        version = conflicts.settle(engine, database, key, entry, given, value)
    engine.put(database, key, Entry(version, value))


def _change_secret(session: Session, database: Database, key: str, given: int, value: str) -> Steps:
    if is_secret_hash(value):
        limit = session.engine.context.credentials.hash_limit
        if not limit.allows(value):
            raise messages.hash_costs_too_much(str(limit))
    else:
        value = yield from hashed(session.engine, database, value)
    if database.name == ADMIN_DATABASE and key == "$$token":
        stay_admin(session, value)
    change_now(session, database, key, given, value)
    return None


def remove(session: Session, key: str) -> None:
    remove_from(session, session.selected, key)


def remove_from(session: Session, database: Database, key: str) -> None:
    """Remove a key. Removing an absent one is a success, but no change."""
    if key == "$$token":
        raise messages.TOKEN_NOT_REMOVABLE
    if session.engine.read(database, key) is not None:
        session.engine.remove(database, key)


def increment(session: Session, key: str, step: int) -> None:
    increment_in(session, session.selected, key, step)


def increment_in(session: Session, database: Database, key: str, step: int) -> None:
    """Add to a number of 64 bits; an absent key counts from 0 and gets version 1."""
    if is_secret_key(key):
        raise messages.NOT_NUMERIC  # also an absent one: what is stored there is a hash and nothing else
    engine = session.engine
    entry = engine.read(database, key)
    if entry is None:
        engine.put(database, key, Entry(1, str(step)))
        return
    number = parse_integer(entry.text)
    if number is None:
        raise messages.NOT_NUMERIC
    total = number + step
    if not INT64_MIN <= total <= INT64_MAX:
        raise messages.OUT_OF_RANGE
    if entry.version == IN_CONFLICT:
        conflicts.settle(engine, database, key, entry, UNCONDITIONAL, str(total))
    engine.put(database, key, Entry(entry.version + 1, str(total)))


def keys(session: Session, pattern_text: str) -> Steps:
    """The keys that match, each preceded by a comma; `$$` keys only for the admin."""
    view, database = session.view, session.selected
    while True:
        losses, was_admin = view.losses, session.is_admin
        message = yield from _list_keys(session, database, parse_pattern(pattern_text))
        # Else it lists what was lost meanwhile, or what only an admin may see, and is made again.
        if view.losses == losses and session.is_admin is was_admin:
            return message


def _list_keys(session: Session, database: Database, pattern: Pattern) -> Steps:
    start = pattern.text.encode() if pattern.kind == "prefix" else b""
    most = session.engine.context.keys_max
    keep = _slice_filter(pattern, with_security=session.is_admin)
    scan = session.engine.scan_slices(database.prefix, start, keep, most)
    found: list[bytes] | None = None
    while found is None:
        try:
            next(scan)
            yield Pause()
        except StopIteration as stop:
            found = stop.value
    assert found is not None
    if len(found) > most:
        raise messages.too_many_keys(most)
    parts = [b"keys "]
    for first in range(0, len(found), _JOIN_KEYS):
        parts.append(b"," + b",".join(found[first : first + _JOIN_KEYS]))
        if first:
            yield Pause()
    parts.append(b"\n")
    return b"".join(parts)


def _slice_filter(pattern: Pattern, *, with_security: bool) -> Callable[[list[bytes]], list[bytes]]:
    text = pattern.text.encode()

    def keep(names: list[bytes]) -> list[bytes]:
        if pattern.kind == "suffix":
            names = [name for name in names if name.endswith(text)]
        elif pattern.kind == "substring":
            names = [name for name in names if text in name]
        if not with_security:
            names = [name for name in names if not name.startswith(b"$$")]
        return names

    return keep


def set_permissions(session: Session, user: str, permissions: str) -> None:
    change_now(session, session.selected, permission_key(user), UNCONDITIONAL, permissions)
