"""Group addresses for limits: one client usually has a whole IPv6 /64 network."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_PREFIX_BITS = 64


@lru_cache(maxsize=4096)  # every login needs it, also those that cost microseconds
def client_network(address: str) -> str:
    """`192.0.2.7` for itself and for `::ffff:192.0.2.7`; `2001:db8::/64` for every address in that network. A text that
    is not an address is returned as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _PREFIX_BITS), strict=False))
