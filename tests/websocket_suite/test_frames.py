"""Frames, one at a time: every form of length, control frames, reserved bits and opcodes (RFC 6455 section 5).

The tests of this file and its neighbours hold the server to what the public suite's sections 1 to 7 hold it to, for
machines where that suite can't run; the numbers in comments are the suite's.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.websocket_suite.echo import MESSAGE_BYTES_MAX
from tests.websocket_suite.echo_client import WHOLE, Frame, check_echo, closed, pong, text
from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CONTINUATION,
    OPCODE_PING,
    OPCODE_PONG,
    OPCODE_TEXT,
    WebSocketClient,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Address, Server

PROTOCOL_ERROR = closed(1002)
TOO_BIG = closed(1009)
CONTROL_OPCODES_RESERVED = range(0xB, 0x10)
DATA_OPCODES_RESERVED = range(0x3, 0x8)
HELLO = encode_frame(OPCODE_TEXT, b"hello")
MASK = bytes(4)  # which leaves the payload as it is


@pytest.mark.parametrize("opcode", [OPCODE_TEXT, OPCODE_BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536])  # 1.1.1 to 1.2.7
@pytest.mark.parametrize("chunk_bytes", [WHOLE, 997, 1], ids=["whole", "in-997", "bytewise"])
def test_every_length_of_message_comes_back(echo_address: Address, opcode: int, size: int, chunk_bytes: int) -> None:
    if chunk_bytes == 1 and size > 200:
        chunk_bytes = 5  # to send so many bytes one at a time shows nothing more, and takes seconds
    payload = (b"0123456789*" * (size // 11 + 1))[:size]
    check_echo(echo_address, [encode_frame(opcode, payload)], [Frame(opcode, payload)], chunk_bytes=chunk_bytes)


def test_a_binary_message_may_hold_any_bytes(echo_address: Address) -> None:
    payload = bytes(range(256))
    check_echo(echo_address, [encode_frame(OPCODE_BINARY, payload)], [Frame(OPCODE_BINARY, payload)])


@pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize(
    "payload", [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125], ids=["0", "13", "8", "125"]
)
def test_a_ping_comes_back_as_a_pong(echo_address: Address, payload: bytes, chunk_bytes: int) -> None:  # 2.1 to 2.6
    check_echo(echo_address, [encode_frame(OPCODE_PING, payload)], [pong(payload)], chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])
def test_ten_pings_are_answered_in_order(echo_address: Address, chunk_bytes: int) -> None:  # 2.10, 2.11
    payloads = [b"payload-%d" % number for number in range(10)]
    pings = [encode_frame(OPCODE_PING, payload) for payload in payloads]
    check_echo(echo_address, pings, [pong(payload) for payload in payloads], chunk_bytes=chunk_bytes)


def test_pongs_that_nobody_asked_for_are_ignored(echo_address: Address) -> None:  # 2.7 to 2.9
    sent = [encode_frame(OPCODE_PONG, b""), encode_frame(OPCODE_PONG, b"unasked"), encode_frame(OPCODE_PING, b"asked")]
    check_echo(echo_address, [*sent, HELLO], [pong(b"asked"), text(b"hello")])


@pytest.mark.parametrize("opcode", [OPCODE_PING, OPCODE_PONG], ids=["ping", "pong"])
@pytest.mark.parametrize("is_final", [True, False], ids=["long", "fragmented"])
def test_a_control_frame_is_short_and_whole(
    echo_address: Address, opcode: int, is_final: bool
) -> None:  # 2.5, 5.1, 5.2
    frame = encode_frame(opcode, b"x" * 126 if is_final else b"x", is_final=is_final)
    check_echo(echo_address, [HELLO, frame], [text(b"hello"), PROTOCOL_ERROR])


@pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("opcode", [0x1, 0x2, 0x8, 0x9, 0xA])
@pytest.mark.parametrize("bits", range(1, 8))
def test_reserved_bits(echo_address: Address, bits: int, opcode: int, chunk_bytes: int) -> None:  # 3.1 to 3.7
    frame = bytearray(encode_frame(opcode, b"\x03\xe8"))
    frame[0] |= bits << 4
    check_echo(echo_address, [HELLO, bytes(frame), HELLO], [text(b"hello"), PROTOCOL_ERROR], chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("payload", [b"", b"reserved"], ids=["empty", "filled"])
@pytest.mark.parametrize("opcode", [*DATA_OPCODES_RESERVED, *CONTROL_OPCODES_RESERVED])
def test_reserved_opcodes(echo_address: Address, opcode: int, payload: bytes) -> None:  # 4.1.1 to 4.2.5
    frame = encode_frame(opcode, payload)
    check_echo(echo_address, [HELLO, frame, HELLO], [text(b"hello"), PROTOCOL_ERROR])


@pytest.mark.parametrize("opcode", [0x0, 0x1, 0x2, 0x8, 0x9, 0xA])
def test_a_frame_without_a_mask(echo_address: Address, opcode: int) -> None:
    check_echo(echo_address, [HELLO, encode_frame(opcode, b"", is_masked=False)], [text(b"hello"), PROTOCOL_ERROR])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\x81\xfe" + struct.pack("!H", 5), id="5-in-two-bytes"),
        pytest.param(b"\x81\xfe" + struct.pack("!H", 125), id="125-in-two-bytes"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 5), id="5-in-eight-bytes"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 65535), id="65535-in-eight-bytes"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 1 << 63), id="with-the-highest-bit"),
        pytest.param(b"\x82\xfe" + struct.pack("!H", 5), id="5-in-two-bytes-binary"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])
def test_a_length_not_in_its_shortest_form(echo_address: Address, head: bytes, chunk_bytes: int) -> None:
    check_echo(echo_address, [HELLO, head, MASK, b"hello"], [text(b"hello"), PROTOCOL_ERROR], chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("head", [b"\x8b\x85", b"\x83\x85", b"\xc1\x85", b"\x81\x05", b"\x89\xfe"])
def test_a_head_that_is_wrong_is_enough(echo_address: Address, head: bytes) -> None:
    check_echo(echo_address, [HELLO, head], [text(b"hello"), PROTOCOL_ERROR])


def test_too_long_a_message_is_refused_by_its_head(echo_address: Address) -> None:
    head = b"\x81\xff" + struct.pack("!Q", MESSAGE_BYTES_MAX + 1) + MASK
    check_echo(echo_address, [HELLO, head], [text(b"hello"), TOO_BIG])


def test_too_long_a_message_in_fragments(echo_address: Address) -> None:
    part = b"x" * (MESSAGE_BYTES_MAX // 2 + 1)
    parts = [encode_frame(OPCODE_TEXT, part, is_final=False), encode_frame(OPCODE_CONTINUATION, part)]
    check_echo(echo_address, [HELLO, *parts], [text(b"hello"), TOO_BIG])


@pytest.mark.parametrize("size", [1500, 70_000])
def test_the_limit_holds_for_every_form_of_length(new_server: Callable[..., Server], size: int) -> None:
    server = new_server(NUN_MAX_MESSAGE_SIZE="1499")
    server.start()
    with WebSocketClient(server.websocket) as client:
        client.send("x" * 1499)
        assert client.take()[0].startswith("error unknown command")
        client.send("x" * size)
        assert client.wait_close() == 1009
