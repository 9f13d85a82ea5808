"""The owner's flusher: nothing leaves after the deadline of the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.transports.flusher import Flusher

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from pynun.engine.overlay import View
    from pynun.transports.counters import Counters


class GuardedFlusher(Flusher):
    """Reads the clock after the replies were made, and before any of them leaves: so what they show was the newest,
    even if the machine stood still in between.
    """

    __slots__ = ("_is_owner",)

    def __init__(
        self, view: View, nursery: trio.Nursery, is_owner: Callable[[], bool], counters: Counters | None = None
    ) -> None:
        """`is_owner` reads the clock; `counters` are those of `Flusher`."""
        super().__init__(view, nursery, counters)
        self._is_owner = is_owner

    def may_send(self) -> bool:
        return self._is_owner()

    def flush(self) -> None:
        if self._dirty and self._is_owner():
            super().flush()
