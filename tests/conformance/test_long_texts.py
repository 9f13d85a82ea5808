"""Keys over the store's own limit of 511 bytes, values of megabytes, and text of every script, on every transport."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import Connection, http_post
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server

MEBIBYTE = 1 << 20


_numbers = itertools.count()


@pytest.fixture(name="database")
def _database(shared_server: Server) -> str:
    """A new database of the test's own."""
    name = f"long-{next(_numbers)}"
    create_database(shared_server, name)
    return name


@pytest.fixture(params=["websocket", "tcp"], name="client")
def _client(request: pytest.FixtureRequest, shared_server: Server, database: str) -> Iterator[Connection]:
    open_session = websocket_session if request.param == "websocket" else tcp_session
    with open_session(shared_server, database) as client:
        yield client


@pytest.mark.parametrize("length", [500, 506, 507, 508, 509, 510, 511, 512, 513, 600, 8192])
def test_keys_around_and_over_the_stores_limit(client: Connection, length: int) -> None:
    key = "k" * length
    near = key[:-1] + "j"
    assert client.ask(f"watch {key}") == [OK]
    assert client.ask(f"set {key} one") == [f"changed {key} one\n", f"changed-version {key} 0 one\n", OK]
    assert client.ask(f"set {near} other") == [OK]
    assert client.ask(f"set-safe {key} 7 two") == [f"changed {key} two\n", f"changed-version {key} 8 two\n", OK]
    assert client.ask(f"get-safe {key}") == ["value-version 8 two\n", OK]
    assert client.ask(f"get {near}") == ["value other\n", OK]
    assert client.ask("keys k*") == [f"keys ,{near},{key}\n", OK]
    assert client.ask(f"keys {key}*") == [f"keys ,{key}\n", OK]
    assert client.ask("keys *kj") == [f"keys ,{near}\n", OK]
    assert client.ask(f"remove {key}") == [f"removed {key}\n", OK]
    assert client.ask(f"get {key}") == ["value <Empty>\n", OK]
    assert client.ask("keys k") == [f"keys ,{near}\n", OK]


def test_long_keys_are_sorted_among_short_ones(client: Connection) -> None:
    keys = ["b" * 600 + "z", "b", "b" * 600 + "a", "c", "a" * 2000, "b" * 600, "b" * 511, "b" * 512, "é" * 400, "z"]
    for key in keys:
        assert client.ask(f"set {key} v") == [OK]
    assert client.ask("keys") == [f"keys ,{','.join(sorted(['$connections', *keys]))}\n", OK]
    assert client.ask("keys b*") == [f"keys ,{','.join(sorted(key for key in keys if key[0] == 'b'))}\n", OK]


def test_a_long_key_counts_and_conflicts_and_survives_a_restart(server: Server) -> None:
    key, counter = "k" * 700, "ключ" * 300
    create_database(
        server, "long", strategy="arbiter", then=f"increment {counter} 5; set {counter}x 1; remove {counter}x"
    )
    with websocket_session(server, "long") as arbiter, websocket_session(server, "long") as client:
        arbiter.ask("arbiter")
        client.ask(f"set-safe {key} 5 a")
        record = client.ask(f"set-safe {key} 1 b")[0].removeprefix("error $$conflitct unresolved ").removesuffix(" \n")
        number = record.removeprefix(f"$conflicts_{key}_")
        assert number.isdecimal()
        assert arbiter.take() == [f"resolve {number} long 6 {key} a b"]
        server.restart()
    with websocket_session(server, "long") as arbiter:
        assert arbiter.ask("arbiter") == [f"resolve {number} long 6 {key} a b", OK]
        assert arbiter.ask(f"resolve {number} long {key} 6 c") == [OK]
        assert arbiter.ask(f"get-safe {key}") == ["value-version 7 c\n", OK]
        assert arbiter.ask(f"get {record}") == ["value resolved c\n", OK]
        assert arbiter.ask(f"increment {counter}") == [OK]
        assert arbiter.ask(f"get-safe {counter}") == ["value-version 2 6\n", OK]
        assert arbiter.ask("keys ключ") == [f"keys ,{counter}\n", OK]


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, MEBIBYTE, 10 * MEBIBYTE])
def test_long_values_go_through_every_transport(shared_server: Server, database: str, size: int) -> None:
    server = shared_server
    value = ("0123456789abcdef" * (size // 16 + 1))[:size]
    with websocket_session(server, database) as websocket, tcp_session(server, database) as tcp:
        assert tcp.ask("watch v") == [OK]
        assert websocket.ask(f"set v {value}") == [OK]
        assert tcp.take(2) == [f"changed v {value}\n", f"changed-version v 0 {value}\n"]
        assert websocket.ask("get v") == [f"value {value}\n", OK]
        assert tcp.ask(f"set v {value}") == [f"changed v {value}\n", f"changed-version v 1 {value}\n", OK]
        assert http_post(server.http, f"use-db {database} pwd; set v {value}; get-safe v") == (
            f"empty;empty;value-version 2 {value}\n"
        )
        assert tcp.take(2) == [f"changed v {value}\n", f"changed-version v 2 {value}\n"]


@pytest.mark.parametrize(
    "text",
    [
        "Приве́т",
        "患者さん",
        "שלום",
        "\U0001d518\U0001d52b\U0001d526",
        "👩‍⚕️",
        "e\u0301",
        "\u00e9",
        "\ufeffmark",
        "a\u2028b",
        "\x00zero",
        "tab\there",
        "\x1b[31m",
        "\x85nel",
        "%00%s{}",
        "'\"\\",
    ],
)
def test_text_of_every_kind_is_kept(client: Connection, text: str) -> None:
    assert client.ask(f"set {text} {text}") == [OK]
    assert client.ask(f"get {text}") == [f"value {text}\n", OK]
    assert client.ask("keys") == [f"keys ,{','.join(sorted(['$connections', text]))}\n", OK]


def test_texts_that_only_look_alike_are_two_keys(client: Connection) -> None:
    assert client.ask("set e\u0301 decomposed") == [OK]
    assert client.ask("set \u00e9 composed") == [OK]
    assert client.ask("get e\u0301") == ["value decomposed\n", OK]
    assert client.ask("get \u00e9") == ["value composed\n", OK]
