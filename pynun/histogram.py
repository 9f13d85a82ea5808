"""How often a measured value fell into which range: the cheapest that can be counted where it must cost nothing."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Bounds for times: from what a command takes to what a person calls a failure."""


class Histogram:
    """Counts of values by range, and their sum. Values only ever add up, from the start of the process."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        """The upper ends of the ranges, each belonging to its range; above the last there is one more."""
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Each bound, as text, with how many values were not above it; the last is `+Inf` with all of them."""
        count = 0
        for bound, within in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            count += within
            yield bound, count
