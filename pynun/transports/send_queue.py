"""What waits to be sent over one socket: ready, and unsent because the kernel's buffer is full."""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun import limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.transports.flusher import Flusher

_TLS_PIECE_BYTES: Final = 16 * 1024
"""One TLS record (RFC 8446 section 5.1): OpenSSL hands each to the kernel by itself anyway."""


class SendQueue:
    """The last stages of an outbox. Subclasses fill `_ready`, and keep in `_held` what may not leave yet."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
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
        self._ready: list[bytes] = []
        self._held: deque[Any] = deque()
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
        self.overflowed = trio.Event()
        """Set when the client must be disconnected because too much waits for it."""
        self.on_unread: Callable[[int], None] = lambda _: None
        """Called with the amount that waits for a client that does not read, whenever it changes. Set by the
        connection's reader, which needs the session, and the session needs this outbox."""

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

    def _overflow(self) -> None:
        """Too much waits: keep only partly sent output, accept nothing more, and disconnect the client."""
        self._flusher.counters.dropped["slow_reader"] += 1
        self._is_sealed = self._is_complete = True
        self._ready = []
        self._held.clear()
        self._slots = {}
        self._bytes = 0 if self._unsent is None else len(self._unsent)
        self.overflowed.set()

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
