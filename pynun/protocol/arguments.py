"""The shapes of commands' arguments: from the words of a command to typed arguments, or a refusal.

A shape is declared once in the command table; parsing, the usage line in the reference and the completion of the
shell follow from it. `parse` gets the words (command, first argument, rest) and gives the handler's arguments.
Which texts are refused, and how, is docs/protocol.md sections 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynun.protocol.messages import Refusal, given_version_out_of_range, missing_key
from pynun.protocol.numbers import INT32_MIN, is_integer, parse_integer, parse_unsigned

if TYPE_CHECKING:
    from collections.abc import Callable

UNCONDITIONAL = -1
"""The version of a change that never conflicts (docs/protocol.md section 4)."""

GIVEN_VERSION_MAX = 2**31 - 2**24
"""The highest version that a change may name: it leaves 16 million changes up to the end of 32 bits."""


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


def _version(text: str, key: str) -> int:
    """The version that a change of `key` names; what spells no integer is the unconditional change, as in the original.

    An integer below 32 bits is just old. Raises Refusal for one above the limit: it must not become unconditional.
    """
    version = parse_integer(text, INT32_MIN, GIVEN_VERSION_MAX)
    if version is not None:
        return version
    if not is_integer(text):
        return UNCONDITIONAL
    if text[0] == "-":
        return INT32_MIN
    raise given_version_out_of_range(key, GIVEN_VERSION_MAX)


def _parse_key_value(words: list[str]) -> tuple[str, str]:
    if len(words) == 3 and words[1]:  # the path of nearly every command: one comparison, no call
        return words[1], words[2]
    return _key(words), _rest(words)


def _parse_key_version_value(words: list[str]) -> tuple[str, int, str]:
    if len(words) < 3:
        raise Refusal("set-safe must be followed by a version and key")
    version, found, value = words[2].partition(" ")
    if not found:
        raise Refusal("set-safe must be followed by a key")
    key = _key(words)
    return key, UNCONDITIONAL if version == "-1" else _version(version, key), value


def _step(text: str) -> int:
    step = parse_integer(text)
    return 1 if step is None else step


def _parse_credentials(words: list[str]) -> tuple[str, str]:
    return (words[1] if len(words) > 1 else ""), _rest(words)


def _parse_create_database(words: list[str]) -> tuple[str, str, str]:
    token, _, strategy = _rest(words).partition(" ")
    if not token:
        raise Refusal("create-db must be followed by a token")
    if not words[1]:
        raise Refusal("create-db must contain a db name")
    return words[1], token, strategy


def _parse_use(words: list[str]) -> tuple[str, str | None, str]:
    if len(words) < 3:  # this text, which names another command, is the original's
        raise Refusal("set-safe must be followed by a version and key")
    first, found, second = words[2].partition(" ")
    return (words[1], first, second) if found else (words[1], None, first)


def _parse_user_permissions(words: list[str]) -> tuple[str, str]:
    if len(words) == 2:
        raise Refusal("permission list is mandatory")
    if len(words) < 2 or not words[1]:
        raise Refusal("user is mandatory")
    return words[1], words[2]


def _parse_resolve(words: list[str]) -> tuple[int, str, str, int, str]:
    """The texts, also those that name another command, are the original's."""
    if len(words) < 2:
        raise Refusal("opp id mandatory")
    identifier = parse_unsigned(words[1])
    if identifier is None:
        raise Refusal("Invalid opp_id")
    if len(words) < 3:
        raise Refusal("resoved must be followed by db_name, key version and value")
    parts = words[2].split(" ", 3)
    if len(parts) < 2:
        raise Refusal("key must be provided")
    if len(parts) < 4:
        raise Refusal("set-safe must be followed by a key")
    if not parts[1]:
        raise missing_key("resolve")
    return identifier, parts[0], parts[1], _version(parts[2], parts[1]), parts[3]


def _parse_snapshot(words: list[str]) -> tuple[list[str]]:
    # The first word (reclaim space) has no meaning here: LMDB reuses freed pages by itself.
    return ([name for name in _rest(words).split("|") if name],)


def _request_id(words: list[str]) -> int:
    identifier = parse_unsigned(words[1]) if len(words) > 1 else None
    if identifier is None:
        raise Refusal("Invalid request Id")
    return identifier


