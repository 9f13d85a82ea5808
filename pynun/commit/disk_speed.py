"""Whether the disk is quick enough for the loop to wait for it itself."""

from __future__ import annotations

from typing import Final

QUICK_SECONDS: Final = 1e-3
"""While the loop's commits take no longer on average, it waits for all: the way to the thread and back takes 0.25 ms of
a connection that sets all the time, and 0.7 ms after a pause (docs/performance.md). With 2 ms, reads got slower."""

RESTS: Final = 10
"""Otherwise, after each it does not wait again for so many times its duration. So slow commits hold up reads for a
tenth of the time at most, and the first commit after a pause, such as a viewer's next move, saves the way to the
thread."""

STALL_SECONDS: Final = 5e-3
"""The same follows a single commit that takes this long, wherever it was made."""

MEAN_SECONDS_MAX: Final = 3e-3
"""With slower commits the thread makes them all. What the thread measures includes waiting for the GIL, so this must be
well above `QUICK_SECONDS`."""

_SHARE: Final = 1 / 8
"""Weight of the newest commit in a moving mean."""


class DiskSpeed:
    """What recent commits took."""

    def __init__(self) -> None:
        self._mean: float | None = None  # of all commits; of none yet
        self._loop_mean = 0.0  # of those that the loop made
        self._rests_until = 0.0

    def observe(self, seconds: float, now: float, *, was_on_loop: bool) -> None:
        """A commit took so long and ended now."""
        self._mean = seconds if self._mean is None else self._mean + (seconds - self._mean) * _SHARE
        if was_on_loop:
            # One stall says nothing about the next commits.
            self._loop_mean += (min(seconds, MEAN_SECONDS_MAX) - self._loop_mean) * _SHARE
        if seconds > STALL_SECONDS or (was_on_loop and self._loop_mean > QUICK_SECONDS):
            self._rests_until = now + RESTS * seconds

    def is_quick(self, now: float) -> bool:
        """Whether the loop may wait for the next commit."""
        return self._mean is not None and self._mean < MEAN_SECONDS_MAX and now >= self._rests_until
