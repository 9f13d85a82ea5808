"""Put the changes that only the log had into a copy of the data: `python -m pynun.backup.logged_changes FILE`, with
`LoggedChanges` on standard input.

It runs as a child process, because LMDB trusts the pages of the copy, and damaged ones may kill the process.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import lmdb

from pynun.engine.overlay import Batch
from pynun.storage import schema
from pynun.storage.data_write import put_batch, put_new_log_id
from pynun.storage.environment import reason
from pynun.storage.integrity.child_process import lower_priority

if TYPE_CHECKING:
    from pynun.engine.overlay import Entry

LENGTH: Final = struct.Struct(">Q")
_head = struct.Struct(">QQ")

_SLICE_KEYS: Final = 1024
"""Keys of one commit: a server on the same disk would have to wait for a larger sync."""

_ROOM_BYTES_PER_KEY: Final = 64 * 1024
"""Address space for the pages that a commit copies."""


class LoggedChanges(NamedTuple):
    """The changes that a backup's data lacks, and the state after them."""

    revision: int
    operations: int
    changes: dict[bytes, Entry | None]
    """By full key; None means removed."""

    def encode(self) -> bytes:
        """The bytes that go through pipes."""
        return _head.pack(self.revision, self.operations) + schema.encode_changes(self.changes)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Raises struct.error if the bytes are cut."""
        revision, operations = _head.unpack_from(encoded)
        return cls(revision, operations, schema.decode_changes(encoded[_head.size :]))


def put_changes(path: Path, logged: LoggedChanges) -> None:
    """Put changes into a copy of the data, which gets a log id of its own. Raises lmdb.Error and OSError."""
    size = path.stat().st_size
    room = 1024 * 1024 + len(logged.changes) * _ROOM_BYTES_PER_KEY
    with lmdb.open(
        str(path), subdir=False, lock=False, map_size=size + room, max_dbs=schema.DATABASES_MAX
    ) as environment:
        meta = environment.open_db(schema.META_DATABASE, create=False)
        data = environment.open_db(schema.DATA_DATABASE, create=False)
        changes = sorted(logged.changes.items())
        for first in range(0, len(changes) or 1, _SLICE_KEYS):
            batch = Batch(logged.revision)
            batch.entries.update(changes[first : first + _SLICE_KEYS])
            with environment.begin(write=True, db=data) as transaction:
                put_batch(transaction, meta, batch, logged.operations, ())
                put_new_log_id(transaction, meta)
        used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if path.stat().st_size < used:  # the last pages are free, and were never written
        os.truncate(path, used)


def _main(path: str) -> int:
    lower_priority()
    try:
        put_changes(Path(path), LoggedChanges.decode(sys.stdin.buffer.read()))
    except (lmdb.Error, OSError) as error:
        print(reason(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
