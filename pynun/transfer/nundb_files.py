"""Read the data folder of the original Nun-db: all keys, and a report of all that can't be read.

docs/migration.md describes the files. They are opened for reading only.

Entry points: `find_databases(folder)` and `read_database(files)` for a folder, `read_records(keys, values, …)` for any
two streams of bytes. For any bytes, they keep three rules:

- They yield only `Record` and `Problem`. No content raises an exception, and I/O errors become problems too.
- A record is yielded only if it is complete and valid. Everything else becomes a problem with file, offset, and the key
  as far as known. A problem with `is_loss` stands for data that was not read.
- Memory is bounded by the largest value (`VALUE_BYTES_MAX`). An invalid length allocates nothing.

A file of keys that was truncated exactly between two records looks complete. In that case, values at the end that no
key names are reported, and so is a database that `$admin` names and that has no files.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from pynun.engine.versions import IN_CONFLICT
from pynun.storage.files.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pynun.engine.key_layout import Strategy

KEYS_SUFFIX: Final = "-nun.data.keys"
VALUES_SUFFIX: Final = "-nun.data.values"
METADATA_SUFFIX: Final = "-nun.madadata"  # the original's spelling
_KEYS_ASIDE_SUFFIX: Final = "-nun.data.keys.old"

KEY_BYTES_MAX: Final = 16 * 1024 * 1024
VALUE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Longer than any message of the original, so a longer key or value has an invalid length."""

STATUS_MAX: Final = 15
"""The original numbers the few states of a value from 0. A higher number is not a status."""

DELETED: Final = -1
"""The version of a removed key."""

_STRATEGIES: Final[dict[int, Strategy]] = {0: "none", 1: "newer", 2: "arbiter"}
_STRATEGY_MISSING: Final[Strategy] = "newer"

_length = struct.Struct("<Q")
_tail_of_key = struct.Struct("<iQ")
_status = struct.Struct("<i")
_metadata = struct.Struct("<Qi")

_EMPTY_RECORD_BYTES: Final = _length.size + _tail_of_key.size
_CHUNK_BYTES: Final = 64 * 1024
_FIRST_READ_BYTES: Final = 1024

_IMPOSSIBLE_IN_KEY: Final = re.compile(r"[\0 \r\n]")
"""In the protocol, a blank ends a key and a line break a command; a zero byte is part of a number."""


class Record(NamedTuple):
    """A key as the original would return it."""

    key: str
    version: int
    value: str | None
    """None: the key was removed."""
    offset: int
    """Where the record begins in the file of keys."""


class Problem(NamedTuple):
    """Something that was not read or that an administrator should know."""

    file: str
    offset: int | None
    key: str | None
    what: str
    is_loss: bool = True
    """Whether data is missing; otherwise the problem is only worth knowing."""

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else ascii(self.file)[1:-1]
        place = file if self.offset is None else f"{file}, byte {self.offset}"
        key = "" if self.key is None else f", key {shown(self.key)}"
        return f"{place}{key}: {self.what}"


class Strategies(NamedTuple):
    """The content of a database's strategy file."""

    strategy: Strategy
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class DatabaseFiles:
    """The files of one database of the original."""

    name: str
    keys: Path
    values: Path
    metadata: Path


def shown(text: str) -> str:
    """A key in quotes for a line of text, with terminal control characters escaped."""
    kept = text if len(text) <= 200 else text[:200] + "…"
    return repr(kept)


def find_databases(folder: Path) -> tuple[list[DatabaseFiles], list[Problem]]:
    """The databases in a folder, by name, and problems for files that form no database.

    Raises OSError if the folder can't be listed.
    """
    found: list[DatabaseFiles] = []
    problems: list[Problem] = []
    names = set(os.listdir(folder))
    for file in sorted(names):
        if file.endswith(KEYS_SUFFIX):
            name = file.removesuffix(KEYS_SUFFIX)
            if _is_name(name):
                files = [folder / f"{name}{suffix}" for suffix in (KEYS_SUFFIX, VALUES_SUFFIX, METADATA_SUFFIX)]
                found.append(DatabaseFiles(name, *files))
            else:
                problems.append(Problem(_text(file), None, None, "its name is not that of a database"))
        elif file.endswith((VALUES_SUFFIX, METADATA_SUFFIX, _KEYS_ASIDE_SUFFIX)):
            suffix = next(end for end in (VALUES_SUFFIX, METADATA_SUFFIX, _KEYS_ASIDE_SUFFIX) if file.endswith(end))
            keys = file.removesuffix(suffix) + KEYS_SUFFIX
            if keys in names or (suffix == METADATA_SUFFIX and file.replace(suffix, VALUES_SUFFIX) in names):
                continue
            if suffix == VALUES_SUFFIX:
                problems.append(
                    Problem(_text(file), None, None, f"there is no {_text(keys)} beside it: no key of it can be read")
                )
            elif suffix == _KEYS_ASIDE_SUFFIX:
                problems.append(
                    Problem(
                        _text(file),
                        None,
                        None,
                        f"the original put it aside, and there is no new {_text(keys)} beside it",
                    )
                )
            else:
                problems.append(Problem(_text(file), None, None, f"there is no {_text(keys)} beside it"))
    return found, problems


