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

import ssl
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.protocol import messages

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from pynun.engine.events import Event, Result
    from pynun.transports.flusher import Flusher

_TLS_PIECE_BYTES: Final = 16 * 1024
"""One TLS record (RFC 8446 section 5.1): OpenSSL hands each to the kernel by itself anyway."""


class _HeldReplies:
    """Output that waits for one revision: encoded replies and events, and which replies show its changes."""

    __slots__ = ("dependent", "items", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.items: list[bytes | Event] = []
        self.dependent: list[tuple[int, int]] = []


class Outbox(ABC):
    """The queue to one client over a socket; subclasses encode."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_conflate_bytes",
        "_flusher",
        "_held",
        "_is_complete",
        "_is_dirty",
        "_is_sealed",
        "_ready",
        "_slots",
        "_socket",
        "_tombstones",
        "_unsent",
        "_when_idle",
        "_when_moved",
        "conflated_events",
        "has_reply",
        "is_broken",
        "is_stalled",
        "on_unread",
        "overflowed",
    )

    def __init__(self, socket: socket.socket, flusher: Flusher, bytes_max: int) -> None:
        self._socket = socket
        self._flusher = flusher
        self._bytes_max = bytes_max
        self._conflate_bytes = min(limits.CONFLATE_BYTES, bytes_max // 4)
        self._ready: list[bytes] = []
        self._held: deque[_HeldReplies] = deque()
        self._unsent: memoryview | None = None
        self._bytes = 0  # in all three stages, except held events, which are shared and bounded by their batch
        self._slots: dict[str, int] = {}  # where in `_ready` the replaceable event of a key waits
        self._tombstones = 0
        self._is_dirty = False
        self._is_sealed = False
        self._is_complete = False  # nothing more is accepted; waiting output still leaves
        self._when_idle: trio.Event | None = None
        self._when_moved: trio.Event | None = None  # set when the kernel took something: tells slow from stopped
        self.has_reply = False
        self.is_stalled = False
        self.is_broken = False
        self.conflated_events = 0
        self.overflowed = trio.Event()
        """Set when the client must be disconnected because too much waits for it."""
        self.on_unread: Callable[[int], None] = lambda _: None
        """Called with the amount that waits for a client that does not read, whenever it changes. Set by the
        connection's reader, which needs the session, and the session needs this outbox."""

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

    # --- sending -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send ready output, as far as the kernel accepts it."""
        self._is_dirty = self.has_reply = False
        if self.is_stalled:
            self.on_unread(self._bytes)
            return
        if not self._ready:
            return
        ready = self._ready
        data = ready[0] if len(ready) == 1 else b"".join(ready)
        self._flusher.counters.sent += len(ready)
        self._ready = []
        if self._slots:
            self._slots = {}
            self._tombstones = 0
        try:
            sent = self._send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        except OSError:
            self._break()
            return
        self._bytes -= sent
        if self._when_moved is not None:
            self._when_moved.set()
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self.is_stalled = True
            self._flusher.nursery.start_soon(self._drain)
            self.on_unread(self._bytes)
        elif self._when_idle is not None and not self._held:
            self._when_idle.set()

    def _send(self, data: bytes | memoryview) -> int:
        """Send what the kernel accepts now; returns the number of bytes."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return self._socket.send(data)
        # OpenSSL says nothing of how far it is in what it was given: little pieces tell that the client reads. What
        # it did not finish has to be given again from the same place, and no less of it (SSL_write(3)).
        view = memoryview(data)
        sent = 0
        try:
            while sent < len(view):
                sent += self._socket.send(view[sent : sent + _TLS_PIECE_BYTES])
        except ssl.SSLWantWriteError:
            pass
        return sent

    async def _drain(self) -> None:
        """Send the rest whenever the kernel has room; runs only while the outbox is stalled."""
        while self._unsent is not None and not self.is_broken:
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except (OSError, trio.ClosedResourceError):
                self._break()
                return
            if self.send_rest():
                return
        self._resume()

    def send_rest(self) -> bool:
        """The kernel has room again: send the rest. True once all was sent or the connection is gone."""
        if self._unsent is not None:
            try:
                sent = self._send(self._unsent)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return False
            except OSError:
                self._break()
                return True
            self._bytes -= sent
            if self._when_moved is not None:
                self._when_moved.set()
            if sent < len(self._unsent):
                self._unsent = self._unsent[sent:]
                return False
            self._unsent = None
        self._resume()
        return True

    def _resume(self) -> None:
        self.is_stalled = False
        self.on_unread(0)
        if self._ready and self._flusher.may_send():
            self.flush()
        elif self._when_idle is not None and not self._held:
            self._when_idle.set()

    def _break(self) -> None:
        """The connection is gone: stop sending. Its reader will notice by itself."""
        self.is_broken = True
        self.discard()

    def discard(self) -> None:
        """Discard waiting output, and accept nothing more."""
        self._is_sealed = self._is_complete = True
        self._ready = []
        self._held.clear()
        self._slots = {}
        self._unsent = None
        self._bytes = 0
        for event in (self._when_idle, self._when_moved):
            if event is not None:
                event.set()

    def give_up(self, data: bytes) -> None:
        """Send the last bytes to a client that holds too much, unless it does not read."""
        if self.is_stalled:
            self.discard()
        else:
            self.complete(data)

    def _overflow(self) -> None:
        """Too much waits: keep only partly sent output, accept nothing more, and disconnect the client."""
        self._flusher.counters.dropped["slow_reader"] += 1
        self._is_sealed = self._is_complete = True
        self._ready = []
        self._held.clear()
        self._slots = {}
        self._bytes = 0 if self._unsent is None else len(self._unsent)
        self.overflowed.set()

    def send_last(self, data: bytes) -> None:
        """The very last bytes to a client that overflowed, after partly sent output."""
        self._ready = [data]
        self._bytes += len(data)
        self.flush()

    # --- waiting -----------------------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """Output that waits: for the disk, for its turn, for the client to read."""
        return self._bytes

    @property
    def needs_flush(self) -> bool:
        """Whether enough has gathered to send before the chunk of commands is done."""
        return self._bytes > limits.FLUSH_BYTES

    @property
    def is_full(self) -> bool:
        """Whether too much waits."""
        return self._bytes > self._bytes_max

    async def wait_for_room(self) -> None:
        """Return when less than the limit waits. A client that reads nothing meanwhile is disconnected."""
        self._flusher.flush()
        while self._bytes > self._bytes_max and not self._is_sealed:
            if self._when_moved is None or self._when_moved.is_set():
                self._when_moved = trio.Event()
            with trio.move_on_after(limits.STALLED_SECONDS) as scope:
                await self._when_moved.wait()
            if scope.cancelled_caught and self.is_stalled and not self._is_sealed:
                self._overflow()

    async def wait_sent(self) -> None:
        """Return when everything that waits has been sent, or the connection is gone."""
        self._flusher.flush()
        while (self._bytes or self._held) and not self.is_broken:
            if self._when_idle is None or self._when_idle.is_set():
                self._when_idle = trio.Event()
            await self._when_idle.wait()
