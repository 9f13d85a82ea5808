"""WebSocket frames as a client makes them, right and wrong, and what wsproto takes them for (RFC 6455 section 5)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
LENGTHS = (0, 1, 2, 125, 126, 127, 65535, 65536)
"""Where the length of a frame is written in another way than just before."""

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Stream(bytes):
    """Bytes that show no more of themselves than can be read."""

    def __repr__(self) -> str:
        return super().__repr__() if len(self) <= 300 else f"<{len(self)} bytes: {self[:100]!r}… {self[-100:]!r}>"


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload, each byte xor that of the mask (section 5.3)."""
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if any(mask) else payload


def frame(
    first: int, payload: bytes, *, mask: bytes | None = b"\x37\xfa\x21\x3d", length_bytes: int | None = None
) -> bytes:
    """One frame: `first` is its first byte; without a mask it is not masked; the length may be written too long."""
    length = len(payload)
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    head = {0: length, 2: 126, 8: 127}[length_bytes] | (0 if mask is None else 0x80)
    extended = length.to_bytes(length_bytes, "big") if length_bytes else b""
    return bytes((first, head)) + extended + (payload if mask is None else mask + masked(payload, mask))


def text(message: str, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """A plain text frame."""
    return frame(FIN | TEXT, message.encode(), mask=mask)


class Expected(NamedTuple):
    """What wsproto takes a stream for."""

    texts: list[str]
    """Messages, text and binary, that are complete before anything is wrong."""
    pings: list[bytes]
    close: int | None
    """The code of the close frame that came, or 1002 or 1007 for what is wrong; None if the stream just ends."""
    is_refused_by_us: bool = False
    """Whether the protocol has nothing against it: pings behind it may still be answered (section 5.5.1)."""


class Meaning:
    """What a stream of frames means, by an implementation that knows nothing of ours; fed in any pieces."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        """Complete messages ("message", its bytes) and pings ("ping", its payload), in their order."""
        self.close: int | None = None
        """The code of the close frame that came, or 1002 or 1007 for what is wrong: nothing more is heard."""
        self.is_refused_by_us = False
        self._connection = Connection(ConnectionType.SERVER)
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        if self.close is not None:
            return
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if not self._take(event):
                    return
        except RemoteProtocolError as error:
            hint = error.event_hint
            self.close = hint.code if isinstance(hint, CloseConnection) else 1002

    def _take(self, event: Event) -> bool:
        match event:
            case TextMessage() | BytesMessage():
                self._parts.append(event.data.encode() if isinstance(event, TextMessage) else bytes(event.data))
                if event.message_finished:
                    message, self._parts = b"".join(self._parts), []
                    try:
                        message.decode()
                    except UnicodeDecodeError:  # a binary message that is no text
                        self.is_refused_by_us = True
                        self.close = 1007
                    else:
                        self.heard.append(("message", message))
            case Ping():
                self.heard.append(("ping", bytes(event.payload)))
            case CloseConnection():
                self.close = event.code
        return self.close is None


def expected(stream: bytes) -> Expected:
    """What a whole stream of frames means."""
    meaning = Meaning()
    meaning.feed(stream)
    texts = [data.decode() for kind, data in meaning.heard if kind == "message"]
    pings = [data for kind, data in meaning.heard if kind == "ping"]
    return Expected(texts, pings, meaning.close, meaning.is_refused_by_us)


class Received(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes


def frames_of(data: bytes) -> list[Received]:
    """The server's frames: unmasked and unfragmented, their lengths written as short as can be."""
    found = []
    while data:
        first, length = data[0], data[1]
        assert first & 0xF0 == FIN
        size = {126: 2, 127: 8}.get(length, 0)
        if size:
            length = int.from_bytes(data[2 : 2 + size], "big")
            assert length >= (126 if size == 2 else 65536)
        assert len(data) >= 2 + size + length
        found.append(Received(first & 0x0F, data[2 + size : 2 + size + length]))
        data = data[2 + size + length :]
    return found


def close_payload(code: int, reason: str = "") -> bytes:
    """What a close frame holds (section 5.5.1)."""
    return struct.pack(">H", code) + reason.encode()


# --- drawn -----------------------------------------------------------------------------------------------------

masks = st.sampled_from((b"\x37\xfa\x21\x3d", b"\0\0\0\0", b"\xff\0\xff\0"))
messages = st.one_of(
    st.sampled_from(("", "get a", "set a two words", "é🙂")),
    st.text(max_size=20),
    st.builds(lambda length, letter: letter * length, st.sampled_from(LENGTHS), st.sampled_from("xé")).filter(
        lambda message: len(message.encode()) < 150_000
    ),
)
_not_utf8 = st.sampled_from((b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc3\x28", b"\xf4\x90\x80\x80"))


@st.composite
def fragmented(draw: st.DrawFn, opcode: int = TEXT) -> bytes:
    """A message in fragments, which may cut characters, with control frames between them."""
    payload = draw(messages).encode()
    ends = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=3)))
    pieces = [payload[first:last] for first, last in zip([0, *ends], [*ends, len(payload)], strict=True)]
    stream = b""
    for place, piece in enumerate(pieces):
        stream += frame(
            (opcode if place == 0 else CONTINUATION) | (FIN if place == len(pieces) - 1 else 0), piece, mask=draw(masks)
        )
        if place < len(pieces) - 1 and draw(st.booleans()):
            stream += frame(FIN | PING, b"between")
    return stream


plain = st.builds(text, messages, masks)
control = st.one_of(
    st.builds(lambda payload, mask: frame(FIN | PING, payload, mask=mask), st.binary(max_size=125), masks),
    st.builds(lambda payload, mask: frame(FIN | PONG, payload, mask=mask), st.binary(max_size=125), masks),
)
binary = st.builds(lambda message, mask: frame(FIN | BINARY, message.encode(), mask=mask), messages, masks)
"""Frames that must be understood, by the fast path or by trio-websocket."""

closing = st.builds(
    lambda code, reason: frame(FIN | CLOSE, close_payload(code, reason)),
    st.sampled_from((1000, 1001, 1011, 3000, 4999)),
    st.text(max_size=20),
) | st.just(frame(FIN | CLOSE, b""))

wrong = st.one_of(
    st.builds(lambda payload: frame(FIN | TEXT, payload), _not_utf8),
    st.builds(lambda payload: frame(TEXT, payload) + frame(FIN | CONTINUATION, b""), _not_utf8),
    st.builds(lambda payload: frame(FIN | BINARY, payload), _not_utf8),
    st.sampled_from(
        (
            frame(FIN | TEXT, b"not masked", mask=None),
            frame(FIN | PING, b"not masked", mask=None),
            frame(FIN | TEXT, b"too long a way to say 42", length_bytes=2),
            frame(FIN | TEXT, b"x" * 200, length_bytes=8),
            frame(FIN | PING, b"x" * 126),
            frame(PING, b"a control frame in fragments"),
            frame(FIN | CONTINUATION, b"of nothing"),
            frame(TEXT, b"begun") + frame(FIN | TEXT, b"and begun again"),
            *(frame(FIN | opcode, b"reserved") for opcode in (3, 7, 11, 15)),
            *(frame(FIN | rsv | TEXT, b"reserved") for rsv in (0x40, 0x20, 0x10)),
            frame(FIN | CLOSE, b"x"),
            frame(FIN | CLOSE, close_payload(1005)),
            frame(FIN | CLOSE, close_payload(1000) + b"\xff"),
        )
    ),
)
