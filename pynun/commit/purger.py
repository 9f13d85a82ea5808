"""Removes the keys of dropped databases from the disk, in small batches behind everybody's changes.

One task beside the committer. A slice waits until the one before it is on disk, and then as long as that took: so the
changes of clients share a batch with at most one slice. It only removes what `tombstones` names, so it may be stopped
at any moment and goes on at the next start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun.commit.on_disk import until_on_disk
from pynun.engine import tombstones

if TYPE_CHECKING:
    from pynun.engine.engine import Engine

SLICE_KEYS: Final = 512
"""Keys removed in one batch: two or three milliseconds of a commit."""

RETRY_SECONDS: Final = 1.0
"""When nothing can be stored."""


class Purger:
    """The purger of one engine's dropped databases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._view = engine.view
        self._bell = trio.Event()
        engine.on_drop = self._ring

    def _ring(self) -> None:
        self._bell.set()

    async def run(self) -> None:
        """Remove what an earlier process left, then whatever is dropped; runs until it is cancelled."""
        while True:
            self._bell = trio.Event()
            await self._purge()
            await self._bell.wait()

    async def _purge(self) -> None:
        slice_keys = SLICE_KEYS
        await until_on_disk(self._view)  # the note of what was just dropped
        while True:
            if self._engine.keyspace.refused_changes is not None:
                await trio.sleep(RETRY_SECONDS)
                continue
            began = trio.current_time()
            if not tombstones.remove_slice(self._view, slice_keys):
                return
            if await until_on_disk(self._view):
                slice_keys = SLICE_KEYS
                await trio.sleep(trio.current_time() - began)
            else:
                # To remove takes a little room too: a full disk shall not refuse clients because of it.
                slice_keys = max(1, slice_keys // 8)
                await trio.sleep(RETRY_SECONDS)
