"""Times for people and programs to read, and a clock that nobody can set."""

from __future__ import annotations

import time


def timestamp(time_ns: int | None = None, *, digits: int = 9) -> str:
    """`2023-09-24T21:32:22.005972013Z` for nanoseconds since 1970, now unless given; `digits` of the second's part."""
    seconds, nanoseconds = divmod(time.time_ns() if time_ns is None else time_ns, 1_000_000_000)
    fraction = f"{nanoseconds:09}"[:digits]
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction}Z"


def steady_seconds() -> float:
    """Seconds since the machine started, its sleep included: unlike the time of day, nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def time_of_day(steady: float) -> float:
    """The time of day, by the clock as it is set now, at which `steady_seconds()` was `steady`; in whole seconds.

    A time that was noted before the clock was corrected would be wrong for ever.
    """
    return float(round(time.time() - steady_seconds() + steady))
