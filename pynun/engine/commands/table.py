"""The command table: every command once, with its names, arguments, gates, handler, help and differences.

Dispatch, the gates, `list-commands`, the command reference, the differences page and the completion of the shell come
from it. Rows stand in the order of the reference; those that the original lacks are in `own_commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.commands import admin, audit_facts, databases, ephemeral, keys, login, replication, users, watches
from pynun.engine.commands.command import row
from pynun.engine.commands.own_commands import OWN_COMMANDS
from pynun.engine.permissions import Permission
from pynun.protocol import arguments as shapes
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.commands.command import Command
    from pynun.engine.session import Session


_NO_EFFECT = "Of the original's cluster protocol: accepted from an admin, without effect."


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
        "rights away; the original says `valid auth`. On the Unix socket, the name of the system user at the other end "
        "is accepted with any password.",
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
        "Select a database, with its token or as one of its users. `$connections` then counts the session.",
        "use",
        differs="A second `use-db` on a session moves its place in `$connections` and its user; in "
        "the original both leak.",
        audit=audit_facts.use,
    ),
    row(
        "create-user",
        shapes.USER_TOKEN,
        users.create_user,
        "Create a user of the selected database, or change its token. Stored under `$$user_USER`.",
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
        "Set what a user may do. Kinds are letters of `r` (read), `w` (write), `i` (increment), `x` (remove); "
        "patterns are `prefix*`, `*suffix` or a substring, separated by commas. Replaces earlier permissions.",
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
        "Set a key that had VERSION to VERSION + 1. If its version is newer, that is a conflict, decided by the "
        "database's strategy. VERSION -1 is unconditional.",
        permission=Permission.WRITE,
        differs="A refused version is an error on TCP too; there the original says `ok`.",
    ),
    row(
        "set-ephemeral",
        shapes.KEY_VALUE,
        ephemeral.set_ephemeral,
        "Set a key that lives as long as its session: it is removed, and its watchers told, when the session that set "
        "it last ends or selects another database. It is never written to disk.",
        permission=Permission.WRITE,
        differs="Not in the original.",
    ),
    row(
        "increment",
        shapes.KEY_STEP,
        keys.increment,
        "Add N (default 1) to a 64-bit number; an absent key counts from 0.",
        permission=Permission.INCREMENT,
        differs="The version grows by one (a new key gets 1) and the event carries it; the original "
        "resets it to 1 and sends -1. Results beyond 64 bits are refused.",
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
        "Get every change of a key, which need not exist yet. You get `changed KEY VALUE`, then "
        "`changed-version KEY VERSION VALUE`; `removed KEY` when it is removed.",
        permission=Permission.READ,
        differs="Watching twice is one watch. A watch without read permission sleeps: it gets no events. When the "
        "permission is back, it gets what it missed.",
    ),
    row("unwatch", shapes.KEY, watches.unwatch, "Stop watching a key.", database=True),
    row("unwatch-all", shapes.NOTHING, watches.unwatch_all, "Stop watching every key.", database=True),
    # --- conflicts
    row(
        "arbiter",
        shapes.NOTHING,
        watches.arbiter,
        "Become an arbiter of the selected database: get every unresolved conflict, then each new one.",
        database=True,
        differs="An arbiter that left does not count as connected. A user needs the permission to read `$conflicts`, "
        "because it gets the values of every key in conflict; the original asks for none.",
    ),
    row(
        "resolve",
        shapes.RESOLVE,
        watches.resolve,
        "Decide a conflict as arbiter. The key gets the value, and leaves conflict with its last one.",
        differs="A session that is not admin must have selected that database and be allowed to "
        "write the key; the original asks for neither permission.",
        audit=audit_facts.resolve,
    ),
    # --- administration
    row(
        "snapshot",
        shapes.SNAPSHOT,
        admin.snapshot,
        "When it replies, all changes so far are on disk. Names default to the selected database.",
        admin=True,
        differs="The original only queues the write for its next interval, and can lose what it acknowledged.",
    ),
    row(
        "cluster-state",
        shapes.NOTHING,
        admin.cluster_state,
        "Show this node, as the only and primary member; in a cluster, all nodes (`self` is the one that was asked, "
        "`Primary` the one that runs the commands).",
        admin=True,
    ),
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
        "Show databases, pending operations, unresolved conflicts or the process id. The conflicts are those of the "
        "selected database, else of all. In a cluster, `force-election` has another node run the commands.",
        admin=True,
        audit=audit_facts.debug,
        differs="`pending-conflicts` (and the original's spelling `pendding-conflitcts`) lists the "
        "unresolved records; the original lists nothing.",
    ),
    row("list-commands", shapes.NOTHING, _list_commands, "List the names of all commands.", admin=True),
    *OWN_COMMANDS,
    # --- the original's cluster protocol
    row(
        "rp",
        shapes.OPERATION,
        replication.operation,
        "Acknowledge an operation with `ack ID ADDRESS`, then run its command.",
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
        for name in ("join", "replicate-join", "replicate-leave", "set-secoundary")
    ),
    row(
        "leave",
        shapes.NAMED_NODE,
        replication.leave,
        "In a cluster, take a node that is away off the list, or let another node run the commands. Without effect on "
        "one node.",
        admin=True,
        audit=audit_facts.leave,
    ),
    row(
        "set-primary",
        shapes.NAMED_NODE,
        replication.set_primary,
        "In a cluster, have that node run the commands. Without effect on one node.",
        admin=True,
        audit=audit_facts.set_primary,
    ),
)

BY_NAME: dict[str, Command] = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
"""Every name and alias to its command."""
