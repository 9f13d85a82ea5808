"""The shapes of commands' arguments: from the words of a command to typed arguments, or a refusal.

A shape is declared once in the command table; parsing, the usage line in the reference and the completion of the
shell follow from it. `parse` gets the words (command, first argument, rest) and gives the handler's arguments.
Which texts are refused, and how, is docs/protocol.md sections 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynun.language.messages import Refusal, missing_key
from pynun.language.numbers import INT32_MAX, INT32_MIN, parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable

UNCONDITIONAL = -1
"""The version of a change that never conflicts (docs/protocol.md section 4)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a command's arguments are written (`usage`) and read (`parse`). The parser alone decides their types."""

    usage: str
    parse: Callable[[list[str]], tuple[Any, ...]]


def _key(words: list[str]) -> str:
    if len(words) < 2 or not words[1]:
        raise missing_key(words[0])
    return words[1]


def _rest(words: list[str]) -> str:
    return words[2] if len(words) > 2 else ""


def _version(text: str) -> int:
    """A version is 32 bits signed; what does not spell one is the unconditional change, as in the original."""
    version = parse_integer(text, INT32_MIN, INT32_MAX)
    return UNCONDITIONAL if version is None else version


def _parse_key_value(words: list[str]) -> tuple[str, str]:
    if len(words) == 3 and words[1]:  # the path of nearly every command: one comparison, no call
        return words[1], words[2]
    return _key(words), _rest(words)


def _parse_key_version_value(words: list[str]) -> tuple[str, int, str]:
    key = _key(words)
    if len(words) < 3:
        raise Refusal("set-safe must be followed by a version and key")
    version, found, value = words[2].partition(" ")
    if not found:
        raise Refusal("set-safe must be followed by a key")
    return key, UNCONDITIONAL if version == "-1" else _version(version), value


def _step(text: str) -> int:
    step = parse_integer(text)
    return 1 if step is None else step


def _parse_credentials(words: list[str]) -> tuple[str, str]:
    return (words[1] if len(words) > 1 else ""), _rest(words)


def _parse_create_database(words: list[str]) -> tuple[str, str, str]:
    if len(words) < 2 or not words[1]:
        raise Refusal("create-db must contain a db name")
    token, _, strategy = _rest(words).partition(" ")
    if not token:
        raise Refusal("create-db must be followed by a token")
    return words[1], token, strategy


def _parse_use(words: list[str]) -> tuple[str, str | None, str]:
    if len(words) < 3:  # this text, which names another command, is the original's
        raise Refusal("set-safe must be followed by a version and key")
    first, found, second = words[2].partition(" ")
    return (words[1], first, second) if found else (words[1], None, first)


def _parse_user_token(words: list[str]) -> tuple[str, str]:
    if not _rest(words) or not words[1]:
        raise Refusal("create-user must be followed by a user and a token")
    return words[1], words[2]


def _parse_user_permissions(words: list[str]) -> tuple[str, str]:
    if len(words) < 2 or not words[1]:
        raise Refusal("user is mandatory")
    if not _rest(words):
        raise Refusal("permission list is mandatory")
    return words[1], words[2]


def _parse_resolve(words: list[str]) -> tuple[int, str, str, int, str]:
    parts = _rest(words).split(" ", 3)
    identifier = parse_integer(words[1]) if len(words) > 1 else None
    if identifier is None or len(parts) < 4:
        raise Refusal("resolve must be followed by an id, a database, a key, a version and a value")
    if not parts[1]:
        raise missing_key("resolve")
    return identifier, parts[0], parts[1], _version(parts[2]), parts[3]


def _parse_snapshot(words: list[str]) -> tuple[list[str]]:
    # The first word (reclaim space) has no meaning here: LMDB reuses freed pages by itself.
    return ([name for name in _rest(words).split("|") if name],)


def _parse_operation(words: list[str]) -> tuple[str, str]:
    if len(words) < 3:
        raise Refusal("rp must be followed by an id and a command")
    return words[1], words[2]


def _database_and_key(words: list[str], rest: str) -> tuple[str, str]:
    _parse_database(words)
    if not rest:
        raise missing_key(words[0])
    return words[1], rest


def _parse_replicate(words: list[str]) -> tuple[str, str, int, str]:
    parts = _rest(words).split(" ", 2)
    database, key = _database_and_key(words, parts[0])
    if len(parts) < 3:
        raise Refusal("replicate must be followed by a database, a key, a version and a value")
    return database, key, _version(parts[1]), parts[2]


def _parse_replicate_remove(words: list[str]) -> tuple[str, str]:
    return _database_and_key(words, _rest(words))


def _parse_replicate_increment(words: list[str]) -> tuple[str, str, int]:
    key, _, step = _rest(words).partition(" ")
    database, key = _database_and_key(words, key)
    return database, key, _step(step)


def _parse_debug(words: list[str]) -> tuple[str]:
    if len(words) < 2 or not words[1]:
        raise Refusal("command is mandatory")
    return (words[1],)


