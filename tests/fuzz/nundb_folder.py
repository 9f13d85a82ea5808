"""The reader of the original's files gives the records that a plain reader finds, and names all else as a problem."""

from __future__ import annotations

import io
import struct

from pynun.transfer.nundb_files import (
    DELETED,
    KEY_BYTES_MAX,
    STATUS_MAX,
    VALUE_BYTES_MAX,
    Problem,
    Record,
    read_records,
)

WORDS = (
    struct.pack("<Q", 1) + b"a" + struct.pack("<iQ", 0, 0),
    struct.pack("<Q", 2) + b"ab" + struct.pack("<iQ", DELETED, 0),
    struct.pack("<Q", 1) + b"v" + struct.pack("<i", 0),
    struct.pack("<Q", KEY_BYTES_MAX + 1),
    struct.pack("<Q", VALUE_BYTES_MAX + 1),
    struct.pack("<Q", 2**64 - 1),
    bytes(20),
    "ü".encode(),
)


def files_of(data: bytes) -> tuple[bytes, bytes]:
    """The two files of an input: its first two bytes say how long the file of keys is."""
    length = int.from_bytes(data[:2], "little")
    return data[2 : 2 + length], data[2 + length :]


def as_input(keys: bytes, values: bytes) -> bytes:
    """The input for two files."""
    return len(keys).to_bytes(2, "little") + keys + values


def one(data: bytes) -> None:
    """Nothing raises; the records are just those that are whole, and what is not one is not passed over in silence."""
    keys, values = files_of(data)
    found = list(read_records(io.BytesIO(keys), io.BytesIO(values)))
    records = [record for record in found if isinstance(record, Record)]
    problems = [problem for problem in found if isinstance(problem, Problem)]
    assert len(records) + len(problems) == len(found)
    meant, broken = _plainly(keys, values)
    assert records == meant
    assert broken <= sum(problem.is_loss or problem.key == "" for problem in problems)
    for problem in problems:
        assert "\n" not in str(problem)


def _plainly(keys: bytes, values: bytes) -> tuple[list[Record], int]:
    """The whole records, and how many places are not."""
    records: list[Record] = []
    broken = 0
    place = 0
    were_zeros = False
    while place < len(keys):
        rest = keys[place:]
        length = int.from_bytes(rest[:8], "little")
        if len(rest) < 20 + length or length > KEY_BYTES_MAX:
            return records, broken + (0 if were_zeros and not any(rest) else 1)
        key = rest[8 : 8 + length]
        version, address = struct.unpack_from("<iQ", rest, 8 + length)
        were_zeros = (length, version, address) == (0, 0, 0)
        value = None if version == DELETED else _value(values, address)
        try:
            text = key.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or any(letter in text for letter in "\0 \r\n") or (value is None and version != DELETED):
            broken += not were_zeros
        else:
            records.append(Record(text, version, value, place))
        place += 20 + length
    return records, broken


def _value(values: bytes, address: int) -> str | None:
    """The value at an address; None if it is not whole."""
    length = int.from_bytes(values[address : address + 8], "little")
    if len(values) < address + 12 + length or length > VALUE_BYTES_MAX:
        return None
    text = values[address + 8 : address + 8 + length]
    status = int.from_bytes(values[address + 8 + length : address + 12 + length], "little", signed=True)
    if not 0 <= status <= STATUS_MAX or 0 in text:
        return None
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
