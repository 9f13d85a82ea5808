"""Writes LMDB's own compacted copy of a data folder to standard output: `python -m pynun.backup.compact_copy FOLDER`.

FOLDER may also be a data file by itself, which nobody may write meanwhile: there is no table of readers to register in.

A process of its own: a damaged page may kill it, and a server's work is not slowed by it. The copy is that of one
commit, whatever a server writes meanwhile. It registers as a reader in `lock.mdb`, so that the server leaves alone the
pages that it still has to read.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from pathlib import Path
from typing import Final

import lmdb

from pynun.errors import StorageError
from pynun.storage import schema
from pynun.storage.environment import DAMAGE, open_to_read, reason
from pynun.storage.files.regular_file import open_regular
from pynun.storage.integrity.child_process import lower_priority
from pynun.storage.integrity.page_check import newest_transaction

DAMAGED_EXIT_CODE: Final = 3


def copy_compact(folder: Path, descriptor: int) -> None:
    """Write the copy. Raises lmdb.Error and OSError, or kills the process."""
    os.chdir(folder)
    _become_owner(Path(schema.DATA_FILE).lstat())
    with open_to_read(Path()) as environment:
        environment.copyfd(descriptor, compact=True)


def copy_file_compact(path: Path, descriptor: int) -> None:
    """As `copy_compact`, of a data file by itself. Raises StorageError if somebody writes it."""
    with open_regular(path) as file:
        about = os.fstat(file.fileno())
        _become_owner(about)
        newest = _newest(file.fileno())
        with lmdb.open(
            f"/proc/self/fd/{file.fileno()}",
            map_size=about.st_size,
            subdir=False,
            readonly=True,
            lock=False,
            max_dbs=schema.DATABASES_MAX,
        ) as environment:
            environment.copyfd(descriptor, compact=True)
        if _newest(file.fileno()) != newest:
            raise StorageError("a server writes it: name its data folder")


def _newest(descriptor: int) -> int:
    heads = os.pread(descriptor, 2 * mmap.PAGESIZE, 0)
    if len(heads) < 2 * mmap.PAGESIZE:
        raise lmdb.CorruptedError("its end is missing")
    return newest_transaction(heads)


def _become_owner(owner: os.stat_result) -> None:
    """Give up being root, as far as the system allows it.

    A table of readers that root makes would lock the server's user out; and what that user put into the folder (a link)
    must not be followed by root.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def _main(folder: str) -> int:
    lower_priority()
    copy = copy_file_compact if Path(folder).is_file() else copy_compact
    try:
        copy(Path(folder), sys.stdout.fileno())
    except DAMAGE as error:
        print(reason(error), file=sys.stderr)
        return DAMAGED_EXIT_CODE
    except (lmdb.Error, OSError) as error:
        print(reason(error), file=sys.stderr)
        return 1
    except StorageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
