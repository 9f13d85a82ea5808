"""WebSocket framing as clients and networks really produce it: split, joined, interleaved, pipelined, and broken."""

from __future__ import annotations

import contextlib
import socket
import statistics
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.watched import wait_until
from tools.clients.exact_clients import (
    OPCODE_CLOSE,
    OPCODE_CONTINUATION,
    OPCODE_PING,
    OPCODE_TEXT,
    WebSocketClient,
    encode_frame,
    text_frames,
)
from tools.clients.sessions import OK, create_database, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server

DATABASE = "websocket-frames"


@pytest.fixture(scope="module", autouse=True)
def _database(shared_server: Server) -> None:
    create_database(shared_server, DATABASE)


@pytest.fixture(name="client")
def _client(shared_server: Server) -> Iterator[WebSocketClient]:
    with websocket_session(shared_server, DATABASE) as client:
        yield client


def test_a_frame_sent_byte_by_byte(client: WebSocketClient) -> None:
    for value in encode_frame(OPCODE_TEXT, b"set bytewise \xd0\xb6"):
        client.send_bytes(bytes([value]))
    assert client.take_answer() == [OK]
    assert client.ask("get bytewise") == ["value ж\n", OK]


def test_several_frames_in_one_packet_keep_their_order(client: WebSocketClient) -> None:
    client.send_bytes(text_frames(["set packet 1", "get packet", "nonsense", "set packet 2;get packet"]))
    assert client.take(6) == [OK, "value 1\n", OK, "error unknown command: nonsense \n", OK, "value 2\n"]


def test_a_packet_that_ends_in_the_middle_of_a_frame(client: WebSocketClient) -> None:
    packet = text_frames(["set cut 1", "get cut", "get-safe cut"])
    for cut in range(1, len(packet)):
        client.send_bytes(packet[:cut])
        client.send_bytes(packet[cut:])
        answers = client.take(5)
        assert answers[:4] == [OK, "value 1\n", OK, answers[3]]
        assert answers[3].startswith("value-version ")
        assert answers[4] == OK


def test_a_fragmented_message(client: WebSocketClient) -> None:
    text = "set fragmented Приве́т".encode()
    middle = text.index("\u0440".encode()) + 1  # in the middle of a character: only the whole message has to be UTF-8
    client.send_bytes(encode_frame(OPCODE_TEXT, text[:3], is_final=False))
    client.send_bytes(encode_frame(OPCODE_CONTINUATION, text[3:middle], is_final=False))
    client.send_bytes(encode_frame(OPCODE_CONTINUATION, b"", is_final=False))
    client.send_bytes(encode_frame(OPCODE_CONTINUATION, text[middle:]))
    assert client.take_answer() == [OK]
    assert client.ask("get fragmented") == ["value Приве́т\n", OK]


def test_whole_messages_around_a_fragmented_one(client: WebSocketClient) -> None:
    client.send_bytes(
        text_frames(["set around 1"])
        + encode_frame(OPCODE_TEXT, b"get ", is_final=False)
        + encode_frame(OPCODE_CONTINUATION, b"around")
        + text_frames(["get around"])
    )
    assert client.take(5) == [OK, "value 1\n", OK, "value 1\n", OK]


def test_a_ping_is_answered_with_its_payload(client: WebSocketClient) -> None:
    client.send_bytes(text_frames(["set ping 1"]) + encode_frame(OPCODE_PING, b"are you there"))
    assert client.take_answer() == [OK]
    assert client.pump_until(lambda: client.pongs == [b"are you there"]), client.pongs


def test_a_ping_between_the_fragments_of_a_message(client: WebSocketClient) -> None:
    client.send_bytes(encode_frame(OPCODE_TEXT, b"set interleaved", is_final=False) + encode_frame(OPCODE_PING, b"1"))
    assert client.pump_until(lambda: client.pongs == [b"1"]), client.pongs
    client.send_bytes(encode_frame(OPCODE_CONTINUATION, b" yes"))
    assert client.take_answer() == [OK]
    assert client.ask("get interleaved") == ["value yes\n", OK]


def test_many_pings_and_commands_in_one_packet(client: WebSocketClient) -> None:
    packet = b"".join(
        encode_frame(OPCODE_PING, b"%d" % number) + text_frames([f"increment pinged {number}"]) for number in range(50)
    )
    client.send_bytes(packet)
    assert client.take(50) == [OK] * 50
    assert client.pump_until(lambda: len(client.pongs) == 50)
    assert client.pongs == [b"%d" % number for number in range(50)]
    assert client.ask("get pinged") == [f"value {sum(range(50))}\n", OK]


