"""Whom proxies name as their client: X-Forwarded-For, and Forwarded (RFC 7239).

Each proxy adds the machine that it got the request from, at the end. So the lists are read from their end, as long as
the proxies found there are trusted: what stands before that may be anybody's invention.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from pynun.transports.clients import ForwardingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HOPS_MAX: Final = 32
"""More proxies than any request passes."""

_WITH_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9A-Za-z._-]{1,10})?")
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'[ \t]*({_TOKEN})=([^\s;,"\\]+|"(?:[^"\\]|\\.)*")[ \t]*(;|,|$)|[ \t]*(;|,|$)')


def plain_address(text: str) -> str | None:
    """The address without brackets and port, an IPv4 address as such also if it is written as IPv6; None if it is none.

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
    """The address of who sent a request that came from `peer`, a trusted proxy: the last one that is no such proxy.

    Where a trusted proxy does not name an address, it counts as the client. Raises ForwardingError if `Forwarded` is
    not valid, or the two headers differ: whichever of them the proxy leaves as it came would be the client's choice.
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
    """From the end; several lines are one list (RFC 9110 section 5.3)."""
    for line in reversed(lines):
        for hop in reversed(line.split(",")):
            if stripped := hop.strip(" \t"):
                yield stripped


def _hops_of_newer(lines: list[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from reversed(_elements(line))


def _elements(line: str) -> list[str]:
    """What `for` says in each element of a line; empty where it is missing. Raises ForwardingError."""
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
