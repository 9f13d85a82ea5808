"""Make the data file of a new folder, which gets its name only when complete and on disk.

A start killed at any moment leaves no data file, or a valid one. So an empty or truncated file is always damage.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import lmdb

from pynun.errors import BackupError, StartError
from pynun.storage import schema
from pynun.storage.data_write import put_new_log_id
from pynun.storage.environment import KEPT_GLOB, unusable, why_not_written
from pynun.storage.files.atomic_file import AtomicFile
from pynun.storage.wal.disk import Disk
from pynun.storage.wal.recovery import LogError, names_with_records
from pynun.storage.wal.segment import GLOB
from pynun.storage.wal.segment_format import SEGMENT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.storage.folder_lock import FolderLock

_MAP_BYTES: Final = 1 << 20
"""Enough for a file of a few pages; the server opens it with a larger map."""

_log = logging.getLogger("nun_db")


def make_store(folder: Path, lock: FolderLock) -> None:
    """Make the data file of a locked folder, without a key in it. Raises StartError."""
    try:
        names = names_with_records(Disk(lock.folder, is_read_only=True), SEGMENT_BYTES)
    except LogError as error:
        raise StartError(f"{schema.DATA_FILE} is missing in {folder}, and {error}: restore a backup") from None
    if names:
        raise StartError(
            f"{schema.DATA_FILE} is missing in {folder}, but its log is there ({' and '.join(names)}): put"
            f" {schema.DATA_FILE} back, or restore a backup; to start with no data, remove the files {GLOB}"
        )
    signs = _signs(folder, lock)
    if signs:
        _log.warning(
            "%s is missing in %s, but earlier runs left %s there: the server starts with no data; if you did not expect"
            " that, stop it and restore a backup",
            schema.DATA_FILE,
            folder,
            " and ".join(signs),
        )
    try:
        _make(folder)
    except BaseException:
        if not signs:
            lock.forget()
        raise


def _signs(folder: Path, lock: FolderLock) -> list[str]:
    """Files that prove an earlier data file."""
    signs = [schema.LOCK_FILE] if lock.was_locked else []
    for pattern in (schema.READERS_FILE, KEPT_GLOB, "audit.jsonl*"):
        signs += sorted(path.name for path in folder.glob(pattern))[:1]
    return signs


def _make(folder: Path) -> None:
    try:
        with AtomicFile(folder / schema.DATA_FILE) as partial:
            with lmdb.open(
                str(partial.path), subdir=False, lock=False, map_size=_MAP_BYTES, max_dbs=schema.DATABASES_MAX
            ) as environment:
                _fill(environment)
            partial.finish(is_replacing=False)
    except BackupError as error:
        raise StartError(str(error)) from None
    except (lmdb.Error, OSError) as error:
        raise StartError(unusable(folder, why_not_written(folder, error))) from error


def _fill(environment: lmdb.Environment) -> None:
    with environment.begin(write=True) as transaction:
        meta = environment.open_db(schema.META_DATABASE, txn=transaction)
        environment.open_db(schema.DATA_DATABASE, txn=transaction)
        transaction.put(schema.FORMAT_KEY, schema.encode_format(schema.FORMAT), db=meta)
        transaction.put(schema.STATE_KEY, schema.encode_state(0, 0), db=meta)
        transaction.put(schema.CHECKPOINT_KEY, schema.encode_checkpoint(0), db=meta)
        put_new_log_id(transaction, meta)
