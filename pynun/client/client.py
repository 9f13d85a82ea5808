"""The client for trio: its options, its watches, and the methods of `KeyCommands` and `AdminCommands`.

`Supervisor` does the work; nothing here knows of connections.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from pynun.certificate_authority import context_trusting
from pynun.client.admin_commands import AdminCommands
from pynun.client.connecting import Target
from pynun.client.frames import auth_command, checked_word, use_command
from pynun.client.key_commands import KeyCommands
from pynun.client.supervisor import Supervisor
from pynun.client.watches import Events, Watch

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from pynun.client.frames import Reply

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


class Client(KeyCommands, AdminCommands):
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
    `ValueError` or `TypeError` is raised for what can't be sent, before anything is sent: the protocol can't carry a
    semicolon or a newline in a command over WebSocket, a key can be neither empty nor hold a space, and a value is text
    or a JSON value.

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

    async def _request(self, command: str) -> Reply:
        return await self._start_request(command)

    def _start_request(self, command: str) -> Coroutine[object, object, Reply]:
        """Queue a command now; the coroutine gives the reply."""
        return self._supervisor.start_request(command)

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
