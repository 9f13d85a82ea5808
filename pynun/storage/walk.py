"""Reads every page of a data file that is in use, in a process of its own: `python -m pynun.storage.walk FOLDER`.

LMDB reads through a memory map: a page that the file has lost kills whoever touches it (SIGBUS). So a file that looks
cut is walked by a child first.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import lmdb

from pynun.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path


_DAMAGED = 3  # exit status


def is_whole(folder: Path) -> bool:
    """Whether every page in use is there. Takes time that grows with the data. Raises StartError if it can't tell."""
    command = [sys.executable, "-m", "pynun.storage.walk", str(folder)]
    child = subprocess.run(command, capture_output=True, check=False, text=True)
    if child.returncode in (_DAMAGED, -signal.SIGBUS, -signal.SIGSEGV):
        return False
    if child.returncode != 0:
        last_line = child.stderr.strip().rpartition("\n")[2] or f"exit status {child.returncode}"
        raise StartError(f"the data in {folder} looks cut, and can't be checked: {last_line}")
    return True


def walk(folder: str) -> None:
    """Touch every entry of every named database. Raises lmdb.Error, or kills the process."""
    environment = lmdb.open(folder, readonly=True, lock=False, max_dbs=2)
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
