"""What every session can ask: reading and changing keys, selecting a database, and any command as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.client.asking import Asking
from pynun.client.frames import (
    Reply,
    Versioned,
    checked_step,
    checked_text,
    checked_version,
    checked_word,
    read_keys,
    read_value,
    read_versioned,
    use_command,
)
from pynun.client.values import json_value, value_text

if TYPE_CHECKING:
    from pynun.client.values import Json, ParsedJson


class KeyCommands(Asking):
    """Methods of `Client` and `AsyncioClient`."""

    async def get(self, key: str) -> str | None:
        """The value of `key`, or None if there is none.

        The protocol can't tell an absent key from one whose value is the text `<Empty>`: both are None.
        Raises PermissionDenied, NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            assert await client.get("nobody-set-this") is None
        ```
        """
        return read_value(await self._ask_one(f"get {checked_word('the key', key)}"))

    async def get_json(self, key: str) -> ParsedJson:
        """The value of `key` as JSON: what a dict, list, number, bool or None that was set comes back as.

        None if there is none, as for the JSON value `null`; `get_safe` tells them apart. Raises ValueError if the value
        is not JSON, and as `get` does.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("camera", {"zoom": 2, "position": [0.5, 1]})
            assert await client.get_json("camera") == {"zoom": 2, "position": [0.5, 1]}
        ```
        """
        return json_value(await self.get(key))

    async def get_safe(self, key: str) -> Versioned | None:
        """The value of `key` with its version, or None if there is none; about `<Empty>` see `get`.

        The version is -2 while the key is in conflict. Raises PermissionDenied, NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("fresh", "a")
            assert await client.get_safe("fresh") == pynun.client.Versioned("a", 0)
        ```
        """
        return read_versioned(await self._ask_one(f"get-safe {checked_word('the key', key)}"))

    async def set(self, key: str, value: Json) -> None:
        """Set `key` to `value`, whatever its version. When this returns, the change is as durable as the server is set.

        Raises ValueError (see the class), PermissionDenied, NoDatabaseSelected, ConnectionClosed; in a database of the
        strategy `arbiter`, VersionConflict while the key is in conflict.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("camera", '{"zoom": 2}')
        ```
        """
        await self._ask(f"set {checked_word('the key', key)} {checked_text('the value', value_text(value))}")

    async def set_ephemeral(self, key: str, value: Json) -> None:
        """Set `key` until this client's connection ends; then the server removes it and tells who watches it.

        After a reconnection the client sets it again, unless another client has given it another value or the server
        no longer lets it. Raises CommandError if the key is stored, or there are too many, and as `set` does.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as other:
                await other.set_ephemeral("here-ana", "in room 3")
                assert await client.get("here-ana") == "in room 3"
            # A moment later the key is gone.
        ```
        """
        await self._ask(f"set-ephemeral {checked_word('the key', key)} {checked_text('the value', value_text(value))}")

    async def set_safe(self, key: str, version: int, value: Json) -> None:
        """Set `key` if nobody else has set it since `version` was read; its version becomes `version` + 1.

        A `version` of -1 always wins. Raises VersionConflict with what the server said if the key is newer, and as
        `set` does. In a database of the strategy `newer` the later change wins without a conflict.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("counted-by-hand", "1")
            seen = await client.get_safe("counted-by-hand")
            assert seen is not None
            await client.set_safe("counted-by-hand", seen.version, "2")
            try:
                await client.set_safe("counted-by-hand", seen.version - 1, "3")
            except pynun.client.VersionConflict as conflict:
                assert conflict.message == "Invalid version!"
        ```
        """
        key, version = checked_word("the key", key), checked_version(version)
        await self._ask(f"set-safe {key} {version} {checked_text('the value', value_text(value))}")

    async def increment(self, key: str, step: int = 1) -> None:
        """Add `step`, which may be negative, to the number in `key`; an absent key counts from 0.

        The server does not say the result. Raises CommandError if the value is no number or leaves 64 bits, and
        PermissionDenied, NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.increment("visits")
            await client.increment("visits", 10)
            assert await client.get("visits") == "11"
        ```
        """
        await self._ask(f"increment {checked_word('the key', key)} {checked_step(step)}")

    async def remove(self, key: str) -> None:
        """Remove `key`; removing an absent key is a success.

        Raises PermissionDenied, NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.remove("camera")
        ```
        """
        await self._ask(f"remove {checked_word('the key', key)}")

    async def keys(self, pattern: str = "") -> list[str]:
        """The keys that match, sorted: `text*` by their beginning, `*text` by their end, else any that contain `text`.

        Keys that begin with `$$` are listed for the admin only. The protocol separates keys by commas, so a key that
        holds one comes out in pieces. Raises NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("client-ana", "1")
            assert "client-ana" in await client.keys("client-*")
        ```
        """
        if pattern:
            checked_word("the pattern", pattern)
        return read_keys(await self._ask_one(f"keys {pattern}" if pattern else "keys"))

    async def unwatch(self, key: str) -> None:
        """Stop watching `key`, no matter which caller started it; iterations over only that key end.

        Raises NoDatabaseSelected, ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            async with client.watch("camera") as changes:
                await client.unwatch("camera")
                assert [change async for change in changes] == []
        ```
        """
        await self._ask(f"unwatch {checked_word('the key', key)}")

    async def use_database(self, database: str, token: str, user: str | None = None) -> None:
        """Select another database, on every later connection too.

        Watches are not moved: end those of the old database first. After a reconnect all are made in the new one.
        Raises AuthenticationError for a wrong token, CommandError for an unknown database, ConnectionClosed.

        ```python
        async with pynun.Client(url) as client:
            await client.use_database("features-of-db", "client-pwd", user="client")
        ```
        """
        await self._ask(use_command(database, token, user))

    async def execute(self, command: str) -> Reply:
        """Send one command as it is and return what it was answered, an error included: for shells and the admin.

        `auth`, `use-db`, `arbiter` and `watch` are remembered and done again after a reconnect; the events of such a
        watch come to `events`. Raises ValueError if the text holds a semicolon or a newline, and ConnectionClosed.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            reply = await client.execute("cluster-state")
            assert reply == pynun.client.Reply(messages=(), error="Not auth")
        ```
        """
        return await self._request(checked_text("the command", command))
