"""The users of a database and what they may do (docs/protocol.md sections 2 and 3).

Each command reads, decides and writes as one change, so two administrators never undo each other's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.commands.admins import set_admin_password
from pynun.engine.commands.keys import change_now
from pynun.engine.commands.listing import PAGE_ROWS, names_after, place_behind
from pynun.engine.commands.login import hashed, verified
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.engine.permissions import (
    EVERYONE,
    NO_GRANTS,
    Permission,
    added,
    is_security_key,
    normalised,
    parse_grants,
    permission_key,
    still_granted,
    taken,
    user_key,
)
from pynun.protocol import messages
from pynun.protocol.arguments import UNCONDITIONAL

if TYPE_CHECKING:
    from pynun.engine.database import Database
    from pynun.engine.effects import Steps
    from pynun.engine.session import Session


def create_user(session: Session, user: str, token: str) -> Steps:
    """Create a user of the selected database, or change its token."""
    # Here and not where arguments are read: the original accepts it, so others than the admin get that error first.
    if not user or not token:
        raise messages.INCOMPLETE_USER
    engine, database = session.engine, session.selected
    if user == EVERYONE:
        raise messages.RESERVED_USER
    key = user_key(user)

    def read_hash() -> str | None:
        entry = session.keyspace.read(database, key)
        return None if entry is None else entry.text

    if read_hash() is not None and (yield from verified(session, token, read_hash)) is not None:
        return None  # the same token again: no change, and nobody who came in with it is put out
    session.keyspace.check_new_key(key)
    hash_text = yield from hashed(engine, database, token)
    session.keyspace.change(database, key, hash_text)
    return None


def set_permissions(session: Session, user: str, permissions: str) -> None:
    """Set the permissions of a user of the selected database."""
    change_now(session, session.selected, permission_key(user), UNCONDITIONAL, normalised(permissions))


def list_users(session: Session, name: str, after: str) -> Steps:
    """A page of the users with a token or permissions in a database, by name."""
    engine = session.engine
    database = engine.database(name)
    with_token = yield from names_after(session, database.prefix, user_key(""), after)
    with_permissions = yield from names_after(session, database.prefix, permission_key(""), after)
    if engine.find_database(name) is not database:
        raise messages.NOT_A_DATABASE
    users = sorted({*with_token, *with_permissions})
    # Counted once for all: a session is one of few users, and may be one of many sessions.
    connections: dict[str, int] = {}
    for one in database.sessions:
        connections[one.user] = connections.get(one.user, 0) + 1
    rows = [
        {
            "user": user,
            "has_token": user != EVERYONE and session.keyspace.read(database, user_key(user)) is not None,
            "permissions": _permissions(session, database, user),
            "connections": connections.get(user, 0),
        }
        for user in users[:PAGE_ROWS]
    ]
    following = place_behind(users[PAGE_ROWS - 1]) if len(users) > PAGE_ROWS else None
    return messages.report("users", {"database": name, "users": rows, "next": following})


def add_user(session: Session, name: str, user: str, token: str) -> Steps:
    """Create a user that does not exist yet."""
    engine = session.engine
    database = engine.database(name)
    if user == EVERYONE:
        raise messages.RESERVED_USER
    if session.keyspace.read(database, user_key(user)) is not None:
        raise messages.USER_EXISTS
    hash_text = yield from hashed(engine, database, token)
    if session.keyspace.read(database, user_key(user)) is not None:
        raise messages.USER_EXISTS
    change_now(session, database, user_key(user), UNCONDITIONAL, hash_text)
    return None


def set_token(session: Session, name: str, user: str, token: str) -> Steps:
    """Change the token of a user, or with `all` that of the database. Sessions with the old one lose access."""
    engine = session.engine
    database = engine.database(name)
    if name == ADMIN_DATABASE and user == EVERYONE:
        # Its token is the first administrator's password.
        return (yield from set_admin_password(session, engine.context.admin_user, token))
    key = "$$token" if user == EVERYONE else user_key(user)
    if session.keyspace.read(database, key) is None:
        raise messages.NO_USER
    hash_text = yield from hashed(engine, database, token)
    if session.keyspace.read(database, key) is None:
        raise messages.NO_USER
    change_now(session, database, key, UNCONDITIONAL, hash_text)
    return None


def remove_user(session: Session, name: str, user: str) -> None:
    """Remove a user's token and permissions. The user's sessions lose access."""
    engine = session.engine
    database = engine.database(name)
    # The token last, because that ends sessions: watchers hear of the removals first, then of `$connections`.
    keys = [key for key in (permission_key(user), user_key(user)) if session.keyspace.read(database, key) is not None]
    if user == EVERYONE:
        raise messages.RESERVED_USER
    if not keys:
        raise messages.NO_USER
    for key in keys:
        session.keyspace.remove(database, key)


def grant(session: Session, name: str, user: str, kinds: str, patterns: str) -> str:
    """Grant permissions."""
    database = session.engine.database(name)
    old = _entry(session, database, user)
    return _changed(session, database, user, old, added(old or "", parse_grants(f"{kinds} {patterns}")))


def revoke(session: Session, name: str, user: str, kinds: str, patterns: str) -> str:
    """Revoke permissions, and report what other patterns still allow."""
    database = session.engine.database(name)
    old = _entry(session, database, user)
    grants = parse_grants(f"{kinds} {patterns}")
    text = None if old is None else taken(old, grants)
    if text is None:
        raise messages.NOTHING_TO_REVOKE
    # Never without an entry: `all` would then be allowed everything.
    return _changed(session, database, user, old, text, [str(one) for one in still_granted(text, grants)])


def explain(session: Session, name: str, user: str, letter: str, key: str) -> str:
    """Whether a user may do something to a key, and what decides."""
    engine = session.engine
    database = engine.database(name)
    kind = Permission(letter)
    rules = engine.rules_for(database, user)
    ruling = None
    if is_security_key(key):
        allowed, reason = False, "administrator-only"
    elif user != EVERYONE and session.keyspace.read(database, user_key(user)) is None:
        allowed, reason = False, "no-such-user"
    elif rules is None:
        allowed, reason = True, "database-token"
    else:
        allowed, ruling = rules.allow(kind, key), rules.ruling_grant(kind, key)
        reason = "rule" if allowed else "no-permissions" if rules is NO_GRANTS else "no-rule"
    return messages.report(
        "permission",
        {
            "database": name,
            "user": user,
            "kind": letter,
            "key": key,
            "allowed": allowed,
            "reason": reason,
            "rule": None if ruling is None else str(ruling),
        },
    )


def _permissions(session: Session, database: Database, user: str) -> str | None:
    entry = session.keyspace.read(database, permission_key(user))
    return None if entry is None else entry.text


def _entry(session: Session, database: Database, user: str) -> str | None:
    """The permission entry of a user who exists. Raises Refusal."""
    if user != EVERYONE and session.keyspace.read(database, user_key(user)) is None:
        raise messages.NO_USER
    return _permissions(session, database, user)


def _changed(
    session: Session, database: Database, user: str, old: str | None, text: str, still: list[str] | None = None
) -> str:
    if text != old:
        change_now(session, database, permission_key(user), UNCONDITIONAL, text)
    return messages.report(
        "permissions",
        {
            "database": database.name,
            "user": user,
            "permissions": text,
            "is_first": old is None,
            "still_allowed": still or [],
        },
    )
