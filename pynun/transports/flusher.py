"""Sends what has gathered for all clients, when a chunk of commands is done or a batch is on disk."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from pynun.transports.counters import Counters

if TYPE_CHECKING:
    import trio

    from pynun.engine.overlay import Waiter


class Flushable(Protocol):
    """What has something to send: an outbox, or an HTTP connection."""

    @property
    def has_reply(self) -> bool:
        """Whether a client that asked for something is to be answered, and not only told of others' changes."""

    def flush(self) -> None:
        """Send ready output, as far as the kernel accepts it."""


class Revisions(Protocol):
    """Which batches are on disk: the view."""

    def add_waiter(self, revision: int, waiter: Waiter) -> bool:
        """Have `waiter` told when the batch is on disk or lost; False if it is on disk (or lost) already."""


_HAS_REPLY: Final = attrgetter("has_reply")


class Flusher:
    """All that have something to send, sent together when a chunk of commands is done or a batch on disk."""

    __slots__ = ("_dirty", "counters", "nursery", "view")

    def __init__(self, view: Revisions, nursery: trio.Nursery, counters: Counters | None = None) -> None:
        """`counters`: those of the process, if another flusher counts there too."""
        self.view = view
        self.nursery = nursery
        """Where the tasks of stalled outboxes run."""
        self.counters = counters or Counters()
        self._dirty: list[Flushable] = []

    def may_send(self) -> bool:
        """Whether what was computed until now may leave: always, unless a subclass has a reason to ask. Asked where
        something leaves that `flush` does not send.
        """
        return True

    def add(self, outbox: Flushable) -> None:
        self._dirty.append(outbox)

    def flush(self) -> None:
        dirty = self._dirty
        if dirty:
            self._dirty = []
            if len(dirty) > 1:
                # Each send takes time, and may wake a client that takes this processor. So who made a change, and is
                # told of it too if it watches, comes after all others.
                dirty.sort(key=_HAS_REPLY)
            for outbox in dirty:
                outbox.flush()
