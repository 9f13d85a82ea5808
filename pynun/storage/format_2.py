"""Read the log of format 2: rows of an LMDB database, in the same file as the data. Format 1 had no log.

Servers convert such data when they start. Backups of it stay, so this is needed for ever.

A row's key is the revision of a batch (8 bytes) and the number of the row among its rows (4 bytes). The rows' values,
one after the other, are the changes of the batch, encoded as in later formats. `data` has those up to the revision
`checkpoint`, and may have later ones.
"""

from __future__ import annotations

import struct
from itertools import groupby
from typing import TYPE_CHECKING, Final, cast

from pynun.storage import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lmdb
    from lmdb import _Database

    from pynun.engine.overlay import Entry

FORMAT: Final = 2
LOG_DATABASE: Final = b"log"
_row_key = struct.Struct(">QI")


def read_rows(
    environment: lmdb.Environment, transaction: lmdb.Transaction, meta: _Database
) -> Iterator[dict[bytes, Entry | None]]:
    """The changes of each batch after the checkpoint, in order.

    Raises lmdb.Error, struct.error and UnicodeDecodeError if the file is damaged.
    """
    checkpoint = cast("bytes | None", transaction.get(schema.CHECKPOINT_KEY, db=meta))
    if checkpoint is None:  # format 1
        return
    log = environment.open_db(LOG_DATABASE, txn=transaction, create=False)
    with transaction.cursor(log) as cursor:
        if cursor.set_range(_row_key.pack(schema.decode_checkpoint(checkpoint) + 1, 0)):
            rows = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
            for _, batch in groupby(rows, key=lambda row: _row_key.unpack(row[0])[0]):
                yield schema.decode_changes(b"".join(value for _, value in batch))
