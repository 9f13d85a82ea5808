"""The cutter of WebSocket frames, together with wsproto for what it leaves over, means what wsproto alone means."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pynun.transports.connection_reader import Outcome
from pynun.transports.websocket.frame_reader import FrameReader
from pynun.transports.websocket.frames import FrameOutbox
from tests.fuzz.cutting import bytewise, pieces_of
from tests.fuzz.serving import MESSAGE_BYTES_MAX, Receiver, Wire, finish, new_service
from tests.transports.websocket.client_frames import Meaning

if TYPE_CHECKING:
    from pynun.transports.service import Service

_HEAD_BYTES_MAX = 14

WORDS = (
    *(
        bytes((first, 0x80 | length)) + b"\0\0\0\0"
        for first in (0x81, 0x01, 0x80, 0x82, 0x88, 0x89)
        for length in (0, 5)
    ),
    b"\x81\xfe\0\x7e\0\0\0\0",
    b"\x81\xff\0\0\0\0\0\1\0\0\0\0\0\0",
    b"wait",
    b";",
    "é🙂".encode(),
)


class _Connection:
    """A connection without its socket: what `FastPath` does with a reader's outcomes, with wsproto behind it."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.reader = FrameReader(_wire().ours, _outbox(), self.receiver, _service(), lambda text: text.split(";"))
        self.behind = Meaning()
        self.heard: list[tuple[str, bytes]] = []
        self.is_passthrough = False
        self.is_too_big = False
        self.fed_bytes = 0

    def feed(self, data: bytes) -> None:
        """Bytes that arrive."""
        if self.is_passthrough:
            self._pass(data)
        elif not self._is_over:
            self.fed_bytes += len(data)
            self._use(self.reader.feed(data))

    @property
    def _is_over(self) -> bool:
        return self.is_too_big or self.behind.close is not None

    def _use(self, outcome: Outcome) -> None:
        while True:
            if outcome is Outcome.SUSPENDED:
                finish(self.reader.suspension)
            elif outcome is Outcome.MANY:
                self.receiver.texts.append(";".join(self.reader.commands))
            self.heard += [("message", text.encode()) for text in self.receiver.texts]
            self.receiver.texts.clear()
            match outcome:
                case Outcome.SUSPENDED | Outcome.MANY | Outcome.MORE:
                    pass
                case Outcome.CONTROL:
                    frame = self.reader.take_control_frame()
                    assert 6 <= len(frame) <= 125 + 6
                    self._pass(frame)
                    if self._is_over:
                        return
                case Outcome.ODD:
                    self.is_passthrough = True
                    self._pass(self.reader.take_rest())
                    return
                case Outcome.TOO_BIG:
                    self.is_too_big = True
                    return
                case Outcome.WAIT:
                    assert len(self.reader._rest) < MESSAGE_BYTES_MAX + _HEAD_BYTES_MAX, "more is kept than one frame"
                    return
                case _:
                    raise AssertionError(outcome)
            outcome = self.reader.feed(b"")

    def _pass(self, data: bytes) -> None:
        self.behind.feed(data)
        self.heard += self.behind.heard
        self.behind.heard.clear()


@cache
def _service() -> Service:
    return new_service()


@cache
def _wire() -> Wire:
    return Wire()


@cache
def _outbox() -> FrameOutbox:
    return FrameOutbox(_wire().ours, _service().flusher, 1_000_000)


def one(data: bytes) -> None:
    """However a stream is cut, the texts and pings are those that wsproto finds in the whole, in the same order."""
    stream, pieces = pieces_of(data)
    meant = Meaning()
    meant.feed(stream)
    for cut in (pieces, [stream], *bytewise(stream)):
        connection = _Connection()
        for piece in cut:
            connection.feed(piece)
        if connection.is_too_big:
            place = connection.fed_bytes - len(connection.reader._rest)
            assert announced_bytes(stream[place:]) > MESSAGE_BYTES_MAX
            assert connection.heard == meant.heard[: len(connection.heard)]
        else:
            assert connection.heard == meant.heard
            if connection.behind.close != meant.close:
                # wsproto looks into what there is of a frame or its head; here that is done when it is complete.
                assert connection.behind.close is None
                assert not connection.is_passthrough
                assert is_incomplete(bytes(connection.reader._rest))


def is_incomplete(frame: bytes) -> bool:
    """Whether a frame, or its head, is not there to its end."""
    if len(frame) < 2:
        return True
    head = {126: 8, 127: 14}.get(frame[1] & 0x7F, 6)
    return len(frame) < head or len(frame) < head + announced_bytes(frame)


def announced_bytes(frame: bytes) -> int:
    """The length that a frame's head says."""
    length = frame[1] & 0x7F
    size = {126: 2, 127: 8}.get(length, 0)
    return int.from_bytes(frame[2 : 2 + size], "big") if size else length
