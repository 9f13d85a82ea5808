"""Has the C library give memory of password checks back to the system.

An Argon2id check takes 19 MiB for some tens of milliseconds. glibc serves so much by mmap and returns it when it is
freed, but raises the size from which it does so to the size that was freed (mallopt(3), M_MMAP_THRESHOLD): from the
second check on every thread that checked keeps its 19 MiB for good. A threshold that is set does not move.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_M_MMAP_THRESHOLD: Final = -3

_MMAP_BYTES: Final = 4 * 1024**2
"""What is at least so large has a mapping of its own, which costs a few page faults per MiB: rare for messages."""

_TRIM_BYTES: Final = 2 * 1024**2
"""So much free memory at the end of a heap is kept, so that bursts of commands don't ask the system each time."""


def return_large_blocks() -> None:
    """Set the thresholds; without effect where the C library has none (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
