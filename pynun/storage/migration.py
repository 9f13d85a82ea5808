"""Convert the data of formats 1 and 2 to the present one, in one commit: a start that is killed converts it again."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final, cast

import lmdb

from pynun.engine.overlay import Batch
from pynun.errors import StartError
from pynun.folders import sync_folder
from pynun.storage import schema
from pynun.storage.data_write import put_batch, put_new_log_id
from pynun.storage.environment import KEPT_GLOB, KEPT_NAME, kept_log
from pynun.storage.format_2 import FORMAT as FORMAT_2
from pynun.storage.format_2 import LOG_DATABASE, read_rows
from pynun.storage.wal.segment import GLOB
from pynun.storage.wal.segment_format import SEGMENT_BYTES
from pynun.storage.wal.write_ahead_log import FILES_MIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAGES_BYTES: Final = 4 * 1024 * 1024
"""Enough for the pages that the conversion writes, and for small files."""

_MIB: Final = 1024 * 1024

_log = logging.getLogger("nun_db")


def migrate(
    environment: lmdb.Environment, folder: Path, number: int, keep_old: Callable[[Path, int], Path] | None
) -> None:
    """Convert the data of a folder from an older format.

    `keep_old` first makes a backup in the folder, and returns its path. Raises StartError if there is no room, or if
    `keep_old` does, and lmdb.Error, struct.error or UnicodeDecodeError. The data is then as it was.
    """
    _check_room(folder, number, is_keeping=keep_old is not None)
    kept = keep_old(folder, number) if keep_old is not None else None
    _set_log_aside(folder)
    while True:
        try:
            _convert(environment, number)
        except lmdb.MapFullError:
            environment.set_mapsize(environment.info()["map_size"] * 2)
        else:
            break
    if kept is None:
        _log.warning(
            "the data in %s was converted from format %d to %d; no backup of the old format was kept, so only one made"
            " before can be restored by an older version",
            folder,
            number,
            schema.FORMAT,
        )
        return
    _log.warning(
        "the data in %s was converted from format %d to %d; the old format is kept as %s: to go back, stop the server"
        " and run with the older version: nun-db restore %s --data-dir %s --replace (later changes are lost)",
        folder,
        number,
        schema.FORMAT,
        kept,
        kept.absolute(),
        folder.absolute(),
    )


def _convert(environment: lmdb.Environment, number: int) -> None:
    meta = environment.open_db(schema.META_DATABASE, create=False)
    data = environment.open_db(schema.DATA_DATABASE, create=False)
    with environment.begin(write=True, db=data) as transaction:
        revision, operations = schema.decode_state(cast("bytes", transaction.get(schema.STATE_KEY, b"", db=meta)))
        batch = Batch(revision)
        for changes in read_rows(environment, transaction, meta):
            batch.entries.update(changes)
        put_batch(transaction, meta, batch, operations, ())
        if number == FORMAT_2:
            transaction.drop(environment.open_db(LOG_DATABASE, txn=transaction, create=False))
        put_new_log_id(transaction, meta)
        transaction.put(schema.FORMAT_KEY, schema.encode_format(schema.FORMAT), db=meta)


def _set_log_aside(folder: Path) -> None:
    """Rename log files that are left of newer data. An older version's restore, on the way back, kept only that data's
    `data.mdb`: they get names beside it. Raises OSError.
    """
    logs = sorted(folder.glob(GLOB))
    kept = max(folder.glob(KEPT_GLOB), default=folder / time.strftime(KEPT_NAME, time.gmtime()))
    if any(kept_log(kept, log.name).exists() for log in logs):
        kept = kept.with_stem(f"{kept.stem}-{time.time_ns()}")
    for log in logs:
        log.rename(kept_log(kept, log.name))
    if logs:
        sync_folder(folder)


def _check_room(folder: Path, number: int, *, is_keeping: bool) -> None:
    """Raises StartError if the disk is too full for the conversion, the backup and the log's files."""
    disk = os.statvfs(folder)
    free = (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize
    needed = FILES_MIN * SEGMENT_BYTES + _PAGES_BYTES
    kept = (folder / schema.DATA_FILE).stat().st_size if is_keeping else 0
    if free < needed + kept:
        waive = (
            "; or make a backup elsewhere with the older version, and set NUN_MIGRATION_BACKUP=off: then"
            f" {_mib(needed)} MiB are enough"
        )
        raise StartError(
            f"the data in {folder} has format {number}, and needs {_mib(needed + kept)} MiB of free space to be"
            f" converted to format {schema.FORMAT}: free up space there{waive if is_keeping else ''} (nothing was"
            " changed)"
        )


def _mib(size: int) -> int:
    return -(-size // _MIB)
