"""How long to wait before connecting again: pure, the randomness is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 2.0
"""The delay before jitter doubles up to this; with the jitter a steady client waits 1 to 2 s between attempts."""


class Backoff:
    """Doubling delays, each shortened by up to a half so that many clients do not come back in step.

    `jitter` gives numbers in [0, 1), as `random.random` does.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._whole_s = FIRST_DELAY_S

    def next_delay_s(self) -> float:
        """The time to wait before the next attempt, in seconds; the first is 0.05 to 0.1 s."""
        delay_s = self._whole_s * (1.0 - self._jitter() / 2)
        self._whole_s = min(self._whole_s * 2, LAST_DELAY_S)
        return delay_s

    def reset(self) -> None:
        """Begin with the shortest delay again, because the last connection held."""
        self._whole_s = FIRST_DELAY_S
