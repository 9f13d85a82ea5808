"""Messages that never end: what all clients together make the server hold is bounded, and honest ones go on."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.watched import Scrape, wait_until
from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CONTINUATION,
    OPCODE_TEXT,
    Connection,
    HttpClient,
    TcpClient,
    WebSocketClient,
    encode_frame,
    http_post,
)
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tools.clients.server import Server

MESSAGE_BYTES = 15 << 20  # below the default limit of 16 MiB
CLIENTS = 12  # with 180 MiB in all
LIMIT_KIB = 65 << 10  # the default: four messages, and what surrounds them
GROWTH_KIB_MAX = LIMIT_KIB * 9 // 8 + (24 << 10)
"""A buffer that grows takes an eighth in advance; and what is being read just then."""

ENDED = "too much unfinished input"
PIECE = b"x" * (1 << 20)


def open_websocket(server: Server, tls: ssl.SSLContext | None = None) -> WebSocketClient:
    return WebSocketClient(server.websocket, tls=tls)


def open_tcp(server: Server, tls: ssl.SSLContext | None = None) -> TcpClient:
    return TcpClient(server.tcp, tls=tls)


def open_http(server: Server, tls: ssl.SSLContext | None = None) -> HttpClient:
    return HttpClient(server.http, tls=tls)


def open_tcp_that_does_not_read(server: Server) -> TcpClient:
    return TcpClient(server.tcp, receive_buffer_bytes=4096)


def open_websocket_that_does_not_read(server: Server) -> WebSocketClient:
    return WebSocketClient(server.websocket, receive_buffer_bytes=4096)


def encoded(client: Connection, text: str) -> bytes:
    """The bytes of a command."""
    if isinstance(client, TcpClient):
        return f"{text}\n".encode()
    return encode_frame(OPCODE_TEXT, text.encode())


def pieces_of_a_line() -> Iterator[bytes]:
    yield from [PIECE] * 15


def pieces_of_a_frame() -> Iterator[bytes]:
    whole = encode_frame(OPCODE_TEXT, b"x" * MESSAGE_BYTES)[:-1]
    yield from (whole[start : start + (1 << 20)] for start in range(0, len(whole), 1 << 20))


def pieces_of_fragments() -> Iterator[bytes]:
    """One character in each makes all others take four bytes."""
    yield encode_frame(OPCODE_TEXT, b"", is_final=False)
    yield from [encode_frame(OPCODE_CONTINUATION, "🙂".encode() + b"x" * 8_000, is_final=False) * 100] * 19


def pieces_of_a_binary_frame() -> Iterator[bytes]:
    whole = encode_frame(OPCODE_BINARY, b"x" * MESSAGE_BYTES)[:-1]
    yield from (whole[start : start + (1 << 20)] for start in range(0, len(whole), 1 << 20))


def pieces_of_a_body() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (MESSAGE_BYTES + 1)
    yield from [PIECE] * 15


def pieces_of_a_body_in_small_chunks() -> Iterator[bytes]:
    """Two bytes in each: as a list of its parts it would take twenty times as much as the body."""
    yield b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from [b"2\r\nxx\r\n" * 100_000] * 10


def pieces_of_an_upgrade() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % (MESSAGE_BYTES + 1)
    yield from [PIECE] * 15


Open = Callable[..., Connection | HttpClient]

KINDS: dict[str, tuple[Open, Callable[[], Iterator[bytes]]]] = {
    "line": (open_tcp, pieces_of_a_line),
    "frame": (open_websocket, pieces_of_a_frame),
    "fragments": (open_websocket, pieces_of_fragments),
    "binary": (open_websocket, pieces_of_a_binary_frame),
    "body": (open_http, pieces_of_a_body),
    "chunks": (open_http, pieces_of_a_body_in_small_chunks),
    "upgrade": (open_http, pieces_of_an_upgrade),
}


def is_told(client: Connection | HttpClient) -> bool:
    """Whether the server has said why it ended the connection, in the words that the protocol promises."""
    if not select.select([client.socket], [], [], 0.05)[0]:
        return False
    client.socket.settimeout(1)  # what is there may be TLS's own
    try:
        if isinstance(client, HttpClient):
            response = client.read_response()
            return (response.status, response.text) == (503, ENDED)
        client.wait_end(timeout_seconds=1)
    except OSError:
        return False  # it was reset, for it sent on for longer than the server listens
    if isinstance(client, WebSocketClient):
        return (client.close_code, client.close_reason) == (1013, ENDED)
    return client.messages == [f"error {ENDED} \n"]


def held_bytes(server: Server) -> float:
    return Scrape(server.http).value("nun_db_unfinished_input_bytes")


def dropped(server: Server) -> float:
    return Scrape(server.http).value("nun_db_dropped_sessions_total", reason="unfinished_input")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("line", "frame", "body") else pytest.param(kind, marks=pytest.mark.system) for kind in KINDS],
)
def test_messages_that_never_end_take_no_more_than_so_much(new_server: Callable[..., Server], kind: str) -> None:
    open_client, pieces = KINDS[kind]
    with new_server() as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        honest = [tcp_session(server, "ward"), websocket_session(server, "ward")]
        before_kib = server.resident_private_kib()
        assert held_bytes(server) == 0
        clients = [open_client(server) for _ in range(CLIENTS)]
        for opened in (*honest, *clients):
            stack.callback(opened.socket.close)
        most_kib = 0
        for client in clients:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for piece in pieces():
                    client.send_bytes(piece)
            most_kib = max(most_kib, server.resident_private_kib())
            for one in honest:
                assert one.ask("set k v") == [OK]
        print(f"{kind}: private memory +{most_kib - before_kib} KiB, {dropped(server):.0f} ended")
        assert most_kib - before_kib < GROWTH_KIB_MAX
        assert 0 < held_bytes(server) <= LIMIT_KIB * 1024
        if kind != "chunks":  # of which there are too few
            wait_until(lambda: dropped(server) >= 2)
            wait_until(lambda: any(map(is_told, clients)))
    assert server.errors == []


@pytest.mark.parametrize("form", ["line", "frame", "fragments", "body"])
def test_a_client_that_is_ended_is_told_why(new_server: Callable[..., Server], form: str, disk_folder: Path) -> None:
    """With TLS, and while it still sends."""
    authority = Authority(disk_folder)
    open_client, pieces = KINDS[form]
    with new_server(**authority.environment(), NUN_MAX_UNFINISHED_SIZE="64MiB") as server:
        clients = [open_client(server, authority.trusting()) for _ in range(6)]
        for client in clients:
            with contextlib.suppress(OSError):
                for piece in pieces():
                    client.send_bytes(piece)
        wait_until(lambda: any(map(is_told, clients)))
        for client in clients:
            client.socket.close()
    assert server.errors == []


SMALL = {"NUN_MAX_MESSAGE_SIZE": "512KiB", "NUN_MAX_UNFINISHED_SIZE": "2MiB"}
SMALL_LIMIT = 3 << 20


def fill(server: Server, stack: contextlib.ExitStack, clients: int = 10, size: int = 500_000) -> list[TcpClient]:
    """Strangers that hold all that may be held, again and again."""
    opened = [stack.enter_context(TcpClient(server.tcp, source=f"127.0.0.{9 + number}")) for number in range(clients)]
    for client in opened:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(b"x" * size)
    return opened


def test_who_has_logged_in_sends_messages_of_the_full_size_meanwhile(new_server: Callable[..., Server]) -> None:
    with new_server(**SMALL) as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        members: list[Connection] = [stack.enter_context(tcp_session(server, "ward")) for _ in range(4)]
        members += [stack.enter_context(websocket_session(server, "ward")) for _ in range(4)]
        value = "y" * 500_000
        whole = [encoded(client, f"set k-{number} {value}") for number, client in enumerate(members)]
        for client, command in zip(members, whole, strict=True):
            client.send_bytes(command[:-1000])
        fill(server, stack)
        wait_until(lambda: dropped(server) >= 2)
        wait_until(lambda: held_bytes(server) > SMALL_LIMIT)  # more than strangers may
        for client, command in zip(members, whole, strict=True):
            client.send_bytes(command[-1000:])
        for client in members:
            assert client.take_answer() == [OK]
        assert http_post(server.http, "use-db ward pwd; get k-7") == f"empty;value {value}\n"


def test_strangers_who_send_little_log_in_meanwhile(new_server: Callable[..., Server]) -> None:
    """Also piece by piece, and as an HTTP request."""
    with new_server(**SMALL) as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        slow = stack.enter_context(TcpClient(server.tcp))
        slow.send_bytes(b"use-db wa")
        http = stack.enter_context(HttpClient(server.http))
        http.send_bytes(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\nuse-db ward pwd; ".ljust(200_000, b";")
        )
        for _ in range(3):
            fill(server, stack)
            with tcp_session(server, "ward") as tcp, websocket_session(server, "ward") as websocket:
                assert tcp.ask("set k v") == websocket.ask("set k v") == [OK]
        wait_until(lambda: dropped(server) >= 10)
        slow.send_bytes(b"rd pwd\n")
        assert slow.take_answer() == [OK]


def test_an_honest_request_outlasts_an_address_with_many_connections(new_server: Callable[..., Server]) -> None:
    with new_server(**SMALL) as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        http = stack.enter_context(HttpClient(server.http))
        body = b"use-db ward pwd; ".ljust(500_000, b";")
        http.send_bytes(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:-10])
        for _ in range(200):
            client = stack.enter_context(TcpClient(server.tcp, source="127.0.0.2"))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.send_bytes(b"x" * 30_000)
        wait_until(lambda: dropped(server) >= 20)
        http.send_bytes(body[-10:])
        assert http.read_response().text == "empty"


def test_authenticated_clients_are_bounded_too(new_server: Callable[..., Server]) -> None:
    with new_server(**SMALL) as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        members = [stack.enter_context(tcp_session(server, "ward")) for _ in range(24)]
        for client in members:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.send_bytes(b"set k " + b"x" * 500_000)
        # What was sent may still lie in the buffers of the kernel.
        wait_until(lambda: held_bytes(server) >= (len(members) - dropped(server)) * 500_000)
        assert 1 <= dropped(server) <= 8
        assert held_bytes(server) <= 9 << 20

        def told() -> int:
            return sum(one.wait_end(timeout_seconds=0.01) and one.messages == [f"error {ENDED} \n"] for one in members)

        with tcp_session(server, "ward") as client:
            assert client.ask("set k v") == [OK]
            wait_until(lambda: told() == dropped(server))
            wait_until(lambda: client.ask("get $connections") == [f"value {25 - told()}\n", OK])


def test_commands_that_wait_for_a_password_check_are_held_too(new_server: Callable[..., Server]) -> None:
    """A guesser's tries wait for a minute, each with all that came with it."""
    with new_server(**SMALL, NUN_LOGIN_BURST="1") as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        opened: list[Connection | HttpClient] = []
        for number in range(12):
            secret = f"{number}-".ljust(300_000, "x")
            if number % 3 == 0:
                tcp = stack.enter_context(TcpClient(server.tcp))
                tcp.send(f"auth user {secret}")
                opened.append(tcp)
            elif number % 3 == 1:
                websocket = stack.enter_context(WebSocketClient(server.websocket))
                websocket.send(f"auth user {secret};use-db ward pwd")
                opened.append(websocket)
            else:
                http = stack.enter_context(HttpClient(server.http))
                body = f"auth user {secret}".encode()
                http.send_bytes(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                opened.append(http)
        wait_until(lambda: dropped(server) > 0)
        assert held_bytes(server) <= SMALL_LIMIT
        with TcpClient(server.tcp, source="127.0.0.2") as client:
            assert client.ask_all("use-db ward pwd", "set k v") == [[OK], [OK]]
    assert server.errors == []


def test_commands_that_have_their_turn_one_after_another_are_held_with_their_results(
    new_server: Callable[..., Server],
) -> None:
    """Thousands of commands that are refused: their results, of many requests at once, are more than the requests."""
    body = b"no;" * 10_000
    with new_server(**SMALL) as server:
        statuses: list[int] = []
        for _ in range(10):  # whether they are at work at once, is also the machine's affair
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(HttpClient(server.http)) for _ in range(8)]
                before_kib = server.resident_private_kib()
                for client in clients:
                    client.send_bytes(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                most_kib = 0
                for client in clients:
                    most_kib = max(most_kib, server.resident_private_kib())
                    statuses.append(client.read_response().status)
            print(f"private memory +{most_kib - before_kib} KiB, {statuses[-8:]}")
            if 503 in statuses:
                break
        assert set(statuses) <= {200, 503}
        assert 503 in statuses
    assert server.errors == []


def test_a_message_that_is_too_big_in_fragments_counts_in_bytes(new_server: Callable[..., Server]) -> None:
    """Not in characters, as trio-websocket counts: they may have four bytes each."""
    with new_server(**SMALL) as server, WebSocketClient(server.websocket) as client:
        part = "🙂".encode() * 25_000
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send_bytes(encode_frame(OPCODE_TEXT, part, is_final=False))
            for _ in range(9):
                client.send_bytes(encode_frame(OPCODE_CONTINUATION, part, is_final=False))
        assert client.wait_close() == 1009


def test_nothing_is_held_when_everybody_is_done(new_server: Callable[..., Server]) -> None:
    with new_server(**SMALL) as server:
        create_database(server, "ward")
        with tcp_session(server, "ward") as tcp, WebSocketClient(server.websocket) as websocket:
            assert websocket.ask("use-db ward pwd") == [OK]
            for client in (tcp, websocket):
                assert client.ask("set k " + "v" * 400_000) == [OK]
            websocket.send_bytes(encode_frame(OPCODE_TEXT, b"get", is_final=False))
            websocket.send_bytes(encode_frame(OPCODE_CONTINUATION, b" k"))
            assert websocket.take_answer()[-1] == OK
            tcp.send_bytes(b"get")
            http = HttpClient(server.http)
            http.send_bytes(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nget")
            wait_until(lambda: held_bytes(server) >= 6)
            tcp.send_bytes(b" none\n")
            assert tcp.take_answer()[-1] == OK
            http.socket.close()
            wait_until(lambda: held_bytes(server) == 0)


@pytest.mark.parametrize("open_client", [open_tcp_that_does_not_read, open_websocket_that_does_not_read])
def test_replies_to_strangers_who_do_not_read_are_held_too(
    new_server: Callable[..., Server], open_client: Callable[[Server], Connection]
) -> None:
    """They may each have as much unread as anybody, but not all together."""
    with new_server(**SMALL, NUN_MAX_OUTBOX_SIZE="1MiB") as server, contextlib.ExitStack() as stack:
        create_database(server, "ward")
        member = open_client(server)
        stack.callback(member.socket.close)
        assert member.ask("use-db ward pwd") == [OK]
        before_kib = server.resident_private_kib()
        clients = [member, *(open_client(server) for _ in range(12))]
        for client in clients:
            stack.callback(client.socket.close)
            client.socket.settimeout(2)
            with contextlib.suppress(OSError):
                for _ in range(20):
                    client.send_bytes(encoded(client, "unheard-of-" + "x" * 300_000))
        wait_until(lambda: dropped(server) >= 2)
        assert server.resident_private_kib() - before_kib < 20_000
        assert held_bytes(server) <= SMALL_LIMIT + 2 * 1024**2, "the member's count in the other pool"
    assert server.errors == []


def test_answers_to_strangers_who_do_not_read_are_held_too(new_server: Callable[..., Server]) -> None:
    body = b"unheard-of-" + b"x" * 400_000
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with new_server(**SMALL) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(HttpClient(server.http)) for _ in range(16)]

        def ask_on(client: HttpClient) -> None:
            client.socket.settimeout(2)
            with contextlib.suppress(OSError):
                for _ in range(30):
                    client.send_bytes(request)

        with ThreadPoolExecutor(len(clients)) as pool:
            list(pool.map(ask_on, clients))
        wait_until(lambda: dropped(server) >= 1)
        assert held_bytes(server) <= SMALL_LIMIT
    assert server.errors == []
