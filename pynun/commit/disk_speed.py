"""Whether the disk is quick enough for the loop to wait for it itself."""

from __future__ import annotations

from typing import Final

MEAN_SECONDS_MAX: Final = 0.6e-3
"""A thread costs two turns of trio, about this long together with its wake-ups (measured: 0.1 to 0.2 ms on a quiet
machine). With slower commits, reads would wait longer than a thread costs."""

STALL_SECONDS: Final = 5e-3
STALL_KEPT_SECONDS: Final = 1.0
"""After a single commit that takes this long, the loop does not wait for the disk for so long."""

_SHARE: Final = 1 / 8
"""Weight of the newest commit in the moving mean."""


class DiskSpeed:
    """What recent commits took, wherever they were made."""

    def __init__(self) -> None:
        self._mean: float | None = None  # of none yet
        self._stalled_until = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """A commit took so long and ended now."""
        self._mean = seconds if self._mean is None else self._mean + (seconds - self._mean) * _SHARE
        if seconds > STALL_SECONDS:
            self._stalled_until = now + STALL_KEPT_SECONDS

    def is_quick(self, now: float) -> bool:
        """Whether the next commit is expected to be quick."""
        return self._mean is not None and self._mean < MEAN_SECONDS_MAX and now >= self._stalled_until
