"""The WebSocket connection, fast path and trio-websocket together, fed with any frames in any pieces.

wsproto says what a stream means; how it is cut must not matter.
"""

from __future__ import annotations

import gc
import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio_websocket import WebSocketConnection

from pynun.protocol import messages as wire
from pynun.transports.websocket.connection import serve_receiver
from pynun.transports.websocket.frames import FrameOutbox, close_frame, text_frame
from tests.properties.effort import effort
from tests.transports.service_bench import MESSAGE_BYTES_MAX, converse, cut, open_service
from tests.transports.websocket import client_frames as frames
from tests.transports.websocket.client_frames import (
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    Received,
    expected,
    frame,
    frames_of,
    text,
)

if TYPE_CHECKING:
    import socket

    from pynun.engine.effects import Suspension

pytestmark = pytest.mark.timeout(300)


class Echo:
    """Executes a text by keeping it and replying with it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.outbox: FrameOutbox | None = None

    def execute(self, text: str) -> Suspension | None:
        """Keep it, reply."""
        assert self.outbox is not None
        self.texts.append(text)
        self.outbox.reply(text, 0)
        return None


class Result(NamedTuple):
    """What became of a stream."""

    texts: list[str]
    frames: list[Received]

    @property
    def replies(self) -> list[Received]:
        """The text frames."""
        return [one for one in self.frames if one.opcode == TEXT]

    @property
    def pongs(self) -> list[bytes]:
        """What the pongs held."""
        return [one.payload for one in self.frames if one.opcode == PONG]

    @property
    def close(self) -> int | None:
        """The code of the close frame; None if none came, 1005 if it holds none."""
        payloads = [one.payload for one in self.frames if one.opcode == CLOSE]
        assert len(payloads) <= 1
        if not payloads:
            return None
        assert all(
            one.opcode in (CLOSE, PONG) for one in self.frames[self.frames.index(Received(CLOSE, payloads[0])) :]
        )
        return int.from_bytes(payloads[0][:2], "big") if payloads[0] else 1005


def talk(*streams: list[bytes]) -> list[Result]:
    """Each stream of pieces to a connection of its own, behind a handshake."""

    async def main() -> list[Result]:
        results = []
        async with open_service() as service:
            for pieces in streams:
                echo = Echo()

                async def serve(ours: socket.socket, echo: Echo = echo) -> None:
                    outbox = echo.outbox = FrameOutbox(ours, service.flusher, service.outbox_bytes_max)
                    await serve_receiver(
                        ours, service, trio.Event(), outbox, echo, lambda message: [message], lambda: None
                    )

                received = await converse(service, serve, [frames.HANDSHAKE, *pieces])
                head, _, rest = received.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 ")
                results.append(Result(echo.texts, frames_of(rest)))
        return results

    return trio.run(main)


def replies_to(texts: list[str]) -> list[Received]:
    """The frames that an echo answers with."""
    return [Received(TEXT, payload) for message in texts for payload in (message.encode(), wire.OK.encode())]


def check(result: Result, stream: bytes) -> None:
    """A result is what wsproto takes the stream for."""
    meant = expected(stream)
    assert result.texts == meant.texts
    assert result.replies == replies_to(meant.texts)
    assert result.pongs[: len(meant.pings)] == meant.pings
    assert len(result.pongs) == len(meant.pings) or meant.is_refused_by_us
    assert result.close == meant.close


# --- text is UTF-8, all of it and nothing else (RFC 6455 section 8.1; the numbers are the public suite's) ------------

VALID_TEXTS = [
    "Hello-µ@ßöäüàá-UTF-8!!",  # 6.2.1
    "κόσμε",  # 6.5.1
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",  # 6.21.1: the last before the surrogates
    "\ue000",  # and the first behind them
    "\ufffd",
    "\ufffe\uffff",  # 6.22: noncharacters are characters
    "\U00010000",
    "\U0001fffe\U0010fffe",
    "\U0010ffff",  # 6.9.4: the last of all
]

INVALID_TEXTS = {
    "a-code-point-out-of-range": "f4908080",  # 6.4.1
    "a-text-with-one-in-its-middle": "cebae1bdb9cf83cebcceb5f4908080656469746564",  # 6.3.1
    "the-first-byte-of-five": "f888808080",
    "the-first-byte-of-six": "fc8480808080",
    "continuation-alone": "80",  # 6.12
    "continuations-alone": "80bf80bf80bf",
    "a-first-byte-alone": "c3",  # 6.14.1
    "a-first-byte-and-a-letter": "c320",  # 6.13.1
    "three-bytes-less-one": "e0a0",  # 6.14.2
    "four-bytes-less-one": "f0908d",  # 6.14.3
    "an-impossible-byte": "fe",  # 6.16.1
    "another-impossible-byte": "ff",  # 6.16.2
    "overlong-in-two": "c0af",  # 6.17.1
    "overlong-in-three": "e080af",  # 6.17.2
    "overlong-in-four": "f08080af",  # 6.17.3
    "overlong-at-the-border-of-two": "c1bf",  # 6.18.1
    "overlong-at-the-border-of-three": "e09fbf",  # 6.18.2
    "overlong-at-the-border-of-four": "f08fbfbf",  # 6.18.3
    "overlong-zero": "c080",  # 6.19.1
    "the-first-surrogate": "eda080",  # 6.20.1
    "the-last-surrogate": "edbfbf",
    "a-pair-of-surrogates": "eda080edb080",  # 6.20.5
}


@pytest.mark.parametrize("is_fragmented", [False, True])
@pytest.mark.parametrize("is_bytewise", [False, True])
def test_text_is_utf8(is_fragmented: bool, is_bytewise: bool) -> None:
    """As one frame, or with a fragment for each byte; sent at once, or byte by byte."""

    def stream_of(payload: bytes) -> bytes:
        if not is_fragmented:
            return frame(FIN | TEXT, payload)
        ends = len(payload) - 1
        return b"".join(
            frame((0 if place else TEXT) | (FIN if place == ends else 0), payload[place : place + 1])
            for place in range(len(payload))
        )

    payloads = [message.encode() for message in VALID_TEXTS]
    payloads += [b"text " + bytes.fromhex(wrong) for wrong in INVALID_TEXTS.values()]
    streams = [stream_of(payload) for payload in payloads]
    step = 1 if is_bytewise else max(map(len, streams))
    results = talk(*([stream[at : at + step] for at in range(0, len(stream), step)] for stream in streams))
    for payload, stream, result in zip(payloads, streams, results, strict=True):
        check(result, stream)
        assert (result.close == 1007) == (payload[5:].hex() in INVALID_TEXTS.values()), payload


# --- every kind of frame, cut at every place -------------------------------------------------------------------

ALL_KINDS = b"".join(
    (
        text("get a"),
        frame(FIN | PING, b"are you there"),
        text(""),
        text("set a é🙂", mask=b"\0\0\0\0"),
        frame(FIN | PONG, b""),
        text("x" * 126),
        text("several;commands"),
        frame(TEXT, b"in ") + frame(FIN | PING, b"between") + frame(FIN, "fragments é".encode()),
        text("behind the fragments"),
        frame(FIN | frames.BINARY, "binary é".encode()),
        frame(FIN | CLOSE, frames.close_payload(1000, "bye")),
        text("never"),
    )
)


def test_all_kinds_at_once_and_byte_by_byte() -> None:
    whole, bytewise = talk([ALL_KINDS], [ALL_KINDS[place : place + 1] for place in range(len(ALL_KINDS))])
    check(whole, ALL_KINDS)
    check(bytewise, ALL_KINDS)


def test_all_kinds_cut_at_each_place() -> None:
    places = range(1, len(ALL_KINDS))
    for result in talk(*([ALL_KINDS[:place], ALL_KINDS[place:]] for place in places)):
        check(result, ALL_KINDS)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 65537, MESSAGE_BYTES_MAX])
def test_a_message_of_any_length_cut_within_and_behind_its_head(length: int) -> None:
    stream = text("x" * length) + text("behind")
    head_bytes = 6 if length < 126 else 8 if length < 65536 else 14
    cuts = [[place] for place in (*range(1, head_bytes + 2), head_bytes + length // 2, head_bytes + length)]
    for result in talk([stream], *(cut(stream, places) for places in cuts)):
        check(result, stream)


@pytest.mark.parametrize("mask", [bytes(four) for four in itertools.product((0x00, 0xA5), repeat=4)])
def test_every_mask_is_taken_off(mask: bytes) -> None:
    messages = ["", "a", "ab", "abc", "abcd", "abcde", "é🙂" * 50]
    stream = b"".join(text(message, mask=mask) for message in messages)
    assert talk([stream])[0].texts == messages


def test_what_is_plain_leaves_in_the_order_in_which_it_came() -> None:
    stream = text("a") + frame(FIN | PING, b"1") + text("b") + frame(FIN | PING, b"2") + text("c")
    ok = Received(TEXT, b"ok \n")
    for result in talk([stream], [stream[place : place + 1] for place in range(len(stream))]):
        assert result.frames == [
            *(Received(TEXT, b"a"), ok, Received(PONG, b"1")),
            *(Received(TEXT, b"b"), ok, Received(PONG, b"2")),
            *(Received(TEXT, b"c"), ok),
        ]


# --- any frames, in any pieces ---------------------------------------------------------------------------------

_understood = st.one_of(frames.plain, frames.plain, frames.control, frames.binary, frames.fragmented())


@given(
    stream=st.builds(
        lambda good, end, behind: frames.Stream(b"".join((*good, end, *behind))),
        st.lists(_understood, max_size=6),
        st.just(b"") | frames.closing | frames.wrong,
        st.lists(_understood, max_size=2),
    ),
    places=st.lists(st.integers(0, 1 << 20), max_size=6),
)
@example(text("a") + frame(FIN | TEXT, b"x" * 200, length_bytes=8) + text("b"), [])
@effort(120)
def test_a_stream_means_what_wsproto_takes_it_for_however_it_is_cut(stream: bytes, places: list[int]) -> None:
    whole, pieces = talk([stream], cut(stream, places))
    check(whole, stream)
    check(pieces, stream)


_plain_streams = st.lists(frames.plain | frames.control, max_size=8).map(b"".join).map(frames.Stream)


@given(stream=_plain_streams, places=st.lists(st.integers(0, 1 << 20)))
@effort(80)
def test_a_plain_stream_is_answered_with_the_same_bytes_however_it_is_cut(stream: bytes, places: list[int]) -> None:
    whole, pieces = talk([stream], cut(stream, places))
    assert whole == pieces
    assert len(whole.pongs) == len(expected(stream).pings)


@given(noise=st.binary(max_size=200), places=st.lists(st.integers(0, 300), max_size=4))
@effort(80)
def test_noise_behind_a_message_harms_nobody(noise: bytes, places: list[int]) -> None:
    stream = text("before") + noise
    whole, pieces = talk([stream], cut(stream, places))
    assert whole.texts == pieces.texts == expected(stream).texts
    assert whole.close == pieces.close == expected(stream).close


# --- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [MESSAGE_BYTES_MAX + 1, 1 << 40, (1 << 63) - 1])
def test_a_message_that_is_too_long_is_refused_by_its_head(length: int) -> None:
    head = bytes((FIN | TEXT, 0xFF)) + length.to_bytes(8, "big")
    stream = text("before") + head + b"mask" + b"x" * 1000
    for result in talk([stream], cut(stream, [len(text("before")) + 5])):
        assert result.texts == ["before"]
        assert result.close == 1009


def test_fragments_that_are_too_long_together_are_refused() -> None:
    part = b"x" * (MESSAGE_BYTES_MAX // 2 + 1)
    stream = frame(TEXT, part) + frame(FIN, part) + text("behind")
    (result,) = talk([stream])
    assert result.texts == []
    assert result.close == 1009


def test_the_longest_message_is_taken_in_fragments_too() -> None:
    part = b"x" * (MESSAGE_BYTES_MAX // 2)
    (result,) = talk([frame(TEXT, part) + frame(FIN, part)])
    assert [len(message) for message in result.texts] == [MESSAGE_BYTES_MAX]


@pytest.mark.parametrize("behind", [b"", text("hasty"), text("hasty") + frame(FIN | PING, b"!") + text("hastier")])
def test_what_comes_with_the_handshake_is_not_lost(behind: bytes) -> None:
    async def main() -> tuple[list[str], bytes]:
        async with open_service() as service:
            echo = Echo()

            async def serve(ours: socket.socket) -> None:
                outbox = echo.outbox = FrameOutbox(ours, service.flusher, service.outbox_bytes_max)
                await serve_receiver(ours, service, trio.Event(), outbox, echo, lambda message: [message], lambda: None)

            return echo.texts, await converse(service, serve, [frames.HANDSHAKE + behind])

    texts, received = trio.run(main)
    assert texts == expected(behind).texts
    assert received.startswith(b"HTTP/1.1 101 ")


def test_frames_as_the_server_makes_them() -> None:
    for length in frames.LENGTHS:
        assert frames_of(text_frame(b"x" * length)) == [Received(TEXT, b"x" * length)]
    assert frames_of(close_frame(1009, "why")) == [Received(CLOSE, b"\x03\xf1why")]


def test_a_connection_that_has_ended_is_forgotten_at_once() -> None:
    """With the fragments that it holds, which may be as much as is allowed for all; not at some collection."""

    async def main() -> int:
        async with open_service() as service:
            for _ in range(3):
                echo = Echo()

                async def serve(ours: socket.socket, echo: Echo = echo) -> None:
                    outbox = echo.outbox = FrameOutbox(ours, service.flusher, service.outbox_bytes_max)
                    await serve_receiver(
                        ours, service, trio.Event(), outbox, echo, lambda message: [message], lambda: None
                    )

                await converse(service, serve, [frames.HANDSHAKE, frame(TEXT, b"begun")])
            return sum(isinstance(one, WebSocketConnection) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert trio.run(main) == 0
    finally:
        gc.enable()
