"""The closing handshake: codes, reasons, and what comes behind it (RFC 6455 section 7; the suite's section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.websocket_suite.echo_client import WHOLE, check_echo, close_frame, closed, text
from tools.clients.exact_clients import OPCODE_CLOSE, OPCODE_PING, OPCODE_TEXT, encode_frame

if TYPE_CHECKING:
    from tools.clients.server import Address

PROTOCOL_ERROR = closed(1002)
INVALID_TEXT = closed(1007)
HELLO = encode_frame(OPCODE_TEXT, b"hello")
BYTEWISE = pytest.mark.parametrize("chunk_bytes", [WHOLE, 1], ids=["whole", "bytewise"])


@BYTEWISE
@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)  # 7.7.1 to 7.7.13
def test_a_close_is_answered_with_its_code(echo_address: Address, code: int, chunk_bytes: int) -> None:
    check_echo(echo_address, [HELLO, close_frame(code)], [text(b"hello"), closed(code)], chunk_bytes=chunk_bytes)


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
)  # 7.9.1 to 7.9.9, 7.13.1
def test_codes_that_no_client_may_send(echo_address: Address, code: int) -> None:
    check_echo(echo_address, [HELLO, close_frame(code)], [text(b"hello"), PROTOCOL_ERROR])


@BYTEWISE
def test_a_close_without_a_code(echo_address: Address, chunk_bytes: int) -> None:  # 7.3.1
    check_echo(echo_address, [encode_frame(OPCODE_CLOSE, b"")], [closed(None)], chunk_bytes=chunk_bytes)


def test_a_close_with_half_a_code(echo_address: Address) -> None:  # 7.3.2
    check_echo(echo_address, [encode_frame(OPCODE_CLOSE, b"\x03")], [PROTOCOL_ERROR])


@BYTEWISE
@pytest.mark.parametrize("reason", ["", "Goodbye, κόσμε!", "x" * 123], ids=["empty", "some", "longest"])
def test_a_close_with_a_reason(echo_address: Address, reason: str, chunk_bytes: int) -> None:  # 7.3.3 to 7.3.5
    check_echo(echo_address, [close_frame(1000, reason.encode())], [closed(1000)], chunk_bytes=chunk_bytes)


def test_a_close_with_too_long_a_reason(echo_address: Address) -> None:  # 7.3.6
    check_echo(echo_address, [close_frame(1000, b"x" * 124)], [PROTOCOL_ERROR])


def test_a_close_with_a_reason_that_is_not_text(echo_address: Address) -> None:  # 7.5.1
    check_echo(echo_address, [close_frame(1000, b"\xce\xba\xed\xa0\x80")], [INVALID_TEXT])


@BYTEWISE
@pytest.mark.parametrize(
    "behind",
    [HELLO, encode_frame(OPCODE_PING, b"p"), close_frame(1000), encode_frame(0x3, b""), HELLO * 1000],
    ids=["text", "ping", "close", "reserved", "many"],
)
def test_nothing_behind_a_close_is_answered(
    echo_address: Address, behind: bytes, chunk_bytes: int
) -> None:  # 7.1.2-7.1.6
    if len(behind) > 1000:
        chunk_bytes = max(chunk_bytes, 100)
    frames = [HELLO, close_frame(1001), behind]
    check_echo(echo_address, frames, [text(b"hello"), closed(1001)], chunk_bytes=chunk_bytes)
