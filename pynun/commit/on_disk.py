"""Wait until all changes so far are on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pynun.engine.overlay import View


async def until_on_disk(view: View) -> bool:
    """Wait until every change so far is on disk; False if they were lost."""
    revision = view.newest_unwritten
    waiter = _Waiter()
    if revision and view.add_waiter(revision, waiter):
        await waiter.decided.wait()
    return waiter.is_written


class _Waiter:
    """Learns whether a batch was written or lost."""

    def __init__(self) -> None:
        self.decided = trio.Event()
        self.is_written = True

    def released(self, _revision: int) -> None:
        self.decided.set()

    def failed(self, _revision: int, _reason: str) -> None:
        self.is_written = False
        self.decided.set()
