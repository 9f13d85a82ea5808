"""Writes LMDB's own compacted copy of a data folder to standard output: `python -m pynun.storage.copy_out FOLDER`.

A process of its own: a damaged page may kill it, and a server's work is not slowed by it. The copy is that of one
commit, whatever a server writes meanwhile. It registers as a reader in `lock.mdb`, so that the server leaves alone the
pages that it still has to read.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import lmdb

from pynun.errors import StorageError
from pynun.storage import schema
from pynun.storage.children import lower_priority
from pynun.storage.opening import DAMAGE, open_to_read, reason

DAMAGED_EXIT_CODE: Final = 3


def copy_out(folder: Path, descriptor: int) -> None:
    """Write the copy. Raises lmdb.Error and OSError, or kills the process."""
    os.chdir(folder)
    _become_owner(Path(schema.DATA_FILE))
    with open_to_read(Path()) as environment:
        environment.copyfd(descriptor, compact=True)


def _become_owner(data: Path) -> None:
    """Give up being root, as far as the system allows it.

    A table of readers that root makes would lock the server's user out; and what that user put into the folder (a link)
    must not be followed by root.
    """
    if os.geteuid() == 0:
        owner = data.lstat()
        with contextlib.suppress(PermissionError):
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def _main(folder: str) -> int:
    lower_priority()
    try:
        copy_out(Path(folder), sys.stdout.fileno())
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
