"""Asking the system about the disk of the data, which may not answer: a file server that is gone, a disk that hangs.

Each question is asked in a thread, never on the loop, and given up after a time. A thread that waits for such a disk
can't be ended, so there is one at most: what is asked meanwhile waits for it, and is given up too.
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
    """The questions about one disk."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def ask(self, question: Callable[[*_Arguments], _Answer], *arguments: *_Arguments) -> _Answer | None:
        """What `question` returns, or raises; None if the disk does not answer in time."""
        with trio.move_on_after(limits.DISK_ANSWER_SECONDS):
            return await trio.to_thread.run_sync(question, *arguments, limiter=self._limiter, abandon_on_cancel=True)
        return None
