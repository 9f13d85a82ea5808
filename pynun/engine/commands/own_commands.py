"""The rows of the command table for administration that the original lacks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pynun.engine.commands import admins, audit_facts, databases, keys, loading, login, sessions, users
from pynun.engine.commands.command import row
from pynun.protocol import arguments as shapes

if TYPE_CHECKING:
    from pynun.engine.commands.command import Command

NOT_IN_THE_ORIGINAL = "Not in the original."

_admin_row = partial(row, admin=True, differs=NOT_IN_THE_ORIGINAL)

OWN_COMMANDS: tuple[Command, ...] = (
    _admin_row(
        "list-dbs",
        shapes.AFTER,
        databases.list_databases,
        "List the databases for programs: `databases JSON`, with name, strategy and connections of each, by name, at "
        "most 500. `next` is the AFTER that continues the list, or null: the last name, with `%`, `;`, white space and "
        "control characters percent-encoded. `being_removed` counts dropped databases that still have keys on disk.",
    ),
    _admin_row(
        "open-db",
        shapes.DATABASE,
        login.open_database,
        "Select a database as administrator, without a token. The session may do everything there, whatever "
        "`set-permissions` says. It loses the database with its admin rights.",
        audit=audit_facts.open_database,
    ),
    row(
        "list-keys",
        shapes.PATTERN_AFTER,
        keys.list_keys,
        "List keys for programs, a page at a time, by the same rules as `keys`: `keys-page JSON`. `next` is the AFTER "
        "that continues the list, as in `list-dbs`, or null. A page may be empty and not the last. All keys: `*`.",
        database=True,
        differs=NOT_IN_THE_ORIGINAL,
    ),
    _admin_row(
        "db-size",
        shapes.DATABASE,
        databases.measure_database,
        "Measure a database: `database-size JSON`, with the number of keys on disk (including those of users and "
        "permissions) and the bytes of keys and values.",
    ),
    _admin_row(
        "drop-db",
        shapes.DATABASE,
        databases.drop_database,
        "Delete a database with its keys, users and permissions: `drop-db success`. Sessions that selected it are not "
        "told, and have no database from then on. Disk space is freed after the reply.",
        audit=audit_facts.drop_database,
    ),
    _admin_row(
        "rename-db",
        shapes.TWO_DATABASES,
        databases.rename_database,
        "Give a database another name: `rename-db success`. Sessions that selected it go on; when they connect again, "
        "they need the new name.",
        audit=audit_facts.rename_database,
    ),
    _admin_row(
        "copy-db",
        shapes.COPY,
        loading.copy_database,
        "Copy a database with its users, permissions and tokens, or with another token of its own: `copied JSON`, with "
        "the number of keys. The copy is that of one moment, at the end. Other clients are served meanwhile.",
        audit=audit_facts.copy_database,
    ),
    _admin_row(
        "import-db",
        shapes.IMPORT,
        loading.begin_import,
        "Begin to import a database: `import JSON`, with the id for the next commands. Nobody sees it before "
        "`import-end`. `replace` takes the place of the database with this name. An import without commands for a "
        "minute is given up.",
    ),
    _admin_row(
        "import-keys",
        shapes.IMPORT_KEYS,
        loading.import_keys,
        "Put keys into an import: an array of `[KEY, VERSION, VALUE]`, `;` written as `\\u003b`. Tokens may be text or "
        "Argon2id hashes. The reply comes when they are on disk. After an error the import is given up.",
    ),
    _admin_row(
        "import-end",
        shapes.IMPORT_END,
        loading.end_import,
        "Make the imported database visible, all at once: `imported JSON`. TOKEN is for a new database without one; "
        "one that replaces another keeps the tokens that the import has not. Sessions of the replaced one go on in the "
        "new one.",
        audit=audit_facts.import_database,
    ),
    _admin_row(
        "import-cancel",
        shapes.IMPORT_ID,
        loading.cancel_import,
        "Give up an import. Its keys are removed.",
    ),
    _admin_row(
        "list-users",
        shapes.DATABASE_AFTER,
        users.list_users,
        "List the users of a named database for programs: `users JSON`, with name, whether it has a token, permissions "
        "(null: none set) and connections of each, by name, at most 500; `next` as in `list-dbs`. `all` stands for "
        "sessions that used the database token.",
    ),
    _admin_row(
        "add-user",
        shapes.DATABASE_USER_TOKEN,
        users.add_user,
        "Create a user of a named database; refused if it exists.",
        audit=audit_facts.add_user,
    ),
    _admin_row(
        "set-token",
        shapes.DATABASE_USER_TOKEN,
        users.set_token,
        "Change the token of a user of a named database, or, for `all`, of the database. Sessions with the old one "
        "lose access.",
        audit=audit_facts.set_token,
    ),
    _admin_row(
        "remove-user",
        shapes.DATABASE_USER,
        users.remove_user,
        "Remove a user of a named database, with its permissions. The user's sessions lose access.",
        audit=audit_facts.remove_user,
    ),
    _admin_row(
        "grant",
        shapes.GRANT,
        users.grant,
        "Add permissions for a user of a named database. Replies what they are now: `permissions JSON`.",
        audit=audit_facts.grant,
    ),
    _admin_row(
        "revoke",
        shapes.GRANT,
        users.revoke,
        "Remove kinds on exactly these patterns from a user of a named database: `permissions JSON`, whose "
        "`still_allowed` names what other patterns still allow.",
        audit=audit_facts.revoke,
    ),
    _admin_row(
        "explain-permission",
        shapes.QUESTION,
        users.explain,
        "Check whether a user of a named database may do something to a key, and why: `permission JSON`.",
    ),
    _admin_row(
        "list-sessions",
        shapes.AFTER_SESSION,
        sessions.list_sessions,
        "List the open sessions for programs: `sessions JSON`, at most 500. `next` is the ID that continues the list, "
        "or null.",
    ),
    _admin_row(
        "disconnect",
        shapes.SESSION,
        sessions.disconnect,
        "End a session's connection; it may connect again. WebSocket closes with 1008, TCP gets "
        "`error disconnected by the administrator`.",
        audit=audit_facts.disconnect,
    ),
    _admin_row(
        "list-admins",
        shapes.NOTHING,
        admins.list_admins,
        "List the administrators for programs: `admins JSON`, with name, whether it is the first one (`NUN_USER`) and "
        "sessions of each.",
    ),
    _admin_row(
        "add-admin",
        shapes.ADMIN_PASSWORD,
        admins.add_admin,
        "Add an administrator with a password of its own. It logs in by `auth NAME PASSWORD`, and may do everything. "
        "The audit trail says who did what.",
        audit=audit_facts.add_admin,
    ),
    _admin_row(
        "remove-admin",
        shapes.ADMIN,
        admins.remove_admin,
        "Remove an administrator, except the first one. Its sessions lose admin rights, and their connections end.",
        audit=audit_facts.remove_admin,
    ),
    _admin_row(
        "set-admin-password",
        shapes.ADMIN_PASSWORD,
        admins.set_admin_password,
        "Change the password of an administrator. Its sessions lose admin rights, except the one that asks.",
        audit=audit_facts.set_admin_password,
    ),
    _admin_row(
        "set-password",
        shapes.PASSWORD,
        admins.set_password,
        "Change your own administrator password; a system user on the Unix socket changes that of the first "
        "administrator. Other sessions that logged in with the old one lose admin rights, and a database that they "
        "selected with a token that is no longer valid.",
        audit=audit_facts.set_password,
    ),
)
