"""Numbers at the edges: 64-bit counters, and versions far from the usual (docs/protocol.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.clients.sessions import OK, create_database, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.exact_clients import WebSocketClient
    from tools.clients.server import Server

DATABASE = "numbers"
INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

NOT_NUMERIC = ["error Key is not numeric \n"]
OUT_OF_RANGE = ["error increment out of range \n"]


@pytest.fixture(scope="module", autouse=True)
def _database(shared_server: Server) -> None:
    create_database(shared_server, DATABASE)


@pytest.fixture(name="client")
def _client(shared_server: Server) -> Iterator[WebSocketClient]:
    with websocket_session(shared_server, DATABASE) as client:
        yield client


@pytest.mark.parametrize(
    ("stored", "step", "result"),
    [
        (INT64_MAX - 1, 1, INT64_MAX),
        (INT64_MAX, 0, INT64_MAX),
        (INT64_MIN + 1, -1, INT64_MIN),
        (INT64_MIN, INT64_MAX, -1),
        (INT64_MAX, INT64_MIN, -1),
        (0, INT64_MIN, INT64_MIN),
        (2**53, 1, 2**53 + 1),  # a float would lose this one
    ],
)
def test_counting_within_64_bits(client: WebSocketClient, stored: int, step: int, result: int) -> None:
    assert client.ask(f"set n {stored}") == [OK]
    assert client.ask(f"increment n {step}") == [OK]
    assert client.ask("get n") == [f"value {result}\n", OK]


@pytest.mark.parametrize(("stored", "step"), [(INT64_MAX, 1), (INT64_MIN, -1), (1, INT64_MAX), (-1, INT64_MIN)])
def test_a_result_beyond_64_bits_is_refused(client: WebSocketClient, stored: int, step: int) -> None:
    client.ask_all("remove n", f"set n {stored}")
    assert client.ask(f"increment n {step}") == OUT_OF_RANGE
    assert client.ask("get-safe n") == [f"value-version 0 {stored}\n", OK]


@pytest.mark.parametrize("stored", [INT64_MAX + 1, INT64_MIN - 1, 10**30])
def test_a_stored_value_beyond_64_bits_is_not_numeric(client: WebSocketClient, stored: int) -> None:
    client.ask(f"set n {stored}")
    assert client.ask("increment n") == NOT_NUMERIC
    assert client.ask("increment n -1") == NOT_NUMERIC
    assert client.ask("get n") == [f"value {stored}\n", OK]


@pytest.mark.parametrize("step", [str(INT64_MAX + 1), "10" * 3000, "1.5", "x", "٣"])
def test_a_step_that_does_not_parse_is_one(client: WebSocketClient, step: str) -> None:
    client.ask("set n 10")
    assert client.ask(f"increment n {step}") == [OK]
    assert client.ask("get n") == ["value 11\n", OK]


def test_a_refused_increment_is_no_event(client: WebSocketClient) -> None:
    client.ask_all("remove events", f"set events {INT64_MAX}", "watch events")
    assert client.ask("increment events") == OUT_OF_RANGE
    assert client.ask("get-safe events") == [f"value-version 0 {INT64_MAX}\n", OK]


@pytest.mark.parametrize("version", [2**31 - 2, 2**31 - 1, 2**31, 2**63, 10**30, -(2**31), -2, -(10**30)])
def test_an_odd_version_gets_one_answer_and_breaks_nothing(client: WebSocketClient, version: int) -> None:
    """What such a version means is nowhere said; that the key and the session stay usable is."""
    client.ask("remove odd")
    assert client.ask(f"set-safe odd {version} v")[-1].endswith(" \n")
    answer, end = client.ask("get-safe odd")
    assert end == OK
    assert answer.startswith("value-version ")
    assert client.ask("remove odd") == [OK]
    assert client.ask("set odd 1") == [OK]
    assert client.ask("get-safe odd") == ["value-version 0 1\n", OK]
