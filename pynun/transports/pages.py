"""What the HTTP port answers to a GET on paths of its own; any other request is a body of commands.

A page is asked for by GET or HEAD without a body (docs/monitoring.md). The server says which pages there are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

import httptools

PLAIN_TEXT: Final = b"text/plain; charset=UTF-8"


class Page(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: bytes = PLAIN_TEXT
    fields: bytes = b""
    """Further header lines, each with its end."""


Pages = Mapping[bytes, Callable[[], Awaitable[Page]]]
"""What makes each page, by its path."""


UNAUTHORIZED: Final = Page(
    401,
    b"wrong user or password: the administrator's are needed (HTTP Basic), or none; a proxy that asks for a password of"
    b" its own has to remove the header Authorization\n",
    fields=b'WWW-Authenticate: Basic realm="nun-db", charset="UTF-8"\r\n',
)


LOGIN_HEADERS: Final = frozenset({b"authorization"})


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


def path_of(target: bytes) -> bytes:
    """The path in a request's target, without its query: `/metrics?x=1` and `http://host/metrics` are `/metrics`."""
    try:
        return httptools.parse_url(target).path or b""
    except httptools.HttpParserError:
        return b""
