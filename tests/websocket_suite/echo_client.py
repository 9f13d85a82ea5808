"""A client of the echo server that answers nothing by itself and keeps every frame it gets, in order."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_PONG,
    OPCODE_TEXT,
    WebSocketClient,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.clients.server import Address

WHOLE: Final = 1 << 30


class Frame(NamedTuple):
    """What the server sent. Of a close frame only the code is kept: the reason is for people."""

    opcode: int
    payload: bytes


def text(payload: bytes) -> Frame:
    """The echo of a text message."""
    return Frame(OPCODE_TEXT, payload)


def binary(payload: bytes) -> Frame:
    """The echo of a binary message."""
    return Frame(OPCODE_BINARY, payload)


def pong(payload: bytes) -> Frame:
    """The answer to a ping."""
    return Frame(OPCODE_PONG, payload)


def closed(code: int | None) -> Frame:
    """The server's close frame, with a code or without one."""
    return Frame(OPCODE_CLOSE, b"" if code is None else struct.pack("!H", code))


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """The client's close frame."""
    return encode_frame(OPCODE_CLOSE, struct.pack("!H", code) + reason)


class EchoClient(WebSocketClient):
    """Keeps what arrives in `frames`."""

    def __init__(self, address: Address) -> None:
        self.frames: list[Frame] = []
        super().__init__(address)

    def _take_frame(self, opcode: int, is_final: bool, payload: bytes) -> None:
        assert is_final, "this server does not fragment what it sends"
        self.frames.append(Frame(opcode, payload[:2] if opcode == OPCODE_CLOSE else payload))

    def send_chunks(self, data: bytes, chunk_bytes: int) -> None:
        """Send bytes in pieces; a server that has seen enough may end the connection before the last of them."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(data), chunk_bytes):
                self.send_bytes(data[start : start + chunk_bytes])


def check_echo(address: Address, sent: Iterable[bytes], expected: list[Frame], *, chunk_bytes: int = WHOLE) -> None:
    """Send frames on a connection of their own, and see exactly what the server answers up to its end.

    Where no close frame is expected, one is sent behind the frames, so that nothing more can come unseen.
    """
    data = b"".join(sent)
    if not expected or expected[-1].opcode != OPCODE_CLOSE:
        data += close_frame(1000)
        expected = [*expected, closed(1000)]
    with EchoClient(address) as client:
        client.send_chunks(data, chunk_bytes)
        assert client.wait_end(), f"the server did not end the connection; it sent {client.frames}"
        assert client.frames == expected
