"""What the HTTP port answers to a GET on paths of its own; any other request is a body of commands.

A page is asked for by GET or HEAD without a body (docs/monitoring.md). The server says which pages there are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import httptools

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    import trio

    from pynun.transports.client_address import Client

PLAIN_TEXT: Final = b"text/plain; charset=UTF-8"


class Page(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: bytes = PLAIN_TEXT
    fields: bytes = b""
    """Further header lines, each with its end."""
    tag: bytes = b""
    """The entity tag by which a browser asks whether what it keeps is still current (RFC 9110 section 8.8.3)."""


class FilePage(NamedTuple):
    """An answer whose body is a file, sent in pieces."""

    path: Path
    fields: bytes = b""
    """Further header lines, each with its end."""


class Socket(NamedTuple):
    """An answer after which the connection is a WebSocket."""

    serve: Callable[[socket.socket, trio.Event, Client], Awaitable[None]]


class PageRequest(Protocol):
    """A GET or HEAD without a body."""

    @property
    def page(self) -> bytes:
        """Its target."""

    @property
    def method(self) -> bytes:
        """GET or HEAD."""

    @property
    def is_old(self) -> bool:
        """Whether it is HTTP/1.0."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its headers, as far as they were kept; names in lower case."""


class Console(Protocol):
    """The web console, as the HTTP port sees it."""

    def owns(self, request: PageRequest) -> bool:
        """Whether a request without a body is for the console. Decided without its login."""

    async def answer(self, request: PageRequest, connected: socket.socket, client: Client) -> Page | FilePage | Socket:
        """The answer to such a request, whose client is known (`Client.identify`)."""


PROXY_HEADERS: Final = frozenset(
    {
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"),
        *(b"x-forwarded", b"x-forwarded-server", b"x-forwarded-scheme", b"x-real-ip", b"x-client-ip"),
        *(b"x-cluster-client-ip", b"x-original-forwarded-for", b"true-client-ip", b"cf-connecting-ip"),
    }
)
"""Headers that proxies add, in lower case."""


CONSOLE_HEADERS: Final = PROXY_HEADERS | frozenset(
    {
        *(b"host", b"origin", b"cookie", b"accept", b"sec-fetch-site", b"x-nun-console"),
        *(b"sec-websocket-key", b"sec-websocket-version"),
    }
)
"""What of a request decides about a page of the console."""


Pages = Mapping[bytes, Callable[[], Awaitable[Page]]]
"""What makes each page, by its path."""


UNAUTHORIZED: Final = Page(
    401,
    b"wrong user or password: the administrator's are needed (HTTP Basic), or none; a proxy that asks for a password of"
    b" its own has to remove the header Authorization\n",
    fields=b'WWW-Authenticate: Basic realm="nun-db", charset="UTF-8"\r\n',
)


LOGIN_HEADERS: Final = frozenset({b"authorization"})

CORS_FIELD: Final = b"Access-Control-Allow-Origin: *\r\n"
"""Lets the scripts of every page read a response (the Fetch standard, section 3.2)."""

IF_NONE_MATCH: Final = b"if-none-match"


def entity_tag(content: bytes) -> bytes:
    """The tag of a page with this content."""
    return b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()


def basic_credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """User and password of an Authorization header (RFC 7617); None if it holds none."""
    scheme, _, encoded = dict(headers).get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def query_of(target: bytes) -> bytes:
    """The query in a request's target, without its `?`."""
    try:
        return httptools.parse_url(target).query or b""
    except httptools.HttpParserError:
        return b""


def path_of(target: bytes) -> bytes:
    """The path in a request's target, without its query: `/metrics?x=1` and `http://host/metrics` are `/metrics`."""
    try:
        return httptools.parse_url(target).path or b""
    except httptools.HttpParserError:
        return b""
