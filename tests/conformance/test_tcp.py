"""The line protocol as networks really deliver it: split anywhere, joined, and far ahead of the answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from pynun.protocol import messages
from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient
from tools.clients.sessions import OK, TOKEN, create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server

DATABASE = "tcp-lines"


@pytest.fixture(scope="module", autouse=True)
def _database(shared_server: Server) -> None:
    create_database(shared_server, DATABASE)


@pytest.fixture(name="client")
def _client(shared_server: Server) -> Iterator[TcpClient]:
    with tcp_session(shared_server, DATABASE) as client:
        yield client


def test_a_command_sent_byte_by_byte(client: TcpClient) -> None:
    for value in "set bytewise ключ\r\n".encode():
        client.send_bytes(bytes([value]))
    assert client.take_answer() == [OK]
    assert client.ask("get bytewise") == ["value ключ\n", OK]


def test_packets_cut_at_every_byte(client: TcpClient) -> None:
    lines = "set cut ж;1;\r\nget cut\nget cut;\n".encode()
    for cut in range(1, len(lines)):
        client.send_bytes(lines[:cut])
        client.send_bytes(lines[cut:])
        assert client.take(5) == [OK, "value ж;1\n", OK, "value ж;1\n", OK]


def test_a_command_without_its_line_end_is_not_run(shared_server: Server, client: TcpClient) -> None:
    client.send_bytes(b"set unfinished 1")
    assert client.quiet() == []
    with tcp_session(shared_server, DATABASE) as other:
        assert other.ask("get unfinished") == ["value <Empty>\n", OK]
    client.send_bytes(b"23\n")
    assert client.take_answer() == [OK]
    assert client.ask("get unfinished") == ["value 123\n", OK]


def test_a_thousand_commands_without_waiting(client: TcpClient) -> None:
    client.send_bytes(b"".join(b"set many-%d %d\nget many-%d\n" % (n, n, n) for n in range(1000)))
    for number in range(1000):
        assert client.take(3) == [OK, f"value {number}\n", OK]


def test_commands_sent_before_leaving_are_done_and_answered(shared_server: Server, client: TcpClient) -> None:
    """As `printf 'use-db …\\nset …\\n' | nc` does: everything is sent, and the sending side closed."""
    client.send_bytes(b"set leaving 1\nget leaving\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.take(3) == [OK, "value 1\n", OK]
    assert client.wait_end()
    with tcp_session(shared_server, DATABASE) as other:
        assert other.ask("get leaving") == ["value 1\n", OK]


def test_invalid_utf_8_is_refused_and_the_server_goes_on(shared_server: Server, client: TcpClient) -> None:
    client.send_bytes(b"set before-invalid 1\nset invalid \xff\xfe\n")
    assert client.take(2) == [OK, "error invalid utf-8 \n"]
    with tcp_session(shared_server, DATABASE) as other:
        assert other.ask("get before-invalid") == ["value 1\n", OK]
        assert other.ask("get invalid") == ["value <Empty>\n", OK]


@pytest.mark.parametrize("data", [b"\x00" * 100 + b"\n", b"\x16\x03\x01\x02\x00\x01\x00\n", b"GET / HTTP/1.1\r\n"])
def test_what_is_no_command_is_an_error_and_nothing_more(shared_server: Server, data: bytes) -> None:
    with TcpClient(shared_server.tcp) as client:
        client.send_bytes(data)
        answer = client.take_answer()
        assert answer[0].startswith("error "), answer
    with tcp_session(shared_server, DATABASE) as other:  # a client of another test may be leaving just now
        wait_until(lambda: other.ask("get $connections") == ["value 1\n", OK])


@pytest.mark.parametrize("method", ["POST", "GET", "x"])
def test_nothing_is_run_of_an_http_request(shared_server: Server, method: str) -> None:
    """Any web page can have a browser send one to any port, with lines of its choice in it."""
    with TcpClient(shared_server.tcp) as client:
        client.send_bytes(f"{method} / HTTP/1.1\r\n\r\nuse-db {DATABASE} {TOKEN}\nset by-http 1\n".encode())
        assert client.take_answer() == [messages.error(messages.NOT_FOR_HTTP)]
        assert client.wait_end()
    with tcp_session(shared_server, DATABASE) as other:
        assert other.ask("get by-http") == ["value <Empty>\n", OK]
