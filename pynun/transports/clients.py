"""Who is at the other end of a connection, as far as addresses tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.transports.sockets import address_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

FORWARDING_HEADERS: Final = frozenset({b"forwarded", b"x-forwarded-for"})
"""In which a proxy names its client (RFC 7239, and what was usual before)."""


class ForwardingError(Exception):
    """A trusted proxy names its client in a way that can't be relied on; the text says why."""


class Client:
    """The client of one connection; through a proxy that NUN_TRUSTED_PROXIES names, whom that names."""

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        self.address = address
        """Without the port; "" if nobody knows."""

    @property
    def is_named_by_headers(self) -> bool:
        """Whether the headers of a request say who it is: only for a connection from a trusted proxy."""
        return False

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take the address from the headers of a request; False if that address has too many connections.

        Names of headers are in lower case. Raises ForwardingError.
        """
        del headers
        return True


def client_of(connected: socket.socket) -> Client:
    """The machine at the other end."""
    return Client(address_of(connected))
