"""The client that proxies name in X-Forwarded-For or Forwarded (RFC 7239).

Each proxy appends the address that sent it the request. So the lists are read from the end, as long as the proxies
found there are trusted: anyone can invent what stands before.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from pynun.transports.client_address import ForwardingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HOPS_MAX: Final = 32
"""More proxies than any request passes."""

_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9A-Za-z._-]{1,10})?")
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'[ \t]*({_TOKEN})=([^\s;,"\\]+|"(?:[^"\\]|\\.)*")[ \t]*(;|,|$)|[ \t]*(;|,|$)')


def plain_address(text: str) -> str | None:
    """The address without brackets and port, IPv4-mapped IPv6 as IPv4; None if it is not an address.

    `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
    """
    match = _WITH_PORT.fullmatch(text)
    try:
        parsed = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return None
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
    return str(parsed)


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], is_trusted: Callable[[str], bool]) -> str:
    """The client's address of a request from `peer`, a trusted proxy: the last one that is not a trusted proxy.

    A trusted proxy that names no address counts as the client. Raises ForwardingError if `Forwarded` is invalid or the
    two headers differ: the client could choose the one that the proxy does not set.
    """
    lines = [(name, value.decode("latin-1")) for name, value in headers]
    older = [value for name, value in lines if name == b"x-forwarded-for"]
    newer = [value for name, value in lines if name == b"forwarded"]
    lists = [hops_of(values) for values, hops_of in ((older, _hops_of_older), (newer, _hops_of_newer)) if values]
    found = {_last_untrusted(peer, hops, is_trusted) for hops in lists}
    if len(found) > 1:
        raise ForwardingError("X-Forwarded-For and Forwarded differ: the proxy has to set one and remove the other")
    return found.pop() if found else peer


def _last_untrusted(peer: str, hops: Iterator[str], is_trusted: Callable[[str], bool]) -> str:
    nearest = peer
    for _, hop in zip(range(HOPS_MAX), hops, strict=False):
        address = plain_address(hop)
        if address is None:
            break  # `unknown`, or a name that only the proxy understands
        nearest = address
        if not is_trusted(address):
            break
    return nearest


def _hops_of_older(lines: list[str]) -> Iterator[str]:
    """The elements from the end; several lines form one list (RFC 9110 section 5.3)."""
    for line in reversed(lines):
        for hop in reversed(line.split(",")):
            if stripped := hop.strip(" \t"):
                yield stripped


def _hops_of_newer(lines: list[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from reversed(_elements(line))


def _elements(line: str) -> list[str]:
    """The `for` value of each element of a line; empty if missing. Raises ForwardingError."""
    found: list[str] = []
    hop, is_empty, position = "", True, 0
    while True:
        match = _PAIR.match(line, position)
        if match is None:
            raise ForwardingError("the header Forwarded is not valid (RFC 7239)")
        name, value, end = match[1], match[2], match[3] if match[1] else match[4]
        if name:
            is_empty = False
            if name.lower() == "for":
                hop = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value
        if end != ";":
            if not is_empty:
                found.append(hop)
            hop, is_empty = "", True
            if end == "":
                return found
        position = match.end()
