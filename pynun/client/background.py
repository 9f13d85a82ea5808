"""A thread that runs trio and a `Client`, for callers that do not run trio: `SyncClient` and `AsyncioClient`.

Invariants: what is submitted from one thread begins in that order; once `ended` is done, the connection is closed,
every future that was given out is done, and the thread ends at once.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from pynun.client.errors import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.client.client import Client

Item = TypeVar("Item")
Result = TypeVar("Result")


class Background:
    """Opens `client` in a thread of its own and keeps it until `stop`. Its methods may be called in any thread."""

    def __init__(self, client: Client) -> None:
        self.opened: Future[None] = Future()
        """Done when the client is open, with the exception if it could not be opened."""
        self.ended: Future[None] = Future()
        self._client = client
        self._thread = threading.Thread(target=self._run, name="pynun-client", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        # Touched in the thread only:
        self._tasks: trio.Nursery | None = None
        self._life = trio.CancelScope()
        self._closing = trio.Event()

    @property
    def is_started(self) -> bool:
        """Whether there is, or was, a thread."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread. Raises RuntimeError the second time."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the client to close, or to give up opening; never waits."""
        self._tell(self._close)

    def join(self) -> None:
        """Wait until the thread has ended, if there was one."""
        if self.is_started:
            self._thread.join()

    def tell(self, function: Callable[[], object]) -> None:
        """Call `function`, which must not raise, in the thread; does nothing once that has ended. Never waits.

        Raises RuntimeError if the client was not opened.
        """
        self._check_opened()
        self._tell(function)

    def submit(self, start: Callable[[], Awaitable[Result]]) -> Future[Result]:
        """Call `start` in the thread, and wait there for what it returns. Cancelling the future cancels that.

        `start` is called in the order of the submissions; so what it does before it returns is done in that order.
        Raises RuntimeError if the client was not opened; the future raises ConnectionClosed if it is closed.
        """
        self._check_opened()
        future: Future[Result] = Future()
        scope = trio.CancelScope()

        def begin() -> None:
            if self._tasks is None or self._closing.is_set():
                _fail(future, ConnectionClosed("the client is closed"))
                return
            try:
                awaitable = start()
            except Exception as error:
                _fail(future, error)
            else:
                self._tasks.start_soon(_finish, awaitable, future, scope)

        try:
            self._posted(begin)
        except trio.RunFinishedError:
            _fail(future, ConnectionClosed("the client is closed"))
        future.add_done_callback(lambda _: self._tell(scope.cancel) if future.cancelled() else None)
        return future

    def _check_opened(self) -> None:
        if self._token is None:
            raise RuntimeError("open the client first: with …Client(…) as client")

    def _posted(self, function: Callable[[], object]) -> None:
        assert self._token is not None
        self._token.run_sync_soon(function)

    def _tell(self, function: Callable[[], object]) -> None:
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._posted(function)

    # The thread

    def _run(self) -> None:
        try:
            trio.run(self._main)
        finally:
            self.ended.set_result(None)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as tasks:
            try:
                with self._life:
                    async with self._client:  # leaving it makes the calls end
                        self._tasks = tasks
                        self.opened.set_result(None)
                        await self._closing.wait()
            except BaseException as error:  # raised by who opens, or else a bug that must be seen
                if self.opened.done():
                    raise
                self.opened.set_exception(error)
        if not self.opened.done():
            self.opened.set_exception(ConnectionClosed("the client is closed"))

    def _close(self) -> None:
        self._closing.set()
        if not self.opened.done():
            self._life.cancel()


async def _finish(awaitable: Awaitable[Result], future: Future[Result], scope: trio.CancelScope) -> None:
    with scope:
        try:
            result = await awaitable
        except Exception as error:
            _fail(future, error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(result)


def _fail(future: Future[Result], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


class Feed(Generic[Item]):
    """An asynchronous iterator of the client's, for another thread. No item is lost to callers that give up waiting.

    One item is asked for at a time, and it stays in its future until a caller claims that.
    """

    def __init__(self, background: Background, get: Callable[[], Awaitable[Item]]) -> None:
        self._background = background
        self._get = get
        self._lock = threading.Lock()
        self._future: Future[Item] | None = None

    def ask(self) -> Future[Item]:
        """The future of the next item that nobody has claimed. Do not cancel it."""
        with self._lock:
            if self._future is None:
                self._future = self._background.submit(self._get)
            return self._future

    def claim(self, future: Future[Item]) -> bool:
        """Whether the item of a future that is done belongs to the caller: to the first that asks."""
        with self._lock:
            is_first = future is self._future
            if is_first:
                self._future = None
            return is_first

    def claim_arrived(self) -> list[Item]:
        """The item that has come and that nobody has claimed. Call it in the background thread."""
        with self._lock:
            future = self._future
            if future is None or not future.done() or future.exception() is not None:
                return []
            self._future = None
            return [future.result()]
