"""The client without `async`: a background thread runs trio and a `Client`, callers wait for it.

Invariants: an object may be used from any number of threads at once; after `close` has returned, the thread has ended,
the connection is closed and every call that was waiting in another thread has returned or raised.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

import trio

from pynun.client.client import Client, ClientOptions
from pynun.client.errors import ClientError, CommandTimeout, ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from pynun.client.frames import ChangeEvent, Reply, Versioned
    from pynun.client.watches import Event, Events, Watch

CALL_TIMEOUT_S = 30.0

Result = TypeVar("Result")


class _Call(Generic[Result]):
    """One call on its way through the background thread. Its result, of whatever kind, ends up in `future`."""

    def __init__(self, function: Callable[[], Awaitable[Result]], timeout_s: float | None) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._scope = trio.CancelScope()
        self.future: Future[Result] = Future()

    async def run(self) -> None:
        """Runs in the background thread and never raises, except what ends the thread itself."""
        try:
            with self._scope, trio.fail_after(float("inf") if self._timeout_s is None else self._timeout_s):
                self.future.set_result(await self._function())
        except trio.TooSlowError:
            self.future.set_exception(CommandTimeout(f"nothing came within {self._timeout_s:g} s"))
        except Exception as error:  # raised in the caller's thread
            self.future.set_exception(error)
        finally:
            if not self.future.done():
                self.future.set_exception(ConnectionClosed("the call was given up"))

    def cancel(self) -> None:
        """Runs in the background thread."""
        self._scope.cancel()


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
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="pynun-client", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: trio.Nursery | None = None  # touched in the background thread only
        self._closing = trio.Event()  # likewise

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "SyncClient", 1)

    # The background thread

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # raised by open(), or else a bug that must be seen
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as calls:  # ends when the calls have: leaving the client makes them end
            try:
                async with self._client:
                    self._calls = calls
                    self._opened.set_result(None)
                    await self._closing.wait()
                    self._calls = None
            except ClientError as error:
                if self._opened.done():
                    raise
                self._opened.set_exception(error)

    def _start_call(self, call: _Call[Result]) -> None:
        if self._calls is None:
            call.future.set_exception(ConnectionClosed("the client is closed"))
        else:
            self._calls.start_soon(call.run)

    def _call(self, function: Callable[[], Awaitable[Result]], timeout_s: float | None) -> Result:
        """Run `function` in the background thread and wait for its result; an interrupted wait cancels it."""
        if self._token is None:
            raise RuntimeError("open the client first: with SyncClient(…) as client")
        call = _Call(function, timeout_s)
        try:
            self._token.run_sync_soon(self._start_call, call)
        except trio.RunFinishedError:
            raise ConnectionClosed("the client is closed") from None
        try:
            return call.future.result()
        except BaseException:
            if not call.future.done():  # Ctrl-C: nobody waits for the result, and no event may be lost to it
                self._tell(call.cancel)
            raise

    def _tell(self, function: Callable[[], object]) -> None:
        if self._token is not None:
            try:
                self._token.run_sync_soon(function)
            except trio.RunFinishedError:
                return

    # Opening and closing

    def open(self) -> None:
        """Connect; raises as entering a `Client` does."""
        self._thread.start()
        try:
            self._opened.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the client: calls that wait in other threads raise `ConnectionClosed`, iterations end. Idempotent."""
        self._tell(self._closing.set)
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # The methods of Client

    def get(self, key: str) -> str | None:
        """See `Client.get`."""
        return self._call(lambda: self._client.get(key), self._timeout_s)

    def get_safe(self, key: str) -> Versioned | None:
        """See `Client.get_safe`."""
        return self._call(lambda: self._client.get_safe(key), self._timeout_s)

    def set(self, key: str, value: str) -> None:
        """See `Client.set`."""
        self._call(lambda: self._client.set(key, value), self._timeout_s)

    def set_safe(self, key: str, version: int, value: str) -> None:
        """See `Client.set_safe`."""
        self._call(lambda: self._client.set_safe(key, version, value), self._timeout_s)

    def increment(self, key: str, step: int = 1) -> None:
        """See `Client.increment`."""
        self._call(lambda: self._client.increment(key, step), self._timeout_s)

    def remove(self, key: str) -> None:
        """See `Client.remove`."""
        self._call(lambda: self._client.remove(key), self._timeout_s)

    def keys(self, pattern: str = "") -> list[str]:
        """See `Client.keys`."""
        return self._call(lambda: self._client.keys(pattern), self._timeout_s)

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

    def unwatch(self, key: str) -> None:
        """See `Client.unwatch`."""
        self._call(lambda: self._client.unwatch(key), self._timeout_s)

    def events(self) -> SyncEvents:
        """See `Client.events`."""

        async def make() -> Events:
            return self._client.events()

        return SyncEvents(self, self._call(make, self._timeout_s))

    def authenticate(self, user: str, password: str) -> None:
        """See `Client.authenticate`."""
        self._call(lambda: self._client.authenticate(user, password), self._timeout_s)

    def use_database(self, database: str, token: str, user: str | None = None) -> None:
        """See `Client.use_database`."""
        self._call(lambda: self._client.use_database(database, token, user), self._timeout_s)

    def create_db(self, name: str, token: str, strategy: str = "none") -> None:
        """See `Client.create_db`."""
        self._call(lambda: self._client.create_db(name, token, strategy), self._timeout_s)

    def snapshot(self, databases: Sequence[str] = ()) -> None:
        """See `Client.snapshot`."""
        self._call(lambda: self._client.snapshot(databases), self._timeout_s)

    def execute(self, command: str) -> Reply:
        """See `Client.execute`."""
        return self._call(lambda: self._client.execute(command), self._timeout_s)

    @property
    def database(self) -> str | None:
        """The name of the selected database."""
        return self._client.database

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.is_connected


class SyncWatch:
    """The changes of some keys as an iterator; made by `SyncClient.watch`. Give it to one thread at a time."""

    def __init__(self, client: SyncClient, watch: Watch) -> None:
        self._client = client
        self._watch = watch

    def get(self, timeout_s: float | None = None) -> ChangeEvent:
        """The next change, waiting up to `timeout_s` seconds, or for ever.

        Raises CommandTimeout (which is a TimeoutError) if none came, and StopIteration when the watch has ended.
        """
        return _next(self._client, self._watch.__anext__, timeout_s)

    def close(self) -> None:
        """End the watch; what had come can still be taken. Never waits."""
        self._client._tell(self._watch.close)

    def __enter__(self) -> Self:
        self._client._call(self._watch.start, self._client._timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChangeEvent:
        return self.get()


class SyncEvents:
    """What the server sends unasked as an iterator; made by `SyncClient.events`."""

    def __init__(self, client: SyncClient, events: Events) -> None:
        self._client = client
        self._events = events

    def get(self, timeout_s: float | None = None) -> Event:
        """The next event; waits and raises as `SyncWatch.get` does."""
        return _next(self._client, self._events.__anext__, timeout_s)

    def take_waiting(self) -> list[Event]:
        """What has come and not been taken; everything that came before the last reply is there."""

        async def take() -> list[Event]:
            return self._events.take_waiting()

        return self._client._call(take, self._client._timeout_s)

    def close(self) -> None:
        """End the iteration; what had come can still be taken. Never waits."""
        self._client._tell(self._events.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self.get()


def _next(client: SyncClient, function: Callable[[], Awaitable[Result]], timeout_s: float | None) -> Result:
    try:
        return client._call(function, timeout_s)
    except StopAsyncIteration:
        raise StopIteration from None
