"""The reader of every connection: splits input into commands and runs them.

Subclasses split. Reading and waiting for the reactor are handled here, and, for connections whose session lasts as long
as they do, suspended commands and full outboxes.
"""

from __future__ import annotations

import enum
import ssl
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import trio

from pynun import limits
from pynun.transports.client_address import client_of
from pynun.transports.input_budget import Reservation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.engine.effects import Suspension
    from pynun.transports.client_address import Client
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import ConnectionHost


class Outcome(enum.Enum):
    """Why a reader stopped in its input."""

    WAIT = enum.auto()
    """All complete input is used; more must arrive."""
    END = enum.auto()
    """The peer closed or reset the connection."""
    MORE = enum.auto()
    """Many commands have run and more remain: others get their turn first."""
    SUSPENDED = enum.auto()
    """A command waits for something: `ChunkReader.suspension`."""
    FULL = enum.auto()
    """Too much output waits for the client or the disk."""
    MANY = enum.auto()
    """One message holds several commands: `FrameReader.commands`."""
    CONTROL = enum.auto()
    """A control frame is at the start of what is left."""
    ODD = enum.auto()
    """The rest is not for the fast path."""
    TOO_BIG = enum.auto()
    """A message is longer than allowed."""
    FOREIGN = enum.auto()
    """The first bytes are another protocol."""
    SLOW = enum.auto()
    """An HTTP request takes more than its commands and one send."""
    ENDED = enum.auto()
    """The connection was ended because it held too much (`input_budget`); its task is already cancelled."""


class SocketReader(ABC):
    """Receives what one connection's client sends, served by the reactor."""

    def __init__(
        self,
        connected: socket.socket,
        service: ConnectionHost,
        client: Client | None = None,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`is_authenticated` tells whether the client has logged in.

        `on_end` is called, on any task, when the connection must be ended because the server holds too much for it.
        """
        self.socket = connected
        self.outcome = Outcome.WAIT
        self.failure: Exception | None = None
        self.has_heard = True
        """Whether anything has arrived since this was last set to False."""
        self.reservation = Reservation(
            service.input_budget, client or client_of(connected), is_authenticated, self._end
        )
        """The reservation for what is held of the client's input, and for waiting output."""
        self._service = service
        self._on_end = on_end
        self._rest = bytearray()  # received but unused
        self._wanted = 0  # bytes that `_rest` needs before it is worth another look
        self._is_tls = isinstance(connected, ssl.SSLSocket)

    @abstractmethod
    def feed(self, data: bytes) -> Outcome:
        """Use the rest from before and `data` as far as possible."""

    def forget(self) -> None:
        """Discard all received input."""
        self._rest.clear()
        self.reservation.hold(0)

    def _end(self) -> None:
        self.forget()
        self._on_end()

    def on_readable(self) -> bool:
        """Read and use input; False if the connection's own task must continue."""
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
        """Whether TLS holds decrypted bytes, for which the socket does not become readable."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    async def wait(self) -> None:
        """Wait for input and use it, until the connection's own task has to act: see `outcome`."""
        if self._has_pending():
            await trio.lowlevel.checkpoint()
            self.on_readable()
            self._service.flusher.flush()
        else:
            await self._service.reactor.wait(self)


class ChunkReader(SocketReader):
    """The reader of a connection with one session: splits input into commands and runs them."""

    def __init__(
        self,
        connected: socket.socket,
        outbox: Outbox,
        service: ConnectionHost,
        client: Client | None = None,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """As that of `SocketReader`."""
        super().__init__(connected, service, client, is_authenticated, on_end)
        self.suspension: Suspension | None = None
        self.at_rest = trio.Event()
        """Set while the reader waits for input, with everything before answered or held."""
        self._outbox = outbox
        self._waiting_bytes = 0  # of the message whose commands wait
        self._unread_bytes = 0  # of what a client does not read
        outbox.on_unread = self._hold_unread

    def forget(self) -> None:
        self._waiting_bytes = self._unread_bytes = 0
        super().forget()

    def _keeps(self) -> bool:
        """Reserve memory for kept input; False if that fails, and the connection is ended."""
        return self.reservation.hold(len(self._rest) + self._waiting_bytes + self._unread_bytes)

    def _hold_unread(self, bytes_unread: int) -> None:
        """Count unread replies and events too."""
        self._unread_bytes = bytes_unread
        self._keeps()

    async def read_on(self) -> Outcome:
        """Read and run commands until the caller must act.

        Waiting, suspended commands and full outboxes, common to all transports, are handled here.
        """
        service = self._service
        outcome = self.feed(b"")
        while True:
            if outcome is Outcome.WAIT:
                service.flusher.flush()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
                if not self._has_pending():
                    self.at_rest.set()
                await self.wait()
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
