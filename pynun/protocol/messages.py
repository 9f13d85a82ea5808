"""Every message, error and event text that the server sends: the only home of wire literals.

Rules (docs/protocol.md sections 1, 2 and 5): a message ends in a newline, except `resolve …`; the misspellings
(`conflitct`, `secoundary`, "not connected") are on the wire of the original and therefore intended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMPTY_VALUE = "<Empty>"
"""What stands for the value of an absent key (docs/protocol.md section 2)."""


class Refusal(Exception):
    """A command that is answered with an error: what the client sees, never a fault of the server.

    `error` is the text without `error ` and without the end of line; `messages` are sent before it as messages of
    their own (two failures of the original do that, docs/protocol.md section 2).
    """

    def __init__(self, error: str, messages: tuple[str, ...] = ()) -> None:
        super().__init__(error)
        self.error = error
        self.messages = messages


OK = "ok \n"
TCP_GREETING = OK

VALID_AUTH = "valid auth\n"
INVALID_AUTH = "invalid auth\n"
CREATE_DB_SUCCESS = "create-db success\n"
DROP_DB_SUCCESS = "drop-db success\n"
RENAME_DB_SUCCESS = "rename-db success\n"

EMPTY_COMMAND = Refusal("empty command")
NOT_AUTH = Refusal("Not auth")
SECURITY_KEY = Refusal("To read security keys you must auth as an admin!")
NO_DATABASE = Refusal("error no-db-selected\n", ("error no-db-selected\n",))
PERMISSION_DENIED = Refusal("permission denied\n", ("permission denied\n",))
INVALID_TOKEN = Refusal("Invalid token")
NOT_A_DATABASE = Refusal("Not a valid database name")
INCOMPLETE_USER = Refusal("create-user must be followed by a user and a token")
DATABASE_EXISTS = Refusal("database already exists")
ADMIN_NOT_DROPPABLE = Refusal("$admin can't be dropped")
ADMIN_STAYS = Refusal("$admin can't be renamed, copied or imported")
NO_IMPORT = Refusal("no import or copy has this id: it was ended, idle for too long, or could not be stored")
NOT_ROWS = Refusal("import-keys must be followed by the id of an import and a JSON array of rows")
NO_TOKEN_IMPORTED = Refusal("the import has no token of the database: import-end must be given one")
USER_EXISTS = Refusal("user already exists")
NO_USER = Refusal("Not a valid user name")
RESERVED_USER = Refusal("all is reserved: it names the sessions that use the database token")
NOT_AN_ADMIN_NAME = Refusal(
    "an administrator's name has 1 to 64 visible characters, none of them a space, a semicolon or a colon, and does"
    " not begin with -"
)
SYSTEM_USERS_NAME = Refusal(
    "this name is that of root or of the server's system user, who need no password: choose another"
)
ADMIN_EXISTS = Refusal("administrator already exists")
NO_ADMIN = Refusal("Not a valid administrator name")
FIRST_ADMIN = Refusal("the first administrator, of NUN_USER, can't be removed")
NO_SESSION = Refusal("no session has this id")
NOT_DISCONNECTABLE = Refusal("this session is one request, and ends by itself")
NOTHING_TO_REVOKE = Refusal("the user's permissions hold none of these kinds on just these patterns")
CONNECTIONS_COUNTED = Refusal("$connections is counted by the server: nobody can change it")
TOKEN_NOT_REMOVABLE = Refusal("$$token key cannot be removed")
NOT_NUMERIC = Refusal("Key is not numeric")
OUT_OF_RANGE = Refusal("increment out of range")
INVALID_VERSION = Refusal("Invalid version!")
NOT_EPHEMERAL = Refusal("the key is stored, and can't be ephemeral: remove it first")
NEVER_EPHEMERAL = Refusal("a key that begins with $ can't be ephemeral")
NO_ARBITER = Refusal("An conflitct happend and there is no arbiter client not connected")
NO_DATABASE_TO_SNAPSHOT = Refusal("No database selected")

DISCONNECTED = "disconnected by the administrator"
TOO_MANY_CONNECTIONS = "too many connections"
NEEDS_TLS = "this port speaks TLS: use https:// or wss://"
SPEAKS_NO_TLS = "this port does not speak TLS: use http:// or ws://"
NOT_FOR_HTTP = "this port takes one command per line, not HTTP: use the HTTP port (usually 3013)"
NOT_FOR_TLS = "this port does not speak TLS here"
UNEXPECTED_PROXY_HEADER = "a PROXY header is accepted only from NUN_TRUSTED_PROXIES, and only as the first bytes"
MESSAGE_TOO_BIG = "message too big"
OWNER_LOST = "the node that owns the data is gone: the command may have been run, or not"
OWNER_LOST_FRAME = f"error no-db-selected\n{OWNER_LOST}"
"""The same over WebSocket. The public JavaScript client takes three errors as answers, and reads the first line."""
TOO_MUCH_UNFINISHED = "too much unfinished input"
INVALID_UTF8 = "invalid utf-8"


def error(text: str) -> str:
    """The line of a failure on WebSocket and TCP (docs/protocol.md section 1: note the space before the newline)."""
    return f"error {text} \n"


WHAT_PROXIES_FORWARD: Final = (
    "a proxy has to forward the request to this port with HTTP/1.1 and the headers Upgrade: websocket and Connection:"
    " Upgrade"
)


def unknown_command(name: str) -> Refusal:
    return Refusal(f"unknown command: {name}")


def missing_key(command: str) -> Refusal:
    return Refusal(f"{command} must contain a key")


def version_out_of_range(key: str) -> Refusal:
    """docs/protocol.md section 4."""
    return Refusal(f"version out of range: remove {key} lets it start anew")


def given_version_out_of_range(key: str, most: int) -> Refusal:
    """The client's number is too large, whatever the key holds: docs/protocol.md section 4."""
    return Refusal(
        f"version out of range: at most {most} can be given; remove {key} lets it start anew if it has come so far"
    )


