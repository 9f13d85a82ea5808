"""Encode HTTP responses (RFC 9112): pages, results, refusals."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Final

from pynun.protocol import messages
from pynun.transports.http.request_reader import HEAD_TOO_BIG
from pynun.transports.pages import IF_NONE_MATCH, PLAIN_TEXT
from pynun.transports.sockets import linger, send

if TYPE_CHECKING:
    import socket

    from pynun.transports.http.request_reader import Request
    from pynun.transports.pages import Page

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS: Final = {
    200: b"OK",
    204: b"No Content",
    303: b"See Other",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


def refusal(status: bytes, text: str, fields: bytes = b"", *, is_bodiless: bool = False) -> bytes:
    """A response that ends the connection and needs no complete request."""
    body = text.encode()
    head = (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n"
    )
    return head % (status, len(body), fields) + (b"" if is_bodiless else body)


HTTP_REFUSAL: Final = refusal(b"503 Service Unavailable", messages.TOO_MANY_CONNECTIONS)
"""Response to a connection beyond the limits, on the WebSocket port too, because WebSocket begins as HTTP."""

HTTP_HEAD_REFUSAL: Final = refusal(b"431 Request Header Fields Too Large", HEAD_TOO_BIG)
"""Response to a WebSocket handshake with a too large head."""

HTTP_UNFINISHED_REFUSAL: Final = refusal(b"503 Service Unavailable", messages.TOO_MUCH_UNFINISHED)
"""Response to a connection that makes the server hold too much before it is a WebSocket."""

HTTP_PLAIN_TEXT_REFUSAL: Final = refusal(b"400 Bad Request", messages.NEEDS_TLS)
"""Response to a client without TLS on a TLS port."""

HTTP_NO_TLS_REFUSAL: Final = refusal(b"400 Bad Request", messages.SPEAKS_NO_TLS)
"""Response to a TLS client on a port without TLS: it can't read it and gives up at once."""


async def refuse(connected: socket.socket, status: int, text: str, fields: bytes = b"") -> None:
    """Response to an invalid request; ends the connection."""
    await send(connected, _response(status, text.encode(), fields=fields))
    await linger(connected)


def page_response(page: Page, request: Request, fields: bytes = b"") -> bytes:
    """The response for a page, with further header lines."""
    if page.tag:
        fields = b"ETag: %b\r\n%b" % (page.tag, fields)
        if page.tag in dict(request.headers).get(IF_NONE_MATCH, b""):
            return _response(304, b"", request, fields=page.fields + fields)
    return _response(page.status, page.body, request, page.content_type, page.fields + fields)


def file_head(size: int, request: Request, fields: bytes) -> bytes:
    """The head of a response whose body is a file of so many bytes."""
    fields = _connection_field(request) + fields
    return b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: %d\r\n%b\r\n" % (_date(), size, fields)


def _response(
    status: int,
    body: bytes,
    request: Request | None = None,
    content_type: bytes = PLAIN_TEXT,
    fields: bytes = b"",
) -> bytes:
    """Head and body; without a request, the connection ends after it."""
    connection = _connection_field(request)
    if status in (204, 304):  # no body, and so no Content-Length (RFC 9110 section 8.6)
        return b"HTTP/1.1 %d %b\r\nDate: %b\r\n%b%b\r\n" % (status, _REASONS[status], _date(), connection, fields)
    head = b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n" % (
        status,
        _REASONS[status],
        _date(),
        content_type,
        len(body),
        connection,
        fields,
    )
    return head if request is not None and request.is_bodiless else head + body


def _connection_field(request: Request | None) -> bytes:
    if request is None or not request.is_kept_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if request.is_old else b""


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date header's value (RFC 9110 section 6.6.1), made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, email.utils.formatdate(now, usegmt=True).encode())
    return _dated[1]
