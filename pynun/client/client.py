"""The client's public face: what can be asked of a Nun-db server, as methods with types and checked arguments.

`Supervisor` does the work; nothing here knows of connections.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from pynun.certificate_authority import context_trusting
from pynun.client.connecting import Target
from pynun.client.errors import ProtocolError
from pynun.client.frames import (
    Reply,
    Versioned,
    auth_command,
    checked_step,
    checked_text,
    checked_version,
    checked_word,
    read_keys,
    read_value,
    read_versioned,
    use_command,
)
from pynun.client.session import raise_refusal
from pynun.client.supervisor import Supervisor
from pynun.client.watches import Events, Watch

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 30.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""More than the server's default limit of a message, because `keys` of many keys is answered in one."""


class ClientOptions(TypedDict, total=False):
    """The options of `Client`, which describes them."""

    database: str | None
    token: str | None
    user: str | None
    admin: tuple[str, str] | None
    reconnect: bool
    connect_timeout_s: float
    keepalive_s: float | None
    message_bytes_max: int
    ca: str | None
    ssl_context: ssl.SSLContext | None
    jitter: Callable[[], float]


class Client:
    """A session with a Nun-db server over WebSocket, for trio. Several tasks may use one client at once.

    Arguments:

    - `url`: such as `ws://127.0.0.1:3012`, or `wss://…` for TLS, which checks the server's certificate and name.
    - `database`, `token`, `user`: the database to select, with its token, or as a user with that user's token.
    - `admin`: the administrator's name and password, for `create_db`, `snapshot` and other commands of the admin.
    - `reconnect`: whether a lost connection is opened again, after 0.1 s at first, later 1 to 2 s. Login, database and
      watches are restored before any new command. A command that was in flight when the connection was lost raises
      `ConnectionClosed`: its outcome is unknown, and the client never sends it again by itself.
    - `connect_timeout_s`: seconds for opening the network connection, and again for the handshake.
    - `keepalive_s`: seconds between pings, each of which must be answered within as many; None for no pings.
    - `message_bytes_max`: the longest message taken from the server.
    - `ca`: for `wss://`, a PEM file with the certificate of the authority to trust, in place of the system's.
    - `ssl_context`: for `wss://`, everything about TLS, in place of `ca`: a certificate of the client's, for example.
    - `jitter`: gives numbers in [0, 1) that spread the reconnects of many clients.

    Entering the context opens the first connection, without trying again. It raises `ConnectionFailed` if there is no
    server, `AuthenticationError` for a wrong password or token, and `CommandError` for an unknown database.
    Later, if the server refuses the login or the database after a reconnect, the client ends with that error.
    `ValueError` is raised for what can't be sent, before anything is sent: the protocol can't carry a semicolon or a
    newline in a command over WebSocket, and a key can be neither empty nor hold a space.

    Cancelling a task that waits for a reply withdraws its command if that has not been sent yet; otherwise the command
    may or may not be carried out. Replies to other tasks are not affected.

    ```python
    import trio
    import pynun

    async def main() -> None:
        url = "ws://127.0.0.1:3012"
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("greeting", "hello")
            print(await client.get("greeting"))

    trio.run(main)
    ```
    """

    def __init__(
        self,
        url: str,
        *,
        database: str | None = None,
        token: str | None = None,
        user: str | None = None,
        admin: tuple[str, str] | None = None,
        reconnect: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        keepalive_s: float | None = KEEPALIVE_S,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        ca: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        commands: list[str] = []
        if admin is not None:
            commands.append(auth_command(*admin))
        if database is not None:
            if token is None:
                raise ValueError("a database needs a token: its own, or the user's")
            commands.append(use_command(database, token, user))
        elif token is not None or user is not None:
            raise ValueError("a token or a user needs a database")
        if ca is not None:
            if ssl_context is not None:
                raise ValueError("ca and ssl_context can't be combined")
            ssl_context = context_trusting(ca)
        target = Target(url, ssl_context, connect_timeout_s, keepalive_s, message_bytes_max)
        self._supervisor = Supervisor(target, commands, is_reconnecting=reconnect, jitter=jitter)

    def __repr__(self) -> str:
        return f"<pynun.Client {self._supervisor.target.url} database={self.database!r}>"

    async def __aenter__(self) -> Self:
        await self._supervisor.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._supervisor.close(error)

    async def _ask(self, command: str) -> tuple[str, ...]:
        """The own messages of a command. Raises what the server refuses."""
        reply = await self._supervisor.request(command)
        raise_refusal(reply)
        return reply.messages

    async def _ask_one(self, command: str) -> str:
        """The own message of a command that has one."""
        messages = await self._ask(command)
        if not messages:
            raise ProtocolError("the server answered without the message that the command has")
        return messages[0]

    # Keys

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

    async def set(self, key: str, value: str) -> None:
        """Set `key` to `value`, whatever its version. When this returns, the change is as durable as the server is set.

        Raises ValueError (see the class), PermissionDenied, NoDatabaseSelected, ConnectionClosed; in a database of the
        strategy `arbiter`, VersionConflict while the key is in conflict.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("camera", '{"zoom": 2}')
        ```
        """
        await self._ask(f"set {checked_word('the key', key)} {checked_text('the value', value)}")

    async def set_safe(self, key: str, version: int, value: str) -> None:
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
        await self._ask(f"set-safe {key} {version} {checked_text('the value', value)}")

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

    # Watching

    def watch(self, *keys: str, current: bool = False, catch_up: bool = True) -> Watch:
        """The changes of one or more keys, which need not exist yet, as an async iterator of `ChangeEvent`.

        Entering the watch with `async with` returns when the server watches the keys, and leaving it ends that. A bare
        `async for event in client.watch(key)` begins with the first event asked for and goes on until `unwatch`.
        Either raises PermissionDenied, NoDatabaseSelected or ConnectionClosed at its beginning, and the iteration ends
        quietly when the client is closed, or with the error that ended the client.

        `current`: deliver the value that each key has at the beginning too, if it has one.
        `catch_up`: miss no last value over a reconnect. For that the client reads each key at the beginning and, once
        it has restored the watch, again; what differs in value or version from what was delivered (or read) last is
        delivered, a removal too. What happened in between is not. False saves these reads; then changes made while
        there was no connection are not delivered.

        A consumer that falls behind, by 256 events or 8 Mi characters, gets the newest change of each key only.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("camera", "left")
            async with client.watch("camera", current=True) as changes:
                await client.set("camera", "right")
                seen = [(await anext(changes)).value, (await anext(changes)).value]
                assert seen == ["left", "right"]
        ```
        """
        if not keys:
            raise ValueError("name a key to watch")
        return Watch(
            self._supervisor, tuple(checked_word("the key", key) for key in keys), current=current, catch_up=catch_up
        )

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

    def events(self) -> Events:
        """Everything that the server sends unasked from now on, and `ConnectionLost` and `ConnectionRestored`.

        An async iterator of `ChangeEvent` (of every watched key, those of `execute("watch KEY")` too), of `Conflict`
        (after `execute("arbiter")`) and of the connection's fate. It ends as a watch does.

        ```python
        async with pynun.Client(url, database="features-of-db", token="features-of-db-pwd") as client:
            events = client.events()
            await client.execute("watch camera")
            await client.set("camera", "up")
            event = await anext(events)
            assert isinstance(event, pynun.client.ChangeEvent)
            assert (event.key, event.value) == ("camera", "up")
        ```
        """
        return self._supervisor.events()

    # Administration

    async def authenticate(self, user: str, password: str) -> None:
        """Become the admin, on every later connection too. Raises AuthenticationError, ConnectionClosed.

        ```python
        async with pynun.Client(url) as client:
            await client.authenticate("user-name", "user-pwd")
        ```
        """
        await self._ask(auth_command(user, password))

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
        return await self._supervisor.request(checked_text("the command", command))

    @property
    def database(self) -> str | None:
        """The name of the selected database."""
        return self._supervisor.session.database

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now; methods wait for one while the client is reconnecting."""
        return self._supervisor.is_connected


def open_client(url: str, **options: Unpack[ClientOptions]) -> Client:
    """A client to be opened with `async with open_client(…) as client`; the options are those of `Client`.

    ```python
    async with pynun.client.open_client(url, database="features-of-db", token="features-of-db-pwd") as client:
        await client.set("greeting", "hello")
    ```
    """
    return Client(url, **options)
