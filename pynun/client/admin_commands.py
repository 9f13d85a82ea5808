"""What the administrator can ask: databases, their users, and what those may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.client.asking import Asking
from pynun.client.frames import auth_command, checked_text, checked_word
from pynun.client.reports import DatabaseInfo, DatabaseSize, PermissionCheck, UserInfo, UserPermissions, read_report

if TYPE_CHECKING:
    from collections.abc import Sequence


class AdminCommands(Asking):
    """Methods of `Client` and `AsyncioClient`. All but `authenticate` need the admin."""

    async def authenticate(self, user: str, password: str) -> None:
        """Become the admin, on every later connection too. Raises AuthenticationError, ConnectionClosed.

        ```python
        async with pynun.Client(url) as client:
            await client.authenticate("user-name", "user-pwd")
        ```
        """
        await self._ask(auth_command(user, password))

    async def create_db(self, name: str, token: str, strategy: str = "none") -> None:
        """Make a database whose conflicts are settled by `strategy`: `none`, `newer` or `arbiter`. Needs the admin.

        Raises CommandError if it exists, PermissionDenied without the admin, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.create_db("images", "images-pwd", "newer")
        ```
        """
        name, token = checked_word("the name of the database", name), checked_word("the token of the database", token)
        await self._ask(f"create-db {name} {token} {checked_word('the strategy', strategy)}")

    async def snapshot(self, databases: Sequence[str] = ()) -> None:
        """Return when the databases, by default the selected one, are on disk. Needs the admin.

        Raises CommandError for unknown databases or if none is selected, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.snapshot(["features-of-db"])
        ```
        """
        names = "|".join(checked_word("the name of the database", name) for name in databases)
        await self._ask(f"snapshot false {names}" if names else "snapshot")

    async def list_dbs(self) -> list[DatabaseInfo]:
        """Every database, by name. Raises PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            assert "features-of-db" in [database.name for database in await client.list_dbs()]
        ```
        """
        return [read_report(DatabaseInfo, row) async for row in self._ask_rows("databases", "list-dbs")]

    async def db_size(self, name: str) -> DatabaseSize:
        """How many keys and bytes a database has. Raises CommandError if there is none of that name, PermissionDenied.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            assert (await client.db_size("features-of-db")).keys > 0
        ```
        """
        name = checked_word("the name of the database", name)
        return read_report(DatabaseSize, await self._ask_report(f"db-size {name}"))

    async def drop_db(self, name: str) -> None:
        """Delete a database with its keys, users and permissions, for good; its sessions have no database from then on.

        Raises CommandError if there is none of that name, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.create_db("mistake", "mistake-pwd")
            await client.drop_db("mistake")
        ```
        """
        await self._ask(f"drop-db {checked_word('the name of the database', name)}")

    async def create_user(self, user: str, token: str) -> None:
        """Make a user of the selected database, or change its token. The original server knows this too.

        Raises NoDatabaseSelected, PermissionDenied, CommandError for the name `all`, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.use_database("features-of-db", "features-of-db-pwd")
            await client.create_user("leo", "leo-pwd")
        ```
        """
        await self._ask(f"create-user {checked_word('the user', user)} {checked_word('the token of the user', token)}")

    async def set_permissions(self, user: str, permissions: str) -> None:
        """Set all that a user of the selected database may do. The original server knows this too.

        `permissions` is rules of letters and patterns, such as `r *|rwx leo-*`: `r` reads, `w` writes, `i` increments,
        `x` removes; `text*` matches keys that begin with the text, `*text` those that end with it, and `text` those
        that contain it. Raises NoDatabaseSelected, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.use_database("features-of-db", "features-of-db-pwd")
            await client.set_permissions("leo", "r *|rwx leo-*")
        ```
        """
        await self._ask(f"set-permissions {checked_word('the user', user)} {checked_text('the rules', permissions)}")

    async def list_users(self, database: str) -> list[UserInfo]:
        """The users of a database, by name. `all` stands for the sessions that use the database token.

        Raises CommandError if there is no such database, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            assert "client" in [one.user for one in await client.list_users("features-of-db")]
        ```
        """
        command = f"list-users {checked_word('the name of the database', database)}"
        return [read_report(UserInfo, row) async for row in self._ask_rows("users", command)]

    async def add_user(self, database: str, user: str, token: str) -> None:
        """Make a user of a database, who may do nothing yet. Raises CommandError if it exists, PermissionDenied.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.add_user("features-of-db", "mia", "mia-pwd")
        ```
        """
        await self._ask(f"add-user {_words(database, user)} {checked_word('the token of the user', token)}")

    async def set_token(self, database: str, user: str, token: str) -> None:
        """Change the token of a user or, for the user `all`, of the database. Sessions with the old one lose access.

        Raises CommandError if there is no such user, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.set_token("features-of-db", "client", "client-pwd")
        ```
        """
        await self._ask(f"set-token {_words(database, user)} {checked_word('the token', token)}")

    async def remove_user(self, database: str, user: str) -> None:
        """Remove a user with its permissions; its sessions lose access.

        Raises CommandError if there is no such user, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.add_user("features-of-db", "guest", "guest-pwd")
            await client.remove_user("features-of-db", "guest")
        ```
        """
        await self._ask(f"remove-user {_words(database, user)}")

    async def grant(self, database: str, user: str, kinds: str, *patterns: str) -> UserPermissions:
        """Allow a user more; `kinds` is letters and `patterns` are as in `set_permissions`. Returns what it may do now.

        Raises CommandError if there is no such user, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            now = await client.grant("features-of-db", "client", "rw", "client-*")
            assert now.permissions == "rw client-*"
        ```
        """
        return await self._change_permissions("grant", database, user, kinds, patterns)

    async def revoke(self, database: str, user: str, kinds: str, *patterns: str) -> UserPermissions:
        """Take kinds on exactly these patterns away from a user. Returns what it may do now.

        Raises CommandError if the user has none of them, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            await client.grant("features-of-db", "client", "x", "client-*")
            await client.revoke("features-of-db", "client", "x", "client-*")
        ```
        """
        return await self._change_permissions("revoke", database, user, kinds, patterns)

    async def _change_permissions(
        self, command: str, database: str, user: str, kinds: str, patterns: Sequence[str]
    ) -> UserPermissions:
        if not patterns:
            raise ValueError("name a pattern; * matches every key")
        kinds = checked_word("the kinds", kinds)
        listed = ",".join(checked_word("the pattern", pattern) for pattern in patterns)
        return read_report(
            UserPermissions, await self._ask_report(f"{command} {_words(database, user)} {kinds} {listed}")
        )

    async def explain_permission(self, database: str, user: str, kind: str, key: str) -> PermissionCheck:
        """Whether a user may do `kind` (`r`, `w`, `i` or `x`) to `key`, and why.

        Raises CommandError if there is no such database, PermissionDenied, ConnectionClosed.

        ```python
        async with pynun.Client(url, admin=("user-name", "user-pwd")) as client:
            found = await client.explain_permission("features-of-db", "nobody", "w", "camera")
            assert (found.allowed, found.reason) == (False, "no-such-user")
        ```
        """
        kind, key = checked_word("the kind", kind), checked_word("the key", key)
        return read_report(
            PermissionCheck, await self._ask_report(f"explain-permission {_words(database, user)} {kind} {key}")
        )


def _words(database: str, user: str) -> str:
    return f"{checked_word('the name of the database', database)} {checked_word('the user', user)}"
