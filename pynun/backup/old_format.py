"""Keep a backup of data of an older format beside it, before a start converts the data."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from pynun.backup.make import make_backup
from pynun.errors import BackupError, StartError
from pynun.storage import schema

if TYPE_CHECKING:
    from pathlib import Path

KEPT_NAME: Final = f"before-format-{schema.FORMAT}.backup"
"""A start that is killed meanwhile makes it again."""


def keep_old_format(folder: Path, number: int) -> Path:
    """Make a backup of a folder whose data has format `number`, in the folder. Returns its path. Raises StartError."""
    file = folder / KEPT_NAME
    try:
        make_backup(folder, file, lambda *_: None, is_replacing=True)
        if os.geteuid() == 0:  # the server's user may want to remove it
            owner = folder.stat()
            with contextlib.suppress(OSError):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except BackupError as error:
        raise StartError(
            f"the data in {folder} has format {number}, and is converted only after a backup of it was made: {error};"
            " or make one elsewhere with the older version, and set NUN_MIGRATION_BACKUP=off (nothing was changed)"
        ) from None
    return file