def holds_databases(folder: Path) -> bool:
    """Whether a folder has a key file of the original; False if it can't be listed."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith((KEYS_SUFFIX, VALUES_SUFFIX)) for entry in entries)
    except OSError:
        return False


def read_strategy(files: DatabaseFiles) -> Strategies:
    """The database's strategy; `newer` if the file is missing, as in old versions of the original."""
    name = files.metadata.name
    try:
        with open_regular(files.metadata) as stream:
            content = _read(stream, _metadata.size + 1)
    except FileNotFoundError:
        return Strategies(_STRATEGY_MISSING, None)
    except OSError as error:
        return Strategies(_STRATEGY_MISSING, _not_read(name, None, None, error))
    if len(content) == _metadata.size:
        strategy = _STRATEGIES.get(_metadata.unpack(content)[1])
        if strategy is not None:
            return Strategies(strategy, None)
    what = f"it does not say a strategy: {_STRATEGY_MISSING} is taken, as when it is missing"
    return Strategies(_STRATEGY_MISSING, Problem(name, None, None, what))


def read_database(files: DatabaseFiles) -> Iterator[Record | Problem]:
    """Every key of a database, in the order of its key file, and problems."""
    try:
        keys = open_regular(files.keys)
    except OSError as error:
        yield _not_read(files.keys.name, None, None, error)
        return
    with keys:
        values: BinaryIO | None = None
        try:
            values = open_regular(files.values)
        except FileNotFoundError:
            yield Problem(files.values.name, None, None, "it is missing: no value of this database can be read")
        except OSError as error:
            yield _not_read(files.values.name, None, None, error)
        try:
            yield from read_records(keys, values, keys_name=files.keys.name, values_name=files.values.name)
        finally:
            if values is not None:
                values.close()


def read_records(
    keys: BinaryIO, values: BinaryIO | None, *, keys_name: str = "keys", values_name: str = "values"
) -> Iterator[Record | Problem]:
    """Every key of two seekable streams, in the order of `keys`, and problems.

    `values` is None if missing. Problems use the given names. If a key occurs twice, both records are yielded, and the
    caller decides.
    """
    reader = _Values(values, values_name)
    is_any_removed = is_any_lost = False
    source = _Keys(keys, keys_name)
    for found in source.read():
        if isinstance(found, Problem):
            is_any_lost = True
            yield found
            continue
        key, version, address, offset = found
        if version == DELETED:
            is_any_removed = True
            yield Record(key, version, None, offset)
            continue
        value = reader.read(address)
        if isinstance(value, str):
            yield Record(key, version, value, offset)
            if version < IN_CONFLICT:
                yield Problem(
                    keys_name, offset, key, f"version {version} is not one that a key can have", is_loss=False
                )
        else:
            is_any_lost = True
            yield value._replace(key=key)
    if not is_any_removed and not is_any_lost and reader.unnamed_bytes:
        # The original appends a value, then its key. A removed key explains an unnamed value.
        what = f"no key names the last {reader.unnamed_bytes} bytes: {keys_name} may have been cut, or never completed"
        yield Problem(values_name, reader.end, None, what, is_loss=False)


class _Found(NamedTuple):
    key: str
    version: int
    address: int
    offset: int


