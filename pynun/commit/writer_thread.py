"""The thread that writes to the store: one for the life of the committer.

`trio.to_thread` finds or starts a thread for each call, under a limiter and with a copied context: 60 to 70 µs of both
processor time and latency for each commit more than a queue and a wake-up (measured, docs/performance.md).
"""

from __future__ import annotations

import threading
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
        self._token: trio.lowlevel.TrioToken | None = None

    def __enter__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        # A daemon: if the loop dies from a fault while the disk hangs, the process ends all the same.
        threading.Thread(target=self._run, name="nun-db writer", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.put(None)

    async def run(self, write: Callable[[], None]) -> None:
        """Have something written; raises what writing it raised.

        Not to be cancelled: what is being written may be on disk, so whoever waits has to learn how it ended.
        """
        self._orders.put((trio.lowlevel.current_task(), write))
        await trio.lowlevel.wait_task_rescheduled(lambda _raise_cancel: trio.lowlevel.Abort.FAILED)

    def _run(self) -> None:
        assert self._token is not None
        while (order := self._orders.get()) is not None:
            task, write = order
            result = outcome.capture(write)
            del order, write  # else kept until the next one
            try:
                self._token.run_sync_soon(trio.lowlevel.reschedule, task, result)
            except trio.RunFinishedError:
                return
            del task, result
