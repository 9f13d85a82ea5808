"""The reader of HTTP requests: what it takes a stream for does not depend on its cuts, and is what h11 takes it for."""

from __future__ import annotations

from typing import NamedTuple

import h11

from pynun import limits
from pynun.transports.http.request_reader import RequestReader
from tests.fuzz.cutting import bytewise, pieces_of

BODY_BYTES_MAX = 300

WORDS = (
    b"POST / HTTP/1.1\r\nHost: x\r\n",
    b"GET / HTTP/1.0\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n\r\n",
    b"5\r\nget a\r\n",
    b"0\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
)


class _Outcome(NamedTuple):
    """What became of a stream."""

    bodies: list[bytes]
    """Of the requests that are answered."""
    is_refused: bool
    """Whether what is behind them is refused. Which of several faults is named may depend on the cut."""
    is_ended: bool
    """Whether the connection ends with the last request."""


def _read(pieces: list[bytes]) -> _Outcome:
    """What `serve_http` would answer, as far as the reader decides it."""
    reader = RequestReader(BODY_BYTES_MAX)
    bodies: list[bytes] = []
    for piece in pieces:
        reader.feed(piece)
        while reader.complete:
            request = reader.complete.popleft()
            assert len(request.body) <= BODY_BYTES_MAX
            bodies.append(request.body)
            if not request.is_kept_alive:
                return _Outcome(bodies, False, True)
        if reader.refusal is not None:
            status, text = reader.refusal
            assert status in (400, 413, 431, 501, 505)
            assert text
            return _Outcome(bodies, True, True)
        assert len(reader._body) <= BODY_BYTES_MAX
        assert reader._framing_bytes <= limits.HANDSHAKE_BYTES_MAX
    return _Outcome(bodies, False, False)


def _h11_bodies(stream: bytes) -> list[bytes]:
    """The bodies of the requests at the start of the stream that h11 has nothing against."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    bodies: list[bytes] = []
    body = b""
    try:
        while True:
            event = connection.next_event()
            match event:
                case h11.Request():
                    body = b""
                case h11.Data():
                    body += bytes(event.data)
                case h11.EndOfMessage():
                    bodies.append(body)
                    connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    connection.send(h11.EndOfMessage())
                    if connection.states[h11.CLIENT] is not h11.DONE:
                        return bodies  # it does not keep the connection
                    connection.start_next_cycle()
                case _:
                    return bodies
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return bodies


def one(data: bytes) -> None:
    """Any bytes give requests and at most one refusal, however they are cut; both parsers see the same bodies."""
    stream, pieces = pieces_of(data)
    whole = _read([stream])
    for cut in (pieces, *bytewise(stream)):
        assert _read(cut) == whole
    theirs = _h11_bodies(stream)
    both = min(len(theirs), len(whole.bodies))
    assert whole.bodies[:both] == theirs[:both]