def _parse_operation(words: list[str]) -> tuple[int, str]:
    identifier = _request_id(words)
    if not _rest(words):
        raise Refusal("Invalid replication request str")
    return identifier, words[2]


def _parse_acknowledgement(words: list[str]) -> tuple[()]:
    _request_id(words)
    if not _rest(words):
        raise Refusal("Invalid server name")
    return ()


def _parse_election(words: list[str]) -> tuple[()]:
    process_id = _rest(words).partition(" ")[0]
    if words[1:2] == ["candidate"] and (process_id[:1] == "-" or not is_integer(process_id)):
        raise Refusal("candidate must contain process id and server name")
    return ()


def _parse_since(words: list[str]) -> tuple[()]:
    if len(words) < 2:
        raise Refusal("replicate-since must contain a node name")
    if len(words) < 3:
        raise Refusal("replicate-since must contain a start at")
    if parse_unsigned(words[2]) is None:
        raise Refusal("replicate-since start_at must be a u64")
    return ()


def _parse_node(words: list[str]) -> tuple[()]:
    if len(words) < 2:
        raise Refusal(f"{words[0].removeprefix('replicate-')} must contain a name")
    return ()


def _parse_named_node(words: list[str]) -> tuple[str]:
    _parse_node(words)
    return (words[1].strip(),)


def _parse_replicate_snapshot(words: list[str]) -> tuple[list[str]]:
    if len(words) < 2:
        raise Refusal("replicate-snapshot must contain a db name")
    return (words[1].split("|"),)


def _parse_replicate(words: list[str]) -> tuple[str, str, int, str]:
    if len(words) < 3:
        raise Refusal("no command sent")
    key, _, rest = words[2].partition(" ")
    version, _, value = rest.partition(" ")
    if not key:
        raise missing_key("replicate")
    return words[1], key, _version(version, key), value


def _parse_replicate_remove(words: list[str]) -> tuple[str, str]:
    key = _rest(words)
    if not key and words[1:] and words[1]:  # without a database there is none of that name, whatever the key
        raise missing_key("replicate-remove")
    return (words[1] if len(words) > 1 else ""), key


def _parse_replicate_increment(words: list[str]) -> tuple[str, str, int]:
    if len(words) < 2:  # this text, which names another command, is the original's
        raise Refusal("replicate-snapshot must contain a db name")
    if len(words) < 3:
        raise Refusal("replicate-increment must be followed by a key")
    key, _, step = words[2].partition(" ")
    if not key:
        raise missing_key("replicate-increment")
    return words[1], key, _step(step)


def _parse_debug(words: list[str]) -> tuple[str]:
    if len(words) < 2:
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


def _parse_admin(words: list[str]) -> tuple[str]:
    if len(words) != 2 or not words[1]:
        raise Refusal(f"{words[0]} must be followed by the name of an administrator")
    return (words[1],)


def _parse_admin_password(words: list[str]) -> tuple[str, str]:
    if not _rest(words) or not words[1]:
        raise Refusal(f"{words[0]} must be followed by the name of an administrator and a password")
    return words[1], words[2]


def _parse_two_databases(words: list[str]) -> tuple[str, str]:
    _parse_database(words)
    name = _rest(words)
    if not name or " " in name:
        raise Refusal(f"{words[0]} must be followed by two names")
    return words[1], name


def _parse_copy(words: list[str]) -> tuple[str, str, str | None]:
    name, found, token = _rest(words).partition(" ")
    _parse_database(words)
    if not name or (found and not token) or " " in token:
        raise Refusal(f"{words[0]} must be followed by two names, and perhaps a token")
    return words[1], name, token or None


def _parse_import(words: list[str]) -> tuple[str, str, bool]:
    strategy, found, how = _rest(words).partition(" ")
    _parse_database(words)
    if strategy not in ("none", "newer", "arbiter") or (found and how != "replace"):
        raise Refusal(f"{words[0]} must be followed by a database, a strategy, and perhaps replace")
    return words[1], strategy, bool(found)


def _parse_import_id(words: list[str]) -> int:
    identifier = parse_integer(words[1]) if len(words) > 1 else None
    if identifier is None:
        raise Refusal(f"{words[0]} must be followed by the id of an import")
    return identifier


