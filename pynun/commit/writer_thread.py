"""The one thread that writes to the store, for the life of the committer.

`trio.to_thread` takes a limiter, a copied context and perhaps a new thread for each call. That costs 60 to 70 µs of CPU
time and latency per commit more than a queue and a wake-up (measured, docs/performance.md).
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Order = tuple[trio.lowlevel.Task, Callable[[], None]]


class WriterThread:
    """A context manager: the thread lives within it. One `run` at a time."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self.took = 0.0
        """Seconds of the last write, without the ways to the thread and back."""
        self._token: trio.lowlevel.TrioToken | None = None

    def __enter__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        # A daemon thread: if the loop crashes while the disk hangs, the process still ends.
        threading.Thread(target=self._run, name="nun-db writer", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.put(None)

    async def run(self, write: Callable[[], None]) -> None:
        """Write in the thread; raises what the write raised.

        Can't be cancelled: the data may already be on disk, so the caller must learn the result.
        """
        self._orders.put((trio.lowlevel.current_task(), write))
        await trio.lowlevel.wait_task_rescheduled(lambda _raise_cancel: trio.lowlevel.Abort.FAILED)

    def _run(self) -> None:
        assert self._token is not None
        while (order := self._orders.get()) is not None:
            task, write = order
            began = time.perf_counter()
            result = outcome.capture(write)
            self.took = time.perf_counter() - began
            del order, write  # else kept until the next one
            try:
                self._token.run_sync_soon(trio.lowlevel.reschedule, task, result)
            except trio.RunFinishedError:
                return
            del task, result