def value(text: str | None) -> str:
    return f"value {EMPTY_VALUE if text is None else text}\n"


def value_version(version: int, text: str) -> str:
    return f"value-version {version} {text}\n"


VALUE_VERSION_ABSENT = value_version(1, EMPTY_VALUE)


def changed(key: str, version: int, text: str) -> tuple[str, str]:
    """The two messages of a change, in their order (docs/protocol.md section 4)."""
    return f"changed {key} {text}\n", f"changed-version {key} {version} {text}\n"


def removed(key: str) -> tuple[str]:
    return (f"removed {key}\n",)


def resolve(opposition_id: int, database: str, version: int, key: str, old: str, new: str) -> str:
    """The text of a conflict's record and of the message to the arbiters: no newline (docs/protocol.md section 5)."""
    return f"resolve {opposition_id} {database} {version} {key} {old} {new}"


def resolved(text: str) -> str:
    return f"resolved {text}"


def conflict_unresolved(record: str) -> Refusal:
    return Refusal(f"$$conflitct unresolved {record}")


def conflict_pending(record: str) -> Refusal:
    """docs/protocol.md section 5."""
    return Refusal(f"{record} waits for its arbiter: only resolve changes it")


def hash_costs_too_much(limit: str) -> Refusal:
    """docs/protocol.md section 3."""
    return Refusal(f"this Argon2id hash costs too much to check: {limit}")