class _Keys:
    """Reads the key file from start to end."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._buffer = b""
        self._position = 0  # in the buffer: what is before it was taken
        self._offset = 0  # in the file, of what is taken next

    def read(self) -> Iterator[_Found | Problem]:
        try:
            size = _size(self._stream)
            self._stream.seek(0)
            while True:
                offset = self._offset
                head = self._take(_length.size)
                if not head:
                    return
                length = _length.unpack(head)[0] if len(head) == _length.size else 0
                if len(head) < _length.size or length > KEY_BYTES_MAX or offset + _EMPTY_RECORD_BYTES + length > size:
                    yield self._rest(offset, size)
                    return
                body = self._take(length + _tail_of_key.size)
                if len(body) < length + _tail_of_key.size:
                    yield self._rest(offset, size)
                    return
                version, address = _tail_of_key.unpack_from(body, length)
                if length == 0 and version == 0 and address == 0:
                    zeros = _EMPTY_RECORD_BYTES + self._skip_zeros()
                    yield Problem(self._name, offset, None, f"{zeros} bytes of zeros where keys should be")
                    continue
                yield self._record(body[:length], version, address, offset)
        except OSError as error:
            yield _not_read(self._name, self._offset, None, error)

    def _rest(self, offset: int, size: int) -> Problem:
        what = f"no key can be read from here to the end ({size - offset} bytes): cut off, or a length that is garbage"
        return Problem(self._name, offset, None, what)

    def _record(self, key_bytes: bytes, version: int, address: int, offset: int) -> _Found | Problem:
        try:
            key = key_bytes.decode()
        except UnicodeDecodeError:
            key = key_bytes.decode(errors="backslashreplace")
            return Problem(self._name, offset, key, "its key is not UTF-8 text")
        if not key:
            return Problem(
                self._name, offset, key, "an empty key, which no command can name", is_loss=version != DELETED
            )
        if _IMPOSSIBLE_IN_KEY.search(key):
            return Problem(self._name, offset, key, "a key with a blank, a line break or a zero byte in it")
        return _Found(key, version, address, offset)

    def _take(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        end = self._position + count
        if end > len(self._buffer):
            rest = self._buffer[self._position :]
            self._buffer = rest + _read(self._stream, max(count - len(rest), _CHUNK_BYTES))
            self._position, end = 0, count
        taken = self._buffer[self._position : end]
        self._position += len(taken)
        self._offset += len(taken)
        return taken

    def _skip_zeros(self) -> int:
        """Skip records of zeros, and a partial one at the end; returns their bytes."""
        skipped = 0
        while record := self._take(_EMPTY_RECORD_BYTES):
            if any(record):
                self._position -= len(record)
                self._offset -= len(record)
                break
            skipped += len(record)
        return skipped


class _Values:
    """Reads the value file at the addresses in keys."""

    def __init__(self, stream: BinaryIO | None, name: str) -> None:
        self._stream = stream
        self._name = name
        self.end = 0
        """The offset after the last byte that a key names."""
        self._size = 0
        self._failure: OSError | None = None
        if stream is not None:
            try:
                self._size = _size(stream)
            except OSError as error:
                self._failure = error

    @property
    def unnamed_bytes(self) -> int:
        """Number of bytes after the last that a key names."""
        return max(0, self._size - self.end)

    def read(self, address: int) -> str | Problem:
        """The value at an address."""
        if self._stream is None:
            return Problem(self._name, None, None, "the value of the key is missing with its file")
        try:
            if self._failure is not None:
                raise self._failure
            return self._read(self._stream, address)
        except OSError as error:
            return _not_read(self._name, address, None, error)

    def _read(self, stream: BinaryIO, address: int) -> str | Problem:
        room = self._size - address - _length.size - _status.size
        if room < 0:
            return Problem(self._name, address, None, f"its value would be beyond the end of the file ({self._size})")
        stream.seek(address)
        first = _read(stream, min(self._size - address, _FIRST_READ_BYTES))
        if len(first) < _length.size:
            return Problem(self._name, address, None, "its value is cut off")
        length = _length.unpack_from(first)[0]
        if length > room:
            what = f"its value has a length of {length} bytes, and the file ends {max(0, room)} bytes behind it"
            return Problem(self._name, address, None, what)
        if length > VALUE_BYTES_MAX:
            what = f"its value has a length of {length} bytes, more than any message can have"
            return Problem(self._name, address, None, what)
        whole = _length.size + length + _status.size
        content = first if len(first) >= whole else first + _read(stream, whole - len(first))
        if len(content) < whole:
            return Problem(self._name, address, None, "its value is cut off")
        self.end = max(self.end, address + whole)
        if not 0 <= _status.unpack_from(content, _length.size + length)[0] <= STATUS_MAX:
            return Problem(
                self._name, address, None, "its value does not end where its length says: one of them is wrong"
            )
        text = content[_length.size : _length.size + length]
        if 0 in text:  # part of a number: the length is wrong, although a valid status happens to follow
            return Problem(self._name, address, None, "its value has a zero byte in it: its length is wrong")
        try:
            return text.decode()
        except UnicodeDecodeError:
            return Problem(self._name, address, None, "its value is not UTF-8 text")


def _size(stream: BinaryIO) -> int:
    return stream.seek(0, os.SEEK_END)


def _read(stream: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end."""
    data = stream.read(count)
    if len(data) == count or not data:
        return data
    parts = [data]
    missing = count - len(data)
    while missing > 0 and (more := stream.read(missing)):
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def _not_read(file: str, offset: int | None, key: str | None, error: OSError) -> Problem:
    return Problem(file, offset, key, f"it can't be read: {error.strerror or error}")


def _is_name(name: str) -> bool:
    """Whether the name is valid for a database: a word of UTF-8 text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name) and not _IMPOSSIBLE_IN_KEY.search(name)


def _text(file_name: str) -> str:
    """A file name as text, even if it is not UTF-8."""
    return file_name.encode(errors="backslashreplace").decode()
