"""The bytes of a log segment. All integers are big endian.

A segment is a file of a fixed size. Its header is there twice, in the slots at 0 and 4096; records begin at 8192.

Header: magic (8 bytes), format of the log (4), number of the segment (8; 0 means never used), id of the log (16),
revision before the first record (8), the segment before with records: its number (8; 0 means none) and where its
records end (4), number of segment files in the folder (4), salt (8, random at each use), CRC-32 of all this (4).

Record: salt of the segment (8), length of the changes (4), CRC-32 (4), revision (8), revision stored before it (8),
operations (8), time in nanoseconds since 1970 (8), changes. The CRC covers what follows it, and starts from the
header's CRC combined with the length. So neither what the file held before nor what a client stores looks like a
record. Records follow each other without padding: a sector with the end of a record is written again with the next,
which is safe because a write never damages bytes that it does not change (SQLite's "powersafe overwrite").
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT: Final = 1
"""If this increases, the format of the data file does too, so older servers refuse both."""

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""Size of a segment file."""

SLOTS: Final = (0, 4096)
"""Offsets of the two copies of the header: in different blocks, so that one torn write can't destroy both."""

RECORDS_AT: Final = 8192
"""Offset of the first record."""

SALT_BYTES: Final = 8

_MAGIC: Final = b"NUNWAL\r\n"
_header = struct.Struct(">8sIQ16sQQII8s")
_crc = struct.Struct(">I")
_lengths = struct.Struct(">8sII")
_values = struct.Struct(">QQQQ")
_HEADER_BYTES: Final = _header.size + _crc.size

RECORD_OVERHEAD_BYTES: Final = _lengths.size + _values.size
"""Size of a record without changes."""


class Header(NamedTuple):
    """What a segment is used for."""

    number: int
    """Segments are numbered in the order of their use, from 1; 0 means never used."""
    log_id: bytes
    revision: int
    """The revision stored before its first record."""
    previous: int
    """The number of the segment with records before it; 0 means none. Numbers between them hold nothing valid."""
    previous_end: int
    """Where the records of that segment end; what follows them is not valid."""
    files: int
    """How many segment files the folder had."""
    salt: bytes


class Record(NamedTuple):
    """One batch."""

    revision: int
    previous: int
    """The revision stored before it, in the log or elsewhere."""
    operations: int
    time_ns: int
    """For people; nothing depends on it, as clocks may be set back."""
    changes: bytes


def encode_header(header: Header) -> bytes:
    packed = _header.pack(
        _MAGIC,
        FORMAT,
        header.number,
        header.log_id,
        header.revision,
        header.previous,
        header.previous_end,
        header.files,
        header.salt,
    )
    return packed + _crc.pack(zlib.crc32(packed))


def decode_header(start: bytes, slot: int) -> Header | None:
    """The header in a slot of a segment's first `RECORDS_AT` bytes; None if it is torn or damaged."""
    packed = start[slot : slot + _HEADER_BYTES]
    if len(packed) < _HEADER_BYTES or _crc.unpack_from(packed, _header.size)[0] != zlib.crc32(packed[: _header.size]):
        return None
    magic, number_of_format, *values = _header.unpack_from(packed)
    return Header(*values) if magic == _MAGIC and number_of_format == FORMAT else None


def seed_of(header: Header) -> int:
    """What the CRCs of a segment's records start from."""
    return zlib.crc32(encode_header(header)[: _header.size])


def encode_record(salt: bytes, seed: int, record: Record) -> bytes:
    revision, previous, operations, time_ns, changes = record
    values = _values.pack(revision, previous, operations, time_ns)
    length = len(changes)
    return _lengths.pack(salt, length, zlib.crc32(changes, zlib.crc32(values, seed ^ length))) + values + changes


def decode_record(segment: bytes, at: int, salt: bytes, seed: int) -> tuple[Record, int] | None:
    """The record at an offset, and the offset after it. None if there is none, or it is torn or damaged."""
    if at + RECORD_OVERHEAD_BYTES > len(segment):
        return None
    found, length, crc = _lengths.unpack_from(segment, at)
    first = at + _lengths.size
    end = at + RECORD_OVERHEAD_BYTES + length
    if found != salt or end > len(segment) or crc != zlib.crc32(memoryview(segment)[first:end], seed ^ length):
        return None
    revision, previous, operations, time_ns = _values.unpack_from(segment, first)
    return Record(revision, previous, operations, time_ns, segment[first + _values.size : end]), end


def records(segment: bytes, header: Header) -> Iterator[tuple[Record, int]]:
    """The records of a segment from the first on, each with the offset after it, until one can't be read."""
    seed = seed_of(header)
    at = RECORDS_AT
    while (found := decode_record(segment, at, header.salt, seed)) is not None:
        yield found
        at = found[1]


def has_record_after(segment: bytes, header: Header, at: int) -> bool:
    """Whether a valid record begins after an offset, anywhere."""
    seed = seed_of(header)
    while (at := segment.find(header.salt, at + 1)) >= 0:
        if decode_record(segment, at, header.salt, seed) is not None:
            return True
    return False
