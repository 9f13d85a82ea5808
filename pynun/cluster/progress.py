"""How far a node's data is behind the log. Pure."""

from __future__ import annotations

import math


class Progress:
    """Of one node, as it was told by `note`."""

    def __init__(self) -> None:
        self._applied = self._head = 0
        self._goal, self._goal_at = 0, math.inf  # the end of the log when this node had reached the goal before

    def note(self, now: float, applied: int, head: int) -> bool:
        """The data has the batches up to `applied`, and the log those up to `head`; whether a goal is reached."""
        self._applied, self._head = applied, head
        if self._goal_at == math.inf:
            self._goal, self._goal_at = head, now
        if applied < self._goal:
            return False
        self._goal, self._goal_at = head, now
        return True

    @property
    def behind(self) -> int:
        """Batches that are known and lacking."""
        return max(0, self._head - self._applied)

    def behind_seconds(self, now: float) -> float:
        """For how long some of them have been known; 0 without any."""
        return max(0.0, now - self._goal_at) if self._applied < self._goal else 0.0
