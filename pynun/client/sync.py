"""The client without `async`: a background thread runs trio and a `Client`, callers wait for it.

Invariants: an object may be used from any number of threads at once; after `close` has returned, the thread has ended,
the connection is closed and every call that was waiting in another thread has returned or raised.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack

from pynun.client.background import Background, Feed
from pynun.client.client import Client, ClientOptions
from pynun.client.errors import CommandTimeout
from pynun.client.frames import ChangeEvent
from pynun.client.watches import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pynun.client.watches import Events, Watch

CALL_TIMEOUT_S = 30.0

Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _waiting(
    method: Callable[Concatenate[Client, Parameters], Awaitable[Result]],
) -> Callable[Concatenate[SyncClient, Parameters], Result]:
    """A method of `Client` as one of `SyncClient`, with the same parameters and result, that waits."""

    @functools.wraps(method)
    def wait(self: SyncClient, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self._call(lambda: method(self._client, *args, **kwargs))

    wait.__module__ = __name__
    wait.__qualname__ = f"Sync{method.__qualname__}"
    wait.__doc__ = f"See `{method.__qualname__}`."
    return wait


class SyncClient:
    """`Client` for programs without trio: the same options and methods, which wait.

    A method that gets no reply within `timeout_s` seconds (None: waits for ever; this includes the time of a reconnect)
    raises `CommandTimeout`, and its outcome is unknown. Ctrl-C interrupts a waiting method. Several threads may use one
    client at once. Otherwise the methods raise what those of `Client` do; they are described there.

    ```python
    import pynun

    url = "ws://127.0.0.1:3012"
    with pynun.SyncClient(url, database="features-of-db", token="features-of-db-pwd") as client:
        client.set("greeting", "hello")
        print(client.get("greeting"))
    ```

    Without `with`, call `open` first and `close` at the end.
    """

    def __init__(self, url: str, *, timeout_s: float | None = CALL_TIMEOUT_S, **options: Unpack[ClientOptions]) -> None:
        self._client = Client(url, **options)  # raises ValueError here, in the caller's thread
        self._timeout_s = timeout_s
        self._background = Background(self._client)

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "SyncClient", 1)

    def _call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Run `function` in the background thread and wait for its result; an interrupted wait cancels it."""
        future = self._background.submit(function)
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            if future.cancel():
                raise _too_late(self._timeout_s) from None
            return future.result()  # it came at the last moment
        except BaseException:
            future.cancel()
            raise

    def open(self) -> None:
        """Connect; raises as entering a `Client` does."""
        self._background.start()
        try:
            self._background.opened.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the client: calls that wait in other threads raise `ConnectionClosed`, iterations end. Idempotent."""
        self._background.stop()
        self._background.join()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # The methods of Client

    get = _waiting(Client.get)
    get_json = _waiting(Client.get_json)
    get_safe = _waiting(Client.get_safe)
    set = _waiting(Client.set)
    set_safe = _waiting(Client.set_safe)
    set_ephemeral = _waiting(Client.set_ephemeral)
    increment = _waiting(Client.increment)
    remove = _waiting(Client.remove)
    keys = _waiting(Client.keys)
    unwatch = _waiting(Client.unwatch)
    authenticate = _waiting(Client.authenticate)
    use_database = _waiting(Client.use_database)
    create_db = _waiting(Client.create_db)
    snapshot = _waiting(Client.snapshot)
    list_dbs = _waiting(Client.list_dbs)
    db_size = _waiting(Client.db_size)
    drop_db = _waiting(Client.drop_db)
    create_user = _waiting(Client.create_user)
    set_permissions = _waiting(Client.set_permissions)
    list_users = _waiting(Client.list_users)
    add_user = _waiting(Client.add_user)
    set_token = _waiting(Client.set_token)
    remove_user = _waiting(Client.remove_user)
    grant = _waiting(Client.grant)
    revoke = _waiting(Client.revoke)
    explain_permission = _waiting(Client.explain_permission)
    execute = _waiting(Client.execute)

    def watch(self, *keys: str, current: bool = False, catch_up: bool = True) -> SyncWatch:
        """See `Client.watch`; the iteration waits without a limit, `SyncWatch.get` can have one.

        ```python
        with pynun.SyncClient(url, database="features-of-db", token="features-of-db-pwd") as client:
            with client.watch("camera") as changes:
                client.set("camera", "left")
                assert next(changes).value == "left"
        ```
        """
        return SyncWatch(self, self._client.watch(*keys, current=current, catch_up=catch_up))

    def events(self) -> SyncEvents:
        """See `Client.events`."""

        async def make() -> Events:
            return self._client.events()

        return SyncEvents(self, self._call(make))

    @property
    def database(self) -> str | None:
        """The name of the selected database."""
        return self._client.database

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.is_connected


def _too_late(timeout_s: float | None) -> CommandTimeout:
    return CommandTimeout(f"nothing came within {timeout_s:g} s")


class _SyncIterator(Generic[Item]):
    """What an asynchronous iterator of the client gives, for callers that wait."""

    def __init__(self, client: SyncClient, get: Callable[[], Awaitable[Item]], close: Callable[[], object]) -> None:
        self._client = client
        self._feed = Feed(client._background, get)
        self._close = close

    def get(self, timeout_s: float | None = None) -> Item:
        """The next one, waiting up to `timeout_s` seconds, or for ever.

        Raises CommandTimeout (which is a TimeoutError) if none came, and StopIteration at the end.
        """
        while True:
            future = self._feed.ask()
            try:
                future.exception(timeout_s)
            except TimeoutError:
                raise _too_late(timeout_s) from None
            if self._feed.claim(future):
                try:
                    return future.result()
                except StopAsyncIteration:
                    raise StopIteration from None

    def close(self) -> None:
        """End the iteration; what had come can still be taken. Never waits."""
        self._client._background.tell(self._close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        return self.get()


class SyncWatch(_SyncIterator[ChangeEvent]):
    """The changes of some keys as an iterator; made by `SyncClient.watch`. Give it to one thread at a time."""

    def __init__(self, client: SyncClient, watch: Watch) -> None:
        super().__init__(client, watch.__anext__, watch.close)
        self._start = watch.start

    def __enter__(self) -> Self:
        self._client._call(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SyncEvents(_SyncIterator[Event]):
    """What the server sends unasked as an iterator; made by `SyncClient.events`."""

    def __init__(self, client: SyncClient, events: Events) -> None:
        super().__init__(client, events.__anext__, events.close)
        self._events = events

    def take_waiting(self) -> list[Event]:
        """What has come and not been taken; everything that came before the last reply is there."""

        async def take() -> list[Event]:
            return [*self._feed.claim_arrived(), *self._events.take_waiting()]

        return self._client._call(take)
