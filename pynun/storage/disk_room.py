"""Check from time to time whether the disk of the data folder has free space for a log.

A log that has taken the last free page can't be moved into the data, because that takes free pages. Nothing would be
lost, but every change would be refused until somebody frees space. Without a log, existing keys can still be changed in
the pages that the file has.
"""

from __future__ import annotations

import os
from typing import Final

ROOM_BYTES_MIN: Final = 16 * 1024 * 1024
"""With less free space no log is kept: about the largest size of the log."""

_BATCHES: Final = 64
_BYTES: Final = 1024 * 1024
"""Check again after this many batches, or bytes of batches."""


class DiskRoom:
    """The free space on the disk of one folder."""

    def __init__(self, folder: int) -> None:
        """`folder` is an open descriptor, so the folder may be renamed or removed."""
        self._folder = folder
        self._batches = _BATCHES
        self._bytes = 0
        self.is_short = False
        """Whether the disk was short of space when it was last checked."""

    def is_short_for(self, batch_bytes: int) -> bool:
        """Whether the disk is short of space for a batch of this size."""
        self._batches += 1
        self._bytes += batch_bytes
        if self._batches > _BATCHES or self._bytes > _BYTES:
            self._batches = self._bytes = 0
            disk = os.statvfs(self._folder)
            free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
            self.is_short = free * disk.f_frsize < ROOM_BYTES_MIN
        return self.is_short

    def ran_out(self) -> None:
        """Count the disk as short for some time: a write failed, whatever the disk reports (a quota)."""
        self.is_short = True
        self._batches = self._bytes = 0
