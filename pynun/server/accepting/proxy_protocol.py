"""The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): a client's address before its first byte."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from typing import Final, NamedTuple

import trio

_V1_START: Final = b"PROXY "
_V1_BYTES_MAX: Final = 107
_V1: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+)"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))"
)
_PORT_MAX: Final = 65535
_V2_START: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct("!12sBBH")
_V2_BYTES_MAX: Final = 4096
"""Of addresses and of further fields, such as certificates, which are ignored."""
_V2_ADDRESSES_BYTES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
"""Both addresses with their ports, by family: none, IPv4, IPv6, Unix. There are no other families."""
_V2_PROTOCOL_MAX: Final = 2
_V2_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
"""By family and protocol: TCP over IPv4 and IPv6. Others carry no address that is used here."""
_V2_LOCAL, _V2_PROXY = 0x20, 0x21

_LOOK_SECONDS: Final = 0.02
"""How long to wait for the rest of a header. It nearly always comes in one piece."""


class ProxyHeaderError(Exception):
    """A required header is missing or invalid."""


class ProxyHeader(NamedTuple):
    """The PROXY header of a connection."""

    size: int
    """0: with no header."""
    address: str | None
    """The client's; None if the proxy names none or connects for itself."""


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the start of the bytes; None if it is incomplete. Raises ProxyHeaderError if it is invalid."""
    if data.startswith(_V1_START):
        line, end, _ = data[:_V1_BYTES_MAX].partition(b"\r\n")
        if not end:
            if len(data) < _V1_BYTES_MAX:
                return None
            raise ProxyHeaderError("its line has no end")
        match = _V1.fullmatch(line)
        if match is None:
            raise ProxyHeaderError("its line is not valid")
        if not match[1]:
            return ProxyHeader(len(line) + 2, None)
        address, _ = (_address(text.decode(), match[1]) for text in match.group(2, 3))
        if max(int(match[4]), int(match[5])) > _PORT_MAX:
            raise ProxyHeaderError("its port is not valid")
        return ProxyHeader(len(line) + 2, address)
    if data.startswith(_V2_START):
        if len(data) < _V2_HEAD.size:
            return None
        _, command, family, length = _V2_HEAD.unpack_from(data)
        size = _V2_HEAD.size + length
        if command not in (_V2_LOCAL, _V2_PROXY) or length > _V2_BYTES_MAX:
            raise ProxyHeaderError("it is of no known version, or too long")
        if command == _V2_PROXY:
            if family >> 4 not in _V2_ADDRESSES_BYTES or family & 0xF > _V2_PROTOCOL_MAX:
                raise ProxyHeaderError("its address family or protocol is not known")
            if length < _V2_ADDRESSES_BYTES[family >> 4]:
                raise ProxyHeaderError("its addresses are cut off")
        if len(data) < size:
            return None
        address_bytes = _V2_ADDRESS_BYTES.get(family, 0) if command == _V2_PROXY else 0
        if not address_bytes:
            return ProxyHeader(size, None)
        packed = data[_V2_HEAD.size : _V2_HEAD.size + address_bytes]
        return ProxyHeader(size, str(ipaddress.ip_address(packed)))
    if data and (_V1_START.startswith(data) or _V2_START.startswith(data)):
        return None
    return ProxyHeader(0, None)


def _address(text: str, protocol: bytes) -> str:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyHeaderError("its address is not valid") from None
    if parsed.version != int(protocol[-1:]):
        raise ProxyHeaderError("its address is of another family")
    return str(parsed)


async def read_proxy_header(accepted: socket.socket) -> ProxyHeader:
    """Read the header, and no byte after it, from a new connection. Raises ProxyHeaderError and OSError."""
    while True:
        await trio.lowlevel.wait_readable(accepted)
        data = accepted.recv(_V2_HEAD.size + _V2_BYTES_MAX, socket.MSG_PEEK)
        header = parse_proxy_header(data)
        if header is not None:
            if header.size:
                accepted.recv(header.size)
            return header
        await trio.sleep(_LOOK_SECONDS)  # else the loop would peek at the same bytes for ever
