"""How much a connection holds whose frames trio-websocket assembles: it does not say, so the frames are counted.

Only the heads of frames are looked at (RFC 6455 section 5.2), and nothing is judged: trio-websocket sees the same bytes
and ends the connection if they are against the protocol.
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
"""What a piece takes besides its bytes: its object, its place in a list. A fragment may be empty."""


class FragmentCounter:
    """Counts what is held of the messages in a stream of frames, which begins with a frame."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0  # of the payload of the frame that has begun
        self._is_data = self._is_final = self._is_text = False
        self._unfinished_bytes = 0
        self._finished: deque[int] = deque()
        self.message_bytes = 0
        """The payload so far of the message that is not complete."""
        self.bytes = 0
        """What is held of messages that are not complete, or are complete and not done with."""

    def done(self) -> None:
        """The first of the complete messages is done with."""
        self.bytes -= self._finished.popleft()

    def feed(self, data: bytes) -> None:
        """Bytes that arrived."""
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
        """Take what there is of a frame's head; return where the rest begins. The head is then empty, if it was all."""
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
