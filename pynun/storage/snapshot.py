"""Read one commit of a data folder, with or without a running server. Changes nothing.

The reader registers in `lock.mdb`, so a server keeps the pages that are still needed, and the file may grow meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from pynun.engine.key_layout import CATALOGUE, CLUSTER, ID_BYTES, parse_strategy, prefixes
from pynun.errors import StorageError, TransferError
from pynun.storage import schema
from pynun.storage.environment import DAMAGE, open_to_read, reason
from pynun.storage.files.regular_file import has_content
from pynun.storage.folder_view import ViewError, view
from pynun.storage.integrity.page_walk import is_whole, looks_cut
from pynun.storage.memtable import in_order
from pynun.storage.range_scan import entries_under

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pynun.engine.key_layout import Strategy
    from pynun.engine.overlay import Entry
    from pynun.storage.memtable import Logged


class Found(NamedTuple):
    """A database of a folder."""

    identifier: int
    strategy: Strategy


class Snapshot:
    """A consistent view of all databases."""

    def __init__(self, transaction: lmdb.Transaction, logged: Sequence[Logged]) -> None:
        self._transaction = transaction
        self._logged = logged

    def databases(self) -> dict[str, Found]:
        """All databases by name, `$admin` among them."""
        entries = entries_under(self._transaction, CATALOGUE, self._logged)
        return {name.decode(): Found(entry.version, parse_strategy(entry.text)) for name, entry in entries if name}

    @property
    def is_of_cluster(self) -> bool:
        """Whether the data belongs to a cluster (`pynun.engine.key_layout.CLUSTER`)."""
        return any(name == CLUSTER[ID_BYTES:] for name, _ in entries_under(self._transaction, CLUSTER, self._logged))

    def entries(self, database: Found) -> Iterator[tuple[str, Entry]]:
        """All keys of a database."""
        for key, entry in entries_under(self._transaction, prefixes(database.identifier)[0], self._logged):
            yield key.decode(), entry


@contextlib.contextmanager
def snapshot(folder: Path) -> Iterator[Snapshot]:
    """The current content of a data folder. Raises TransferError if it is missing, unreadable or damaged."""
    _check_data(folder)
    try:
        _make_readers_file(folder)
        with open_to_read(folder) as environment:
            if looks_cut(folder, environment) and not is_whole(folder):
                raise TransferError(_damaged(folder, "its end is missing"))
            with view(environment, folder) as found:
                yield Snapshot(found.transaction, in_order(found.changes))
    except (lmdb.NotFoundError, lmdb.IncompatibleError, lmdb.VersionMismatchError, struct.error):
        raise TransferError(_damaged(folder, "it is not a pynun data file")) from None
    except (*DAMAGE, UnicodeDecodeError) as error:
        raise TransferError(_damaged(folder, reason(error))) from None
    except StorageError as error:
        raise TransferError(_unreadable(folder, str(error))) from None
    except ViewError as error:
        raise TransferError(f"the data in {folder} can't be read: {error}") from None
    except lmdb.Error as error:
        raise TransferError(_unreadable(folder, reason(error))) from None


def _check_data(folder: Path) -> None:
    try:
        if has_content(folder / schema.DATA_FILE):
            return
    except OSError as error:
        raise TransferError(_unreadable(folder, reason(error))) from None
    raise TransferError(
        f"there is no data in {folder} ({schema.DATA_FILE} is missing or empty): name the server's data folder with"
        " --data-dir, or with NUN_DBS_DIR"
    )


def _make_readers_file(folder: Path) -> None:
    """Make a missing reader table as the data's owner: one made by root would lock out the server's user."""
    owner = (folder / schema.DATA_FILE).stat()
    try:
        descriptor = os.open(folder / schema.READERS_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno == errno.EROFS:  # a read-only disk, which LMDB reads without a table
            return
        raise TransferError(_unreadable(folder, reason(error))) from None
    try:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def _unreadable(folder: Path, why: str) -> str:
    line = f"the data in {folder} can't be read: {why}"
    return f"{line}; run this as the user of the server or as root" if os.geteuid() else line


def _damaged(folder: Path, why: str) -> str:
    return f"the data in {folder} can't be read ({why}): it was left untouched; restore a backup"
