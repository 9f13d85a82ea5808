"""Facts for the audit trail, without secrets: one function for each recorded command.

Each gets the session and the arguments of its row.

A secret may be typed in place of a name. So only existing names are shown, as login(1) does (LOG_UNKFAIL_ENAB in
login.defs(5)): databases, users, `$$` keys, sessions, patterns of permissions. For names that a command creates or
removes, see `clearer`. Values and operation numbers are never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pynun.engine.audit_events import HIDDEN, LOGIN, OPEN_DATABASE, READ_SECURITY_KEY, Fact
from pynun.engine.key_layout import STRATEGIES
from pynun.engine.permissions import (
    EVERYONE,
    is_secret_key,
    parse_grants,
    permission_key,
    permitted_user,
    user_key,
    user_of_secret,
)
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from pynun.engine.database import Database
    from pynun.engine.session import Session

CREATE_DATABASE: Final = "create-db"
DROP_DATABASE: Final = "drop-db"
RENAME_DATABASE: Final = "rename-db"
COPY_DATABASE: Final = "copy-db"
IMPORT_DATABASE: Final = "import"
DISCONNECT: Final = "disconnect"
CREATE_USER: Final = "create-user"
REMOVE_USER: Final = "remove-user"
CHANGE_TOKEN: Final = "change-token"
SET_PERMISSIONS: Final = "set-permissions"
HAND_OVER: Final = "hand-over"
REMOVE_NODE: Final = "remove-node"
ADD_ADMIN: Final = "add-admin"
REMOVE_ADMIN: Final = "remove-admin"
CHANGE_SECURITY_KEY: Final = "change-security-key"


def actor(session: Session) -> str | None:
    """Who sends a command: the administrator, or the user who selected the database; None: nobody yet."""
    if session.is_admin:
        return session.admin_name
    return None if session.database is None else session.user


def _selected(session: Session) -> str | None:
    return None if session.database is None else session.database.name


def _database(session: Session, name: str) -> tuple[Database | None, str | None, str]:
    """The database of a name, its name if there is one, and what is shown."""
    database = session.engine.find_database(name)
    return (None, None, HIDDEN) if database is None else (database, name, name)


def _user(session: Session, database: Database | None, user: str) -> str:
    """A user's name, if there is one of that name."""
    if database is None:
        return HIDDEN
    names = (user_key(user), permission_key(user))
    is_there = user == EVERYONE or any(session.keyspace.read(database, name) is not None for name in names)
    return user if is_there else HIDDEN


def _key(session: Session, database: Database | None, key: str) -> str:
    """A `$$` key, if there is one of that name or it is of a user that there is."""
    if key == "$$token":
        return key
    for user, key_of in ((user_of_secret(key), user_key), (permitted_user(key), permission_key)):
        if user is not None:
            return key_of(_user(session, database, user))
    is_there = database is not None and session.keyspace.read(database, key) is not None
    return key if is_there else f"$${HIDDEN}"


def _grants(session: Session, database: Database | None, user: str, text: str) -> str:
    """Permissions as they are read, of the patterns those that the user's entry has."""
    entry = None if database is None else session.keyspace.read(database, permission_key(user))
    known = {"*"}
    if entry is not None:
        known |= {str(pattern) for grant in parse_grants(entry.text) for pattern in grant.patterns}
    shown = []
    for grant in parse_grants(text):
        kinds, _, patterns = str(grant).partition(" ")
        words = [str(pattern) if str(pattern) in known else HIDDEN for pattern in grant.patterns]
        shown.append(f"{kinds} {','.join(words)}" if patterns else kinds)
    return "|".join(shown)


