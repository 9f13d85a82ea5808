"""Messages in fragments, and control frames between them (RFC 6455 section 5.4; the public suite's section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.websocket_suite.echo_client import WHOLE, EchoClient, Frame, check_echo, close_frame, closed, pong, text
from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_CONTINUATION,
    OPCODE_PING,
    OPCODE_TEXT,
    encode_frame,
)

if TYPE_CHECKING:
    from tools.clients.server import Address

BYTEWISE = pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])
KINDS = pytest.mark.parametrize("opcode", [OPCODE_TEXT, OPCODE_BINARY], ids=["text", "binary"])
PROTOCOL_ERROR = closed(1002)
INVALID_TEXT = closed(1007)
PING = encode_frame(OPCODE_PING, b"ping")
WHOLE_TEXT = encode_frame(OPCODE_TEXT, b"whole")
FIRST = encode_frame(OPCODE_TEXT, b"first ", is_final=False)
MIDDLE = encode_frame(OPCODE_CONTINUATION, b"middle ", is_final=False)
LAST = encode_frame(OPCODE_CONTINUATION, b"last")


@BYTEWISE
@KINDS
@pytest.mark.parametrize("count", [2, 3, 50])
def test_fragments_make_one_message(
    echo_address: Address, count: int, opcode: int, chunk_bytes: int
) -> None:  # 5.3-5.5
    parts = [b"part %d;" % number for number in range(count)]
    frames = [
        encode_frame(OPCODE_CONTINUATION if number else opcode, part, is_final=number == count - 1)
        for number, part in enumerate(parts)
    ]
    check_echo(echo_address, frames, [Frame(opcode, b"".join(parts))], chunk_bytes=chunk_bytes)


@BYTEWISE
@KINDS
def test_fragments_may_be_empty(echo_address: Address, opcode: int, chunk_bytes: int) -> None:  # 6.1.2, 6.1.3
    frames = [
        encode_frame(opcode, b"", is_final=False),
        encode_frame(OPCODE_CONTINUATION, b"", is_final=False),
        encode_frame(OPCODE_CONTINUATION, b""),
        encode_frame(opcode, b"", is_final=False),
        encode_frame(OPCODE_CONTINUATION, b"middle", is_final=False),
        encode_frame(OPCODE_CONTINUATION, b""),
    ]
    check_echo(echo_address, frames, [Frame(opcode, b""), Frame(opcode, b"middle")], chunk_bytes=chunk_bytes)


@BYTEWISE
def test_pings_between_fragments_are_answered_at_once(echo_address: Address, chunk_bytes: int) -> None:  # 5.6-5.8, 5.19
    frames = [WHOLE_TEXT, FIRST, PING, MIDDLE, PING, LAST]
    expected = [text(b"whole"), pong(b"ping"), pong(b"ping"), text(b"first middle last")]
    check_echo(echo_address, frames, expected, chunk_bytes=chunk_bytes)


@BYTEWISE
@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([LAST], [], id="a-last-one-of-nothing"),  # 5.9 to 5.11
        pytest.param([MIDDLE, WHOLE_TEXT], [], id="a-middle-one-of-nothing"),  # 5.12 to 5.14
        pytest.param([FIRST, LAST, MIDDLE], [text(b"first last")], id="one-more-after-the-last"),  # 5.15 to 5.17
        pytest.param([FIRST, FIRST], [], id="another-first"),  # 5.18
        pytest.param([FIRST, WHOLE_TEXT], [], id="a-whole-message-between"),
        pytest.param([FIRST, encode_frame(OPCODE_BINARY, b"b"), LAST], [], id="a-binary-message-between"),
        pytest.param([FIRST, encode_frame(OPCODE_PING, b"", is_final=False), LAST], [], id="a-fragmented-ping-between"),
        pytest.param(
            [encode_frame(OPCODE_CLOSE, b"\x03\xe8", is_final=False), WHOLE_TEXT], [], id="a-fragmented-close"
        ),
    ],
)
def test_fragments_out_of_order(
    echo_address: Address, frames: list[bytes], expected: list[Frame], chunk_bytes: int
) -> None:
    check_echo(
        echo_address, [WHOLE_TEXT, *frames], [text(b"whole"), *expected, PROTOCOL_ERROR], chunk_bytes=chunk_bytes
    )


def test_a_close_between_fragments_ends_the_connection(echo_address: Address) -> None:  # 7.1.3
    check_echo(echo_address, [FIRST, close_frame(1000), LAST], [closed(1000)])


# --- text is UTF-8 (sections 5.6 and 8.1; tests/transports/websocket/test_fast_path.py has all cases) ----------------


@BYTEWISE
@pytest.mark.parametrize("message", ["κόσμε", "\x00", "\ud7ff\ue000", "\ufffe\uffff", "\U0010ffff"], ids=ascii)
def test_valid_text_comes_back(echo_address: Address, message: str, chunk_bytes: int) -> None:
    check_echo(
        echo_address, [encode_frame(OPCODE_TEXT, message.encode())], [text(message.encode())], chunk_bytes=chunk_bytes
    )


@pytest.mark.parametrize("wrong", ["f490", "ff", "c3c3"])
def test_invalid_text_in_a_fragment_is_refused_before_the_last(
    echo_address: Address, wrong: str
) -> None:  # 6.4.1, 6.4.2
    with EchoClient(echo_address) as client:
        client.send_bytes(
            encode_frame(OPCODE_TEXT, "κόσμε".encode(), is_final=False)
            + encode_frame(OPCODE_PING, b"still there")
            + encode_frame(OPCODE_CONTINUATION, bytes.fromhex(wrong), is_final=False)
        )
        assert client.wait_end()
        assert client.frames == [pong(b"still there"), INVALID_TEXT]


def test_what_came_before_invalid_text_is_done(echo_address: Address) -> None:
    check_echo(
        echo_address,
        [encode_frame(OPCODE_TEXT, payload) for payload in (b"one", b"two", b"\xff", b"three")],
        [text(b"one"), text(b"two"), INVALID_TEXT],
    )
