"""HTTP/1.1 as etcd's gateway speaks it: requests to bytes, bytes to responses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import httptools

from pynun.cluster.etcd.errors import EtcdError

if TYPE_CHECKING:
    from pynun.cluster.etcd.gateway import Request


class Response(NamedTuple):
    """A complete response."""

    status: int
    body: bytes
    is_kept_alive: bool


class ResponseError(Exception):
    """What came is no HTTP response."""


def encode(request: Request[Any], host: str, token: str | None) -> bytes:
    """A request as bytes."""
    head = f"POST {request.path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(request.body)}\r\n"
    if token is not None:
        head += f"Authorization: {token}\r\n"
    # The stream ends when the member loses its leader: then it would tell nothing, perhaps for long.
    head += "Content-Type: application/json\r\nGrpc-Metadata-hasleader: true\r\n\r\n"
    return head.encode() + request.body


class ResponseReader:
    """Parses the response to one request after another; httptools calls its `on_…` methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._complete: Response | None = None

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; the response, once it is complete. Raises ResponseError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ResponseError(f"no HTTP response: {error}") from None
        response, self._complete = self._complete, None
        return response

    def lines(self) -> list[bytes]:
        """Take the complete lines of the body so far, of a response that is a stream."""
        *lines, rest = b"".join(self._parts).split(b"\n")
        self._parts = [rest] if rest else []
        return [line for line in lines if line]

    @property
    def status(self) -> int:
        """The status of the response whose head has come; 0 before."""
        return int(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """The response is complete."""
        body = b"".join(self._parts)
        self._parts = []
        self._complete = Response(self.status, body, bool(self._parser.should_keep_alive()))


def refuse_stream(response: Response) -> EtcdError:
    """The error of a stream's response that ended at once, without a message."""
    return EtcdError(2, f"answered {response.status}: {response.body[:200].decode(errors='replace').strip()}")
