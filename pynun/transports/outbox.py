"""The ordered, bounded, conflating queue to one client.

What goes in leaves in the same order. Three stages:

- held: a reply or event that shows a change waits until that change's batch is on disk, and so does everything after
  it;
- ready: may leave; all gathered output leaves by one non-blocking `send`;
- unsent: the kernel's buffer is full; a task waits for room, and meanwhile the outbox is stalled.

While an outbox is stalled and much waits in it, a watch event replaces the waiting event of the same key, at its new
place in the order: a slow reader gets the newest value of each key, never a stale last one, and nobody waits for it.
Replies are never dropped; a client that lets more than the limit gather is disconnected (docs/protocol.md section 9).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pynun import limits
from pynun.protocol import messages
from pynun.transports.send_queue import SendQueue

if TYPE_CHECKING:
    import socket
    from collections import deque
    from collections.abc import Sequence

    from pynun.engine.events import Event, Result
    from pynun.transports.flusher import Flusher


class _HeldReplies:
    """Output that waits for one revision: encoded replies and events, and which replies show its changes."""

    __slots__ = ("dependent", "items", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.items: list[bytes | Event] = []
        self.dependent: list[tuple[int, int]] = []


class Outbox(SendQueue, ABC):
    """The queue to one client over a socket; subclasses encode."""

    __slots__ = ("_conflate_bytes", "conflated_events")

    _held: deque[_HeldReplies]

    def __init__(self, socket: socket.socket, flusher: Flusher, bytes_max: int) -> None:
        super().__init__(socket, flusher, bytes_max)
        self._conflate_bytes = min(limits.CONFLATE_BYTES, bytes_max // 4)
        self.conflated_events = 0

    # --- encoding, by the transports ---------------------------------------------------------------------------

    @abstractmethod
    def _encode_reply(self, result: Result) -> bytes:
        """A command's own messages, then its success message."""

    @abstractmethod
    def _encode_refusal(self, own: Sequence[str], error: str) -> bytes:
        """A command's own messages, then its error."""

    @abstractmethod
    def _encode_event(self, event: Event) -> bytes:
        """The messages of an event, encoded once for all watchers."""

    # --- what the engine calls ---------------------------------------------------------------------------------

    def reply(self, result: Result, depends: int) -> None:
        self._put(self._encode_reply(result), depends)

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        self._put(self._encode_refusal(own, error), depends)

    def event(self, event: Event) -> None:
        if self._is_complete:
            return
        if event.revision or self._held:
            self._hold(event, event.revision, 0)  # counted when released: while held, it costs no client anything
        else:
            self._ready_event(event)

    def send_raw(self, data: bytes) -> None:
        """Bytes that are encoded already (a handshake, a pong, a close frame), at their place in the order."""
        self._put(data, 0)

    def complete(self, data: bytes) -> None:
        """The last bytes, at their place in the order: nothing follows a close frame (RFC 6455 section 5.5.1)."""
        self._put(data, 0)
        self._is_complete = True

    # --- the stages --------------------------------------------------------------------------------------------

    def _put(self, data: bytes, depends: int) -> None:
        if self._is_complete:
            return
        if depends or self._held:
            self._hold(data, depends, len(data))
            return
        self._ready.append(data)
        self._bytes += len(data)
        self.has_reply = True
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.add(self)

    def _hold(self, item: bytes | Event, revision: int, size: int) -> None:
        held = self._held
        if not held or (revision and held[-1].revision < revision):
            if not self._flusher.view.add_waiter(revision, self):
                # On disk by now (the command was suspended meanwhile).
                if held:
                    held[-1].items.append(item)
                    self._bytes += size
                elif isinstance(item, bytes):
                    self._put(item, 0)
                else:
                    self._ready_event(item)
                return
            held.append(_HeldReplies(revision))
        last = held[-1]
        if 0 < revision < last.revision:
            # It waits after a later batch, and must also learn the fate of its own.
            self._flusher.view.add_waiter(revision, self)
        if revision and isinstance(item, bytes):
            last.dependent.append((len(last.items), revision))
        last.items.append(item)
        self._bytes += size

    def _ready_event(self, event: Event) -> None:
        data = self._encode_event(event)
        if self.is_stalled and self._bytes > self._conflate_bytes:
            key = event.key
            if key is not None:
                place = self._slots.get(key)
                if place is not None:
                    self._bytes -= len(self._ready[place])
                    self._ready[place] = b""
                    self._tombstones += 1
                    self.conflated_events += 1
                    self._flusher.counters.conflated_events += 1
                    if self._tombstones > 1024 and self._tombstones * 2 > len(self._ready):
                        self._compact()
                self._slots[key] = len(self._ready)
            if self._bytes - (0 if self._unsent is None else len(self._unsent)) > self._bytes_max:
                self._overflow()  # output in transit does not count: it may be one long reply that is being read
                return
        self._ready.append(data)
        self._bytes += len(data)
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.add(self)

    def _compact(self) -> None:
        keys = {place: key for key, place in self._slots.items()}
        ready: list[bytes] = []
        for place, data in enumerate(self._ready):
            key = keys.get(place)
            if key is not None:
                self._slots[key] = len(ready)
            if data or key is not None:
                ready.append(data)
        self._ready = ready
        self._tombstones = 0

    def released(self, revision: int) -> None:
        """Called by the committer: everything up to `revision` is on disk."""
        held = self._held
        while held and held[0].revision <= revision:
            for item in held.popleft().items:
                if self._is_sealed:
                    return  # the first released output overflowed it
                if isinstance(item, bytes):
                    self._ready.append(item)
                    self.has_reply = True
                else:
                    self._ready_event(item)
        if self._ready and not self._is_dirty:
            self._is_dirty = True
            self._flusher.add(self)

    def failed(self, revision: int, reason: str) -> None:
        """Called by the committer: the batch `revision` is lost. Its replies become errors, its events are dropped."""
        refusal = self._encode_refusal((), messages.storage_failed(reason))
        for held in self._held:
            for place, shown in held.dependent:
                item = held.items[place]
                if shown == revision and isinstance(item, bytes):
                    self._bytes += len(refusal) - len(item)
                    held.items[place] = refusal
            for place, item in enumerate(held.items):
                if not isinstance(item, bytes) and item.revision == revision:
                    held.items[place] = b""
        self.released(revision)
        if not self._bytes and self._when_idle is not None:
            self._when_idle.set()

    def give_up(self, data: bytes) -> None:
        """Send the last bytes to a client that holds too much, unless it does not read."""
        if self.is_stalled:
            self.discard()
        else:
            self.complete(data)

    def send_last(self, data: bytes) -> None:
        """The very last bytes to a client that overflowed, after partly sent output."""
        self._ready = [data]
        self._bytes += len(data)
        self.flush()
