"""Which version a change gives a key (docs/protocol.md section 4)."""

from __future__ import annotations

import pytest

from pynun.engine.versions import next_version
from tests.engine.world import Client, World

OK = ["ok \n"]


@pytest.fixture(name="client")
def _client() -> Client:
    world = World()
    world.admin("create-db d pwd")
    return world.connect("use-db d pwd")


@pytest.mark.parametrize(("given", "expected"), [(-1, 0), (0, 1), (5, 6), (2**31 - 1, 2**31)])
def test_a_new_key_gets_the_given_version_plus_one(given: int, expected: int) -> None:
    assert next_version(None, given) == expected


@pytest.mark.parametrize("given", [-2, -3, -(2**31)])
def test_a_version_below_minus_one_never_makes_a_key_that_reads_as_deleted(given: int) -> None:
    assert next_version(None, given) == 0


@pytest.mark.parametrize(("old", "given", "expected"), [(5, 5, 6), (5, 6, 7), (5, 100, 101), (0, 0, 1)])
def test_a_version_that_is_not_too_old_gives_the_next_one(old: int, given: int, expected: int) -> None:
    assert next_version(old, given) == expected


@pytest.mark.parametrize(("old", "given"), [(5, 4), (5, 0), (5, -2), (0, -2)])
def test_a_version_that_is_too_old_is_a_conflict(old: int, given: int) -> None:
    assert next_version(old, given) is None


@pytest.mark.parametrize("old", [0, 5, 2**31])
def test_minus_one_never_conflicts(old: int) -> None:
    assert next_version(old, -1) == old + 1


def test_set_gives_a_new_key_version_0_and_then_one_more(client: Client) -> None:
    for version in range(3):
        assert client.ask("set k v") == OK
        assert client.ask("get-safe k") == [f"value-version {version} v\n", *OK]


@pytest.mark.parametrize("version", ["x", "", "1x", "1.5", "2147483648", "-2147483649", "٣", "1_0", "0x1"])
def test_what_is_no_version_of_32_bits_is_unconditional(client: Client, version: str) -> None:
    client.ask("set-safe k 7 old")
    assert client.ask(f"set-safe k {version} new") == OK
    assert client.ask("get-safe k") == ["value-version 9 new\n", *OK]


def test_the_highest_version_of_32_bits_counts(client: Client) -> None:
    client.ask("set-safe k 2147483647 v")
    assert client.ask("get-safe k") == ["value-version 2147483648 v\n", *OK]
    assert client.ask("set-safe k 2147483647 w") == ["error Invalid version! \n"]
    assert client.ask("set k w") == OK
    assert client.ask("get-safe k") == ["value-version 2147483649 w\n", *OK]


def test_a_removed_key_is_new_again_before_and_after_it_is_on_disk(client: Client) -> None:
    client.ask("set-safe k 7 v")
    client.ask("remove k")
    client.ask("set k v")
    assert client.ask("get-safe k") == ["value-version 0 v\n", *OK]
    client.ask("set-safe k 7 v")
    client.world.commit()
    client.ask("remove k")
    client.world.commit()
    client.ask("set k v")
    assert client.ask("get-safe k") == ["value-version 0 v\n", *OK]


def test_an_increment_gives_the_next_version_and_a_new_key_1(client: Client) -> None:
    client.ask("increment n 5")
    assert client.ask("get-safe n") == ["value-version 1 5\n", *OK]
    client.ask("set-safe n 9 5")
    client.ask("increment n")
    assert client.ask("get-safe n") == ["value-version 11 6\n", *OK]


def test_an_absent_key_reads_as_version_1_without_being_there(client: Client) -> None:
    assert client.ask("get-safe k") == ["value-version 1 <Empty>\n", *OK]
    assert client.ask("keys k") == ["keys \n", *OK]


def test_versions_outlive_a_restart(client: Client) -> None:
    client.ask("set-safe k 7 v")
    client.world.commit()
    client.world.restart()
    assert client.world.connect("use-db d pwd").ask("get-safe k") == ["value-version 8 v\n", *OK]