def _parse_import_end(words: list[str]) -> tuple[int, str | None]:
    token = _rest(words)
    if " " in token:
        raise Refusal(f"{words[0]} must be followed by the id of an import, and perhaps a token")
    return _parse_import_id(words), token or None


NOTHING = Shape("", lambda _words: ())
KEY = Shape("KEY", lambda words: (_key(words),))
KEY_VALUE = Shape("KEY VALUE", _parse_key_value)
KEY_VERSION_VALUE = Shape("KEY VERSION VALUE", _parse_key_version_value)
KEY_STEP = Shape("KEY [N]", lambda words: (_key(words), _step(_rest(words))))
PATTERN = Shape("[PATTERN]", lambda words: (words[1] if len(words) > 1 else "",))
PATTERN_AFTER = Shape("[PATTERN] [AFTER]", lambda words: (words[1] if len(words) > 1 else "", _rest(words)))
AFTER = Shape("[AFTER]", lambda words: (words[1] if len(words) > 1 else "",))
AFTER_SESSION = Shape("[ID]", lambda words: ((parse_integer(words[1]) if len(words) > 1 else None) or 0,))
SESSION = Shape("ID", _parse_session)
PASSWORD = Shape("PASSWORD", _parse_password)
ADMIN = Shape("NAME", _parse_admin)
ADMIN_PASSWORD = Shape("NAME PASSWORD", _parse_admin_password)
DATABASE = Shape("DATABASE", _parse_database)
TWO_DATABASES = Shape("DATABASE NAME", _parse_two_databases)
COPY = Shape("DATABASE NAME [TOKEN]", _parse_copy)
IMPORT = Shape("NAME none|newer|arbiter [replace]", _parse_import)
IMPORT_KEYS = Shape("IMPORT JSON", lambda words: (_parse_import_id(words), _rest(words)))
IMPORT_END = Shape("IMPORT [TOKEN]", _parse_import_end)
IMPORT_ID = Shape("IMPORT", lambda words: (_parse_import_id(words),))
DATABASE_AFTER = Shape("DATABASE [AFTER]", lambda words: (*_parse_database(words), _rest(words)))
DATABASE_USER = Shape("DATABASE USER", _parse_database_user)
DATABASE_USER_TOKEN = Shape("DATABASE USER TOKEN", _parse_database_user_token)
GRANT = Shape("DATABASE USER KINDS PATTERNS", _parse_grant)
QUESTION = Shape("DATABASE USER r|w|i|x KEY", _parse_question)
CREDENTIALS = Shape("USER PASSWORD", _parse_credentials)
CREATE_DATABASE = Shape("NAME TOKEN [none|newer|arbiter]", _parse_create_database)
USE = Shape("DATABASE [USER] TOKEN", _parse_use)
USER_TOKEN = Shape("USER TOKEN", _parse_credentials)
USER_PERMISSIONS = Shape("USER KINDS PATTERNS[|KINDS PATTERNS…]", _parse_user_permissions)
RESOLVE = Shape("ID DATABASE KEY VERSION VALUE", _parse_resolve)
SNAPSHOT = Shape("[true|false] [DATABASE|DATABASE…]", _parse_snapshot)
OPERATION = Shape("ID COMMAND", _parse_operation)
ACKNOWLEDGEMENT = Shape("ID NODE", _parse_acknowledgement)
ELECTION = Shape("[win|alive|candidate] [ID] [NODE]", _parse_election)
NODE = Shape("NODE", _parse_node)
NAMED_NODE = Shape("NODE", _parse_named_node)
NODE_SINCE = Shape("NODE START", _parse_since)
REPLICATE_SNAPSHOT = Shape("DATABASE|DATABASE… [true|false]", _parse_replicate_snapshot)
REPLICATE = Shape("DATABASE KEY [VERSION] [VALUE]", _parse_replicate)
REPLICATE_REMOVE = Shape("DATABASE KEY", _parse_replicate_remove)
REPLICATE_INCREMENT = Shape("DATABASE KEY [N]", _parse_replicate_increment)
DEBUG = Shape("list-dbs|pending-ops|pending-conflicts|process-info|force-election", _parse_debug)
