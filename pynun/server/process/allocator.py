"""Make glibc return freed Argon2 memory to the OS.

An Argon2id check takes 19 MiB for tens of milliseconds. glibc gets blocks of that size with mmap and returns them when
freed, but then raises its threshold to the freed size (mallopt(3), M_MMAP_THRESHOLD). From the second check on, every
checking thread would keep its 19 MiB. A threshold that is set explicitly stays.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_M_MMAP_THRESHOLD: Final = -3

_MMAP_BYTES: Final = 4 * 1024**2
"""Larger blocks get their own mapping, which costs some page faults per MiB. Messages rarely reach it."""

_TRIM_BYTES: Final = 2 * 1024**2
"""Free memory to keep at the end of a heap, so that bursts of commands need no system calls."""


def return_large_blocks() -> None:
    """Set the thresholds; no effect on C libraries without them (musl)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
