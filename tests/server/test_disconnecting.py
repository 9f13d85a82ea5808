"""The administrator sees who is connected, on every transport, and ends connections: they are told why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, select, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs") as server:
        create_database(server, "d", then=f"create-user ana ana-pwd; set-permissions ana r *; set big {'x' * 100_000}")
        yield server


@pytest.fixture(autouse=True)
def _alone(server: Server) -> None:
    """Wait until nobody of the test before is left: the server hears of an end a moment later."""
    wait_until(lambda: len(sessions(server)) == 1)


def sessions(server: Server) -> list[dict[str, Any]]:
    """The rows of all sessions."""
    answer = http_post(server.http, f"auth {server.credentials}; list-sessions")
    rows = json.loads(answer.removeprefix("valid auth\n;sessions "))["sessions"]
    assert isinstance(rows, list)
    return rows


def disconnect(server: Server, number: int) -> str:
    """What the server says to it."""
    return http_post(server.http, f"auth {server.credentials}; disconnect {number}").removeprefix("valid auth\n;")


def test_every_transport_is_shown(server: Server) -> None:
    with TcpClient(server.tcp) as tcp, websocket_session(server, "d") as websocket:
        select(tcp, "d", "ana ana-pwd")
        assert websocket.ask("watch k") == [OK]
        wait_until(lambda: len(sessions(server)) == 3)  # the server hears of the end of a request a moment later
        rows = sessions(server)
        shown = [
            (row["transport"], row["address"], row["database"], row["user"], row["is_admin"], row["watches"])
            for row in rows
        ]
        assert shown == [
            ("tcp", "127.0.0.1", "d", "ana", False, 0),
            ("websocket", "127.0.0.1", "d", "all", False, 1),
            ("http", "127.0.0.1", None, None, True, 0),
        ]
        assert [row["is_this"] for row in rows] == [False, False, True]
        assert rows[0]["since"] <= rows[1]["since"] <= rows[2]["since"]
        assert rows[1]["outbox_bytes"] == 0
    with TcpClient(server.tcp):  # the server hears of the ends a moment later, and maybe not of both at once
        wait_until(lambda: [row["transport"] for row in sessions(server)] == ["tcp", "http"])


def test_what_waits_for_a_client_that_does_not_read_is_shown(server: Server) -> None:
    with WebSocketClient(server.websocket, receive_buffer_bytes=4096) as client:
        select(client, "d")
        for _ in range(60):
            client.send("get big")
        with tcp_session(server, "d") as other:
            while max(row["outbox_bytes"] for row in sessions(server)) <= 100_000:
                assert other.ask("get nothing")[-1] == OK


def test_a_websocket_is_closed_with_a_reason(server: Server) -> None:
    with websocket_session(server, "d") as one, websocket_session(server, "d") as other:
        assert disconnect(server, sessions(server)[0]["id"]) == "empty"
        assert one.wait_close() == 1008
        assert one.close_reason == "disconnected by the administrator"
        assert one.wait_end()
        assert other.ask("get $connections") == ["value 1\n", OK]


def test_a_tcp_connection_is_told_and_ended(server: Server) -> None:
    with tcp_session(server, "d") as one, tcp_session(server, "d") as other:
        assert disconnect(server, sessions(server)[0]["id"]) == "empty"
        assert one.wait_end()
        assert one.take_all() == ["error disconnected by the administrator \n"]
        assert other.ask("get $connections") == ["value 1\n", OK]


@pytest.mark.parametrize("make", [TcpClient, WebSocketClient])
def test_a_client_that_does_not_read_is_ended_too(server: Server, make: type[TcpClient | WebSocketClient]) -> None:
    address = server.tcp if make is TcpClient else server.websocket
    with make(address, receive_buffer_bytes=4096) as client:
        select(client, "d")
        for _ in range(60):
            client.send("get big")
        with tcp_session(server, "d") as other:
            while not max(row["outbox_bytes"] for row in sessions(server)):
                assert other.ask("get nothing")[-1] == OK
            assert disconnect(server, sessions(server)[0]["id"]) == "empty"
            while len(sessions(server)) > 2:
                assert other.ask("get nothing")[-1] == OK
            assert other.ask("get $connections") == ["value 1\n", OK]


def test_a_session_may_end_itself_and_a_request_may_not(server: Server) -> None:
    with WebSocketClient(server.websocket) as client:
        assert client.ask(f"auth {server.credentials}") == ["valid auth\n", OK]
        number = json.loads(client.ask("list-sessions")[0].removeprefix("sessions "))["sessions"][0]["id"]
        client.send(f"disconnect {number}")
        assert client.wait_close() == 1008
        assert client.take_all() == [OK]
    assert disconnect(server, sessions(server)[-1]["id"] + 1) == "this session is one request, and ends by itself"
    assert disconnect(server, 999) == "no session has this id"
