"""The reader of TCP lines does what four lines of Python say of the whole stream."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pynun.protocol import messages
from pynun.transports.connection_reader import Outcome
from pynun.transports.tcp.lines import LineOutbox, LineReader
from tests.fuzz.cutting import bytewise, pieces_of
from tests.fuzz.serving import MESSAGE_BYTES_MAX, Receiver, Wire, finish, new_service

if TYPE_CHECKING:
    from pynun.transports.service import Service

WORDS = (b"\n", b"\r\n", b"wait", b"get a\n", b"\xff\n", "é🙂".encode(), b"x" * 200, b"\n" * 64)

_INVALID = messages.error(messages.INVALID_UTF8).encode()


@cache
def _service() -> Service:
    return new_service()


@cache
def _wire() -> Wire:
    return Wire()


def _read(pieces: list[bytes]) -> tuple[list[str], int, bool]:
    """The lines that were run, how many were refused as no text, and whether one was too long."""
    service, wire = _service(), _wire()
    receiver = Receiver()
    reader = LineReader(wire.ours, LineOutbox(wire.ours, service.flusher, 1_000_000), receiver, service)
    outcome = Outcome.WAIT
    for piece in pieces:
        outcome = reader.feed(piece)
        while outcome in (Outcome.SUSPENDED, Outcome.MORE):
            if outcome is Outcome.SUSPENDED:
                finish(reader.suspension)
            outcome = reader.feed(b"")
        if outcome is Outcome.TOO_BIG:
            break
        assert outcome is Outcome.WAIT
        assert len(reader._rest) <= MESSAGE_BYTES_MAX
    service.flusher.flush()
    refused, rest = divmod(len(said := wire.take()), len(_INVALID))
    assert rest == 0
    assert said == _INVALID * refused
    return receiver.texts, refused, outcome is Outcome.TOO_BIG


def _meant(stream: bytes) -> tuple[list[str], int, bool]:
    texts: list[str] = []
    refused = 0
    *lines, rest = stream.split(b"\n")
    for line in lines:
        if len(line) > MESSAGE_BYTES_MAX:
            return texts, refused, True
        try:
            texts.append(line.decode().removesuffix("\r"))
        except UnicodeDecodeError:
            refused += 1
    return texts, refused, len(rest) > MESSAGE_BYTES_MAX


def one(data: bytes) -> None:
    """However a stream is cut, the lines are those between its newlines; what is no text is refused, by itself."""
    stream, pieces = pieces_of(data)
    meant = _meant(stream)
    for cut in (pieces, [stream], *bytewise(stream)):
        assert _read(cut) == meant
