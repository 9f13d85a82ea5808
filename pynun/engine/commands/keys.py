"""Reading and changing keys (docs/protocol.md sections 2 and 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from pynun.engine import conflicts
from pynun.engine.commands.listing import place_behind
from pynun.engine.commands.login import hashed, stay_admin
from pynun.engine.effects import Pause
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.engine.overlay import LONG_NAME_BYTES, Entry
from pynun.engine.patterns import parse_pattern
from pynun.engine.permissions import EVERYONE, is_secret_key, user_key
from pynun.engine.scans import scan_page, scan_slices
from pynun.engine.secret_hashes import is_secret_hash
from pynun.engine.versions import IN_CONFLICT, following, next_version
from pynun.protocol import messages
from pynun.protocol.arguments import UNCONDITIONAL
from pynun.protocol.numbers import INT64_MAX, INT64_MIN, parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.database import Database
    from pynun.engine.effects import Steps
    from pynun.engine.patterns import Pattern
    from pynun.engine.session import Session

_JOIN_KEYS = 8192
"""Keys joined before others get their turn: well under a millisecond."""


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
    if key[:1] == "$":
        if is_secret_key(key):
            return _change_secret(session, database, key, given, value)
        conflicts.check_writable(session.keyspace, database, key)
    change_now(session, database, key, given, value)
    return None


def change_now(session: Session, database: Database, key: str, given: int, value: str) -> None:
    """Decide on the key's newest entry and change it. Raises Refusal if the change is a conflict that is not won."""
    keyspace = session.keyspace
    if session.change_bucket is not None:
        session.count_change(session.change_bucket)
    entry = session.view.read(database.prefix + key.encode())
    if entry is None:
        keyspace.check_new_key(key)
        version = next_version(None, given)
    elif entry[0] == IN_CONFLICT:
        version = None
    else:
        version = next_version(entry[0], given)
    if version is None:
        assert entry is not None
        version = conflicts.apply_strategy(keyspace, database, key, entry, given, value)
    keyspace.put(database, key, Entry(version, value))


def _change_secret(session: Session, database: Database, key: str, given: int, value: str) -> Steps:
    if key == user_key(EVERYONE):
        raise messages.RESERVED_USER
    if is_secret_hash(value):
        limit = session.engine.context.credentials.hash_limit
        if not limit.allows(value):
            raise messages.hash_costs_too_much(str(limit))
    else:
        value = yield from hashed(session.engine, database, value)
    if database.name == ADMIN_DATABASE and key == "$$token":
        stay_admin(session, session.engine.context.admin_user, value)
    change_now(session, database, key, given, value)
    return None


def remove(session: Session, key: str) -> None:
    remove_from(session, session.selected, key)


def remove_from(session: Session, database: Database, key: str) -> None:
    """Remove a key. Removing an absent one is a success, but no change."""
    if key == "$$token":
        raise messages.TOKEN_NOT_REMOVABLE
    conflicts.check_writable(session.keyspace, database, key)
    if session.keyspace.read(database, key) is not None:
        if session.change_bucket is not None:
            session.count_change(session.change_bucket)
        session.keyspace.remove(database, key)


def increment(session: Session, key: str, step: int) -> None:
    increment_in(session, session.selected, key, step)


def increment_in(session: Session, database: Database, key: str, step: int) -> None:
    """Add to a 64-bit number; an absent key counts from 0 and gets version 1."""
    if is_secret_key(key):
        raise messages.NOT_NUMERIC  # also an absent one: what is stored there is a hash and nothing else
    keyspace = session.keyspace
    conflicts.check_writable(keyspace, database, key)
    if session.change_bucket is not None:
        session.count_change(session.change_bucket)
    entry = keyspace.read(database, key)
    if entry is None:
        keyspace.check_new_key(key)
        keyspace.put(database, key, Entry(1, str(step)))
        return
    number = parse_integer(entry.text)
    if number is None:
        raise messages.NOT_NUMERIC
    total = number + step
    if not INT64_MIN <= total <= INT64_MAX:
        raise messages.OUT_OF_RANGE
    if entry.version == IN_CONFLICT:
        conflicts.apply_strategy(keyspace, database, key, entry, UNCONDITIONAL, str(total))
    keyspace.put(database, key, Entry(following(entry.version), str(total)))


def keys(session: Session, pattern_text: str) -> Steps:
    """The keys that match, each preceded by a comma; `$$` keys only for the admin."""
    pattern = _checked_pattern(session, pattern_text)
    return _while_valid(session, lambda: _all_keys(session, session.selected, pattern))


def list_keys(session: Session, pattern_text: str, after: str) -> Steps:
    """A page of the keys that match; `$$` keys only for the admin."""
    pattern = _checked_pattern(session, pattern_text)
    return _while_valid(session, lambda: _page_of_keys(session, session.selected, pattern, unquote(after).encode()))


def _checked_pattern(session: Session, text: str) -> Pattern:
    bytes_max = max(session.engine.context.key_bytes_max, LONG_NAME_BYTES)
    if len(text.encode()) > bytes_max:  # each key is searched for it, and it would take as long
        raise messages.pattern_too_long(bytes_max)
    return parse_pattern(text)


def _while_valid(session: Session, list_them: Callable[[], Steps]) -> Steps:
    """A listing, made again if it lists what was lost meanwhile, or what only an admin may see."""
    while True:
        losses, was_admin = session.view.losses, session.is_admin
        message = yield from list_them()
        if session.view.losses == losses and session.is_admin is was_admin:
            return message


def _page_of_keys(session: Session, database: Database, pattern: Pattern, after: bytes) -> Steps:
    engine = session.engine
    with engine.listing_budget.open() as listing:
        names, last = yield from scan_page(
            engine.view, database.prefix, pattern, after, listing, with_security=session.is_admin
        )
    following = None if last is None else place_behind(last.decode())
    return messages.report("keys-page", {"keys": [name.decode() for name in names], "next": following})


def _all_keys(session: Session, database: Database, pattern: Pattern) -> Steps:
    engine = session.engine
    start = pattern.text.encode() if pattern.kind == "prefix" else b""
    most = engine.context.keys_max
    with engine.listing_budget.open() as listing:
        found = yield from scan_slices(
            engine.view, database.prefix, start, pattern, most, listing=listing, with_security=session.is_admin
        )
        if len(found) > most:
            raise messages.too_many_keys(most)
        parts = [b"keys "]
        for first in range(0, len(found), _JOIN_KEYS):
            parts.append(b"," + b",".join(found[first : first + _JOIN_KEYS]))
            if first:
                yield Pause()
        parts.append(b"\n")
        return b"".join(parts)
