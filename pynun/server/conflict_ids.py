"""Looks up the highest id that a conflict was given before this start, before a conflict needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pynun.engine.engine import Engine


async def find_newest_conflict(engine: Engine) -> None:
    """Read what an older server has left, in slices, with as long pauses."""
    began = trio.current_time()
    for _ in engine.keyspace.conflict_ids.find_newest():
        await trio.sleep(trio.current_time() - began)
        began = trio.current_time()
