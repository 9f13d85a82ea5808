"""The write-ahead log: each batch is a record in a segment file, on disk after one write and one sync.

A full segment stays as it is until the data has all its records (`release`); then its file is a spare, to be used
again. Files are made in advance and never shrink, so a full disk does not stop the log at once. One spare is always
kept for the next start, which begins a new segment: what follows a torn record is never written to.

One record is written at a time, and the next one only when it is synced; recovery depends on that. After a failed
sync, nobody knows what is on disk. The segment then ends at its last synced record: the header of the next segment
says so, and the file is replaced when its records are released.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Final

from pynun.storage.wal.recovery import open_segments, recover
from pynun.storage.wal.segment import NAME, NEW_SUFFIX, Segment, make_segment, name_of
from pynun.storage.wal.segment_format import SALT_BYTES, SEGMENT_BYTES, Header, Record

if TYPE_CHECKING:
    from pynun.storage.wal.disk import Disk

FILES_MIN: Final = 4
"""Segment files that a start makes."""

FILES_MAX: Final = 8
"""As many are made while the data is too slow to take over the records."""


class WriteAheadLog:
    """The log of one data folder. Every method that raises OSError leaves what was stored valid."""

    def __init__(
        self, disk: Disk, log_id: bytes, checkpoint: int, *, is_in_use: bool, size: int = SEGMENT_BYTES
    ) -> None:
        """Open the log and read the records after a checkpoint (`recovered`). Changes nothing.

        `is_in_use` says whether the data relies on the log. Raises LogError and OSError.
        """
        self._disk = disk
        self._log_id = log_id
        self._size = size
        self._segments = open_segments(disk, size)
        try:
            found = recover(self._segments, log_id, checkpoint, is_in_use=is_in_use)
        except BaseException:
            self.close()
            raise
        self.recovered: Final = found.records
        """The records that the data does not have yet, in order."""
        self.revision = found.revision
        """The newest revision stored, in the log or in the data."""
        self._tail = found.segment, found.end  # where valid records end
        self._number = max((segment.header.number for segment in self._segments), default=0)
        self._current: Segment | None = None
        self._used: deque[Segment] = deque()  # full ones, oldest first
        self._spares: deque[Segment] = deque()
        self._lost: list[Segment] = []  # broken ones that hold nothing any more
        self._pending: tuple[Record, int] | None = None
        self._naming: Final = threading.Lock()  # held while a file takes a name
        for segment in sorted(self._segments, key=lambda segment: segment.header.number):
            holds_records = not segment.is_empty and segment.revision > checkpoint
            (self._used if holds_records else self._spares).append(segment)

    def start(self) -> None:
        """Mend what a crash left, make missing files, and begin a new segment.

        Raises OSError if no segment can be begun.
        """
        self._close_gaps()
        # A killed process may have left names and records that a power cut can still take away.
        self._disk.sync_folder()
        for segment in self._used:
            segment.sync()
        for name in self._disk.names():
            if name.endswith(NEW_SUFFIX) and NAME.fullmatch(name.removesuffix(NEW_SUFFIX)):
                self._disk.remove(name)
        for segment in self._segments:
            segment.mend()
        while len(self._segments) < FILES_MIN:
            try:
                self._make_spare()
            except OSError:
                if not self._spares:
                    raise
                break
        if len(self._spares) < 2:
            self._grow()  # now, so that the header counts it: else nothing would say so if it were removed
        self._take()

    def close(self) -> None:
        """Close the files."""
        for segment in self._segments:
            segment.close()

    # --- appending ---------------------------------------------------------------------------------------------

    def has_room(self, changes_bytes: int) -> bool:
        """Whether a record with so many bytes of changes can be appended now."""
        return self._current is not None and bool(self._spares) and self._current.has_room(changes_bytes)

    def make_room(self, changes_bytes: int) -> bool:
        """Have room for such a record; False if the log is full until records are released.

        Raises OSError if a new segment is needed and can't be begun.
        """
        self._replace_lost()
        if self._current is None or not self._current.has_room(changes_bytes):
            if len(self._spares) < 2:
                self._grow()
            if len(self._spares) >= 2:
                self._retire_current()
                self._take()
        if not self._spares:
            self._grow()
        return self.has_room(changes_bytes)

    def append(self, revision: int, operations: int, time_ns: int, changes: bytes) -> None:
        """Write a record, for which there must be room. Raises OSError; then it is not stored."""
        assert self._current is not None
        record = Record(revision, self.revision, operations, time_ns, changes)
        self._pending = record, self._current.append(record)

    def sync(self) -> None:
        """Return when the record just appended is on disk. Raises OSError; then it is not stored."""
        assert self._current is not None
        assert self._pending is not None
        record, end = self._pending
        self._pending = None
        try:
            self._current.sync()
        except OSError:
            self._retire_current()
            if len(self._spares) < 2:
                raise
            end = self._append_to_next(record)
        self._current.accept(record.revision, end)
        self._tail = self._current.header.number, end
        self.revision = record.revision

    def _append_to_next(self, record: Record) -> int:
        """Store a record in another segment, and return where it ends there."""
        self._take()
        assert self._current is not None
        try:
            end = self._current.append(record)
            self._current.sync()
        except OSError:
            self._retire_current()
            raise
        return end

    def why_elsewhere(self) -> str | None:
        """Which file lost its name or its end, in words without a path. May be called in a thread. Raises OSError."""
        with self._naming:
            for segment in self._segments:
                if not self._disk.is_at(segment.name, segment.file):
                    return f"{segment.name} was removed from the data folder"
                if self._disk.size(segment.file) < segment.size:
                    return f"{segment.name} was cut by another program"
        return None

    @property
    def removed_name(self) -> str | None:
        """The name of the file that the next record goes to, if it was removed."""
        segment = self._current
        return None if segment is None or self._disk.has_name(segment.file) else segment.name

    # --- releasing ---------------------------------------------------------------------------------------------

    @property
    def used_files(self) -> int:
        """Files with records that the data does not have yet, or being filled."""
        return len(self._used) + 1

    @property
    def is_release_due(self) -> bool:
        """Whether the data should take over the records: half of the files are in use, or one is broken."""
        return 2 * self.used_files >= len(self._segments) or any(segment.is_broken for segment in self._used)

    def release(self, checkpoint: int) -> None:
        """The data has everything up to this revision. Makes no system calls."""
        self.revision = max(self.revision, checkpoint)
        while self._used and self._used[0].revision <= checkpoint:
            segment = self._used.popleft()
            self._shelve(segment)

    # --- segments ----------------------------------------------------------------------------------------------

    def _retire_current(self) -> None:
        """Write nothing more to the current segment."""
        segment, self._current = self._current, None
        if segment is None:
            return
        if segment.is_empty:
            self._shelve(segment)
        else:
            self._used.append(segment)

    def _take(self) -> None:
        """Begin a segment in the oldest spare. Raises OSError."""
        if not self._spares:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        segment = self._spares[0]
        if not segment.lock():
            # A reader holds it: let it read on in that file, which loses its name.
            segment = self._replace(segment)
            if segment.is_broken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._spares.remove(segment)
        self._number += 1
        try:
            segment.put_into_use(
                Header(
                    self._number,
                    self._log_id,
                    self.revision,
                    *self._tail,
                    sum(segment.is_named for segment in self._segments),
                    os.urandom(SALT_BYTES),
                )
            )
        except OSError:
            self._shelve(segment)
            raise
        finally:
            segment.unlock()
        self._current = segment

    def _shelve(self, segment: Segment) -> None:
        """Keep a segment that holds nothing any more."""
        (self._lost if segment.is_broken else self._spares).append(segment)

    def _close_gaps(self) -> None:
        """Rename files where others are missing: somebody removed those while the data did not rely on the log. Later,
        recovery would take a gap for a loss.
        """
        for place, segment in enumerate(sorted(self._segments, key=lambda segment: segment.name), 1):
            if segment.name != name_of(place):
                self._disk.rename(segment.name, name_of(place))
                segment.name = name_of(place)

    def _make_spare(self) -> None:
        names = {segment.name for segment in self._segments}
        name = next(name for name in map(name_of, count(1)) if name not in names)
        with self._naming:
            segment = make_segment(self._disk, name, self._size, self._log_id)
            self._segments.append(segment)
        self._shelve(segment)

    def _grow(self) -> None:
        """Make another file, if that is possible."""
        if len(self._segments) < FILES_MAX:
            with contextlib.suppress(OSError):
                self._make_spare()

    def _replace(self, segment: Segment) -> Segment:
        """Make a new file in place of one that holds nothing any more. Raises OSError."""
        with self._naming:
            new = make_segment(self._disk, segment.name, self._size, self._log_id)
            self._segments[self._segments.index(segment)] = new
        (self._lost if segment.is_broken else self._spares).remove(segment)
        segment.close()
        self._shelve(new)
        return new

    def _replace_lost(self) -> None:
        """Replace broken files that hold nothing any more, as far as that is possible.

        The newest header stays, because it says where the records before it end: after them, there may be one that was
        refused.
        """
        newest = max(self._segments, key=lambda segment: segment.header.number)
        with contextlib.suppress(OSError):
            for segment in self._lost.copy():
                if segment is not newest:
                    self._replace(segment)