def too_many_conflicts(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many unresolved conflicts of this key: at most {most}")


def too_many_admins(most: int) -> Refusal:
    """No more administrators can be added (docs/protocol.md section 9)."""
    return Refusal(f"too many administrators: at most {most}, remove one first")


def too_many_watches(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many watched keys: at most {most}")


def too_many_watches_of_all() -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal("too many watched keys of all clients together: try again later")


def too_many_keys(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many keys: at most {most}, ask for fewer by a pattern")


def too_much_listed(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many keys: at most {most} bytes of them, ask for fewer by a pattern")


def ephemeral_too_long(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"value too long: an ephemeral key holds at most {most} bytes")


def too_many_ephemeral(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many ephemeral keys: a session may have {most}")


def ephemeral_full(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many long values of ephemeral keys: at most {most} bytes of them, try again later")


def key_too_long(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"key too long: at most {most} bytes")


def pattern_too_long(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"pattern too long: at most {most} bytes")


def database_full(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"database full: at most {most} bytes, remove something first")


def too_many_changes(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many changes: at most {most} a second")


def too_many_loads(most: int) -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal(f"too many imports and copies: at most {most} at a time, try again later")


def disk_is_scarce() -> Refusal:
    """docs/protocol.md section 9."""
    return Refusal("the disk is nearly full: clients need what is left for their changes; free up space")


def changes_too_fast() -> Refusal:
    """docs/protocol.md section 2."""
    return Refusal("the database changes faster than it can be copied")


def too_many_conflicts_to_rename() -> Refusal:
    """docs/protocol.md section 2."""
    return Refusal("too many unresolved conflicts to rename the database: resolve them first")


def not_importable(number: int, reason: str) -> Refusal:
    """docs/protocol.md section 2."""
    return Refusal(f"row {number}: {reason}")


def not_databases(names: Iterable[str]) -> Refusal:
    unknown = tuple(names)
    if len(unknown) == 1:
        return Refusal(f"{unknown[0]} is not a valid database name")
    return Refusal("".join(f"{name}, " for name in unknown) + "are not a valid database names")


def snapshot_failed(name: str) -> Refusal:
    """Of `replicate-snapshot`; as in the original, of several unknown databases the last one is named."""
    return Refusal(f"Error trying to snapshot database: Database {name} not found")


def cluster_state(nodes: Iterable[tuple[str, str, bool]]) -> str:
    """Of address, state and whether it is the one that runs the commands."""
    roles = sorted(
        f"{address}({state}):{'Primary' if is_owner else 'Secoundary'}" for address, state, is_owner in nodes
    )
    return "cluster-state " + "".join(f" {role} ," for role in roles) + "\n"


def no_node(name: str, names: Iterable[str]) -> Refusal:
    return Refusal(f"the cluster has no node {name}; its nodes are: {', '.join(names)}")


def node_is_away(name: str) -> Refusal:
    return Refusal(f"the node {name} gives no sign of life, so it can't take over")


def node_runs(name: str) -> Refusal:
    return Refusal(f"the node {name} runs: stop it first")


def metrics_state(operations: int, get_query_ms: float) -> str:
    """One operation of 25 bytes for each change, as the original counts its log (docs/protocol.md section 2)."""
    return (
        f"metrics-state pending_ops: 0, op_log_file_size: {operations * 25}, op_log_count: {operations},"
        f"replication_time_moving_avg: 0.0, get_query_time_moving_avg: {get_query_ms:.1f}\n\n"
    )


def databases_list(strategies: Iterable[tuple[str, str]]) -> str:
    return "dbs-list \n" + "".join(f"{name} : {strategy}\n" for name, strategy in strategies)


PENDING_OPERATIONS = "pending-ops \n"


def conflicts_list(records: Iterable[str]) -> str:
    return "conflitcts-list " + "".join(f",{record}" for record in records) + "\n"


def process_info(process_id: int) -> str:
    return f"process-info \nprocess_id: {process_id}\n"


def commands_list(names: Iterable[str]) -> str:
    return "commands-list " + "".join(f",{name}" for name in names) + "\n"


def report(name: str, members: Mapping[str, Any]) -> str:
    """The answer of a command of this server's own that programs read: one word, and a JSON object on the same line."""
    return f"{name} {json.dumps(members, ensure_ascii=False, separators=(',', ':'))}\n"


def acknowledgement(operation_id: int, address: str) -> str:
    return f"ack {operation_id} {address} \n"


def storage_failed(reason: str) -> str:
    """The error of a change that could not be written: nothing was changed (docs/protocol.md section 9)."""
    return f"not stored: {reason}"