def test_a_thousand_frames_without_waiting(client: WebSocketClient) -> None:
    client.send_bytes(text_frames(f"set many-{number} {number};get many-{number}" for number in range(1000)))
    for number in range(1000):
        assert client.take(3) == [OK, f"value {number}\n", OK]


def test_two_thousand_commands_in_one_frame(client: WebSocketClient) -> None:
    client.send(";".join(["increment frame"] * 2000 + ["get frame"]))
    assert client.take(2002) == [OK] * 2000 + ["value 2000\n", OK]


def test_a_watcher_gets_every_change_in_order(shared_server: Server, client: WebSocketClient) -> None:
    with websocket_session(shared_server, DATABASE) as writer:
        assert client.ask("watch counted") == [OK]
        writer.send_bytes(text_frames(f"set counted {number}" for number in range(300)))
        assert writer.take(300) == [OK] * 300
        for number in range(300):
            assert client.take(2) == [f"changed counted {number}\n", f"changed-version counted {number} {number}\n"]


def test_the_close_handshake_is_answered(client: WebSocketClient) -> None:
    client.send_bytes(text_frames(["set closing 1"]) + encode_frame(OPCODE_CLOSE, struct.pack("!H", 1000)))
    assert client.take_answer() == [OK]
    assert client.wait_close() == 1000
    assert client.wait_end()


def test_commands_before_a_vanishing_are_done(shared_server: Server, client: WebSocketClient) -> None:
    """A client that sends and is gone, without a closing handshake, has still sent."""
    client.send_bytes(text_frames(["set vanished 1"]))
    client.socket.shutdown(socket.SHUT_WR)
    assert client.wait_end()
    with websocket_session(shared_server, DATABASE) as other:
        assert other.ask("get vanished") == ["value 1\n", OK]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(encode_frame(OPCODE_TEXT, b"set k \xff\xfe"), 1007, id="not-utf-8"),
        pytest.param(encode_frame(OPCODE_TEXT, b"set k \xd0"), 1007, id="a-cut-character"),
        pytest.param(encode_frame(OPCODE_TEXT, b"set k \xed\xa0\x80"), 1007, id="a-surrogate"),
        pytest.param(encode_frame(OPCODE_TEXT, b"set k v", is_masked=False), 1002, id="unmasked"),
        pytest.param(encode_frame(0x3, b"set k v"), 1002, id="a-reserved-opcode"),
        pytest.param(encode_frame(OPCODE_CONTINUATION, b"set k v"), 1002, id="a-continuation-of-nothing"),
        pytest.param(encode_frame(OPCODE_PING, b"x" * 126), 1002, id="a-long-ping"),
    ],
)
def test_a_broken_frame_closes_its_connection_only(shared_server: Server, data: bytes, code: int) -> None:
    with websocket_session(shared_server, DATABASE) as client, websocket_session(shared_server, DATABASE) as other:
        client.send_bytes(text_frames(["set before-broken 1"]) + data)
        assert client.wait_close() == code
        assert client.wait_end()
        assert client.messages[0] == OK
        assert other.ask("get before-broken") == ["value 1\n", OK]
        assert other.ask("get k") == ["value <Empty>\n", OK]


def test_any_path_is_a_session(shared_server: Server) -> None:
    with WebSocketClient(shared_server.websocket, path="/some/where?x=1") as client:
        assert client.ask(f"use-db {DATABASE} pwd") == [OK]


def test_text_that_is_no_handshake_is_refused(shared_server: Server) -> None:
    with socket.create_connection(shared_server.websocket, 10) as plain:
        plain.sendall(b"set k v\r\n\r\n")
        assert not plain.recv(4096).startswith(b"HTTP/1.1 101")
    with websocket_session(shared_server, DATABASE) as client:  # one of another test may be leaving just now
        wait_until(lambda: client.ask("get $connections") == ["value 1\n", OK])


def test_one_connection_s_flood_of_commands_lets_the_others_work(shared_server: Server) -> None:
    """Without turns, each of these answers waited for tens of thousands of commands; the bound is generous."""
    stop = threading.Event()
    took: list[float] = []
    frames = text_frames(["get nothing"] * 2_000)
    with websocket_session(shared_server, DATABASE) as flooding, websocket_session(shared_server, DATABASE) as client:

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    flooding.socket.sendall(frames)

        def receive() -> None:
            with contextlib.suppress(OSError):
                while flooding.socket.recv(1 << 20):
                    pass

        threads = [threading.Thread(target=send), threading.Thread(target=receive)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                began = time.monotonic()
                assert client.ask(f"set beside-a-flood {number}") == [OK]
                took.append(time.monotonic() - began)
        finally:
            stop.set()
            flooding.socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
    assert statistics.median(took) < 2.0
