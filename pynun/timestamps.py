"""The time as log lines have it: UTC, RFC 3339; the original's have nanoseconds."""

from __future__ import annotations

import time


def timestamp(time_ns: int | None = None, *, digits: int = 9) -> str:
    """`2023-09-24T21:32:22.005972013Z` for nanoseconds since 1970, now unless given; `digits` of the second's part."""
    seconds, nanoseconds = divmod(time.time_ns() if time_ns is None else time_ns, 1_000_000_000)
    fraction = f"{nanoseconds:09}"[:digits]
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction}Z"
