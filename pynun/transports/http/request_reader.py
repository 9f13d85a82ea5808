"""Parse HTTP requests with httptools (llhttp, the parser of Node; RFC 9112)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

from pynun import limits
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Set

HEAD_TOO_BIG: Final = "the head of the request is too big"
NO_HTTP_2: Final = "this port speaks HTTP/1.1, not HTTP/2 without an offer to upgrade"
UNKNOWN_CODING: Final = "a body may be chunked, in no other transfer coding"

_FRAMING_HEADERS: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})
"""Headers that tell where a request ends, and whether the connection does."""

Headers = tuple[tuple[bytes, bytes], ...]

_REQUEST_BYTES: Final = 256
"""Memory of a request besides its body: its object, its target."""


class Request(NamedTuple):
    """One complete request: the parts that the response needs."""

    body: bytes
    is_kept_alive: bool
    is_old: bool
    """HTTP/1.0: the response must say that the connection is kept."""
    is_bodiless: bool
    """A HEAD request: the response has no body."""
    page: bytes = b""
    """The target of a GET or HEAD without a body, which may be a page of the server."""
    method: bytes = b"POST"
    headers: Headers = ()
    """Those that the reader was asked for, and some more; names in lower case."""


class RequestReader:
    """Parses a connection's requests; httptools calls its `on_…` methods."""

    def __init__(self, body_bytes_max: int, wanted: Set[bytes] = frozenset()) -> None:
        """`wanted` are the lower-case names of the headers to keep."""
        self._parser = httptools.HttpRequestParser(self)
        self._body_bytes_max = body_bytes_max
        self._body = bytearray()  # no list of its parts: each would take as much as 50 bytes more
        self._framing_bytes = 0
        """Bytes of the next head or of trailers, received since the last complete head or part of a body."""
        self._target = b""
        self.complete: deque[Request] = deque()
        self.is_partial = False
        """Whether a request has begun and is incomplete."""
        self.begun = 0
        """Requests that have begun so far."""
        self.body_bytes = 0
        """Received bytes of the current request's body."""
        self.expects_continue = False
        """Whether the client waits for `100 Continue` (RFC 9110 section 10.1.1)."""
        self._kept_headers = _FRAMING_HEADERS | wanted
        self.headers: list[tuple[bytes, bytes]] = []
        """The wanted headers of the current request."""
        self._is_head_complete = False
        self.refusal: tuple[int, str] | None = None
        """Status and text for an invalid request; nothing is read after it."""

    @property
    def held_bytes(self) -> int:
        """Bytes kept, including complete requests and the start of the next one."""
        waiting = sum(_REQUEST_BYTES + len(request.body) for request in self.complete)
        return waiting + len(self._body) + self._framing_bytes

    @property
    def head(self) -> Headers | None:
        """The headers of a request whose body has not arrived yet; None without one."""
        return tuple(self.headers) if self.is_partial and self._is_head_complete else None

    def forget(self) -> None:
        """Discard all received and further input."""
        self.complete.clear()
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        rest: bytes | memoryview = data
        try:
            while rest:
                try:
                    self._parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._ignore_upgrade()
        except httptools.HttpParserError as error:
            if self.refusal is None:
                is_http_2 = self._target == b"*" and self._parser.get_method() == b"PRI"  # RFC 9113 section 3.4
                self.refusal = (505, NO_HTTP_2) if is_http_2 else (400, f"not a valid HTTP request: {error}")
        if self._framing_bytes > limits.HANDSHAKE_BYTES_MAX:  # httptools keeps a header until it is complete
            self.refusal = (431, HEAD_TOO_BIG)

    def _ignore_upgrade(self) -> None:
        """Go on with a request that offers another protocol as if it did not (RFC 9110 section 7.8).

        httptools stops after such a head. A new parser reads what the head says of the body, and then the body.
        """
        parser = self._parser
        method = parser.get_method()
        is_tunnel = method == b"CONNECT"
        lines = [
            b"%b %b HTTP/%b"
            % (
                b"POST" if is_tunnel else method,
                b"/" if is_tunnel else self._target,
                parser.get_http_version().encode(),
            ),
            *(b"%b: %b" % header for header in self.headers),
            b"\r\n",
        ]
        self.begun -= 1  # still the same request
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"\r\n".join(lines))

    def on_message_begin(self) -> None:
        self.is_partial = True
        self.begun += 1
        self.headers = []
        self._is_head_complete = False
        self._target = b""

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_complete:
            return  # a trailer, which says nothing about the request (RFC 9110 section 6.5.1)
        name = name.lower()
        value = value.rstrip(b" \t")  # llhttp leaves the blanks that are no part of it (RFC 9110 section 5.5)
        if name in self._kept_headers:
            self.headers.append((name, value))
            if name == b"content-length" and value.isdigit() and int(value) > self._body_bytes_max:
                self.refusal = (413, messages.MESSAGE_TOO_BIG)
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self.refusal = (501, UNKNOWN_CODING)
        elif name == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self._framing_bytes = 0
        self._is_head_complete = True

    def on_body(self, data: bytes) -> None:
        self._framing_bytes = 0
        self.body_bytes += len(data)
        if self.body_bytes > self._body_bytes_max:
            self.refusal = (413, messages.MESSAGE_TOO_BIG)
        else:
            self._body += data

    def on_message_complete(self) -> None:
        parser = self._parser
        if self.refusal is not None or parser.should_upgrade():
            return  # run nothing of a refused request, even if it ends in the same read; `_ignore_upgrade` continues
        method = parser.get_method()
        request = Request(
            body=bytes(self._body),
            is_kept_alive=parser.should_keep_alive(),
            is_old=parser.get_http_version() == "1.0",
            is_bodiless=method == b"HEAD",
            page=self._target if not self.body_bytes and method in (b"GET", b"HEAD") else b"",
            method=method,
            headers=tuple(self.headers),
        )
        self.complete.append(request)
        self._body = bytearray()
        self.body_bytes = 0
        self._framing_bytes = 0
        self.is_partial = self.expects_continue = False
