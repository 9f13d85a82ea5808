"""The proxies before the server (NUN_TRUSTED_PROXIES), and who their clients are."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

from pynun.server.accepting.forwarded import client_address, plain_address
from pynun.transports.client_address import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pynun.server.accepting.connection_limits import ConnectionLimits
    from pynun.setting_values import Network


def too_wide(networks: Iterable[Network]) -> list[Network]:
    """The networks larger than any private one, also if given in parts. They contain more than proxies, and every
    machine in them could choose the address it is counted under.
    """
    found: list[Network] = []
    for version, largest_private_bits in ((4, 8), (6, 7)):  # 10.0.0.0/8, fc00::/7
        of_version: list[Network] = [network for network in networks if network.version == version]
        found += [
            network
            for network in ipaddress.collapse_addresses(of_version)  # type: ignore[type-var]  # all of one version
            if network.prefixlen < largest_private_bits
        ]
    return found


class TrustedProxies:
    """The networks of the trusted proxies."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.has = lru_cache(maxsize=1024)(self._has)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def _has(self, address: str) -> bool:
        plain = plain_address(address)
        if plain is None:
            return False
        parsed = ipaddress.ip_address(plain)
        return any(parsed in network for network in self._networks)


class ProxiedClient(Client):
    """The client behind a connection from a trusted proxy; the proxy itself until it names one. The connection counts
    for the client that used it last, and for no address while only the proxy is known.
    """

    __slots__ = ("_connection_limits", "_counted", "_peer", "_proxies")

    def __init__(self, peer: str, proxies: TrustedProxies, connection_limits: ConnectionLimits) -> None:
        super().__init__(plain_address(peer) or peer)
        self._peer = self.address
        self._proxies = proxies
        self._connection_limits = connection_limits
        self._counted: str | None = None

    @property
    def is_named_by_headers(self) -> bool:
        return self._proxies.has(self._peer)

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        if not self.is_named_by_headers:
            return True
        return self._become(client_address(self._peer, headers, self._proxies.has))

    def arrive(self, address: str) -> bool:
        """Set the client that a PROXY header named; False if it exceeds its limit."""
        self._peer = plain_address(address) or address
        return self._become(self._peer)

    def leave(self) -> None:
        """Stop counting the connection."""
        if self._counted is not None:
            self._connection_limits.leave_address(self._counted)
            self._counted = None

    def _become(self, address: str) -> bool:
        if address == self.address:
            return True
        counted = None if self._proxies.has(address) else address
        if counted is not None and not self._connection_limits.enter_address(counted):
            return False
        self.leave()
        self._counted = counted
        self.address = address
        return True
