"""How many connections may be open, in all and from one address (docs/protocol.md section 9)."""

from __future__ import annotations

from collections import Counter

from pynun.server.accepting.client_networks import client_network


class ConnectionLimits:
    """Counts the open connections of all transports."""

    def __init__(self, *, connections_max: int, per_address_max: int) -> None:
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self._per_address: Counter[str] = Counter()
        self.connections = 0
        self.refused = 0
        """Connections refused so far."""

    def enter(self, address: str | None) -> bool:
        """Count a connection from an address; False, without counting it, if it exceeds a limit.

        Without an address (a proxy's connection whose client is not known yet) only the total counts.
        """
        if self.connections >= self._connections_max:
            self.refused += 1
            return False
        if address is not None and not self.enter_address(address):
            return False
        self.connections += 1
        return True

    def leave(self, address: str | None) -> None:
        """Stop counting a connection that ended."""
        self.connections -= 1
        if address is not None:
            self.leave_address(address)

    def enter_address(self, address: str) -> bool:
        """Count a connection for an address only; False if it exceeds the limit."""
        network = client_network(address)  # else the owner of an IPv6 network would evade the limit
        if self._per_address[network] >= self._per_address_max:
            self.refused += 1
            return False
        self._per_address[network] += 1
        return True

    def leave_address(self, address: str) -> None:
        """Stop counting a connection for an address."""
        network = client_network(address)
        self._per_address[network] -= 1
        if not self._per_address[network]:
            del self._per_address[network]
