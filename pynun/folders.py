"""Makes folders, and puts the names in a folder on disk.

After a power cut, a synced file may be missing if the folder that names it was not synced: fsync(2) of the file says
nothing of its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems answer that know no sync of a folder (some over the network, and in user space)."""


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk, as far as its file system can. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder for its owner alone, and those above it that are missing; their names are on disk then.

    Returns those that were made. Raises OSError.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in made:
        with contextlib.suppress(PermissionError):  # a folder that may be written and not read
            sync_folder(path.parent)
    return made
