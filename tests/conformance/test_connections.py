"""`$connections` counts live sessions, however they come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from tools.clients.server import Server


def _wait_count(watcher: WebSocketClient, count: int) -> None:
    assert watcher.take(2)[0] == f"changed $connections {count}\n"


def test_a_connection_that_vanishes_is_not_counted(shared_server: Server) -> None:
    create_database(shared_server, "vanishing")
    with websocket_session(shared_server, "vanishing") as watcher:
        assert watcher.ask("watch $connections") == [OK]
        for open_session in (websocket_session, tcp_session):
            with open_session(shared_server, "vanishing") as client:
                _wait_count(watcher, 2)
                client.abandon()
                _wait_count(watcher, 1)


def test_a_connection_without_a_database_is_not_counted(shared_server: Server) -> None:
    create_database(shared_server, "uncounted")
    with (
        websocket_session(shared_server, "uncounted") as client,
        WebSocketClient(shared_server.websocket) as other,
        TcpClient(shared_server.tcp),
    ):
        other.ask("auth a b")
        assert client.ask("get $connections") == ["value 1\n", OK]


def test_many_come_and_go(shared_server: Server) -> None:
    create_database(shared_server, "crowd")
    with websocket_session(shared_server, "crowd") as watcher:
        assert watcher.ask("watch $connections") == [OK]
        clients = [websocket_session(shared_server, "crowd") for _ in range(30)]
        assert watcher.ask("get $connections")[-2:] == ["value 31\n", OK]
        for client in clients:
            client.close()
        assert watcher.pump_until(lambda: watcher.messages[-2:-1] == ["changed $connections 1\n"])
        assert watcher.ask("get $connections")[-2:] == ["value 1\n", OK]


def test_requests_leave_nothing(shared_server: Server) -> None:
    create_database(shared_server, "requests")
    for _ in range(50):
        assert http_post(shared_server.http, ";".join(["use-db requests pwd"] * 20)) == ";".join(["empty"] * 20)
    assert http_post(shared_server.http, "use-db requests pwd; get $connections") == "empty;value 1\n"


def test_it_counts_from_zero_after_a_restart_and_after_a_kill(server: Server) -> None:
    create_database(server, "restarted")
    for end in (server.stop, server.kill):
        with websocket_session(server, "restarted") as one, websocket_session(server, "restarted"):
            assert one.ask("get $connections") == ["value 2\n", OK]
            end()
        server.start()
    assert http_post(server.http, "use-db restarted pwd; get $connections") == "empty;value 1\n"


def test_an_ephemeral_key_goes_with_its_connection(shared_server: Server) -> None:
    create_database(shared_server, "ephemeral")
    with websocket_session(shared_server, "ephemeral") as watcher:
        watcher.ask("watch here-ana")
        for open_session in (websocket_session, tcp_session):
            with open_session(shared_server, "ephemeral") as client:
                assert client.ask("set-ephemeral here-ana in room 3") == [OK]
                told = ["changed here-ana in room 3\n", "changed-version here-ana 0 in room 3\n"]
                assert watcher.take(2) == told
                client.abandon()
                assert watcher.take(1) == ["removed here-ana\n"]
    assert http_post(
        shared_server.http, "use-db ephemeral pwd; set-ephemeral here-ana now; get here-ana; use-db ephemeral pwd"
    ).startswith("empty;empty;value now")
    with websocket_session(shared_server, "ephemeral") as client:
        assert client.ask("get here-ana") == ["value <Empty>\n", OK]
