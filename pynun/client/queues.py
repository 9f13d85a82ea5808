"""A queue between the connection's reader and one consumer of events: bounded, and never waits for the consumer.

Invariants: the newest item of every slot is delivered; items of one slot are delivered in order. As long as the
consumer keeps up, every item is delivered. Once `items_max` items or `characters_max` characters are waiting, only the
newest of each slot is kept until the consumer has caught up: memory is bounded by the slots, not by the changes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

import trio

ITEMS_MAX = 256
"""Enough for a burst of four seconds of a camera that moves at 60 Hz."""
CHARACTERS_MAX = 8 * 1024 * 1024
"""The same as the server's bound of an outbox (docs/protocol.md section 9)."""

Item = TypeVar("Item")


class ConflatingQueue(Generic[Item]):
    """See the module; the slot of a change is its key."""

    def __init__(self, items_max: int = ITEMS_MAX, characters_max: int = CHARACTERS_MAX) -> None:
        self._items_max = items_max
        self._characters_max = characters_max
        self._items: deque[tuple[str, Item, int]] = deque()
        self._newest: OrderedDict[str, Item] | None = None  # not None: conflating
        self._characters = 0
        self._is_closed = False
        self._error: Exception | None = None
        self._wakeup = trio.Event()

    def __len__(self) -> int:
        return len(self._items) if self._newest is None else len(self._newest)

    def put(self, slot: str, item: Item, characters: int = 0) -> None:
        """Add an item of `characters` characters; does nothing once the queue is closed."""
        if self._is_closed:
            return
        if self._newest is None:
            self._items.append((slot, item, characters))
            self._characters += characters
            if len(self._items) > self._items_max or self._characters > self._characters_max:
                self._conflate()
        else:
            self._newest[slot] = item
            self._newest.move_to_end(slot)
        self._wakeup.set()

    def _conflate(self) -> None:
        self._newest = OrderedDict()
        for slot, item, _ in self._items:
            self._newest[slot] = item
            self._newest.move_to_end(slot)
        self._items.clear()
        self._characters = 0

    def close(self, error: Exception | None = None) -> None:
        """End the queue: what waits is still delivered, then `get` raises `error` or StopAsyncIteration."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._wakeup.set()

    def get_nowait(self) -> Item:
        """The oldest item; raises trio.WouldBlock if there is none."""
        if self._newest is not None:
            _, item = self._newest.popitem(last=False)
            if not self._newest:
                self._newest = None
            return item
        if not self._items:
            raise trio.WouldBlock
        _, item, characters = self._items.popleft()
        self._characters -= characters
        return item

    async def get(self) -> Item:
        """The oldest item; waits for one. Raises the error it was closed with, or StopAsyncIteration."""
        await trio.lowlevel.checkpoint()
        while True:
            if len(self):
                return self.get_nowait()
            if self._is_closed:
                raise StopAsyncIteration if self._error is None else self._error
            if self._wakeup.is_set():
                self._wakeup = trio.Event()
            await self._wakeup.wait()
