"""What the token of a public page can do to the disk, where the administrator has set limits: on real servers."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from tests.support.bystander import MemoryWatch
from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.sessions import OK, create_database, select, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server

FULL = "error database full: at most 1048576 bytes, remove something first \n"
RECORDS = 20
TOO_MANY = "error too many changes: at most 20 a second \n"


def database_size(server: Server, name: str) -> int:
    answer = http_post(server.http, f"auth {server.credentials}; db-size {name}").partition("database-size ")[2]
    size: int = json.loads(answer)["bytes"]
    return size


def test_a_database_stays_below_its_limit_also_after_kill_and_restart(new_server: Callable[..., Server]) -> None:
    server = new_server(NUN_MAX_DATABASE_SIZE="1MiB")
    server.start()
    create_database(server, "small")
    create_database(server, "other")
    with tcp_session(server, "small") as client:
        answers = client.ask_all(*(f"set k{number} {'v' * 100_000}" for number in range(12)))
        assert answers == [[OK]] * 10 + [[FULL]] * 2
    assert 1_000_000 < database_size(server, "small") <= 1 << 20
    server.kill()
    server.start()
    with websocket_session(server, "small") as client:
        # Refused from when it is measured, in the background: what is changed meanwhile may be counted wrong, once.
        numbers = itertools.count()
        wait_until(lambda: client.ask(f"set l{next(numbers)} {'v' * 100_000}") == [FULL])
        assert client.ask("set k1 short") == [OK]
        assert client.ask_all(*(f"remove k{number}" for number in range(10))) == [[OK]] * 10
        assert client.ask_all(*(f"remove l{number}" for number in range(next(numbers)))).count([OK]) > 0
        assert client.ask(f"set m {'v' * 100_000}") == [OK]
    assert http_post(server.http, f"use-db other pwd; set k {'v' * 100_000}") == "empty;empty"


def test_neither_requests_nor_new_connections_get_round_the_limit_of_changes(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_CHANGES_PER_SECOND="20") as server:
        create_database(server, "paced")
        with websocket_session(server, "paced") as watcher, websocket_session(server, "paced") as client:
            assert watcher.ask("watch k0") == [OK]
            answers = client.ask_all(*(f"set k{number} v" for number in range(300)))
            refused = answers.count([TOO_MANY])
            assert answers == [[OK]] * (300 - refused) + [[TOO_MANY]] * refused or 0 < refused < 300
            assert answers[0] == [OK]
            assert watcher.take(2) == ["changed k0 v\n", "changed-version k0 0 v\n"]
        allowed = 0
        for _ in range(20):
            allowed += http_post(server.http, "use-db paced pwd" + "; set h v" * 20).count("empty") - 1
            with TcpClient(server.tcp) as again:
                select(again, "paced")
                allowed += again.ask_all(*["set t v"] * 20).count([OK])
        assert allowed < 400, "of 800; a machine that takes seconds for it allows more than twenty"
        body = f"auth {server.credentials}; use-db paced pwd" + "; set a v" * 300
        assert http_post(server.http, body).count("changes") == 0, "the administrator's"


def test_an_arbiter_is_sent_any_number_of_records_as_it_takes_them(new_server: Callable[..., Server]) -> None:
    with new_server() as server:
        create_database(server, "arb", strategy="arbiter")
        with websocket_session(server, "arb") as first, tcp_session(server, "arb") as client:
            assert first.ask("arbiter") == [OK]
            for number in range(RECORDS):
                value = f"{number} {'v' * (1 << 20)}"
                assert client.ask_all(f"set k{number} old", f"set k{number} {value}") == [[OK]] * 2
                assert "unresolved" in client.ask(f"set-safe k{number} 0 late")[0]
                first.take()
        with WebSocketClient(server.websocket, receive_buffer_bytes=4096) as late, MemoryWatch(server) as memory:
            select(late, "arb")
            late.send("arbiter")
            wait_until(lambda: memory.growth_kib > 6 << 10)  # it does not read, so no more is prepared for it
            with tcp_session(server, "arb") as client:
                assert client.ask("get none") == ["value <Empty>\n", OK]
            told = late.take_answer(timeout_seconds=60)
        assert [text.split(" ")[4] for text in told[:-1]] == [f"k{number}" for number in range(RECORDS)]
        assert memory.growth_kib < 40 << 10
