"""How many files the process may open."""

from __future__ import annotations

import contextlib
import resource
import sys


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to its maximum: the usual 1024 would limit connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    descriptors_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if descriptors_max == resource.RLIM_INFINITY else descriptors_max
