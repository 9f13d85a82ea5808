"""Look up the highest conflict id given before this start, ahead of the first conflict that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pynun.engine.engine import Engine


async def find_newest_conflict(engine: Engine) -> None:
    """Read the conflicts of earlier servers in slices, with pauses of the same length."""
    began = trio.current_time()
    for _ in engine.keyspace.conflict_ids.find_newest():
        await trio.sleep(trio.current_time() - began)
        began = trio.current_time()
