"""Looks at a data folder, for install.sh. It is run by the Python of one version.

data_folder.py check FOLDER        can this version use the data? exit code 1, with the reason, if not
data_folder.py unused FOLDER       does no server run on it? exit code 1 if one does
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb

from pynun.storage import schema

if TYPE_CHECKING:
    from collections.abc import Sequence


def why_unusable(folder: Path) -> str | None:
    """The reason why this version can't use the data; None if it can, or there is none yet."""
    file = folder / schema.DATA_FILE
    if not file.exists():
        return None
    try:
        with (
            lmdb.open(str(folder), readonly=True, lock=False, create=False, max_dbs=2) as environment,
            environment.begin(db=environment.open_db(schema.META_DATABASE, create=False)) as transaction,
        ):
            number = transaction.get(schema.FORMAT_KEY)
    except lmdb.Error as error:
        return f"{file} can't be read: {error}"
    if number is None:
        return f"{file} is not a pynun data file"
    written = schema.decode_format(number)
    if written > schema.FORMAT:
        return f"the data in {folder} has format {written}, newer than this version's {schema.FORMAT}"
    return None


def is_used(folder: Path) -> bool:
    """Does a server run on the folder? It holds the lock then."""
    try:
        descriptor = os.open(folder / schema.LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def main(arguments: Sequence[str]) -> int:
    """Do what is asked for; 0 if the answer is good."""
    match arguments:
        case ["check", folder]:
            reason = why_unusable(Path(folder))
        case ["unused", folder]:
            reason = "a server has the lock" if is_used(Path(folder)) else None
        case _:
            reason = __doc__
    if reason is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
