"""The address of the client of a connection, also behind a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.transports.sockets import address_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

FORWARDING_HEADERS: Final = frozenset({b"forwarded", b"x-forwarded-for"})
"""Headers in which a proxy names its client (RFC 7239, and the older form)."""


class ForwardingError(Exception):
    """A trusted proxy names its client in an unreliable way; the text says why."""


class Client:
    """The client of one connection; behind a proxy in NUN_TRUSTED_PROXIES, the one that the proxy names."""

    __slots__ = ("address", "node", "system_user")

    def __init__(self, address: str, system_user: str | None = None) -> None:
        self.address = address
        """Without the port; "" if unknown."""
        self.system_user = system_user
        """Who is at the other end of the server's Unix socket; None on other connections."""
        self.node = ""
        """The node of the cluster that accepted the connection, and passes it on; "" if it is this one."""

    @property
    def is_named_by_headers(self) -> bool:
        """Whether request headers name the client: only on a connection from a trusted proxy."""
        return False

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take the address from the headers of a request; False if that address has too many connections.

        Names of headers are in lower case. Raises ForwardingError.
        """
        del headers
        return True


class LocalClient(Client):
    """A system user at the server's Unix socket; nobody known, if that passes the requests of others on."""

    __slots__ = ()

    @property
    def is_named_by_headers(self) -> bool:
        return True

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        if any(name in FORWARDING_HEADERS for name, _ in headers):
            self.system_user = None
        return True


def client_of(connected: socket.socket) -> Client:
    """The machine at the other end."""
    return Client(address_of(connected))