def _parse_database(words: list[str]) -> tuple[str]:
    if len(words) < 2 or not words[1]:
        raise Refusal(f"{words[0]} must contain a db name")
    return (words[1],)


def _parse_database_user(words: list[str]) -> tuple[str, str]:
    user = _rest(words)
    _parse_database(words)
    if not user or " " in user:
        raise Refusal(f"{words[0]} must be followed by a database and a user")
    return words[1], user


def _parse_database_user_token(words: list[str]) -> tuple[str, str, str]:
    user, _, token = _rest(words).partition(" ")
    _parse_database(words)
    if not user or not token or " " in token:
        raise Refusal(f"{words[0]} must be followed by a database, a user and a token")
    return words[1], user, token


def _parse_grant(words: list[str]) -> tuple[str, str, str, str]:
    """Stricter than `set-permissions`: a slip of the finger must not grant or revoke something else."""
    parts = _rest(words).split(" ")
    _parse_database(words)
    if len(parts) != 3 or not all(parts) or not parts[2].strip(","):
        raise Refusal(f"{words[0]} must be followed by a database, a user, kinds and patterns")
    if set(parts[1]) - set("rwix"):
        raise Refusal("kinds are letters of r (read), w (write), i (increment) and x (remove)")
    if "|" in parts[2]:
        raise Refusal("a pattern can't hold a bar")
    return words[1], parts[0], parts[1], parts[2]


def _parse_question(words: list[str]) -> tuple[str, str, str, str]:
    parts = _rest(words).split(" ")
    _parse_database(words)
    if len(parts) != 3 or not all(parts):
        raise Refusal(f"{words[0]} must be followed by a database, a user, a kind and a key")
    if parts[1] not in tuple("rwix"):
        raise Refusal("a kind is one of r (read), w (write), i (increment) and x (remove)")
    return words[1], parts[0], parts[1], parts[2]


def _parse_session(words: list[str]) -> tuple[int]:
    identifier = parse_integer(words[1]) if len(words) > 1 else None
    if identifier is None:
        raise Refusal(f"{words[0]} must be followed by the id of a session")
    return (identifier,)


def _parse_password(words: list[str]) -> tuple[str]:
    password = " ".join(words[1:])  # as `auth` reads it: with the blanks that are in it
    if not password:
        raise Refusal(f"{words[0]} must be followed by a password")
    return (password,)


NOTHING = Shape("", lambda _words: ())
IGNORED = Shape("[…]", lambda _words: ())
KEY = Shape("KEY", lambda words: (_key(words),))
KEY_VALUE = Shape("KEY VALUE", _parse_key_value)
KEY_VERSION_VALUE = Shape("KEY VERSION VALUE", _parse_key_version_value)
KEY_STEP = Shape("KEY [N]", lambda words: (_key(words), _step(_rest(words))))
PATTERN = Shape("[PATTERN]", lambda words: (words[1] if len(words) > 1 else "",))
AFTER = Shape("[AFTER]", lambda words: (words[1] if len(words) > 1 else "",))
AFTER_SESSION = Shape("[ID]", lambda words: ((parse_integer(words[1]) if len(words) > 1 else None) or 0,))
SESSION = Shape("ID", _parse_session)
PASSWORD = Shape("PASSWORD", _parse_password)
DATABASE = Shape("DATABASE", _parse_database)
DATABASE_AFTER = Shape("DATABASE [AFTER]", lambda words: (*_parse_database(words), _rest(words)))
DATABASE_USER = Shape("DATABASE USER", _parse_database_user)
DATABASE_USER_TOKEN = Shape("DATABASE USER TOKEN", _parse_database_user_token)
GRANT = Shape("DATABASE USER KINDS PATTERNS", _parse_grant)
QUESTION = Shape("DATABASE USER r|w|i|x KEY", _parse_question)
CREDENTIALS = Shape("USER PASSWORD", _parse_credentials)
CREATE_DATABASE = Shape("NAME TOKEN [none|newer|arbiter]", _parse_create_database)
USE = Shape("DATABASE [USER] TOKEN", _parse_use)
USER_TOKEN = Shape("USER TOKEN", _parse_user_token)
USER_PERMISSIONS = Shape("USER KINDS PATTERNS[|KINDS PATTERNS…]", _parse_user_permissions)
RESOLVE = Shape("ID DATABASE KEY VERSION VALUE", _parse_resolve)
SNAPSHOT = Shape("[true|false] [DATABASE|DATABASE…]", _parse_snapshot)
OPERATION = Shape("ID COMMAND", _parse_operation)
REPLICATE = Shape("DATABASE KEY VERSION VALUE", _parse_replicate)
REPLICATE_REMOVE = Shape("DATABASE KEY", _parse_replicate_remove)
REPLICATE_INCREMENT = Shape("DATABASE KEY [N]", _parse_replicate_increment)
DEBUG = Shape("list-dbs|pending-ops|pending-conflicts|process-info|force-election", _parse_debug)
