"""One segment file of the log: made, opened, put into use, appended to and synced."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING, Final

from pynun.storage.wal.segment_format import (
    RECORD_OVERHEAD_BYTES,
    RECORDS_AT,
    SALT_BYTES,
    SLOTS,
    Header,
    Record,
    decode_header,
    encode_header,
    encode_record,
    seed_of,
)

if TYPE_CHECKING:
    from pynun.storage.wal.disk import Disk

NAME: Final = re.compile(r"log-(\d\d)\.wal")
GLOB: Final = "log-*.wal"
NEW_SUFFIX: Final = ".new"
"""A file has this until it is complete; then it gets its name."""


def name_of(place: int) -> str:
    """The name of the segment file at a place in the folder, from 1. It does not tell which segment the file holds."""
    return f"log-{place:02}.wal"


class HeaderError(Exception):
    """A segment file has no header that can be read."""


class Segment:
    """An open segment file."""

    def __init__(self, disk: Disk, name: str, file: int) -> None:
        """Read the header of a file. Raises HeaderError and OSError; then the caller closes the file."""
        self._disk = disk
        self.name = name
        self.is_named = True
        """Whether its name is on disk."""
        self.file = file
        self.size = disk.size(file)
        self._read_header()

    def _read_header(self) -> None:
        start = self._disk.read(self.file, RECORDS_AT, 0)
        self._slots = {slot: decode_header(start, slot) for slot in SLOTS}
        found = [header for header in self._slots.values() if header is not None]
        if not found:
            raise HeaderError(f"{self.name} has no header that can be read")
        self._use(max(found, key=lambda header: header.number))

    def _use(self, header: Header) -> None:
        self.header = header
        self._seed = seed_of(header)
        self.end = RECORDS_AT
        """Where the next record goes."""
        self.revision = header.revision
        """The newest revision stored in it, or before it."""
        self.is_broken = False
        """Whether a sync failed, so it must not be synced again."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no record that is known to be valid."""
        return self.end == RECORDS_AT

    def content(self) -> bytes:
        """The whole file. Raises OSError."""
        return self._disk.read(self.file, self.size, 0)

    def mend(self) -> None:
        """Write the header into a slot where it is missing: a crash came between, or the slot is damaged. Raises
        OSError."""
        missing = [slot for slot in SLOTS if self._slots[slot] != self.header]
        for slot in missing:
            self._write_slot(slot, self.header)
        if missing:
            self.sync()

    def put_into_use(self, header: Header) -> None:
        """Begin a segment in this file, whose content is not needed any more. Raises OSError.

        One slot can be read at any time: the second is written when the first is on disk.
        """
        first, second = SLOTS
        if self._slots[second] is None:
            self.mend()
        self._write_slot(first, header)
        self.sync()
        self._use(header)
        self._write_slot(second, header)
        self.sync()

    def _write_slot(self, slot: int, header: Header) -> None:
        self._slots[slot] = None
        write_all(self._disk, self.file, encode_header(header), slot)
        self._slots[slot] = header

    def has_room(self, changes_bytes: int) -> bool:
        """Whether a record with so many bytes of changes fits."""
        return self.end + RECORD_OVERHEAD_BYTES + changes_bytes <= self.size

    def append(self, record: Record) -> int:
        """Write a record, and return where it ends; it is valid after `sync` and `accept`. Raises OSError. Then the
        next record is written over what there is of it."""
        encoded = encode_record(self.header.salt, self._seed, record)
        try:
            write_all(self._disk, self.file, encoded, self.end)
        except OSError:
            # What the file held before may end as the record does: it must not count as whole.
            with contextlib.suppress(OSError):
                self._disk.write(self.file, bytes(SALT_BYTES), self.end)
            raise
        return self.end + len(encoded)

    def sync(self) -> None:
        """Return when all that was written is on disk. Raises OSError; then the file is broken."""
        assert not self.is_broken
        try:
            self._disk.sync(self.file)
        except OSError:
            self.is_broken = True
            raise

    def accept(self, revision: int, end: int) -> None:
        """Count a record as valid: it was synced, or found by recovery."""
        self.revision = revision
        self.end = end

    def lock(self) -> bool:
        """Lock it against readers; False if one is reading it. Raises OSError."""
        return self._disk.lock(self.file)

    def share(self) -> None:
        """Lock it against its reuse, as a reader. Raises HeaderError and OSError."""
        self._disk.share(self.file)
        self._read_header()  # it may have been reused until now

    def unlock(self) -> None:
        """Let readers lock it again. Raises OSError."""
        self._disk.unlock(self.file)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._disk.close(self.file)


def make_segment(disk: Disk, name: str, size: int, log_id: bytes) -> Segment:
    """Make a spare file, over an existing one of that name, with all its space allocated. Raises OSError.

    If only the sync of the name failed, the file is broken.
    """
    new_name = name + NEW_SUFFIX
    file = disk.make(new_name)
    try:
        # Zeros, because some file systems reserve nothing before data is written.
        content = bytearray(size)
        encoded = encode_header(Header(0, log_id, 0, 0, 0, 0, bytes(SALT_BYTES)))
        for slot in SLOTS:
            content[slot : slot + len(encoded)] = encoded
        write_all(disk, file, memoryview(content), 0)
        disk.sync(file)
        segment = Segment(disk, name, file)
        disk.rename(new_name, name)
    except BaseException:
        disk.close(file)
        with contextlib.suppress(OSError):
            disk.remove(new_name)
        raise
    try:
        disk.sync_folder()
    except OSError:
        segment.is_broken = True
        segment.is_named = False
    return segment


def write_all(disk: Disk, file: int, data: bytes | memoryview, at: int) -> None:
    """Write all of `data` at an offset. Raises OSError."""
    written = disk.write(file, data, at)
    while written < len(data):
        more = disk.write(file, memoryview(data)[written:], at + written)
        if more == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more
