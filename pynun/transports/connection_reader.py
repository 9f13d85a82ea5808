"""The reader that every WebSocket and TCP connection has: it cuts what arrives into commands and runs them.

Subclasses cut. Reading, waiting for the reactor, and what takes time (a suspended command, a full outbox) are common.
"""

from __future__ import annotations

import enum
import ssl
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import trio

from pynun import limits
from pynun.transports.clients import client_of
from pynun.transports.input_budget import Reservation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.engine.effects import Suspension
    from pynun.transports.clients import Client
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import Service


class Outcome(enum.Enum):
    """Why a reader stopped in what it was fed."""

    WAIT = enum.auto()
    """Everything complete has been used: more has to arrive."""
    END = enum.auto()
    """The peer closed or reset the connection."""
    MORE = enum.auto()
    """Many commands have run, and more are there: others are to have their turn first."""
    SUSPENDED = enum.auto()
    """A command waits for something: `ChunkReader.suspension`."""
    FULL = enum.auto()
    """More waits for the client than may, or for the disk."""
    MANY = enum.auto()
    """One message holds several commands: `FrameReader.commands`."""
    CONTROL = enum.auto()
    """A control frame is at the start of what is left."""
    ODD = enum.auto()
    """What is left is not for the fast path."""
    TOO_BIG = enum.auto()
    """A message is longer than allowed."""
    FOREIGN = enum.auto()
    """What came first is another protocol."""
    ENDED = enum.auto()
    """The connection is ended, because of what it held (`input_budget`); its task is cancelled already."""


class ChunkReader(ABC):
    """One connection's reader: cuts what arrives into commands and runs them."""

    def __init__(
        self,
        connected: socket.socket,
        outbox: Outbox,
        service: Service,
        client: Client | None = None,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`is_authenticated` says whether the client has logged in, by now.

        `on_end` is called when the connection has to be ended for what it makes the server hold, on whatever task.
        """
        self.socket = connected
        self.outcome = Outcome.WAIT
        self.suspension: Suspension | None = None
        self.failure: Exception | None = None
        self.at_rest = trio.Event()
        """Set while the reader waits for more to arrive, with everything before answered or held."""
        self.has_heard = True
        """Whether anything has arrived since this was last set to False."""
        self._outbox = outbox
        self._on_end = on_end
        self._service = service
        client = client or client_of(connected)
        self.reservation = Reservation(service.input_budget, client, is_authenticated, self._end)
        """The account of `_rest` and what waits; given up by whoever ends the connection."""
        self._waiting_bytes = 0  # of the message whose commands wait
        self._unread_bytes = 0  # of what a client does not read
        outbox.on_unread = self._hold_unread
        self._rest = bytearray()  # received, not used yet
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        self._wanted = 0  # bytes that `_rest` needs before it is worth another look

    @abstractmethod
    def feed(self, data: bytes) -> Outcome:
        """Use what is left from before and `data` as far as possible."""

    def forget(self) -> None:
        """Nothing of what has arrived is used any more."""
        self._rest.clear()
        self._waiting_bytes = self._unread_bytes = 0
        self.reservation.hold(0)

    def _end(self) -> None:
        self.forget()
        self._on_end()

    def _keeps(self) -> bool:
        """Account for what is kept of what has arrived; False if it can't be, and the connection is ended."""
        return self.reservation.hold(len(self._rest) + self._waiting_bytes + self._unread_bytes)

    def _hold_unread(self, bytes_unread: int) -> None:
        """Replies and events that are not read are counted as well."""
        self._unread_bytes = bytes_unread
        self._keeps()

    def on_readable(self) -> bool:
        """Read and use what has arrived; False if the connection's own task has to go on."""
        while True:
            try:
                data = self.socket.recv(max(limits.RECEIVE_BYTES, min(self._wanted - len(self._rest), 1 << 20)))
            except (BlockingIOError, ssl.SSLWantReadError):
                self.outcome = Outcome.WAIT
                return True
            except OSError:
                data = b""
            if not data:
                self.outcome = Outcome.END
                return False
            self.has_heard = True
            self.outcome = self.feed(data)
            if self.outcome is not Outcome.WAIT:
                return False
            if not self._is_tls or not self._has_pending():
                return True

    def _has_pending(self) -> bool:
        """Whether TLS holds bytes that the socket will not become readable for."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    async def read_on(self) -> Outcome:
        """Read and run commands until something comes up that the caller has to deal with.

        What is common to all transports (waiting, suspended commands, a full outbox) is dealt with here.
        """
        service = self._service
        outcome = self.feed(b"")
        while True:
            if outcome is Outcome.WAIT:
                service.flusher.flush()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
                if self._is_tls and self._has_pending():
                    await trio.lowlevel.checkpoint()
                    self.on_readable()
                else:
                    self.at_rest.set()
                    await service.reactor.wait(self)
                    self.at_rest = trio.Event()
                outcome = self.outcome
                continue
            if outcome is Outcome.SUSPENDED:
                assert self.suspension is not None
                suspension, self.suspension = self.suspension, None
                if not self._keeps():
                    return Outcome.ENDED
                await service.drive(suspension)
                self._waiting_bytes = 0
                self._keeps()
            elif outcome is Outcome.MORE:
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
            elif outcome is Outcome.FULL:
                await self._outbox.wait_for_room()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
            else:
                service.flusher.flush()
                return outcome
            outcome = self.feed(b"")
