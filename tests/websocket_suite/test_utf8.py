"""Text messages are UTF-8, all of it and nothing else (RFC 6455 sections 5.6 and 8.1; the public suite's section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.websocket_suite.echo_client import WHOLE, EchoClient, Frame, check_echo, closed, pong, text
from tools.clients.exact_clients import OPCODE_CONTINUATION, OPCODE_PING, OPCODE_TEXT, encode_frame

if TYPE_CHECKING:
    from tools.clients.server import Address

INVALID_TEXT = closed(1007)

VALID = [
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

INVALID = {
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
FORMS = pytest.mark.parametrize("form", ["whole", "bytewise", "in-fragments", "in-fragments-bytewise"])


def _frames(payload: bytes, form: str) -> list[bytes]:
    """Return the payload as one frame, or with each byte in a fragment of its own."""
    if not form.startswith("in-fragments"):
        return [encode_frame(OPCODE_TEXT, payload)]
    return [
        encode_frame(OPCODE_CONTINUATION if place else OPCODE_TEXT, bytes([byte]), is_final=place == len(payload) - 1)
        for place, byte in enumerate(payload)
    ]


def _check(address: Address, payload: bytes, form: str, expected: list[Frame]) -> None:
    check_echo(address, _frames(payload, form), expected, chunk_bytes=1 if form.endswith("bytewise") else WHOLE)


@FORMS
@pytest.mark.parametrize("message", VALID, ids=ascii)
def test_valid_text_comes_back(echo_address: Address, message: str, form: str) -> None:
    _check(echo_address, message.encode(), form, [text(message.encode())])


@FORMS
@pytest.mark.parametrize("payload", INVALID.values(), ids=INVALID.keys())
def test_invalid_text_closes_the_connection(echo_address: Address, payload: str, form: str) -> None:
    _check(echo_address, b"text " + bytes.fromhex(payload), form, [INVALID_TEXT])


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
