"""What wakes the committer: made before the engine and the store, which ring it, as the committer needs both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.errors import DamageError


class Bell:
    """Wakes one committer for changes, a stop or damage."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """`now` tells the time in seconds."""
        self.now = now
        self._event = trio.Event()
        self.first_change_at = 0.0
        """When the batch being filled got its first change (by `now`)."""
        self.is_muted = False
        """Whether changes do not wake the committer: the reactor runs commands and calls `Committer.commit_now`."""
        self.damage: DamageError | None = None
        """Why the data file is unreliable."""

    def ring(self) -> None:
        """Wake the committer: the batch being filled got its first change."""
        self.first_change_at = self.now()
        if not self.is_muted:
            self._event.set()

    def fail(self, damage: DamageError) -> None:
        """Wake the committer to end the server: the data file was found unreliable."""
        self.damage = damage
        self._event.set()

    def wake(self) -> None:
        """Wake the committer without a change."""
        self._event.set()

    @property
    def has_rung(self) -> bool:
        """Whether there was a reason to wake since `reset`."""
        return self._event.is_set()

    def reset(self) -> None:
        """From now on, wait for the next reason to wake."""
        self._event = trio.Event()

    async def wait(self) -> None:
        """Return when there is a reason to wake."""
        await self._event.wait()
