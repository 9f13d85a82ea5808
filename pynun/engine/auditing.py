"""What of the commands belongs into the audit trail (docs/audit.md): which, and in which words without a secret.

The engine says what happened (`Fact`) to whoever was given to it as `Context.audit`; where that is written is not its
business. A fact is made before the command runs, for it may change who the session is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from pynun.engine.database import STRATEGIES
from pynun.engine.permissions import EVERYONE, is_secret_key, permitted_user, user_key

if TYPE_CHECKING:
    from pynun.engine.origin import Origin
    from pynun.engine.session import Session

OK: Final = "ok"
FAILED: Final = "failed"
"""It was tried, and did not happen: a wrong secret, an error."""
REFUSED: Final = "refused"
"""The session may not do that."""

LOGIN: Final = "login"
CREATE_DATABASE: Final = "create-db"
DROP_DATABASE: Final = "drop-db"
DISCONNECT: Final = "disconnect"
CREATE_USER: Final = "create-user"
REMOVE_USER: Final = "remove-user"
CHANGE_TOKEN: Final = "change-token"
SET_PERMISSIONS: Final = "set-permissions"
READ_SECURITY_KEY: Final = "read-security-key"
CHANGE_SECURITY_KEY: Final = "change-security-key"
ADMIN_COMMAND: Final = "admin-command"
"""A command that only the administrator may give; in the trail if somebody else gave it."""

_HIDDEN: Final = "***"


class Fact(NamedTuple):
    """What was tried, and by whom."""

    event: str
    database: str | None
    user: str | None
    command: str


class Audit(Protocol):
    """Whoever keeps the audit trail."""

    def record(self, origin: Origin | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Something happened; if `depends` is not 0, only once that batch is on disk. `reason` says why not."""


class NoAudit:
    """Nobody keeps one."""

    def record(self, origin: Origin | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Do nothing."""


def actor(session: Session) -> str | None:
    """Who gives a command: the administrator, or the user that selected the database; None: nobody yet."""
    if session.is_admin:
        return session.engine.context.admin_user
    return None if session.database is None else session.user


def _selected(session: Session) -> str | None:
    return None if session.database is None else session.database.name


# --- the facts of commands: each gets the session and the arguments of its row ------------------------------------


# What stands in the place of a name may be a secret that was typed there. So a login shows the names that there are,
# and no others, as login(1) does it (LOG_UNKFAIL_ENAB in login.defs(5)).


def auth(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Logging in as the administrator."""
    user, password = arguments
    if not password:
        return Fact(LOGIN, None, None, f"auth {_HIDDEN}")
    if user != session.engine.context.admin_user:
        return Fact(LOGIN, None, None, f"auth {_HIDDEN} {_HIDDEN}")
    return Fact(LOGIN, None, user, f"auth {user} {_HIDDEN}")


def use(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Logging in to a database."""
    name, user, _ = arguments
    engine = session.engine
    database = engine.find_database(name)
    words = [_HIDDEN if database is None else name]
    who = None if database is None else EVERYONE
    if user is not None:
        is_there = database is not None and engine.read(database, user_key(user)) is not None
        who = user if is_there else None
        words.append(user if is_there else _HIDDEN)
    return Fact(LOGIN, None if database is None else name, who, " ".join(("use-db", *words, _HIDDEN)))


def create_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Making a database. A third word that names no strategy may be the rest of a token typed with a blank."""
    name, _, strategy = arguments
    shown = strategy if strategy in STRATEGIES else _HIDDEN if strategy else ""
    return Fact(CREATE_DATABASE, name, actor(session), f"create-db {name} {_HIDDEN} {shown}".rstrip())


def create_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Making a user, or giving it another token."""
    return Fact(CREATE_USER, _selected(session), actor(session), f"create-user {arguments[0]} {_HIDDEN}")


def set_permissions(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Saying what a user may do."""
    user, permissions = arguments
    return Fact(SET_PERMISSIONS, _selected(session), actor(session), f"set-permissions {user} {permissions}")


def drop_database(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Taking a database away."""
    return Fact(DROP_DATABASE, arguments[0], actor(session), f"drop-db {arguments[0]}")


def add_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Making a user of a named database."""
    name, user, _ = arguments
    return Fact(CREATE_USER, name, actor(session), f"add-user {name} {user} {_HIDDEN}")


def set_token(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Giving a user of a named database another token."""
    name, user, _ = arguments
    return Fact(CHANGE_TOKEN, name, actor(session), f"set-token {name} {user} {_HIDDEN}")


def remove_user(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Removing a user of a named database."""
    name, user = arguments
    return Fact(REMOVE_USER, name, actor(session), f"remove-user {name} {user}")


def grant(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Adding to what a user of a named database may do."""
    return Fact(SET_PERMISSIONS, arguments[0], actor(session), " ".join(("grant", *arguments)))


def revoke(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Taking from what a user of a named database may do."""
    return Fact(SET_PERMISSIONS, arguments[0], actor(session), " ".join(("revoke", *arguments)))


def disconnect(session: Session, arguments: tuple[Any, ...]) -> Fact:
    """Ending the connection of a session."""
    return Fact(DISCONNECT, None, actor(session), f"disconnect {arguments[0]}")


def set_password(session: Session, _arguments: tuple[Any, ...]) -> Fact:
    """Changing the administrator's password."""
    return Fact(CHANGE_TOKEN, None, actor(session), f"set-password {_HIDDEN}")


def security_key(session: Session, command: str, arguments: tuple[Any, ...]) -> Fact:
    """Reading, watching or changing a `$$` key of the selected database."""
    key, *rest = arguments
    return Fact(_event(command, key), _selected(session), actor(session), _shown(command, (key,), key, rest))


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
    identifier, *rest = arguments
    fact = _named(session, "resolve", "set", tuple(rest))
    return None if fact is None else fact._replace(command=fact.command.replace("resolve", f"resolve {identifier}", 1))


def operation(session: Session, arguments: tuple[Any, ...]) -> Fact | None:
    """`rp`: whatever the command in it is, if that can be read at all."""
    from pynun.engine.commands.table import BY_NAME  # the table names these functions
    from pynun.language.framing import words
    from pynun.language.messages import Refusal

    identifier, text = arguments
    parts = words(text)
    command = BY_NAME.get(parts[0])
    if command is None or command.name == "rp":
        return None
    try:
        fact = command.fact(session, command.parse(parts))
    except Refusal:
        return None
    return None if fact is None else fact._replace(command=f"rp {identifier} {fact.command}")


def _named(session: Session, command: str, like: str, arguments: tuple[Any, ...]) -> Fact | None:
    database, key, *rest = arguments
    if not key.startswith("$$"):
        return None
    return Fact(_event(like, key), database, actor(session), _shown(command, (database, key), key, rest))


def _event(command: str, key: str) -> str:
    if command in ("get", "get-safe", "watch"):
        return READ_SECURITY_KEY
    if permitted_user(key) is not None:
        return SET_PERMISSIONS
    if is_secret_key(key):
        return REMOVE_USER if command == "remove" else CHANGE_TOKEN
    return CHANGE_SECURITY_KEY


def _shown(command: str, names: tuple[str, ...], key: str, rest: list[Any]) -> str:
    """The command's words; of a value (the last of `rest`, if it is a text) only permissions are shown."""
    words = [str(part) if isinstance(part, int) or permitted_user(key) is not None else _HIDDEN for part in rest]
    return " ".join((command, *names, *words))
