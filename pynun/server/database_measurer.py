"""Measure the databases with a size limit, after a start and after lost changes."""

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
"""A key changed during a measurement may be counted twice or not at all. Then measure again, at most this often."""


class DatabaseMeasurer:
    """Measures one engine's databases when they are first used."""

    def __init__(self) -> None:
        self._waiting: dict[Database, None] = {}
        self._bell = trio.Event()

    def ring(self, database: Database) -> None:
        """It is not known how much a database holds."""
        self._waiting[database] = None
        self._bell.set()

    async def run(self, engine: Engine) -> None:
        """Measure requested databases until cancelled."""
        while True:
            await self._bell.wait()
            while self._waiting:
                database = next(iter(self._waiting))
                del self._waiting[database]
                for _ in range(_TRIES):
                    if await _measure(engine, database):
                        break
            self._bell = trio.Event()


async def _measure(engine: Engine, database: Database) -> bool:
    """Whether nothing changed meanwhile."""
    limit, store = database.size_limit, engine.view.store
    assert limit is not None
    changes = limit.changes
    await until_on_disk(engine.view)  # the measurement includes earlier changes
    before = limit.bytes
    measured = 0
    position: bytes | None = b""
    while position is not None and not database.is_dropped:
        began = trio.current_time()
        _, size, position = store.measure_database(database.prefix, position, _SLICE_ENTRIES)
        measured += size
        await trio.sleep(trio.current_time() - began)
    limit.bytes += measured - before
    limit.is_known = True
    return limit.changes == changes
