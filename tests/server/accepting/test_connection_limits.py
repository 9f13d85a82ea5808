"""Limits of connections, in all and from one address, of handshakes, and of file descriptors."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pynun.limits import DESCRIPTORS_RESERVED, REFUSALS_MAX
from pynun.server.accepting.connection_limits import ConnectionLimits
from tests.support.certificates import Authority
from tools.clients.exact_clients import (
    TIMEOUT_SECONDS,
    EndOfConnectionError,
    HttpClient,
    TcpClient,
    WebSocketClient,
    http_post,
)
from tools.clients.server import Address, Server, new_folder
from tools.clients.sessions import OK, create_database, select, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REFUSED = "too many connections"

LATE_SECONDS = 10.0
"""What is given a second has ended long before; what has no limit of its own takes 15, the default, or for ever."""


def assert_refused(server: Server, source: str = "127.0.0.1") -> None:
    """A further client is told so, on each port, and let go."""
    with TcpClient(server.tcp, greeting=False, source=source) as tcp:
        assert tcp.take() == [f"error {REFUSED} \n"]
        assert tcp.wait_end()
    for address in (server.http, server.websocket):
        with HttpClient(address, source=source) as http:
            response = http.request("keys")
            assert (response.status, response.text) == (503, REFUSED)
            assert http.is_ended()


def wait_for_room(server: Server, source: str = "127.0.0.1") -> TcpClient:
    """A connection, as soon as the server has noticed that another left; the test's own time limit ends it."""
    while True:
        client = TcpClient(server.tcp, greeting=False, source=source)
        with contextlib.suppress(EndOfConnectionError):  # of many that are refused at once not all are told
            if client.take() == ["ok \n"]:
                return client
        client.abandon()


def test_so_many_connections_and_no_more(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_CONNECTIONS="4") as server:
        create_database(server, "full")
        first, *others = [
            tcp_session(server, "full"),
            websocket_session(server, "full"),
            websocket_session(server, "full"),
        ]
        http = HttpClient(server.http)
        assert http.request("use-db full pwd").text == "empty"
        assert_refused(server)
        assert_refused(server, "127.0.0.2")
        for client in (first, *others):
            assert client.ask("set k v") == [OK]
        assert http.request("use-db full pwd; get k").text == "empty;value v\n"
        assert "; see NUN_MAX_CONNECTIONS" in server.wait_output("was refused (1 so far)")
        assert sum("was refused" in line for line in server.output) == 1
        first.close()
        with wait_for_room(server) as again:
            select(again, "full")
            assert_refused(server)
        for client in others:
            client.close()
        http.socket.close()


def test_so_many_from_one_address(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_CONNECTIONS_PER_ADDRESS="2") as server:
        create_database(server, "crowd")
        with tcp_session(server, "crowd") as one, WebSocketClient(server.websocket) as two:
            assert_refused(server)
            with (
                TcpClient(server.tcp, source="127.0.0.2") as other,
                WebSocketClient(server.websocket, source="127.0.0.2"),
            ):
                select(other, "crowd")
                assert_refused(server, "127.0.0.2")
                one.close()
                assert two.ask("use-db crowd pwd") == [OK]
                with wait_for_room(server):
                    assert_refused(server)


def test_an_ipv6_network_is_one_address() -> None:
    """A client with one address of a /64 can use all of them. An IPv4 address counts alone."""
    connection_limits = ConnectionLimits(connections_max=100, per_address_max=3)
    for _ in range(2):  # all that was counted is forgotten when it leaves
        came = [f"2001:db8::{number:x}" for number in range(50) if connection_limits.enter(f"2001:db8::{number:x}")]
        assert len(came) == connection_limits.connections == 3
        others = ("2001:db8:0:1::1", "192.0.2.1", "192.0.2.2")
        assert all(connection_limits.enter(address) for address in others)
        for address in (*came, *others):
            connection_limits.leave(address)
    assert (connection_limits.connections, connection_limits.refused) == (0, 2 * 47)


