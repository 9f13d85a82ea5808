"""What an administrator can do about a commit that failed."""

from __future__ import annotations

import errno
import os
from typing import Final

_READ_ONLY: Final = os.strerror(errno.EROFS)


def with_remedy(reason: str) -> str:
    """The reason of a failed commit and, if it is not obvious, the remedy. Linux makes a file system read-only after a
    disk error, and lets nobody make it writable before it is checked.
    """
    return f"{reason}: see dmesg, repair the disk and restart the server" if reason == _READ_ONLY else reason
