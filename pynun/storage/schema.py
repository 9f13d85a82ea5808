"""The complete on-disk format: file names, format number, key and value layouts.

One LMDB environment in the data folder, with two named databases:

- `meta`: `format` (this number, 4 bytes), `state` (revision and operations, 8 bytes each), `checkpoint` (a revision, 8
  bytes), `log` (the log's id, 16 bytes, and a byte: 1 if the log's files may hold batches that `data` lacks).
- `data`: stored keys to stored values, of all Nun-db databases, up to the revision `checkpoint`. Later changes may be
  there too.

Later batches are in the log's files (`pynun.storage.wal.segment_format`). The changes of one follow each other there,
each as the lengths of key and text (4 bytes each; all bits of the latter set: removed), a version (8 bytes, signed),
key and text. A key's newest change in the log takes precedence over `data`.

All integers are big endian. A stored key is four bytes and text:

- the id of a Nun-db database and a key;
- the id with its highest bit set and `KEY ID`: the index of unresolved conflicts;
- four zero bytes and a database's name: the catalogue. No id is given twice;
- four zero bytes with the highest bit set and words: the server's own notes. `dropped ID`: a database whose name is
  gone and whose keys may not be yet; `start-password`: the hash of the password given at the last start;
  `last-conflict`: the highest id that a conflict was given, as the version; `imported nundb`: which files of the
  original that lie in the same folder were imported.

A stored value is a version (8 bytes, signed) and text.

LMDB takes keys of up to 511 bytes. A longer one is stored under its first bytes, the byte 0xFF (which UTF-8 never
has) and its SHA-256, with length (4 bytes) and bytes of the full key between version and text of the value: so a
prefix of up to `PREFIX_BYTES` still finds it in a scan.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.engine.key_layout import ID_BYTES
from pynun.engine.overlay import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 3
"""Increases with every change of this format. A newer file is refused, an older one migrated (format 1 had no log,
format 2 had it in LMDB)."""

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "server.lock"
READERS_FILE: Final = "lock.mdb"
"""Made by LMDB."""
FILES: Final = (DATA_FILE, READERS_FILE, LOCK_FILE)
"""All files that the store makes in the data folder, besides those of the log."""

META_DATABASE: Final = b"meta"
DATA_DATABASE: Final = b"data"
DATABASES_MAX: Final = 3
"""Formats 1 and 2 included: `pynun.storage.format_2`."""
FORMAT_KEY: Final = b"format"
STATE_KEY: Final = b"state"
CHECKPOINT_KEY: Final = b"checkpoint"
LOG_KEY: Final = b"log"
LOG_ID_BYTES: Final = 16

KEY_BYTES_MAX: Final = 511
_DIGEST_BYTES: Final = 32
PREFIX_BYTES: Final = KEY_BYTES_MAX - 1 - _DIGEST_BYTES
_LONG_MARK: Final = 0xFF

_version = struct.Struct(">q")
_long_head = struct.Struct(">qI")
_state = struct.Struct(">QQ")
_format = struct.Struct(">I")
_revision = struct.Struct(">Q")
_log_mark = struct.Struct(">16s?")
_change = struct.Struct(">IIq")
_REMOVED: Final = 0xFFFF_FFFF


class LogMark(NamedTuple):
    """What the data says of its write-ahead log."""

    log_id: bytes
    """Random; the log's files have it too."""
    is_in_use: bool
    """Whether the log's files may hold changes that the data lacks."""


def stored_key(key: bytes) -> bytes:
    """The LMDB key of four bytes and text of any length."""
    if len(key) <= KEY_BYTES_MAX:
        return key
    return key[:PREFIX_BYTES] + bytes((_LONG_MARK,)) + hashlib.sha256(key).digest()


def is_long(stored: bytes | memoryview) -> bool:
    """Whether an LMDB key stands for a longer key stored in the value."""
    return len(stored) == KEY_BYTES_MAX and stored[PREFIX_BYTES] == _LONG_MARK


def encode_value(key: bytes, entry: Entry) -> bytes:
    if len(key) <= KEY_BYTES_MAX:
        return _version.pack(entry[0]) + entry[1].encode()
    return _long_head.pack(entry[0], len(key)) + key + entry[1].encode()


def decode_value(key: bytes, value: bytes) -> Entry:
    """The entry of `key` (four bytes and text, not the LMDB key)."""
    if len(key) <= KEY_BYTES_MAX:
        return Entry(_version.unpack_from(value)[0], value[8:].decode())
    version, length = _long_head.unpack_from(value)
    return Entry(version, value[_long_head.size + length :].decode())


def long_key_bytes(value: bytes | memoryview) -> int:
    """Length of the full key (four bytes and text) stored in the value."""
    length: int = _long_head.unpack_from(value)[1]
    return length


def long_key(value: bytes | memoryview, first: int = 0, size: int | None = None) -> bytes:
    """The full key (four bytes and text) stored in the value, or a part of it."""
    length = long_key_bytes(value)
    end = length if size is None else min(length, first + size)
    return bytes(value[_long_head.size + first : _long_head.size + end])


def text_bytes(stored: bytes | memoryview, value: bytes | memoryview) -> int:
    """Bytes of an entry's key and text, without overhead."""
    if is_long(stored):
        return len(value) - _long_head.size - ID_BYTES
    return len(stored) - ID_BYTES + len(value) - _version.size


def encode_state(revision: int, operations: int) -> bytes:
    return _state.pack(revision, operations)


def decode_state(value: bytes) -> tuple[int, int]:
    """Revision and operations."""
    revision, operations = _state.unpack(value)
    return revision, operations


def encode_format(number: int) -> bytes:
    return _format.pack(number)


def decode_format(value: bytes) -> int:
    """Raises struct.error if the value is not four bytes."""
    number: int = _format.unpack(value)[0]
    return number


def encode_checkpoint(revision: int) -> bytes:
    return _revision.pack(revision)


def decode_checkpoint(value: bytes) -> int:
    """Raises struct.error if the value is not eight bytes."""
    revision: int = _revision.unpack(value)[0]
    return revision


def encode_log_mark(mark: LogMark) -> bytes:
    return _log_mark.pack(*mark)


def decode_log_mark(value: bytes) -> LogMark:
    """Raises struct.error if the value does not have its length."""
    return LogMark(*_log_mark.unpack(value))


def encode_changes(entries: Mapping[bytes, Entry | None]) -> bytes:
    """A batch encoded for the log."""
    parts: list[bytes] = []
    for key, entry in entries.items():
        if entry is None:
            parts += (_change.pack(len(key), _REMOVED, 0), key)
        else:
            text = entry[1].encode()
            parts += (_change.pack(len(key), len(text), entry[0]), key, text)
    return b"".join(parts)


def decode_changes(record: bytes) -> dict[bytes, Entry | None]:
    """The changes of a batch. Raises struct.error if they are cut."""
    changes: dict[bytes, Entry | None] = {}
    at = 0
    while at < len(record):
        key_bytes, text_bytes, version = _change.unpack_from(record, at)
        at += _change.size
        is_removed = text_bytes == _REMOVED
        end = at + key_bytes + (0 if is_removed else text_bytes)
        if end > len(record):
            raise struct.error("a change in the log is cut")
        key = record[at : at + key_bytes]
        changes[key] = None if is_removed else Entry(version, record[at + key_bytes : end].decode())
        at = end
    return changes
