"""Counting, one edge each (docs/protocol.md sections 2 and 4)."""

from __future__ import annotations

import pytest

from pynun.protocol.numbers import INT64_MAX, INT64_MIN
from tests.engine.world import Client, World

OK = ["ok \n"]
NOT_NUMERIC = ["error Key is not numeric \n"]
OUT_OF_RANGE = ["error increment out of range \n"]


@pytest.fixture(name="client")
def _client() -> Client:
    world = World()
    world.admin("create-db d pwd")
    return world.connect("use-db d pwd")


@pytest.mark.parametrize(
    ("stored", "step", "total"),
    [
        ("0", "1", 1),
        ("5", "-7", -2),
        ("+5", "+1", 6),
        ("007", "1", 8),
        ("-0", "0", 0),
        (str(INT64_MAX - 1), "1", INT64_MAX),
        (str(INT64_MIN + 1), "-1", INT64_MIN),
        (str(INT64_MAX), "0", INT64_MAX),
        (str(INT64_MIN), str(INT64_MAX), -1),
        (str(INT64_MAX), str(INT64_MIN), -1),
        ("0", str(INT64_MIN), INT64_MIN),
        (str(2**53), "1", 2**53 + 1),  # a float would lose this one
    ],
)
def test_a_number_is_counted(client: Client, stored: str, step: str, total: int) -> None:
    client.ask(f"set n {stored}")
    assert client.ask(f"increment n {step}") == OK
    assert client.ask("get-safe n") == [f"value-version 1 {total}\n", *OK]


@pytest.mark.parametrize(
    ("stored", "step"),
    [(INT64_MAX, 1), (1, INT64_MAX), (INT64_MIN, -1), (-1, INT64_MIN), (INT64_MAX, INT64_MAX), (INT64_MIN, INT64_MIN)],
)
def test_a_total_beyond_64_bits_is_refused_and_nothing_changes(client: Client, stored: int, step: int) -> None:
    client.ask(f"set n {stored}")
    client.ask("watch n")
    assert client.ask(f"increment n {step}") == OUT_OF_RANGE
    assert client.ask("get-safe n") == [f"value-version 0 {stored}\n", *OK]


@pytest.mark.parametrize("stored", ["", " 5", "5 ", "five", "5.0", str(INT64_MAX + 1), str(INT64_MIN - 1), "٣", "1_0"])
def test_what_is_no_number_is_not_counted(client: Client, stored: str) -> None:
    client.ask(f"set n {stored}")
    assert client.ask("increment n") == NOT_NUMERIC
    assert client.ask("increment n -1") == NOT_NUMERIC
    assert client.ask("get n") == [f"value {stored}\n", *OK]


@pytest.mark.parametrize("step", ["", "five", "1.5", "9223372036854775808", "10" * 3000, "٣", "5 6"])
def test_what_is_no_step_is_one(client: Client, step: str) -> None:
    client.ask("set n 5")
    assert client.ask(f"increment n {step}") == OK
    assert client.ask("get n") == ["value 6\n", *OK]


@pytest.mark.parametrize("step", ["-5", "0", "9223372036854775807"])
def test_an_absent_key_counts_from_0_and_gets_version_1(client: Client, step: str) -> None:
    assert client.ask(f"increment n {step}") == OK
    assert client.ask("get-safe n") == [f"value-version 1 {step}\n", *OK]


def test_a_removed_key_counts_from_0_again(client: Client) -> None:
    client.ask("set n 5")
    client.ask("remove n")
    client.ask("increment n")
    assert client.ask("get-safe n") == ["value-version 1 1\n", *OK]
