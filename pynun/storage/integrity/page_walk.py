"""Read every used page of a data file, in a child process: `python -m pynun.storage.integrity.page_walk FOLDER`.

LMDB reads through a memory map: touching a missing page kills the process (SIGBUS), and an invalid page may too
(SIGABRT, SIGSEGV). So a child walks a file that looks truncated or damaged first.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import lmdb

from pynun.errors import StartError, StorageError
from pynun.storage import schema
from pynun.storage.environment import DAMAGE, damaged, reason
from pynun.storage.integrity.child_process import is_crash, run_child
from pynun.storage.integrity.page_check import find_damage

if TYPE_CHECKING:
    from pathlib import Path


_DAMAGED = 3  # exit status
_DAMAGE = (*DAMAGE, lmdb.NotFoundError, lmdb.IncompatibleError, lmdb.VersionMismatchError)


def is_whole(folder: Path) -> bool:
    """Whether every used page exists and is valid. Takes time in proportion to the data.

    Raises StartError if the check fails.
    """
    child = run_child("pynun.storage.integrity.page_walk", str(folder))
    if child.code == _DAMAGED or is_crash(child.code):
        return False
    if child.code != 0:
        raise StartError(f"the data in {folder} looks damaged, and can't be checked: {child.last_error}")
    return True


def check_pages(folder: Path, environment: lmdb.Environment) -> None:
    """Check a file before LMDB, which trusts it, reads it. Raises StartError if it is damaged."""
    doubt = "its end is missing" if looks_cut(folder, environment) else find_damage(folder / schema.DATA_FILE)
    if doubt is not None and not is_whole(folder):
        raise StartError(damaged(folder, StorageError(doubt)))


def looks_cut(folder: Path, environment: lmdb.Environment) -> bool:
    """Whether the file ends before the last page LMDB ever used, which may be free and never written."""
    pages = environment.info()["last_pgno"] + 1
    return bool((folder / schema.DATA_FILE).stat().st_size < pages * environment.stat()["psize"])


def after_damage(folder: Path, met: str) -> str:
    """What to do after the data file proved unreliable (`met` says why). Checks for damage first."""
    try:
        if not is_whole(folder):
            return damaged(folder, StorageError(met))
    except StartError as error:
        return f"{met}; whether the data file is damaged could not be found out ({error}): start the server again"
    return f"{met}; the data file was read through and is not damaged: start the server again"


def walk_pages(folder: str) -> None:
    """Touch every entry of every named database. Raises lmdb.Error, or kills the process.

    Missing or misordered entries raise lmdb.CorruptedError.
    """
    if not os.path.getsize(os.path.join(folder, schema.DATA_FILE)):  # LMDB reports it as a bad descriptor
        raise lmdb.CorruptedError("it is empty")
    environment = lmdb.open(folder, readonly=True, lock=False, max_dbs=schema.DATABASES_MAX)
    with environment.begin() as transaction:
        names = list(transaction.cursor().iternext(keys=True, values=False))
        if len(names) != environment.stat()["entries"]:
            raise lmdb.CorruptedError("names are missing")
        for name in names:
            database = environment.open_db(name, txn=transaction, create=False)
            count, before = 0, b""
            for key, _ in transaction.cursor(database):
                if key <= before:
                    raise lmdb.CorruptedError("keys are in disorder")
                before = key
                count += 1
            if count != transaction.stat(database)["entries"]:
                raise lmdb.CorruptedError("entries are missing")


if __name__ == "__main__":
    try:
        walk_pages(sys.argv[1])
    except _DAMAGE:
        sys.exit(_DAMAGED)
    except (lmdb.Error, OSError) as error:  # no memory or no read permission: not damage
        sys.exit(reason(error))
