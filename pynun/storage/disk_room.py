"""Whether the disk of the data folder has free space for a log, looked at now and then.

A log that has taken the last free page can't be moved into the data any more, for that takes free pages; nothing would
be lost, but every change refused until somebody frees space. Without a log, changes of what is there go on for ever in
the pages that the file has.
"""

from __future__ import annotations

import os
from typing import Final

ROOM_BYTES_MIN: Final = 16 * 1024 * 1024
"""With less free space a log is too much: about what the log takes at most."""

_BATCHES: Final = 64
_BYTES: Final = 1024 * 1024
"""Looked at again after so many batches, or so many bytes of them."""


class DiskRoom:
    """The free space on the disk of one folder."""

    def __init__(self, folder: int) -> None:
        """`folder` is a descriptor of it, so that it may lose its name."""
        self._folder = folder
        self._batches = _BATCHES
        self._bytes = 0
        self._is_short = False

    def is_short_for(self, batch_bytes: int) -> bool:
        """Whether the disk has little free space, before a batch of so many bytes is written."""
        self._batches += 1
        self._bytes += batch_bytes
        if self._batches > _BATCHES or self._bytes > _BYTES:
            self._batches = self._bytes = 0
            disk = os.statvfs(self._folder)
            free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
            self._is_short = free * disk.f_frsize < ROOM_BYTES_MIN
        return self._is_short

    def ran_out(self) -> None:
        """A write found no free space, whatever the disk says (a quota): it counts as short for some time."""
        self._is_short = True
        self._batches = self._bytes = 0
