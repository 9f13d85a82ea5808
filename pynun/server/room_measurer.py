"""Measures the databases that have a limit of their size, after a start and after changes were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun.commit.on_disk import until_on_disk

if TYPE_CHECKING:
    from pynun.engine.database import Database
    from pynun.engine.engine import Engine

_SLICE_ENTRIES: Final = 1024
"""Less than a millisecond."""

_TRIES: Final = 3
"""What was changed during a measurement may be counted twice or not at all: then it is measured again, so often."""


class RoomMeasurer:
    """The task that measures one engine's databases when they are first used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[Database, None] = {}
        self._bell = trio.Event()
        engine.on_unmeasured = self._ring

    def _ring(self, database: Database) -> None:
        self._waiting[database] = None
        self._bell.set()

    async def run(self) -> None:
        """Measure what comes; runs until it is cancelled."""
        while True:
            await self._bell.wait()
            while self._waiting:
                database = next(iter(self._waiting))
                del self._waiting[database]
                for _ in range(_TRIES):
                    if await self._measure(database):
                        break
            self._bell = trio.Event()

    async def _measure(self, database: Database) -> bool:
        """Whether nothing was changed in the meantime."""
        room, store = database.room, self._engine.view.store
        assert room is not None
        changes = room.changes
        await until_on_disk(self._engine.view)  # what was changed before is a part of what is measured
        before = room.bytes
        measured = 0
        position: bytes | None = b""
        while position is not None and not database.is_dropped:
            began = trio.current_time()
            _, size, position = store.measure_database(database.prefix, position, _SLICE_ENTRIES)
            measured += size
            await trio.sleep(trio.current_time() - began)
        room.bytes += measured - before
        room.is_known = True
        return room.changes == changes
