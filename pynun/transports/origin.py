"""The client of a connection, as the engine may ask for it (`pynun.engine.origin`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.transports.liveness import has_hung_up

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.transports.outbox import Outbox
    from pynun.transports.results import ResultsOutbox


class ConnectionOrigin:
    """The client of one connection."""

    __slots__ = ("_outbox", "_socket", "address", "on_disconnect", "transport")

    def __init__(self, transport: str, connected: socket.socket, outbox: Outbox | ResultsOutbox) -> None:
        self.transport = transport
        self.address = address_of(connected)  # now: afterwards it can't be asked for, if the client resets
        self._socket = connected
        self._outbox = outbox
        self.on_disconnect: Callable[[], None] | None = None
        """Ends the connection, without waiting for it; None while it can't be or ends by itself."""

    @property
    def waiting_bytes(self) -> int:
        return self._outbox.waiting_bytes

    def is_gone(self) -> bool:
        return has_hung_up(self._socket)

    def disconnect(self) -> bool:
        if self.on_disconnect is None:
            return False
        self.on_disconnect()
        return True


def address_of(connected: socket.socket) -> str:
    """The peer's address, without its port; "" if it is gone."""
    try:
        peer = connected.getpeername()
    except OSError:
        return ""  # it is gone, and its session will be
    return str(peer[0]) if isinstance(peer, tuple) else ""
