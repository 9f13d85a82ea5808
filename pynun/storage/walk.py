"""Reads every page of a data file that is in use, in a process of its own: `python -m pynun.storage.walk FOLDER`.

LMDB reads through a memory map: a page that the file has lost kills whoever touches it (SIGBUS). So a file that looks
cut is walked by a child first.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import lmdb

from pynun.errors import StartError
from pynun.storage import schema
from pynun.storage.children import is_crash, run_child

if TYPE_CHECKING:
    from pathlib import Path


_DAMAGED = 3  # exit status


def is_whole(folder: Path) -> bool:
    """Whether every page in use is there. Takes time that grows with the data. Raises StartError if it can't tell."""
    child = run_child("pynun.storage.walk", str(folder))
    if child.code == _DAMAGED or is_crash(child.code):
        return False
    if child.code != 0:
        raise StartError(f"the data in {folder} looks cut, and can't be checked: {child.last_error}")
    return True


def walk(folder: str) -> None:
    """Touch every entry of every named database. Raises lmdb.Error, or kills the process."""
    environment = lmdb.open(folder, readonly=True, lock=False, max_dbs=schema.DATABASES_MAX)
    with environment.begin() as transaction:
        names = list(transaction.cursor().iternext(keys=True, values=False))
        for name in names:
            database = environment.open_db(name, txn=transaction, create=False)
            for _ in transaction.cursor(database):
                pass


if __name__ == "__main__":
    try:
        walk(sys.argv[1])
    except lmdb.Error:
        sys.exit(_DAMAGED)
