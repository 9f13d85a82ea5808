"""HTTP requests out of what arrives, parsed by httptools (llhttp, the parser of Node; RFC 9112)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import httptools

from pynun import limits
from pynun.language import messages

HEAD_TOO_BIG: Final = "the head of the request is too big"

_REQUEST_BYTES: Final = 256
"""What a request takes besides its body: its object, its target."""


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request, as far as it matters to the answer."""

    body: bytes
    is_kept_alive: bool
    is_old: bool
    """HTTP/1.0: the client has to be told that the connection is kept."""
    is_bodiless: bool
    """A HEAD request: the answer has a head only."""
    page: bytes = b""
    """The target of a GET or HEAD without a body, which may be one of the server's own pages."""


class RequestReader:
    """The requests out of a connection's bytes: httptools calls it back (the `on_…` methods) as it parses."""

    def __init__(self, body_bytes_max: int) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body_bytes_max = body_bytes_max
        self._body = bytearray()  # no list of its parts: each would take as much as 50 bytes more
        self._framing_bytes = 0
        """What has arrived since a head was complete or a part of a body came: of the next head, or of trailers."""
        self._target = b""
        self.complete: deque[Request] = deque()
        self.is_partial = False
        """Whether a request has begun and is not complete."""
        self.begun = 0
        """Requests that have begun so far."""
        self.body_bytes = 0
        """What has arrived of the body of the request that has begun."""
        self.expects_continue = False
        """Whether the client waits for leave to send the body (RFC 9110 section 10.1.1)."""
        self._announced_bytes = 0
        self._is_chunked = False
        self._upgrade: Request | None = None  # asked for another protocol, and its body is not complete
        self.refusal: tuple[int, str] | None = None
        """Status and text if what came is no request that can be answered; nothing is read after it."""

    @property
    def held_bytes(self) -> int:
        """What is kept, of requests that are complete too: the beginning of the next one, and what it takes itself."""
        waiting = sum(_REQUEST_BYTES + len(request.body) for request in self.complete)
        return waiting + len(self._body) + self._framing_bytes

    def forget(self) -> None:
        """Nothing of what has arrived is used any more, nor is anything that follows."""
        self.complete = deque()  # another: somebody may be going through it
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        if self._upgrade is not None:
            self._feed_upgrade(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Whoever asks for another protocol gets an answer in this one. llhttp stops behind the head.
            self._feed_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self.refusal is None:
                self.refusal = (400, f"not a valid HTTP request: {error}")
        if self._framing_bytes > limits.HANDSHAKE_BYTES_MAX:  # httptools keeps a header until it is complete
            self.refusal = (431, HEAD_TOO_BIG)

    def on_message_begin(self) -> None:
        self.is_partial = True
        self.begun += 1
        self._announced_bytes = 0
        self._is_chunked = False
        self._target = b""

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if name[:1] in b"Cc" and name.lower() == b"content-length":
            self._announced_bytes = int(value) if value.isdigit() else 0
            if self._announced_bytes > self._body_bytes_max:
                self.refusal = (413, messages.MESSAGE_TOO_BIG)
        elif name[:1] in b"Tt" and name.lower() == b"transfer-encoding":
            self._is_chunked = True
        elif name[:1] in b"Ee" and name.lower() == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self._framing_bytes = 0

    def on_body(self, data: bytes) -> None:
        self._framing_bytes = 0
        self.body_bytes += len(data)
        if self.body_bytes > self._body_bytes_max:
            self.refusal = (413, messages.MESSAGE_TOO_BIG)
        else:
            self._body += data

    def on_message_complete(self) -> None:
        if self.refusal is not None:
            return  # nothing is run of what is refused, even if it ends in the same read
        parser = self._parser
        method = parser.get_method()
        request = Request(
            body=bytes(self._body),
            is_kept_alive=parser.should_keep_alive() and not parser.should_upgrade(),
            is_old=parser.get_http_version() == "1.0",
            is_bodiless=method == b"HEAD",
            page=self._target if not self.body_bytes and method in (b"GET", b"HEAD") else b"",
        )
        if parser.should_upgrade():
            self._upgrade = request
            return
        self.complete.append(request)
        self._body = bytearray()
        self.body_bytes = 0
        self._framing_bytes = 0
        self.is_partial = self.expects_continue = False

    def _feed_upgrade(self, data: bytes) -> None:
        """The body of a request that asks for another protocol, by its announced length."""
        assert self._upgrade is not None
        self._framing_bytes = 0
        if self._is_chunked:
            self.refusal = (400, "not a valid HTTP request: a chunked body with an Upgrade header")
            return
        self._body += data
        self.body_bytes += len(data)
        if self.body_bytes >= self._announced_bytes and self.refusal is None:
            body = bytes(self._body[: self._announced_bytes])
            self.complete.append(replace(self._upgrade, body=body, page=b"" if body else self._upgrade.page))
            self._body = bytearray()
            self.is_partial = self.expects_continue = False
