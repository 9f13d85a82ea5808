"""Keys of megabytes that an older server accepted, on a real disk: listing them stops nobody and takes little memory.

Seen before: sixty keys of 8 MiB, planted with a public token, made one `keys` of a user without any permission take
1.9 GiB, and every other client wait for 14 seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bystander import Bystander, MemoryWatch
from tests.support.watched import Scrape, wait_until
from tools.clients.exact_clients import TcpClient, http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = 14
KEY_BYTES = 6 << 20
STALL_SECONDS_MAX = 0.5
"""A few hundredths, and some more on a busy machine; before, it was the whole listing."""

GROWTH_KIB_MAX = 60 << 10
OLD = {"NUN_MAX_KEY_SIZE": "16MiB"}


def long_key(number: int) -> str:
    return f"old{number:03}-" + "x" * KEY_BYTES


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    """A server with the default limit, on data that has keys far beyond it, and a user without permissions."""
    with new_folder() as folder, Server(folder / "dbs", environment=OLD) as server:
        create_database(server, "old", then="create-user nobody pwd; set short v")
        with tcp_session(server, "old") as client:
            for number in range(KEYS):
                assert client.ask(f"set {long_key(number)} v{number}") == [OK]
        server.environment.pop("NUN_MAX_KEY_SIZE", None)
        server.restart()
        yield server
        assert server.errors == []


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("keys none", "keys \n"),
        ("keys *none", "keys \n"),
        ("keys none*", "keys \n"),
        ("ls sho", "keys ,short\n"),
        ("keys", "error too many keys: at most 33554432 bytes of them, ask for fewer by a pattern \n"),
        ("keys old*", "error too many keys: at most 33554432 bytes of them, ask for fewer by a pattern \n"),
    ],
)
def test_listing_them_stops_nobody_and_takes_little(server: Server, command: str, answer: str) -> None:
    with Bystander(server, "old") as bystander, MemoryWatch(server) as memory, TcpClient(server.tcp) as client:
        assert client.ask("use-db old nobody pwd") == [OK]
        assert client.ask(command)[0] == answer
    print(f"{command}: {bystander.longest_seconds:.3f} s, {memory.growth_kib} KiB")
    assert bystander.longest_seconds < STALL_SECONDS_MAX
    assert memory.growth_kib < GROWTH_KIB_MAX


def test_one_of_them_is_listed_whole(server: Server) -> None:
    with websocket_session(server, "old") as client:
        assert client.ask("keys old007*") == [f"keys ,{long_key(7)}\n", OK]


def test_they_can_be_read_watched_changed_and_removed(server: Server) -> None:
    key = long_key(0)
    with tcp_session(server, "old") as client:
        assert client.ask(f"watch {key}") == [OK]
        assert client.ask(f"get-safe {key}") == ["value-version 0 v0\n", OK]
        assert client.ask(f"set {key} w") == [f"changed {key} w\n", f"changed-version {key} 1 w\n", OK]
        assert client.ask(f"remove {key}") == [f"removed {key}\n", OK]
        assert client.ask(f"set {key} w") == ["error key too long: at most 8192 bytes \n"]
        assert client.ask("keys old000*") == ["keys \n", OK]


@pytest.mark.parametrize("transport", ["websocket", "tcp", "http"])
def test_new_ones_are_refused_on_every_transport(server: Server, transport: str) -> None:
    command = f"set {'k' * 8193} v"
    if transport == "http":
        assert http_post(server.http, f"use-db old pwd; {command}; get short") == (
            "empty;key too long: at most 8192 bytes;value v\n"
        )
        return
    with (websocket_session if transport == "websocket" else tcp_session)(server, "old") as client:
        assert client.ask(command) == ["error key too long: at most 8192 bytes \n"]
        assert client.ask("get short") == ["value v\n", OK]


def test_measuring_and_dropping_them_stops_nobody(server: Server) -> None:
    """The last test: it drops them."""
    create_database(server, "other", then="set short v")
    before = Scrape(server.http).value("nun_db_stored_entries")
    with Bystander(server, "other") as bystander, MemoryWatch(server) as memory:
        answer = http_post(server.http, f"auth {server.credentials}; db-size old; drop-db old")
        wait_until(lambda: Scrape(server.http).value("nun_db_stored_entries") < before - KEYS + 2)
    assert '"keys":' in answer
    print(f"dropping: {bystander.longest_seconds:.3f} s, {memory.growth_kib} KiB")
    assert bystander.longest_seconds < STALL_SECONDS_MAX
    assert memory.growth_kib < GROWTH_KIB_MAX
