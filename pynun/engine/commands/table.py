"""The command table: every command once, with its names, arguments, gates, handler, help and differences.

Dispatch, the gates, `list-commands`, the command reference, the differences page and the completion of the shell come
from it. Rows stand in the order of the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.commands import admin, audit_facts, databases, keys, login, replication, sessions, users, watches
from pynun.engine.commands.command import row
from pynun.engine.permissions import Permission
from pynun.protocol import arguments as shapes
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.commands.command import Command
    from pynun.engine.session import Session


_OURS = "Not in the original."
_NO_EFFECT = "Of the original's cluster protocol: accepted from an admin, without effect on one node."


def _list_commands(_session: Session) -> str:
    return messages.commands_list(sorted(BY_NAME))


COMMANDS: tuple[Command, ...] = (
    # --- logging in
    row(
        "auth",
        shapes.CREDENTIALS,
        login.auth,
        "Log in as the admin. Answers `valid auth` or `invalid auth`, then `ok` in both cases.",
        differs="A failed login on a session that was admin says `invalid auth` and takes the admin "
        "rights away; the original says `valid auth`.",
        audit=audit_facts.auth,
    ),
    row(
        "create-db",
        shapes.CREATE_DATABASE,
        databases.create_database,
        "Create a database with a token and a conflict strategy (`none` unless given).",
        admin=True,
        differs="Every command works from the first moment after the start; the original refuses "
        "`create-db` for a second. The token is stored only as an Argon2id hash.",
        audit=audit_facts.create_database,
    ),
    row(
        "use-db",
        shapes.USE,
        login.use,
        "Select a database, with its token or as one of its users. `$connections` counts the session from then on.",
        "use",
        differs="A second `use-db` on a session moves its place in `$connections` and its user; in "
        "the original both leak.",
        audit=audit_facts.use,
    ),
    row(
        "create-user",
        shapes.USER_TOKEN,
        users.create_user,
        "Create a user of the selected database, or give it another token. Stored under `$$user_USER`.",
        admin=True,
        denial=messages.SECURITY_KEY,
        database=True,
        differs="Without a user or a token it is refused; the original says `ok` and makes a user "
        "whose token is empty. The name `all` is refused too: it would be a second token of the database, which "
        "`set-token` does not change. The token is stored only as an Argon2id hash.",
        audit=audit_facts.create_user,
    ),
    row(
        "set-permissions",
        shapes.USER_PERMISSIONS,
        users.set_permissions,
        "Say what a user may do: kinds are letters of `r` (read), `w` (write), `i` (increment), `x` (remove); "
        "patterns are `prefix*`, `*suffix` or a substring, separated by commas. Replaces what was said before.",
        admin=True,
        denial=messages.SECURITY_KEY,
        database=True,
        audit=audit_facts.set_permissions,
    ),
    # --- keys
    row(
        "get",
        shapes.KEY,
        keys.get,
        "Read a key: `value VALUE`, or `value <Empty>` if it is absent.",
        permission=Permission.READ,
    ),
    row(
        "get-safe",
        shapes.KEY,
        keys.get_safe,
        "Read a key with its version: `value-version VERSION VALUE`, or `value-version 1 <Empty>` if it is absent.",
        permission=Permission.READ,
    ),
    row(
        "set",
        shapes.KEY_VALUE,
        keys.set_value,
        "Set a key unconditionally: version 0 if it is new, else one more than it had.",
        permission=Permission.WRITE,
        differs='An empty key is refused (as in every command on a key); the original takes it as the key "".',
    ),
    row(
        "set-safe",
        shapes.KEY_VERSION_VALUE,
        keys.set_safe,
        "Set a key that had VERSION, giving it VERSION + 1. If it has a newer version by now, that is a conflict, "
        "settled by the database's strategy. VERSION -1 is unconditional.",
        permission=Permission.WRITE,
        differs="A refused version is an error on TCP too; there the original says `ok`.",
    ),
    row(
        "increment",
        shapes.KEY_STEP,
        keys.increment,
        "Add N (1 unless given) to a number of 64 bits; an absent key counts from 0.",
        permission=Permission.INCREMENT,
        differs="The version grows by one (a new key gets 1) and the event carries it; the original "
        "resets it to 1 and sends -1. "
        "Numbers out of 64 bits are refused.",
    ),
    row(
        "remove",
        shapes.KEY,
        keys.remove,
        "Remove a key. Removing an absent one is a success.",
        permission=Permission.REMOVE,
    ),
    row(
        "keys",
        shapes.PATTERN,
        keys.keys,
        "List the keys that match a pattern (`prefix*`, `*suffix` or a substring), sorted; `$$` keys "
        "only for the admin.",
        "ls",
        database=True,
    ),
    # --- watching
    row(
        "watch",
        shapes.KEY,
        watches.watch,
        "Hear of every change of a key, also of one that does not exist yet: `changed KEY VALUE`, then "
        "`changed-version KEY VERSION VALUE`; `removed KEY` when it is removed.",
        permission=Permission.READ,
        differs="Watching twice is one watch. A watch without read permission sleeps: it hears nothing. When the "
        "permission is back, it wakes and is sent what it missed.",
    ),
    row("unwatch", shapes.KEY, watches.unwatch, "Stop watching a key.", database=True),
    row("unwatch-all", shapes.NOTHING, watches.unwatch_all, "Stop watching every key.", database=True),
    # --- conflicts
    row(
        "arbiter",
        shapes.NOTHING,
        watches.arbiter,
        "Become an arbiter of the selected database: every unresolved conflict is sent at once, "
        "every later one as it comes.",
        database=True,
        differs="An arbiter that left does not count as connected. A user needs the permission to read `$conflicts`, "
        "for it hears the values of every key in conflict; the original asks for none.",
    ),
    row(
        "resolve",
        shapes.RESOLVE,
        watches.resolve,
        "An arbiter's decision on a conflict. The key gets the value; with its last conflict it leaves conflict.",
        differs="A session that is not admin must have selected that database and be allowed to "
        "write the key; the original asks for neither permission.",
        audit=audit_facts.resolve,
    ),
    # --- administration
    row(
        "snapshot",
        shapes.SNAPSHOT,
        admin.snapshot,
        "When it answers, everything changed so far is on disk. Names default to the selected database.",
        admin=True,
        differs="The original only queues the write for its next interval, and can lose what it answered for.",
    ),
    row("cluster-state", shapes.NOTHING, admin.cluster_state, "This node, as the only and primary member.", admin=True),
    row(
        "metrics-state",
        shapes.NOTHING,
        admin.metrics_state,
        "Counters in the original's format: one operation of 25 bytes for each change; times in milliseconds.",
        admin=True,
    ),
    row(
        "debug",
        shapes.DEBUG,
        admin.debug,
        "Look inside: databases, operations pending, unresolved conflicts (of the selected database, else of all), "
        "process id.",
        admin=True,
        differs="`pending-conflicts` (and the original's spelling `pendding-conflitcts`) lists the "
        "unresolved records; the original lists nothing.",
    ),
    row("list-commands", shapes.NOTHING, _list_commands, "The names of all commands.", admin=True),
    # --- administration, of this server's own
    row(
        "list-dbs",
        shapes.AFTER,
        databases.list_databases,
        "List the databases for a program: `databases JSON`, with name, strategy and connections of each, in the "
        "order of their names. At most 500; `next` is then what to give as AFTER for those that follow, else null: the "
        "last name, with `%`, `;`, white space and control characters percent-encoded. "
        "`being_removed` counts dropped databases that still have keys on the disk.",
        admin=True,
        differs=_OURS,
    ),
    row(
        "db-size",
        shapes.DATABASE,
        databases.measure_database,
        "How large a database is: `database-size JSON`, with the number of its keys on disk (those of users and "
        "permissions too) and the bytes that they and their values take.",
        admin=True,
        differs=_OURS,
    ),
    row(
        "drop-db",
        shapes.DATABASE,
        databases.drop_database,
        "Take a database away with its keys, users and permissions: `drop-db success`. Sessions that had it selected "
        "are told nothing and have none selected then. The disk's room is given back behind the answer.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.drop_database,
    ),
    row(
        "list-users",
        shapes.DATABASE_AFTER,
        users.list_users,
        "List the users of a named database for a program: `users JSON`, with user, whether it has a token, "
        "permissions (null: none were set) and connections of each, in the order of their names. At most 500; "
        "`next` as in `list-dbs`. `all` stands for sessions with the database's own token.",
        admin=True,
        differs=_OURS,
    ),
    row(
        "add-user",
        shapes.DATABASE_USER_TOKEN,
        users.add_user,
        "Create a user of a named database; refused if there is one.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.add_user,
    ),
    row(
        "set-token",
        shapes.DATABASE_USER_TOKEN,
        users.set_token,
        "Change the token of a user of a named database; with `all` as the user, that of the database itself. Sessions "
        "with the old one lose access.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.set_token,
    ),
    row(
        "remove-user",
        shapes.DATABASE_USER,
        users.remove_user,
        "Remove a user of a named database, with its permissions. The user's sessions lose access.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.remove_user,
    ),
    row(
        "grant",
        shapes.GRANT,
        users.grant,
        "Add to what a user of a named database may do, and say what that is now: `permissions JSON`.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.grant,
    ),
    row(
        "revoke",
        shapes.GRANT,
        users.revoke,
        "Take kinds on just these patterns from what a user of a named database may do: `permissions JSON`, whose "
        "`still_allowed` names what wider patterns allow all the same.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.revoke,
    ),
    row(
        "explain-permission",
        shapes.QUESTION,
        users.explain,
        "Whether a user of a named database may do something to a key, and what decides: `permission JSON`.",
        admin=True,
        differs=_OURS,
    ),
    row(
        "list-sessions",
        shapes.AFTER_SESSION,
        sessions.list_sessions,
        "List the open sessions for a program: `sessions JSON`. At most 500; `next` is then the ID to give for those "
        "that follow, else null.",
        admin=True,
        differs=_OURS,
    ),
    row(
        "disconnect",
        shapes.SESSION,
        sessions.disconnect,
        "End the connection of a session, which may connect again: WebSocket closes with 1008, TCP says "
        "`error disconnected by the administrator`.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.disconnect,
    ),
    row(
        "set-password",
        shapes.PASSWORD,
        login.set_password,
        "Change the admin password. Every other session that had logged in is admin no more, and loses a database that "
        "it selected with a token or as a user that is not valid any more.",
        admin=True,
        differs=_OURS,
        audit=audit_facts.set_password,
    ),
    # --- the original's cluster protocol
    row(
        "rp",
        shapes.OPERATION,
        replication.operation,
        "Acknowledge an operation by `ack ID ADDRESS`, then run its command.",
        admin=True,
        envelope=True,
    ),
    row(
        "replicate",
        shapes.REPLICATE,
        replication.replicate,
        "`set-safe` in a named database.",
        admin=True,
        audit=audit_facts.replicate,
    ),
    row(
        "replicate-increment",
        shapes.REPLICATE_INCREMENT,
        replication.replicate_increment,
        "`increment` in a named database.",
        admin=True,
        audit=audit_facts.replicate_increment,
    ),
    row(
        "replicate-remove",
        shapes.REPLICATE_REMOVE,
        replication.replicate_remove,
        "`remove` in a named database.",
        admin=True,
        audit=audit_facts.replicate_remove,
    ),
    row(
        "replicate-snapshot", shapes.REPLICATE_SNAPSHOT, replication.replicate_snapshot, "Like `snapshot`.", admin=True
    ),
    row("ack", shapes.ACKNOWLEDGEMENT, replication.accept, _NO_EFFECT, admin=True),
    row("election", shapes.ELECTION, replication.accept, _NO_EFFECT, admin=True),
    row("replicate-since", shapes.NODE_SINCE, replication.accept, _NO_EFFECT, admin=True),
    *(
        row(name, shapes.NODE, replication.accept, _NO_EFFECT, admin=True)
        for name in ("join", "leave", "replicate-join", "replicate-leave", "set-primary", "set-secoundary")
    ),
)

BY_NAME: dict[str, Command] = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
"""Every name and alias to its command."""
