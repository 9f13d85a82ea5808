"""Ask the OS about the data's disk, which may not answer: a lost file server, a hanging disk.

Each question runs in a thread, never on the loop, with a time limit. A thread that waits for such a disk can't be
ended, so there is at most one: further questions wait for it, with the same limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable

_Answer = TypeVar("_Answer")
_Arguments = TypeVarTuple("_Arguments")


class DiskProbe:
    """Asks questions about one disk."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def ask(self, question: Callable[[*_Arguments], _Answer], *arguments: *_Arguments) -> _Answer | None:
        """What `question` returns, or raises; None if the disk does not answer in time."""
        with trio.move_on_after(limits.DISK_ANSWER_SECONDS):
            return await trio.to_thread.run_sync(question, *arguments, limiter=self._limiter, abandon_on_cancel=True)
        return None
