"""The WebSocket protocol while a client does not read: what becomes of its pings, commands and farewells.

The server's buffers are filled with one reply that is larger than what the kernel takes. Where something must have
happened inside the server, a round trip on another connection shows that its loop went on; nothing sleeps.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_PING,
    TIMEOUT_SECONDS,
    WebSocketClient,
    encode_frame,
    http_post,
    text_frames,
)
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, select, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "slow-clients"
BIG = "x" * 4_000_000  # the kernel's buffers for a connection on one machine hold less
RESERVED_OPCODE = 0x3

_numbers = itertools.count()


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs") as server:
        yield server


@pytest.fixture(name="other")
def _other(server: Server) -> Iterator[WebSocketClient]:
    """A client that reads, in a new database."""
    create_database(server, DATABASE)
    with websocket_session(server, DATABASE) as other:
        assert other.ask(f"set big {BIG}") == [OK]
        yield other
    if not server.is_running:
        server.start()
    assert http_post(server.http, f"auth {server.credentials}; drop-db {DATABASE}").endswith("success\n")


@pytest.fixture(name="slow")
def _slow(server: Server, other: WebSocketClient) -> Iterator[SlowClient]:
    """A client that has asked for more than fits into the buffers, and does not read."""
    with SlowClient(server.websocket, receive_buffer_bytes=4096) as slow:
        select(slow, DATABASE)
        slow.send("get big")
        slow.socket.recv(1, socket.MSG_PEEK)  # the reply has begun to arrive: as much as fits is on its way
        yield slow


class SlowClient(WebSocketClient):
    """Remembers how many messages came before the close frame."""

    messages_at_close = 0

    def _take_frame(self, opcode: int, is_final: bool, payload: bytes) -> None:
        if opcode == OPCODE_CLOSE:
            self.messages_at_close = len(self.messages)
        super()._take_frame(opcode, is_final, payload)


def _send_and_wait(slow: WebSocketClient, other: WebSocketClient, data: bytes) -> None:
    """Send bytes and then a command, and wait until another connection sees that the server has come to it."""
    key = f"reached-{next(_numbers)}"
    slow.send_bytes(data + text_frames([f"set {key} 1"]))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while other.ask(f"get {key}") != ["value 1\n", OK]:
        assert time.monotonic() < deadline, f"the server did not read on behind {data!r}"


def test_commands_behind_a_ping_are_run_before_the_pong_could_leave(
    slow: WebSocketClient, other: WebSocketClient
) -> None:
    _send_and_wait(slow, other, encode_frame(OPCODE_PING, b"p"))
    assert slow.take(3) == [f"value {BIG}\n", OK, OK]
    assert slow.pongs == [b"p"]


def test_a_breach_of_the_protocol_is_answered_behind_what_waits(slow: WebSocketClient, other: WebSocketClient) -> None:
    slow.send_bytes(encode_frame(RESERVED_OPCODE, b""))
    other.ask("get asked")
    assert slow.wait_close() == 1002
    assert slow.take_all() == [f"value {BIG}\n", OK]
    assert slow.wait_end()


def test_a_ping_behind_the_servers_close_frame_is_no_fault_of_the_server(
    server: Server, slow: WebSocketClient, other: WebSocketClient
) -> None:
    slow.send_bytes(encode_frame(OPCODE_BINARY, b"\xff"))  # closed with 1007, once the buffers have room
    for number in range(10):
        other.ask("get asked")
        with contextlib.suppress(ConnectionError):  # on a slow machine it may have been given up by now
            slow.send_bytes(encode_frame(OPCODE_PING, b"%d" % number))
    assert slow.wait_end()
    slow.abandon()
    other.abandon()
    assert server.stop() == 0
    assert "internal error" not in server.log_text()


def test_one_that_says_farewell_and_reads_no_more_is_let_go(slow: WebSocketClient, other: WebSocketClient) -> None:
    assert other.ask("get $connections") == ["value 2\n", OK]
    assert other.ask("watch $connections") == [OK]
    slow.send_bytes(encode_frame(OPCODE_CLOSE, struct.pack("!H", 1000)))
    assert other.take()[0] == "changed $connections 1\n"


def test_no_event_follows_a_close_frame(slow: SlowClient, other: WebSocketClient) -> None:
    _send_and_wait(slow, other, text_frames(["watch watched"]))
    slow.send_bytes(encode_frame(OPCODE_CLOSE, struct.pack("!H", 1000)))
    for number in range(10):  # some of them when the server has read the farewell
        assert other.ask(f"set watched {number}") == [OK]
    assert slow.wait_end()
    assert slow.close_code == 1000
    assert slow.messages_at_close == len(slow.messages)


def test_a_server_that_stops_tells_one_that_begins_to_read_in_time(
    server: Server, slow: WebSocketClient, other: WebSocketClient
) -> None:
    server.send_signal(signal.SIGTERM)
    assert other.wait_close() == 1001
    assert slow.wait_close() == 1001
    assert slow.take_all() == [f"value {BIG}\n", OK]
    slow.abandon()
    other.abandon()
    assert server.wait(60.0) == 0
