"""Messages as WebSocket text frames (RFC 6455), and the outbox that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.protocol import messages
from pynun.transports.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynun.engine.events import Event, Result


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        return _SHORT_HEADS[length] + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame (RFC 6455 section 5.5.1); the reason is at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


_SHORT_HEADS: Final = tuple(bytes((0x81, length)) for length in range(126))
_OK_FRAME: Final = text_frame(messages.OK.encode())


class FrameOutbox(Outbox):
    """Sends each message as one text frame (docs/protocol.md section 1, WebSocket)."""

    __slots__ = ()

    def _encode_reply(self, result: Result) -> bytes:
        if result is None:
            return _OK_FRAME
        if isinstance(result, list):
            return b"".join([text_frame(message.encode()) for message in result]) + _OK_FRAME
        return text_frame(result if isinstance(result, bytes) else result.encode()) + _OK_FRAME

    def _encode_refusal(self, own: Sequence[str], error: str) -> bytes:
        return b"".join([text_frame(message.encode()) for message in (*own, messages.error(error))])

    def _encode_event(self, event: Event) -> bytes:
        frames = event.frames
        if frames is None:
            frames = event.frames = b"".join([text_frame(text.encode()) for text in event.texts])
        return frames
