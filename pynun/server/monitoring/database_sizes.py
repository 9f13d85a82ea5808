"""Count the keys and bytes of each database in the background, when somebody asks.

LMDB knows only the total of all databases, and counting at each change would slow every change. So a thread reads the
data in small slices with pauses five times as long. It starts again only after a minute, or fifty times the duration of
the last run. So it never uses more than a few percent of one core.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun.errors import StorageError
from pynun.timestamps import steady_seconds, time_of_day

if TYPE_CHECKING:
    from pynun.storage.store import LmdbStore

_log = logging.getLogger("nun_db")

_SLICE_KEYS: Final = 1000
"""About a millisecond."""

_PAUSES: Final = 5
"""A pause lasts this many times the slice before it."""

_AGE_SECONDS_MIN: Final = 60.0
_AGE_MIN: Final = 50
"""A measurement is valid for this many seconds, and this many times its duration."""


class Size(NamedTuple):
    """One database."""

    keys: int
    stored_bytes: int
    """Of its keys and values."""


class DatabaseSizes:
    """The sizes of all databases of a store."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store
        self._is_wanted = trio.Event()
        self._is_known = trio.Event()
        self._new_until = 0.0
        self.by_name: dict[str, Size] = {}
        self._measured: float | None = None

    @property
    def measured_at(self) -> float:
        """Time of the measurement, in seconds since 1970; 0 before the first."""
        return 0.0 if self._measured is None else time_of_day(self._measured)

    async def want(self) -> None:
        """Request a new measurement if the last is old. Waits for the very first one, for a second at most."""
        if trio.current_time() >= self._new_until:
            self._is_wanted.set()
        with trio.move_on_after(1.0):
            await self._is_known.wait()

    async def run(self) -> None:
        """Measure on request, until cancelled."""
        while True:
            await self._is_wanted.wait()
            began = trio.current_time()
            try:
                self.by_name = await self._measure()
            except StorageError as error:
                _log.debug("the sizes of the databases could not be measured: %s", error)
            except Exception:  # a failed measurement must not end the server
                _log.exception("the sizes of the databases could not be measured; please report this")
            else:
                self._measured = steady_seconds()
                self._is_known.set()
            self._is_wanted = trio.Event()
            took = trio.current_time() - began
            self._new_until = trio.current_time() + max(_AGE_SECONDS_MIN, _AGE_MIN * took / _PAUSES)

    async def _measure(self) -> dict[str, Size]:
        totals: dict[int, tuple[int, int]] = {}
        names: dict[int, str] = {}
        position: bytes | None = b""
        while position is not None:
            began = trio.current_time()
            found = await trio.to_thread.run_sync(self._store.measure, position, _SLICE_KEYS)
            names |= found.names
            for identifier, (keys, stored_bytes) in found.totals.items():
                before = totals.get(identifier, (0, 0))
                totals[identifier] = before[0] + keys, before[1] + stored_bytes
            position = found.following
            await trio.sleep(_PAUSES * (trio.current_time() - began))
        return {name: Size(*totals.get(identifier, (0, 0))) for identifier, name in sorted(names.items())}
