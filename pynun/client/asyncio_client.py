"""The client for asyncio: a background thread runs trio and a `Client`, and coroutines of any loop wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

from pynun.client.admin_commands import AdminCommands
from pynun.client.background import Background, Feed
from pynun.client.client import Client, ClientOptions
from pynun.client.frames import ChangeEvent
from pynun.client.key_commands import KeyCommands
from pynun.client.watches import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future
    from types import TracebackType

    from pynun.client.frames import Reply
    from pynun.client.watches import Events, Watch

Item = TypeVar("Item")
Result = TypeVar("Result")


def _arrival(future: Future[Result]) -> asyncio.Event:
    """An event of the running loop that is set when `future` is done. Waiting for it leaves the future alone."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()

    def tell(_: Future[Result]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(arrived.set)

    future.add_done_callback(tell)
    return arrived


class AsyncioClient(KeyCommands, AdminCommands):
    """`Client` for programs with asyncio: the same options, methods and exceptions, which are described there.

    Commands are sent in the order in which tasks give them. Limit the time with `asyncio.timeout(…)`: cancelling a task
    that waits for a reply withdraws its command if that has not been sent yet; otherwise it may or may not be carried
    out. Cancelling a task that waits for the next change loses no change.

    ```python
    import asyncio
    import pynun

    async def main() -> None:
        url = "ws://127.0.0.1:3012"
        async with pynun.AsyncioClient(url, database="features-of-db", token="features-of-db-pwd") as client:
            await client.set("greeting", "hello")
            print(await client.get("greeting"))

    asyncio.run(main())
    ```

    Without `async with`, call `open` first and `close` at the end.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self._client = Client(url, **options)
        self._background = Background(self._client)

    def __repr__(self) -> str:
        return repr(self._client).replace("Client", "AsyncioClient", 1)

    async def open(self) -> None:
        """Connect; raises as entering a `Client` does."""
        self._background.start()
        try:
            await _arrival(self._background.opened).wait()
            self._background.opened.result()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the client: calls that wait in other tasks raise `ConnectionClosed`, iterations end. Idempotent.

        Cancelled, it goes on by itself.
        """
        self._background.stop()
        if self._background.is_started:
            await _arrival(self._background.ended).wait()
            self._background.join()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _request(self, command: str) -> Reply:
        return await self._wait(lambda: self._client._start_request(command))

    async def _wait(self, start: Callable[[], Awaitable[Result]]) -> Result:
        """Wait for what `start` begins in the background thread; giving up the wait cancels it."""
        future = self._background.submit(start)
        try:
            await _arrival(future).wait()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    def watch(self, *keys: str, current: bool = False, catch_up: bool = True) -> AsyncioWatch:
        """See `Client.watch`.

        ```python
        async with pynun.AsyncioClient(url, database="features-of-db", token="features-of-db-pwd") as client:
            async with client.watch("camera") as changes:
                await client.set("camera", "left")
                async with asyncio.timeout(60):
                    assert (await anext(changes)).value == "left"
        ```
        """
        return AsyncioWatch(self, self._client.watch(*keys, current=current, catch_up=catch_up))

    def events(self) -> AsyncioEvents:
        """See `Client.events`."""
        return AsyncioEvents(self)

    @property
    def database(self) -> str | None:
        """The name of the selected database."""
        return self._client.database

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.is_connected


class _AsyncioIterator(Generic[Item]):
    """What an iterator of the client gives, for the tasks of one loop."""

    def __init__(self, client: AsyncioClient, get: Callable[[], Awaitable[Item]], close: Callable[[], object]) -> None:
        self._client = client
        self._feed = Feed(client._background, get)
        self._close = close
        self._awaited: Future[Item] | None = None
        self._arrived = asyncio.Event()

    def close(self) -> None:
        """End the iteration; what had come can still be taken. Never waits."""
        self._client._background.tell(self._close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            future = self._feed.ask()
            if future is not self._awaited:  # one event for each, however often a caller gives up and waits again
                self._awaited = future
                self._arrived = _arrival(future)
            await self._arrived.wait()
            if self._feed.claim(future):
                return future.result()


class AsyncioWatch(_AsyncioIterator[ChangeEvent]):
    """The changes of some keys as an async iterator; made by `AsyncioClient.watch`."""

    def __init__(self, client: AsyncioClient, watch: Watch) -> None:
        super().__init__(client, watch.__anext__, watch.close)
        self._start = watch.start

    async def __aenter__(self) -> Self:
        await self._client._wait(self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncioEvents(_AsyncioIterator[Event]):
    """What the server sends unasked as an async iterator; made by `AsyncioClient.events`."""

    def __init__(self, client: AsyncioClient) -> None:
        self._made: list[Events] = []
        # Before anything that is asked for later: so it gets the events of a later command.
        client._background.tell(lambda: self._made.append(client._client.events()))
        super().__init__(client, lambda: self._made[0].__anext__(), lambda: self._made[0].close())

    async def take_waiting(self) -> list[Event]:
        """What has come and not been taken; everything that came before the last reply is there."""

        async def take() -> list[Event]:
            return [*self._feed.claim_arrived(), *self._made[0].take_waiting()]

        return await self._client._wait(take)
