"""The addresses at which other devices on the network reach this machine.

Only IPv4, which people can type into a phone. It asks the kernel and sends nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from typing import Final, NamedTuple

_SIOCGIFADDR: Final = 0x8915
"""The request for an interface's address (netdevice(7))."""

_SOMEWHERE_ELSE: Final = ("192.0.2.1", 9)
"""An address of documentation (RFC 5737): connecting a UDP socket to it only looks up the route there."""


class InterfaceAddress(NamedTuple):
    """An address of this machine and the name of the network interface that has it."""

    address: str
    interface: str


def list_addresses() -> list[InterfaceAddress]:
    """Return the addresses of this machine, without loopback; the one that leads to other networks comes first."""
    found: list[InterfaceAddress] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                address = socket.inet_ntoa(answer[20:24])
                if not ipaddress.ip_address(address).is_loopback:
                    found.append(InterfaceAddress(address, name))
    first = _address_to_other_networks()
    return sorted(found, key=lambda item: item.address != first)


def _address_to_other_networks() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
        asking.connect(_SOMEWHERE_ELSE)
        return str(asking.getsockname()[0])
    return None  # no route: the machine is on its own network only


def local_names() -> frozenset[str]:
    """Return the names that a browser may use for this machine, in lower case."""
    host = socket.gethostname().lower()
    return frozenset({"localhost", host, f"{host.partition('.')[0]}.local"})
