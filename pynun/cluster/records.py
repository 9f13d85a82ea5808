"""A batch as a value of the log in etcd. Pure.

A value is a head (format, 1 byte; term and operations, 8 bytes each; number of parts, 2 bytes; big endian) and the
batch's changes as the write-ahead log has them (`pynun.storage.schema.encode_changes`), compressed by zlib. If that is
too large for one value of etcd, the changes are in parts under keys of their own, and their SHA-256 follows the head.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.storage.schema import decode_changes, encode_changes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pynun.engine.overlay import Entry

FORMAT: Final = 1
"""The newest format that this version reads. It writes the newest that all members read."""

PART_BYTES: Final = 1 << 20
"""etcd takes requests of up to 1.5 MiB, which base64 does not count towards."""

PARTS_MAX: Final = 0xFFFF

_LEVEL: Final = 1
_head = struct.Struct(">BQQH")


class RecordError(Exception):
    """A value of the log can't be read: it is damaged, of a newer version, or its parts are not all there."""


class Encoded(NamedTuple):
    """A batch, ready for etcd."""

    value: bytes
    parts: list[bytes]
    """Put before `value`; mostly empty."""


class Head(NamedTuple):
    """What a value says before its changes."""

    term: int
    """The create revision of the owner's key when the batch was written."""
    operations: int
    """Changes as clients count them, of all batches up to this one."""
    parts: int
    """How many parts its changes are in; 0: they are in the value."""


class Record(NamedTuple):
    """A batch as the log has it; its key has its number."""

    term: int
    operations: int
    entries: dict[bytes, Entry | None]


def encode(term: int, operations: int, entries: Mapping[bytes, Entry | None], part_bytes: int = PART_BYTES) -> Encoded:
    """The batch with these changes, in parts if they are larger. Raises ValueError if those are too many (64 GiB)."""
    changes = zlib.compress(encode_changes(entries), _LEVEL)
    if len(changes) <= part_bytes:
        return Encoded(_head.pack(FORMAT, term, operations, 0) + changes, [])
    parts = [changes[at : at + part_bytes] for at in range(0, len(changes), part_bytes)]
    if len(parts) > PARTS_MAX:
        raise ValueError("the batch is too large for the log")
    return Encoded(_head.pack(FORMAT, term, operations, len(parts)) + hashlib.sha256(changes).digest(), parts)


def decode_head(value: bytes) -> Head:
    """What a value says before its changes. Raises RecordError."""
    if value and value[0] > FORMAT:
        raise RecordError(f"a batch has format {value[0]}, and this version reads up to {FORMAT}: upgrade it")
    if len(value) < _head.size or value[0] == 0:
        raise RecordError("the head of a batch is damaged")
    _, term, operations, parts = _head.unpack_from(value)
    return Head(term, operations, parts)


def decode(value: bytes, parts: Sequence[bytes] = ()) -> Record:
    """The batch of a value and its parts, of which there must be as many as its head says. Raises RecordError."""
    head = decode_head(value)
    changes = value[_head.size :]
    if len(parts) != head.parts:
        raise RecordError(f"a batch has {head.parts} parts, and {len(parts)} were found")
    if head.parts:
        digest, changes = changes, b"".join(parts)
        if digest != hashlib.sha256(changes).digest():
            raise RecordError("the parts of a batch are damaged")
    try:
        return Record(head.term, head.operations, decode_changes(zlib.decompress(changes)))
    except (zlib.error, struct.error, UnicodeDecodeError) as error:
        raise RecordError(f"the changes of a batch are damaged: {error}") from None
