"""The client of a connection, as the engine may ask for it (`pynun.engine.peer`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pynun.transports.sockets import has_hung_up

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.transports.client_address import Client


class _Outbox(Protocol):
    @property
    def waiting_bytes(self) -> int: ...


class ConnectionPeer:
    """The client of one connection."""

    __slots__ = ("_client", "_outbox", "_socket", "on_disconnect", "transport")

    def __init__(self, transport: str, connected: socket.socket, outbox: _Outbox, client: Client) -> None:
        self.transport = transport if client.system_user is None else "unix"
        self._client = client
        self._socket = connected
        self._outbox = outbox
        self.on_disconnect: Callable[[], None] | None = None
        """Ends the connection, without waiting for it; None while it can't be or ends by itself. Set by the connection:
        what ends it needs the session, and the session needs this peer."""

    @property
    def address(self) -> str:
        return self._client.address

    @property
    def system_user(self) -> str | None:
        return self._client.system_user

    @property
    def node(self) -> str:
        return self._client.node

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