def auth(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Logging in as the administrator."""
    user, password = arguments
    is_system_user = session.peer is not None and session.peer.system_user == user
    if not password and not is_system_user:
        return Fact(LOGIN, None, None, f"auth {HIDDEN}")
    if session.engine.administrator_hash(user) is None and not is_system_user:
        return Fact(LOGIN, None, None, f"auth {HIDDEN} {HIDDEN}")
    return Fact(LOGIN, None, user, f"auth {user} {HIDDEN}")


def use(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Logging in to a database."""
    name, user, _ = arguments
    database, known, shown = _database(session, name)
    words = [shown]
    who = None if database is None else EVERYONE
    if user is not None:
        words.append(_user(session, database, user))
        who = None if words[-1] == HIDDEN else user
    return Fact(LOGIN, known, who, " ".join(("use-db", *words, HIDDEN)))


def create_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Creating a database. An unknown strategy may be the rest of a token that contains a space."""
    name, _, strategy = arguments
    _, known, shown = _database(session, name)
    kind = strategy if strategy in STRATEGIES else HIDDEN if strategy else ""
    return Fact(CREATE_DATABASE, known, actor(session), f"create-db {shown} {HIDDEN} {kind}".rstrip())


def create_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Creating a user, or changing its token."""
    shown = _user(session, session.database, arguments[0])
    return Fact(CREATE_USER, _selected(session), actor(session), f"create-user {shown} {HIDDEN}")


def set_permissions(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Setting a user's permissions."""
    user, permissions = arguments
    database = session.database
    shown = f"{_user(session, database, user)} {_grants(session, database, user, permissions)}".rstrip()
    return Fact(SET_PERMISSIONS, _selected(session), actor(session), f"set-permissions {shown}")


def open_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Opening a database as administrator."""
    _, known, shown = _database(session, arguments[0])
    return Fact(OPEN_DATABASE, known, actor(session), f"open-db {shown}")


def drop_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Dropping a database."""
    _, known, shown = _database(session, arguments[0])
    return Fact(DROP_DATABASE, known, actor(session), f"drop-db {shown}")


def rename_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Renaming a database."""
    (_, known, shown), (_, _, new) = (_database(session, name) for name in arguments)
    return Fact(RENAME_DATABASE, known, actor(session), f"rename-db {shown} {new}")


def copy_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Copying a database."""
    source, target, token = arguments
    (_, known, shown), (_, _, new) = (_database(session, name) for name in (source, target))
    return Fact(COPY_DATABASE, known, actor(session), f"copy-db {shown} {new}{'' if token is None else f' {HIDDEN}'}")


def import_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Making an import visible."""
    number, token = arguments
    try:
        name = session.engine.loads.find(number).name
    except Refusal:
        name = None
    shown = HIDDEN if name is None else name
    return Fact(IMPORT_DATABASE, name, actor(session), f"import-end {shown}{'' if token is None else f' {HIDDEN}'}")


def add_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Creating a user of a named database."""
    return _of_user(session, CREATE_USER, "add-user", *arguments[:2], HIDDEN)


def set_token(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Changing the token of a user of a named database."""
    return _of_user(session, CHANGE_TOKEN, "set-token", *arguments[:2], HIDDEN)


def remove_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Removing a user of a named database."""
    return _of_user(session, REMOVE_USER, "remove-user", *arguments)


def grant(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Granting permissions to a user of a named database."""
    return _of_grant(session, "grant", *arguments)


def revoke(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Revoking permissions of a user of a named database."""
    return _of_grant(session, "revoke", *arguments)


def _of_user(session: Session, event: str, command: str, name: str, user: str, *more: str) -> Fact:
    database, known, shown = _database(session, name)
    return Fact(event, known, actor(session), " ".join((command, shown, _user(session, database, user), *more)))


def _of_grant(session: Session, command: str, name: str, user: str, kinds: str, patterns: str) -> Fact:
    permissions = _grants(session, session.engine.find_database(name), user, f"{kinds} {patterns}")
    return _of_user(session, SET_PERMISSIONS, command, name, user, permissions)


def disconnect(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Ending the connection of a session."""
    shown = arguments[0] if arguments[0] in session.engine.sessions else HIDDEN
    return Fact(DISCONNECT, None, actor(session), f"disconnect {shown}")


def set_primary(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """In a cluster, having that node own the data."""
    return _of_node(session, HAND_OVER, "set-primary", arguments[0])


def leave(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """In a cluster, taking a node off the list, or having another one own the data."""
    return _of_node(session, REMOVE_NODE, "leave", arguments[0])


def debug(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """In a cluster, having another node own the data; everything else only shows something."""
    if session.engine.context.cluster is None or arguments[0] != "force-election":
        return None
    return Fact(HAND_OVER, None, actor(session), "debug force-election")


def _of_node(session: Session, event: str, command: str, name: str) -> Fact | None:
    cluster = session.engine.context.cluster
    if cluster is None:
        return None
    is_there = any(name in (node.name, node.address) for node in cluster.nodes())
    return Fact(event, None, actor(session), f"{command} {name if is_there else HIDDEN}")


def add_admin(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Adding an administrator."""
    return Fact(ADD_ADMIN, None, actor(session), f"add-admin {_admin(session, arguments[0])} {HIDDEN}")


def remove_admin(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Removing an administrator."""
    return Fact(REMOVE_ADMIN, None, actor(session), f"remove-admin {_admin(session, arguments[0])}")


def set_admin_password(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Changing the password of an administrator."""
    return Fact(CHANGE_TOKEN, None, actor(session), f"set-admin-password {_admin(session, arguments[0])} {HIDDEN}")


def _admin(session: Session, name: str) -> str:
    """An administrator's name, if there is one of that name."""
    return HIDDEN if session.engine.administrator_hash(name) is None else name


def set_password(session: Session, _arguments: tuple[Any, ...]) -> Fact:
    """Changing the own password."""
    return Fact(CHANGE_TOKEN, None, actor(session), f"set-password {HIDDEN}")


def security_key(session: Session, command: str, arguments: tuple[Any, ...]) -> Fact:
    """Reading, watching or changing a `$$` key of the selected database."""
    key, *rest = arguments
    shown = _shown(session, session.database, key, rest)
    return Fact(_event(command, key), _selected(session), actor(session), f"{command} {shown}")


def replicate(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """`replicate`: changing a key of a named database."""
    return _named(session, "replicate", "set", arguments)


def replicate_remove(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """`replicate-remove`: removing a key of a named database."""
    return _named(session, "replicate-remove", "remove", arguments)


def replicate_increment(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """`replicate-increment`: changing a key of a named database."""
    return _named(session, "replicate-increment", "increment", arguments)


def resolve(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """`resolve`: changing a key of a named database that is in conflict."""
    _, *rest = arguments
    return _named(session, f"resolve {HIDDEN}", "set", tuple(rest))


def _named(session: Session, command: str, like: str, arguments: tuple[Any, ...]) -> Fact | None:
    name, key, *rest = arguments
    if not key.startswith("$$"):
        return None
    database, known, shown = _database(session, name)
    words = f"{command} {shown} {_shown(session, database, key, rest)}"
    return Fact(_event(like, key), known, actor(session), words)


def _event(command: str, key: str) -> str:
    if command in ("get", "get-safe", "watch"):
        return READ_SECURITY_KEY
    if permitted_user(key) is not None:
        return SET_PERMISSIONS
    if is_secret_key(key):
        return REMOVE_USER if command == "remove" else CHANGE_TOKEN
    return CHANGE_SECURITY_KEY


def _shown(session: Session, database: Database | None, key: str, rest: list[Any]) -> str:
    """A key and the words behind it: numbers, and a value, of which only permissions are shown."""
    words = [_key(session, database, key)]
    user = permitted_user(key)
    for part in rest:
        if isinstance(part, int):
            words.append(str(part))
        else:
            words.append(HIDDEN if user is None else _grants(session, database, user, part))
    return " ".join(words).rstrip()
