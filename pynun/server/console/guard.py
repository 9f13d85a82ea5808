"""Who may see the console: over https, or from this machine; and never a page of another site.

A page of another site can make a browser send requests here, with a foreign name that it points at this machine (DNS
rebinding) or without one. So over plain http `Host` must be a name of this machine, and what does or tells something
needs a header that only the console's own page can send (`X-Nun-Console`), from its own origin.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Final

from pynun.server.accepting.forwarded import plain_address
from pynun.transports.pages import PROXY_HEADERS

if TYPE_CHECKING:
    import socket

    from pynun.transports.client_address import Client
    from pynun.transports.http.request_reader import Headers
    from pynun.transports.pages import PageRequest

NEEDS_HTTPS: Final = (
    "the console is served over https, or over http to this machine's own browser: set NUN_TLS_CERT and NUN_TLS_KEY, or"
    " use an SSH tunnel: ssh -L 3013:127.0.0.1:3013 SERVER, then http://127.0.0.1:3013/console\n"
)
OTHER_HOST: Final = "over http the console answers to http://127.0.0.1, http://[::1] and http://localhost only\n"
AT_OWNER: Final = "the console is at the node that owns the data: nun-db cluster status shows which one that is\n"
OTHER_SITE: Final = "a page of another site may not use the console\n"


class Refused(Exception):
    """The request may not see the console; the text says why."""


def scheme_of(request: PageRequest, connected: socket.socket, client: Client) -> str:
    """`https` or `http`, as the browser sees it. Raises Refused for http that does not come from this machine."""
    named = dict(request.headers)
    if client.node:
        raise Refused(AT_OWNER)  # whether its own connection is encrypted is not known here
    if named.get(b"x-forwarded-proto", b"https").lower() != b"https":
        raise Refused(NEEDS_HTTPS)  # from the browser to a proxy: https from there is too late
    if isinstance(connected, ssl.SSLSocket):
        scheme = "https"
    elif not PROXY_HEADERS & named.keys():
        scheme = "http"
    elif client.is_named_by_headers and client.address and named.get(b"x-forwarded-proto", b"").lower() == b"https":
        return "https"  # as a proxy of NUN_TRUSTED_PROXIES says
    else:
        raise Refused(NEEDS_HTTPS)
    if scheme == "http":
        # No browser speaks HTTP/1.0, but nginx does, to what it passes requests on to, and adds no header by itself.
        if request.is_old or not _is_this_machine(client.address, connected):
            raise Refused(NEEDS_HTTPS)
        if not _is_local_name(_host(named)):
            raise Refused(OTHER_HOST)
    return scheme


def check_same_page(headers: Headers, scheme: str, *, needs_origin: bool = False) -> None:
    """Raises Refused if a page of another origin asks; with `needs_origin`, also if it is not said who does."""
    named = dict(headers)
    if sum(name == b"host" for name, _ in headers) != 1:
        raise Refused(OTHER_SITE)
    if named.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        raise Refused(OTHER_SITE)
    origin = named.get(b"origin")
    if origin is None and not needs_origin:
        return
    if origin is None or origin.lower() != f"{scheme}://".encode() + named[b"host"].lower():
        raise Refused(OTHER_SITE)


def _is_this_machine(address: str, connected: socket.socket) -> bool:
    plain = plain_address(address)
    if plain is None:
        return False
    if ipaddress.ip_address(plain).is_loopback:
        return True
    return plain == plain_address(str(connected.getsockname()[0]))


def _host(named: dict[bytes, bytes]) -> str:
    """The name in `Host`, without port and brackets."""
    host = named.get(b"host", b"").decode("latin-1").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_local_name(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return "%" not in host and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
