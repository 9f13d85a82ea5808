"""What the HTTP port answers to a GET on paths of its own; any other request is a body of commands.

A page is asked for by GET or HEAD without a body (docs/monitoring.md). The server says which pages there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import httptools

PLAIN_TEXT: Final = b"text/plain; charset=UTF-8"


class Page(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    content_type: bytes = PLAIN_TEXT


Pages = Mapping[bytes, Callable[[], Awaitable[Page]]]
"""What makes each page, by its path."""


def path_of(target: bytes) -> bytes:
    """The path in a request's target, without its query: `/metrics?x=1` and `http://host/metrics` are `/metrics`."""
    try:
        return httptools.parse_url(target).path or b""
    except httptools.HttpParserError:
        return b""
