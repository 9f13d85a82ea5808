"""Remove the keys of dropped databases from disk in small batches.

One task beside the committer. After each slice it waits until the slice is on disk, and then as long again, so a batch
of client changes contains at most one slice. It removes only what `tombstones` names, so it may stop at any moment and
continues at the next start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from pynun.commit.on_disk import until_on_disk
from pynun.engine import tombstones
from pynun.engine.loads import IDLE_SECONDS

if TYPE_CHECKING:
    from pynun.engine.engine import Engine

SLICE_KEYS: Final = 512
"""Keys removed in one batch: two or three milliseconds of a commit."""

RETRY_SECONDS: Final = 1.0
"""Retry interval while changes can't be stored."""


class Purger:
    """The purger of one engine's dropped databases."""

    def __init__(self) -> None:
        self._bell = trio.Event()

    def ring(self) -> None:
        """A database was dropped."""
        self._bell.set()

    async def run(self, engine: Engine) -> None:
        """Remove leftovers of earlier processes, dropped databases and loads that were given up, until cancelled."""
        while True:
            self._bell = trio.Event()
            engine.loads.expire()
            await _purge(engine)
            with trio.move_on_after(IDLE_SECONDS if engine.loads else math.inf):
                await self._bell.wait()


async def _purge(engine: Engine) -> None:
    view = engine.view
    slice_keys = SLICE_KEYS
    await until_on_disk(view)  # the note of what was just dropped
    while True:
        if engine.keyspace.refused_changes is not None:
            await trio.sleep(RETRY_SECONDS)
            continue
        began = trio.current_time()
        if not tombstones.remove_slice(view, slice_keys, engine.loads.identifiers):
            return
        if await until_on_disk(view):
            slice_keys = SLICE_KEYS
            await trio.sleep(trio.current_time() - began)
        else:
            # Removing takes some space too. On a full disk it must not make the server refuse clients.
            slice_keys = max(1, slice_keys // 8)
            await trio.sleep(RETRY_SECONDS)
