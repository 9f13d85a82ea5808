"""The time as the original's log lines have it: UTC, RFC 3339, with nanoseconds."""

from __future__ import annotations

import time


def timestamp(time_ns: int | None = None) -> str:
    """`2023-09-24T21:32:22.005972013Z` for nanoseconds since 1970, now unless given."""
    seconds, nanoseconds = divmod(time.time_ns() if time_ns is None else time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z"
