"""Messages that are too big, and readers that do not read: one connection's trouble is never another's (section 9)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.watched import wait_until
from tools.clients.exact_clients import (
    OPCODE_CONTINUATION,
    OPCODE_TEXT,
    HttpClient,
    TcpClient,
    WebSocketClient,
    encode_frame,
    http_post,
    text_frames,
)
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_BYTES_MAX = 65_536
OUTBOX_BYTES_MAX = 1 << 20
DATABASE = "limits"
TOO_BIG = "error message too big \n"


@pytest.fixture(scope="module", name="small_server")
def _small_server() -> Iterator[Server]:
    environment = {"NUN_MAX_MESSAGE_SIZE": str(MESSAGE_BYTES_MAX), "NUN_MAX_OUTBOX_SIZE": str(OUTBOX_BYTES_MAX)}
    with new_folder() as folder, Server(folder / "dbs", environment=environment) as server:
        create_database(server, DATABASE, then="set k v")
        yield server


def _goes_on(server: Server) -> None:
    assert http_post(server.http, f"use-db {DATABASE} pwd; get k") == "empty;value v\n"
    with websocket_session(server, DATABASE) as websocket, tcp_session(server, DATABASE) as tcp:
        for client in (websocket, tcp):
            assert client.ask("get k") == ["value v\n", OK]
        # Those who left, or were made to, are not counted any more; the last one may be leaving just now.
        websocket.ask("watch $connections")
        count = websocket.ask("get $connections")[-2]
        if count != "value 2\n":
            assert websocket.pump_until(lambda: "changed $connections 2\n" in websocket.messages), count


def _command_of(bytes_count: int) -> str:
    return "set big ".ljust(bytes_count, "x")


def test_a_message_of_the_full_size_is_taken(small_server: Server) -> None:
    command = _command_of(MESSAGE_BYTES_MAX)
    value = command.removeprefix("set big ")
    with websocket_session(small_server, DATABASE) as client:
        assert client.ask(command) == [OK]
        assert client.ask("get big") == [f"value {value}\n", OK]
    with tcp_session(small_server, DATABASE) as tcp:
        assert tcp.ask(_command_of(MESSAGE_BYTES_MAX - 1)) == [OK]  # with its newline it has the full size
        assert tcp.ask("get big") == [f"value {value[:-1]}\n", OK]
    body = f"use-db {DATABASE} pwd; ".ljust(MESSAGE_BYTES_MAX, ";")
    assert http_post(small_server.http, body) == "empty"


@pytest.mark.parametrize("excess", [1, 1000, 10 * MESSAGE_BYTES_MAX])
def test_a_too_big_frame_closes_with_1009(small_server: Server, excess: int) -> None:
    with websocket_session(small_server, DATABASE) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send(_command_of(MESSAGE_BYTES_MAX + excess))
        assert client.wait_close() == 1009
        assert client.wait_end()
    _goes_on(small_server)


def test_a_too_big_frame_is_refused_before_its_end(small_server: Server) -> None:
    """It must not be buffered first: a head alone may announce 2⁶² bytes."""
    with websocket_session(small_server, DATABASE) as client:
        client.send_bytes(bytes([0x81, 0xFF]) + (1 << 62).to_bytes(8, "big") + b"mask" + b"set k")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(b"x" * 2 * MESSAGE_BYTES_MAX)
        assert client.wait_close() == 1009
        assert client.wait_end()
    _goes_on(small_server)


def test_a_message_too_big_in_fragments_closes_with_1009(small_server: Server) -> None:
    with websocket_session(small_server, DATABASE) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(encode_frame(OPCODE_TEXT, b"set big ", is_final=False))
            for _ in range(20):
                client.send_bytes(encode_frame(OPCODE_CONTINUATION, b"x" * (MESSAGE_BYTES_MAX // 10), is_final=False))
        assert client.wait_close() == 1009
        assert client.wait_end()
    _goes_on(small_server)


@pytest.mark.parametrize("ending", [b"\n", b""], ids=["a-whole-line", "a-line-without-end"])
@pytest.mark.parametrize("excess", [1, 1000, 10 * MESSAGE_BYTES_MAX])
def test_a_too_long_line_is_an_error_and_ends_the_connection(small_server: Server, excess: int, ending: bytes) -> None:
    with tcp_session(small_server, DATABASE) as client:
        assert client.ask("set before 1") == [OK]
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(_command_of(MESSAGE_BYTES_MAX + excess).encode() + ending)
        assert client.take() == [TOO_BIG]
        assert client.wait_end()
    _goes_on(small_server)


@pytest.mark.parametrize("excess", [1, 1000, 10 * MESSAGE_BYTES_MAX])
def test_a_too_big_body_is_413(small_server: Server, excess: int) -> None:
    with HttpClient(small_server.http) as client:
        size = MESSAGE_BYTES_MAX + excess
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(b"x" * size)
        assert client.read_response().status == 413
    _goes_on(small_server)


def test_a_body_is_refused_by_its_announced_length(small_server: Server) -> None:
    with HttpClient(small_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        assert client.read_response().status == 413
    _goes_on(small_server)


def test_a_body_too_big_in_chunks_is_413(small_server: Server) -> None:
    with HttpClient(small_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(20):
                client.send_bytes(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert client.read_response().status == 413
    _goes_on(small_server)


@pytest.mark.parametrize("transport", ["websocket", "tcp"])
def test_a_watcher_that_does_not_read_slows_nobody_and_gets_the_last_values(
    small_server: Server, transport: str
) -> None:
    """Its events are conflated: the newest value and version of each key, in the end, and never an older one after."""
    address = small_server.websocket if transport == "websocket" else small_server.tcp
    make = WebSocketClient if transport == "websocket" else TcpClient
    with make(address, receive_buffer_bytes=4096) as slow, tcp_session(small_server, DATABASE) as writer:
        slow.ask(f"use-db {DATABASE} pwd")
        slow.ask_all(*(f"watch {transport}-slow-{index}" for index in range(3)))
        value = "y" * 10_000
        for number in range(300):
            commands = (f"set-safe {transport}-slow-{index} {number} {number}-{value}\n" for index in range(3))
            writer.send_bytes("".join(commands).encode())
            assert writer.take(3) == [OK] * 3
        last = {f"{transport}-slow-{index}": f"300 299-{value}\n" for index in range(3)}
        seen: dict[str, int] = {}
        finals: dict[str, str] = {}
        while finals != last:
            for event in slow.take():
                name, key, rest = event.split(" ", 2)
                if name == "changed-version":
                    version = int(rest.split(" ")[0])
                    assert version > seen.get(key, -1), "an older value after a newer one"
                    seen[key] = version
                    finals[key] = rest
        assert slow.ask("get k") == ["value v\n", OK]
    _goes_on(small_server)


def test_a_client_that_asks_and_does_not_read_is_ended(small_server: Server) -> None:
    """One on each transport. Meanwhile everybody else is served."""
    http_post(small_server.http, f"use-db {DATABASE} pwd; set wide {'z' * 50_000}")
    with (
        websocket_session(small_server, DATABASE) as watcher,
        WebSocketClient(small_server.websocket, receive_buffer_bytes=4096) as websocket,
        TcpClient(small_server.tcp, receive_buffer_bytes=4096) as tcp,
    ):
        for client, commands in ((websocket, text_frames(["get wide"] * 500)), (tcp, b"get wide\n" * 500)):
            client.ask(f"use-db {DATABASE} pwd")
            client.send_bytes(commands)  # 25 MB of answers, more than the outbox and the kernel's buffers take
        wait_until(lambda: watcher.ask("get $connections") == ["value 3\n", OK])  # others may be leaving just now
        assert watcher.ask("watch $connections") == [OK]
        assert watcher.pump_until(lambda: "changed $connections 1\n" in watcher.messages), watcher.messages
        assert websocket.wait_close() in (1013, None), "1013, unless the end came before it could be sent"
        assert websocket.wait_end()
        assert tcp.wait_end()
    _goes_on(small_server)
