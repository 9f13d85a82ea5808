"""Count the memory of messages that trio-websocket assembles, which it does not report.

Reads only the heads of frames (RFC 6455 section 5.2) and validates nothing: trio-websocket gets the same bytes and ends
the connection if they violate the protocol.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pynun import limits

_FINAL: Final = 0x80
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_TEXT: Final = 0x01
_OPCODE: Final = 0x0F
_EXTENDED_BYTES: Final = {126: 2, 127: 8}

PIECE_BYTES: Final = 128
"""Overhead of a piece: its object and place in a list. A fragment may be empty."""


class FragmentCounter:
    """Counts the held bytes of messages in a stream of frames, from a frame boundary on."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0  # of the current frame's payload
        self._is_data = self._is_final = self._is_text = False
        self._unfinished_bytes = 0
        self._finished: deque[int] = deque()
        self.message_bytes = 0
        """Payload so far of the incomplete message."""
        self.bytes = 0
        """Bytes held of incomplete messages and of complete ones in use."""

    def done(self) -> None:
        """Release the first complete message."""
        self.bytes -= self._finished.popleft()

    def feed(self, data: bytes) -> None:
        """Count received bytes."""
        position = 0
        while position < len(data):
            if not self._left:
                position = self._feed_head(data, position)
                if self._head:
                    return
            taken = min(self._left, len(data) - position)
            self._left -= taken
            position += taken
            if self._is_data:
                held = PIECE_BYTES + taken * (limits.UNFINISHED_MESSAGES if self._is_text else 1)
                self.message_bytes += taken
                self._unfinished_bytes += held
                self.bytes += held
                if self._is_final and not self._left:
                    self._finished.append(self._unfinished_bytes)
                    self._unfinished_bytes = self.message_bytes = 0

    def _feed_head(self, data: bytes, position: int) -> int:
        """Consume available bytes of a frame's head; returns the offset of the rest. A complete head is reset."""
        head = self._head
        for place in range(position, len(data)):
            head.append(data[place])
            if len(head) < 2:
                continue
            extended = _EXTENDED_BYTES.get(head[1] & 0x7F, 0)
            if len(head) == 2 + extended + (4 if head[1] & _MASKED else 0):
                self._begin_frame(
                    head[0], int.from_bytes(head[2 : 2 + extended], "big") if extended else head[1] & 0x7F
                )
                head.clear()
                return place + 1
        return len(data)

    def _begin_frame(self, first: int, length: int) -> None:
        self._left = length
        self._is_data = not first & _CONTROL
        if self._is_data:
            self._is_final = bool(first & _FINAL)
            if first & _OPCODE:  # else it continues the message before it
                self._is_text = first & _OPCODE == _TEXT