def test_with_tls_a_refusal_is_the_end_of_the_connection(new_server: Callable[..., Server], disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    with (
        new_server(**authority.environment(), NUN_MAX_CONNECTIONS="1") as server,
        TcpClient(server.tcp, tls=authority.trusting()) as first,
    ):
        with pytest.raises((ConnectionError, OSError)):
            TcpClient(server.tcp, tls=authority.trusting()).socket.close()
        assert first.ask(f"auth {server.credentials}") == ["valid auth\n", OK]


@pytest.fixture(scope="module", name="strict")
def _strict() -> Iterator[Server]:
    """A server that allows little, in each respect that does not concern other tests."""
    environment = {
        "NUN_HANDSHAKE_TIMEOUT": "1",
        "NUN_MAX_WATCHES": "3",
        "NUN_MAX_KEYS": "5",
        "NUN_ALLOWED_ORIGINS": "https://Viewer.Example.org:443, http://localhost:3000",
    }
    with new_folder() as folder, Server(folder / "dbs", environment=environment) as server:
        yield server


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: h\r\nUpgr"])
def test_a_websocket_handshake_has_its_time(strict: Server, sent: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(strict.websocket, TIMEOUT_SECONDS) as client:
        client.sendall(sent)
        assert client.recv(1) == b""
    assert 0.8 < time.monotonic() - began < LATE_SECONDS


def test_a_websocket_handshake_has_so_many_headers(shared_server: Server) -> None:
    """They are kept while the connection is open: without a limit, ten times as much as the connection itself."""
    with WebSocketClient(shared_server.websocket, headers=[f"X-{number}: x" for number in range(90)]) as client:
        assert client.ask("get k")[-1] == "error error no-db-selected\n \n"
    for headers in (["X:"] * 100, [f"X: {'x' * 17_000}"], ["X:"] * 30_000):
        with pytest.raises(AssertionError, match=r"HTTP/1\.1 431 Request Header Fields Too Large"):
            WebSocketClient(shared_server.websocket, headers=headers)


def test_a_client_that_leaves_in_its_handshake_is_not_waited_for(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_CONNECTIONS="1") as server:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: h\r\nUpgr", b"noise\n"):
            with socket.create_connection(server.websocket, TIMEOUT_SECONDS) as client:
                client.sendall(sent)
            began = time.monotonic()
            wait_for_room(server).close()
            assert time.monotonic() - began < LATE_SECONDS


@pytest.mark.parametrize(
    "begun",
    [b"POST / HTTP/1.1\r\nHost: h\r\nX-Header: ", b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nuse-db"],
    ids=["head", "body"],
)
@pytest.mark.parametrize("is_dripping", [False, True])
def test_an_http_request_has_its_time(strict: Server, begun: bytes, is_dripping: bool) -> None:
    """Also if bytes go on to drip: a connection can't be held that way."""
    with HttpClient(strict.http) as client:
        began = time.monotonic()
        client.send_bytes(begun)
        client.socket.settimeout(0.3)
        while is_dripping:
            assert time.monotonic() < began + LATE_SECONDS, "it is still waited for"
            client.send_bytes(b"x")
            try:
                client.socket.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                continue
            break
        client.socket.settimeout(TIMEOUT_SECONDS)
        response = client.read_response()
        assert (response.status, response.text) == (408, "the request did not come to its end in time")
        assert client.is_ended()
        assert 0.6 < time.monotonic() - began < LATE_SECONDS  # it may count from the connection's beginning


def test_a_slow_body_that_gets_on_is_waited_for(strict: Server) -> None:
    create_database(strict, "slow")
    with HttpClient(strict.http) as client:
        body = b"use-db slow pwd;".ljust(80_000, b";")
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
        for first in range(0, len(body), 8000):
            client.send_bytes(body[first : first + 8000])
            time.sleep(0.3)  # 27 KB a second, for three times the time that a request has at first
        assert client.read_response().text == "empty"


def test_the_process_may_open_too_few_files(disk_folder: Path) -> None:
    """The server allows fewer connections from the start: so that one too many is told, and not left hanging."""
    files = DESCRIPTORS_RESERVED + 3
    server = Server(disk_folder / "dbs", wrapper=["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"])
    with server:
        server.wait_output(f"at most 3 connections: this process may open only {files} files")
        create_database(server, "few")
        with tcp_session(server, "few") as one, tcp_session(server, "few"), tcp_session(server, "few"):
            for _ in range(3 * REFUSALS_MAX):
                assert_refused(server)
            assert one.ask("set k v") == [OK]


def test_no_descriptor_is_left(new_server: Callable[..., Server]) -> None:
    """Sessions continue, new clients wait, and accepting continues by itself."""
    with new_server() as server:
        create_database(server, "exhausted")
        with tcp_session(server, "exhausted") as one, websocket_session(server, "exhausted") as two:
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, before[1]))
            waiting = [TcpClient(server.tcp, greeting=False) for _ in range(5)]
            server.wait_output("no more connections can be accepted (Too many open files): trying again")
            for number in range(20):
                assert one.ask(f"set k {number}") == [OK]
                assert two.ask("get k") == [f"value {number}\n", OK]
            assert all(not client.quiet(0.02) for client in waiting)
            assert sum("no more connections" in line for line in server.output) == 1
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            for client in waiting:
                assert client.take() == ["ok \n"]
                select(client, "exhausted")
                client.close()
        assert server.errors == []
        assert server.stop() == 0


ORIGIN = "https://viewer.example.org"


def _answer(address: Address, *headers: str) -> int:
    """The status of the answer to a WebSocket handshake."""
    with HttpClient(address) as client:
        lines = [
            "GET / HTTP/1.1", f"Host: {address}", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", *headers,
        ]  # fmt: skip
        client.send_bytes("\r\n".join([*lines, "", ""]).encode())
        return client.read_response(method="HEAD").status


def test_only_some_pages_may_connect(strict: Server) -> None:
    for origin in (ORIGIN, "http://localhost:3000"):
        assert _answer(strict.websocket, f"Origin: {origin}") == 101
    for origin in ("https://evil.example.org", f"{ORIGIN}.evil.org", "http://viewer.example.org", "null", ""):
        assert _answer(strict.websocket, f"Origin: {origin}") == 403, origin
    assert _answer(strict.websocket, f"Origin: {ORIGIN}", "Origin: https://evil.example.org") in (400, 403)
    assert _answer(strict.websocket) == 101  # no browser
    create_database(strict, "origins")
    with WebSocketClient(strict.websocket, headers=[f"Origin: {ORIGIN}"]) as client:
        assert client.ask("use-db origins pwd") == [OK]


def test_all_pages_may_connect_where_nothing_else_is_said(shared_server: Server) -> None:
    assert _answer(shared_server.websocket, "Origin: https://anybody.example.org") == 101


def test_so_many_watched_keys(strict: Server) -> None:
    create_database(strict, "watches")
    refusal = "error too many watched keys: at most 3 \n"
    with tcp_session(strict, "watches") as client, websocket_session(strict, "watches") as other:
        for key in ("a", "b", "c", "a"):  # the last one again
            assert client.ask(f"watch {key}") == [OK]
        assert client.ask("watch d") == [refusal]
        assert other.ask("watch d") == [OK]
        assert client.ask_all("unwatch a", "watch d", "watch a") == [[OK], [OK], [refusal]]
        assert other.ask("set d 1")[-1] == OK
        assert client.take(2) == ["changed d 1\n", "changed-version d 0 1\n"]


def test_so_many_keys_in_one_answer(strict: Server) -> None:
    create_database(strict, "keys", then="set a-1 x; set a-2 x")
    with tcp_session(strict, "keys") as client:
        listed = client.ask("keys")
        assert listed[-1] == OK
        own = listed[0].removeprefix("keys ").strip().count(",")
        assert http_post(strict.http, "use-db keys pwd; keys a-").count("a-") == 2
        for number in range(6 - own):
            assert client.ask(f"set b-{number} x") == [OK]
        assert client.ask("keys") == ["error too many keys: at most 5, ask for fewer by a pattern \n"]
        assert client.ask("keys a-*") == ["keys ,a-1,a-2\n", OK]
