"""The ids of conflicts (docs/protocol.md section 5). They always grow, even after a restart with the clock set back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.engine.effects import Pause
from pynun.engine.key_layout import CATALOGUE, CLOCK_ID_MAX, ID_BYTES, LAST_CONFLICT, RECORD_PREFIX, newest_of, prefixes
from pynun.engine.overlay import Entry
from pynun.engine.scans import scan_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pynun.engine.effects import Answer, Need
    from pynun.engine.overlay import View

_SLICE_RECORDS: Final = 500
"""Names of conflict records read in one slice: about two milliseconds."""

_DATABASE_RECORDS: Final = 4
"""To look whether a database has any takes about as long as so many."""


class ConflictIds:
    """Gives the conflicts of one engine their ids."""

    def __init__(self, view: View, time_ns: Callable[[], int]) -> None:
        self._view = view
        self._time_ns = time_ns
        self._newest: int | None = None  # not looked up yet

    @property
    def upcoming(self) -> int:
        """The next conflict gets this id or a higher one; all earlier ones have smaller ids."""
        return self._known() + 1

    def following(self) -> int:
        """Nanoseconds since 1970, as in the original, but growing even if the clock is set back."""
        newest = self._known()
        self._newest = max(newest + 1, min(self._time_ns(), CLOCK_ID_MAX))
        self._view.write(LAST_CONFLICT, Entry(self._newest, ""))
        return self._newest

    def pass_over(self, identifier: int) -> None:
        """Ids up to this one are used, by records that were imported."""
        if identifier > self._known():
            self._newest = identifier
            self._view.write(LAST_CONFLICT, Entry(identifier, ""))

    def _known(self) -> int:
        if self._newest is None:
            for _ in self.find_newest():
                pass
        assert self._newest is not None
        return self._newest

    def find_newest(self) -> Generator[Need, Answer, None]:
        """Look up the highest id given before this process, if it is not known yet.

        Older servers did not store it, and may have left any number of records, so those are read in slices.
        """
        if self._newest is not None:
            return
        note = self._view.read(LAST_CONFLICT)
        newest = 0 if note is not None else (yield from self._newest_record())
        if self._newest is None:  # else a conflict came meanwhile
            self._newest = newest if note is None else note.version

    def _newest_record(self) -> Generator[Need, Answer, int]:
        newest = read = 0
        for encoded in (yield from scan_slices(self._view, CATALOGUE)):
            catalogued = self._view.read(CATALOGUE + encoded) if encoded else None
            if catalogued is None:
                continue
            start = prefixes(catalogued.version)[0] + RECORD_PREFIX.encode()
            newest = newest_of((key[ID_BYTES:].decode() for key in self._view.unwritten(start)), newest)
            position: bytes | None = b""
            while position is not None:
                names, position, _ = self._view.store.scan(start, position, _SLICE_RECORDS)
                newest = newest_of((key.decode() for key in names), newest)
                read += _DATABASE_RECORDS + len(names)
                if read >= _SLICE_RECORDS:
                    yield Pause()
                    read = 0
        return newest
