"""Decode all entries of a data file, in a child process: `python -m pynun.storage.integrity.entry_check FILE`.

LMDB reads through a memory map, so a damaged file can kill the reader. Here that is a child, and its death is a result.
The child prints one line of JSON: its counts, or what is wrong.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from pynun.engine.key_layout import CATALOGUE, ID_BYTES
from pynun.errors import BackupError
from pynun.storage import schema
from pynun.storage.format_2 import FORMAT as FORMAT_2
from pynun.storage.format_2 import read_rows
from pynun.storage.integrity.child_process import is_crash, run_child
from pynun.storage.memtable import in_order, merged

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.engine.overlay import Entry


class Counts(NamedTuple):
    """What is in a data file."""

    format: int
    revision: int
    databases: dict[str, int]
    """Keys by database, those of users and permissions included."""
    conflicts: int
    """Entries of the index of unresolved conflicts."""

    @property
    def keys(self) -> int:
        """Keys of all databases."""
        return sum(self.databases.values())


class _FindingError(Exception):
    """What is wrong with the file, in words."""


def check_entries(path: Path) -> Counts:
    """Read and count all of a data file. Raises BackupError if any part can't be read."""
    child = run_child("pynun.storage.integrity.entry_check", str(path))
    if is_crash(child.code):
        raise BackupError(f"{path} is damaged: pages are missing or invalid; use another backup")
    if child.code != 0:
        raise BackupError(f"{path} can't be checked: {child.last_error}")
    told = json.loads(child.output)
    if "wrong" in told:
        raise BackupError(f"{path} is damaged: {told['wrong']}; use another backup")
    return Counts(**told)


def count(path: str) -> Counts:
    """Decode every entry. Raises lmdb.Error and _FindingError, or kills the process."""
    with (
        lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=schema.DATABASES_MAX) as environment,
        environment.begin() as transaction,
    ):
        meta = environment.open_db(schema.META_DATABASE, txn=transaction, create=False)
        data = environment.open_db(schema.DATA_DATABASE, txn=transaction, create=False)
        number = schema.decode_format(transaction.get(schema.FORMAT_KEY, b"", db=meta))
        if number > schema.FORMAT:
            raise _FindingError(f"it says that its format is {number}")
        revision, _ = schema.decode_state(transaction.get(schema.STATE_KEY, b"", db=meta))
        names: dict[bytes, str] = {}
        counts: dict[str, int] = {}
        conflicts = 0
        changes: dict[bytes, Entry | None] = {}
        if number <= FORMAT_2:
            for batch in read_rows(environment, transaction, meta):
                changes.update(batch)
        elif schema.decode_log_mark(transaction.get(schema.LOG_KEY, b"", db=meta)).is_in_use:
            raise _FindingError("it lacks the log files that belong to it")
        with transaction.cursor(data) as cursor:
            for stored, value in merged(cursor, in_order(changes)):  # the catalogue sorts first
                key = _decoded_key(stored, value)
                prefix, text = key[:ID_BYTES], key[ID_BYTES:].decode()
                entry = schema.decode_value(key, value)
                if prefix == CATALOGUE:
                    if text:
                        names[entry.version.to_bytes(ID_BYTES, "big")] = text
                        counts[text] = 0
                elif prefix in names:
                    counts[names[prefix]] += 1
                elif prefix[0] & 0x80 and bytes((prefix[0] & 0x7F,)) + prefix[1:] in names:
                    conflicts += 1  # of an existing database; leftovers of dropped ones don't count
    return Counts(format=number, revision=revision, databases=counts, conflicts=conflicts)


def _decoded_key(stored: bytes, value: bytes) -> bytes:
    """The full key. Raises _FindingError if a long key does not match the digest it is stored under."""
    if not schema.is_long(stored):
        return stored
    key = schema.long_key(value)
    if schema.stored_key(key) != stored:
        raise _FindingError("a long key is not the one that it is stored under")
    return key


def _main(path: str) -> None:
    try:
        told: dict[str, object] = count(path)._asdict()
    except _FindingError as finding:
        told = {"wrong": str(finding)}
    except (lmdb.Error, struct.error, UnicodeDecodeError, OverflowError) as error:
        told = {"wrong": f"an entry can't be read ({str(error).rpartition(': ')[2] or type(error).__name__})"}
    print(json.dumps(told))


if __name__ == "__main__":
    _main(sys.argv[1])
