"""Write what a backup is made of to standard output: `python -m pynun.backup.compact_copy FOLDER`.

First come the changes that only the log has: their length (8 bytes) and `Changes`; then LMDB's compacted copy.
FOLDER may also be a single data file. Nobody may write it meanwhile, because there is no reader table to register in.
It runs as a child process, so a damaged page can't kill the caller, nor the copy slow a server. The copy is one commit,
whatever a server writes meanwhile: it registers as a reader in `lock.mdb`, so the server keeps the pages it needs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Final

import lmdb

from pynun.backup.logged_changes import LENGTH, LoggedChanges
from pynun.errors import StorageError
from pynun.storage import schema
from pynun.storage.environment import DAMAGE, open_to_read, reason
from pynun.storage.files.regular_file import open_regular
from pynun.storage.folder_view import ViewError, view
from pynun.storage.format_2 import FORMAT as FORMAT_2
from pynun.storage.integrity.child_process import lower_priority
from pynun.storage.integrity.page_check import newest_transaction
from pynun.storage.wal.segment import GLOB

DAMAGED_EXIT_CODE: Final = 3


def copy_compact(folder: Path, descriptor: int) -> None:
    """Write the copy. Raises lmdb.Error and OSError, or kills the process."""
    os.chdir(folder)
    _become_owner(Path(schema.DATA_FILE).lstat())
    with open_to_read(Path()) as environment, view(environment, Path()) as found:
        logged = b""
        if found.format > FORMAT_2:  # until then the log was in the same file
            logged = LoggedChanges(found.revision, found.operations, found.changes).encode()
        _send(environment, found.transaction, logged, descriptor)


def copy_file_compact(path: Path, descriptor: int) -> None:
    """As `copy_compact`, for a single data file. Raises StorageError if a server writes it."""
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
            _copy_alone(environment, descriptor)
        if _newest(file.fileno()) != newest:
            raise StorageError("a server writes it: name its data folder")


def _copy_alone(environment: lmdb.Environment, descriptor: int) -> None:
    meta = environment.open_db(schema.META_DATABASE, create=False)
    with environment.begin(db=meta) as transaction:
        logged = b""
        if schema.decode_format(transaction.get(schema.FORMAT_KEY, b"")) > FORMAT_2:
            if schema.decode_log_mark(transaction.get(schema.LOG_KEY, b"")).is_in_use:
                raise StorageError(f"a part of it is in the files {GLOB} beside it: name its data folder")
            state = schema.decode_state(transaction.get(schema.STATE_KEY, b""))
            logged = LoggedChanges(*state, {}).encode()
        _send(environment, transaction, logged, descriptor)


def _send(environment: lmdb.Environment, transaction: lmdb.Transaction, logged: bytes, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as output:
        output.write(LENGTH.pack(len(logged)) + logged)
    environment.copyfd(descriptor, compact=True, txn=transaction)


def _newest(descriptor: int) -> int:
    heads = os.pread(descriptor, 2 * mmap.PAGESIZE, 0)
    if len(heads) < 2 * mmap.PAGESIZE:
        raise lmdb.CorruptedError("its end is missing")
    return newest_transaction(heads)


def _become_owner(owner: os.stat_result) -> None:
    """Give up root as far as possible. A reader table made by root would lock out the server's user, and root must not
    follow that user's links in the folder.
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
    except (*DAMAGE, lmdb.NotFoundError, lmdb.IncompatibleError, struct.error, UnicodeDecodeError) as error:
        print(reason(error), file=sys.stderr)
        return DAMAGED_EXIT_CODE
    except (lmdb.Error, OSError) as error:
        print(reason(error), file=sys.stderr)
        return 1
    except (StorageError, ViewError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
