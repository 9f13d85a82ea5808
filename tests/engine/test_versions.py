"""Which version a change gives a key (docs/protocol.md section 4)."""

from __future__ import annotations

import pytest

from pynun.engine.overlay import Entry
from pynun.engine.versions import next_version
from tests.engine.world import Client, World, fake_hash

OK = ["ok \n"]


@pytest.fixture(name="client")
def _client() -> Client:
    world = World()
    world.admin("create-db d pwd")
    return world.connect("use-db d pwd")


@pytest.mark.parametrize(("given", "expected"), [(-1, 0), (0, 1), (5, 6), (2**31 - 2**24, 2**31 - 2**24 + 1)])
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


@pytest.mark.parametrize("version", ["x", "", "1x", "1.5", "٣", "1_0", "0x1", "+", "-", "--1", "1e9"])
def test_what_is_no_integer_is_unconditional(client: Client, version: str) -> None:
    client.ask("set-safe k 7 old")
    assert client.ask(f"set-safe k {version} new") == OK
    assert client.ask("get-safe k") == ["value-version 9 new\n", *OK]


@pytest.mark.parametrize("version", ["-2", "-3", "-2147483648", "-2147483649", f"-1{'0' * 5000}"])
def test_an_integer_below_is_old_and_never_makes_a_key_that_looks_in_conflict(client: Client, version: str) -> None:
    assert client.ask(f"set-safe new {version} v") == OK
    assert client.ask("get-safe new") == ["value-version 0 v\n", *OK]
    assert client.ask(f"set-safe new {version} w") == ["error Invalid version! \n"]
    assert client.ask("get-safe new") == ["value-version 0 v\n", *OK]


OUT_OF_RANGE = ["error version out of range: remove k lets it start anew \n"]
GIVEN_OUT_OF_RANGE = [
    "error version out of range: at most 2130706432 can be given; remove k lets it start anew if it has come so far \n"
]
FROM = 2**31 - 2**24


@pytest.mark.parametrize(
    "version", [FROM + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**30, "+2147483648", f"1{'0' * 9999}"]
)
def test_an_integer_given_above_the_limit_is_refused_not_unconditional(client: Client, version: object) -> None:
    client.ask("set-safe k 7 old")
    assert client.ask(f"set-safe k {version} new") == GIVEN_OUT_OF_RANGE
    admin = client.world.admin()
    assert admin.ask(f"replicate d k {version} new") == GIVEN_OUT_OF_RANGE
    assert admin.ask(f"resolve 1 d k {version} new") == GIVEN_OUT_OF_RANGE
    assert client.ask("get-safe k") == ["value-version 8 old\n", *OK]


def test_the_highest_version_that_may_be_given(client: Client) -> None:
    assert client.ask(f"set-safe k {FROM} v") == OK
    assert client.ask("set k w") == OK
    assert client.ask("get-safe k") == [f"value-version {FROM + 2} w\n", *OK]
    assert client.ask(f"set-safe k {FROM} w") == ["error Invalid version! \n"]
    assert client.ask(f"set-safe k {FROM + 2} w") == GIVEN_OUT_OF_RANGE


def stored(world: World, key: str, version: int, text: str = "5", database: str = "d") -> None:
    """Let an import or an older server have stored a key."""
    found = world.engine.database(database)
    world.engine.view.write(found.stored_key(key), Entry(version, text))


CHANGES = (
    "set k 1",
    "set-safe k -1 1",
    "set-safe k word 1",
    "increment k",
    "replicate d k -1 1",
    "replicate-increment d k",
    "resolve 7 d k 5 1",
)


@pytest.mark.parametrize("version", [2**31 - 1, 2**31, 2**40])
@pytest.mark.parametrize("change", CHANGES)
def test_a_key_at_the_end_reads_takes_no_change_and_starts_anew(client: Client, change: str, version: int) -> None:
    world = client.world
    stored(world, "k", version)
    who = world.admin("use-db d pwd")
    assert who.ask(change) == OUT_OF_RANGE
    assert who.ask("get-safe k") == [f"value-version {version} 5\n", *OK]
    assert who.ask("remove k") == OK
    assert who.ask(change) == OK
    assert who.ask("get-safe k")[0].startswith(("value-version 0 ", "value-version 1 ", "value-version 6 "))


def test_the_last_version_of_32_bits_is_reached(client: Client) -> None:
    stored(client.world, "k", 2**31 - 2)
    assert client.ask("increment k") == OK
    assert client.ask("get-safe k") == ["value-version 2147483647 6\n", *OK]
    assert client.ask("increment k") == OUT_OF_RANGE


def test_newer_does_not_pass_the_end_either(client: Client) -> None:
    world = client.world
    world.admin("create-db n pwd newer")
    stored(world, "k", 2**31 - 1, database="n")
    assert world.connect("use-db n pwd").ask("set-safe k 3 late") == OUT_OF_RANGE


def test_no_arbiter_is_asked_about_a_version_that_it_could_not_name(client: Client) -> None:
    world = client.world
    world.admin("create-db a pwd arbiter")
    stored(world, "k", FROM + 1, database="a")
    arbiter = world.connect("use-db a pwd", "arbiter")
    assert arbiter.ask("set-safe k 3 late") == OUT_OF_RANGE
    stored(world, "k", FROM, database="a")
    told = arbiter.ask("set-safe k 3 late")
    words = told[0].split(" ")
    assert words[3] == str(FROM)
    assert arbiter.ask(f"set-safe k {FROM} later") == OUT_OF_RANGE  # with one pending it would be shown one more
    assert arbiter.ask(f"resolve {words[1]} a k {words[3]} done") == OK
    assert arbiter.ask("get-safe k") == [f"value-version {FROM + 1} done\n", *OK]


@pytest.mark.parametrize("version", [-1, -3, -4, -(2**40)])
@pytest.mark.parametrize(
    "change", ["set k 1", "set-safe k -1 1", "set-safe k 0 1", "increment k 1", "resolve 7 d k 5 1"]
)
def test_an_odd_version_below_zero_reads_and_is_never_followed_by_another(
    client: Client, change: str, version: int
) -> None:
    stored(client.world, "k", version)
    assert client.ask("get-safe k") == [f"value-version {version} 5\n", *OK]
    assert client.ask(change) == OK
    assert client.ask("get-safe k")[0].startswith(("value-version 0 ", "value-version 1 "))


def test_the_token_of_a_database_can_always_be_changed(client: Client) -> None:
    """It can't be removed: its version begins anew by itself, also that of the admin password at a start."""
    world = client.world
    stored(world, "$$token", 2**31 - 1, fake_hash("pwd"))
    assert world.admin().ask("set-token d all new") == OK
    stored(world, "$$token", 2**31 - 1, fake_hash("other"), "$admin")
    world.commit()
    world.restart()
    assert world.admin("use-db d new").ask("get-safe $$token")[0].startswith("value-version 0 ")


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
