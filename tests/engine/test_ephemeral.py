"""Ephemeral keys: they end with the session that set them, are told as any other, and never reach the disk."""

from __future__ import annotations

import pytest

from pynun import limits
from tests.engine.test_administering import report
from tests.engine.world import Client, World

OK = ["ok \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "create-db e pwd", "create-db arb pwd arbiter")
    world.commit()
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    return world.connect("use-db d pwd")


@pytest.fixture(name="watcher")
def _watcher(world: World) -> Client:
    return world.connect("use-db d pwd", "watch k")


def changed(version: int, text: str) -> list[str]:
    """The two messages of a change."""
    return [f"changed k {text}\n", f"changed-version k {version} {text}\n"]


@pytest.mark.parametrize("end", ["close", "use-db e pwd"])
def test_it_is_told_and_listed_and_ends_with_its_session(
    world: World, client: Client, watcher: Client, end: str
) -> None:
    assert client.ask("set-ephemeral k here") == OK
    assert client.ask("set-ephemeral k two  words") == OK
    assert watcher.outbox.take() == [*changed(0, "here"), *changed(1, "two  words")]
    assert watcher.ask("get-safe k") == ["value-version 1 two  words\n", *OK]
    assert watcher.ask("keys") == ["keys ,$connections,k\n", *OK]
    if end == "close":
        client.session.close()
    else:
        client.ask(end)
    assert watcher.outbox.take() == ["removed k\n"]
    assert watcher.ask("get k") == ["value <Empty>\n", *OK]
    assert watcher.ask("set k stored") == [*changed(0, "stored"), *OK]


def test_it_never_reaches_the_disk(world: World, client: Client) -> None:
    before = world.view.operations
    client.ask("set-ephemeral k here")
    client.ask("set k there")
    client.ask("increment n")
    world.commit()
    assert world.view.operations == before + 1
    database = world.engine.database("d")
    assert world.store.get(database.stored_key("k")) is None
    assert world.store.get(database.stored_key("n")) is not None


def test_every_other_command_changes_it_too(client: Client, watcher: Client) -> None:
    client.ask("set-ephemeral k 7")
    assert watcher.ask("increment k 2") == [*changed(0, "7"), *changed(1, "9"), *OK]
    assert watcher.ask("set-safe k 1 x") == [*changed(2, "x"), *OK]
    assert watcher.ask("set-safe k 1 y") == ["error Invalid version! \n"]
    assert watcher.ask("remove k") == ["removed k\n", *OK]
    assert watcher.ask("set k stored") == [*changed(0, "stored"), *OK]
    client.session.close()
    assert watcher.ask("get k") == ["value stored\n", *OK]


def test_it_ends_with_the_session_that_set_it_last(world: World, client: Client, watcher: Client) -> None:
    other = world.connect("use-db d pwd", "set-ephemeral k first")
    client.ask("set-ephemeral k second")
    other.session.close()
    assert watcher.outbox.take() == [*changed(0, "first"), *changed(1, "second")]
    client.session.close()
    assert watcher.outbox.take() == ["removed k\n"]


def test_a_removed_key_that_is_not_yet_written_may_be_ephemeral(world: World, client: Client) -> None:
    client.ask("set k stored")
    world.commit()
    client.ask("remove k")
    client.ask("set-ephemeral k here")
    assert client.ask("get k") == ["value here\n", *OK]
    assert client.ask("keys") == ["keys ,$connections,k\n", *OK]
    world.commit()
    assert client.ask("get k") == ["value here\n", *OK]


def test_a_stored_key_and_those_of_the_server_are_refused(client: Client) -> None:
    client.ask("set k stored")
    assert client.ask("set-ephemeral k x") == ["error the key is stored, and can't be ephemeral: remove it first \n"]
    for key in ("$connections", "$mine"):
        assert client.ask(f"set-ephemeral {key} x") == ["error a key that begins with $ can't be ephemeral \n"]


def test_one_who_may_not_write_may_not_set_it(world: World) -> None:
    world.admin("use-db d pwd", "create-user ana ana-pwd", "set-permissions ana r *|w mine-*")
    ana = world.connect("use-db d ana ana-pwd")
    assert ana.ask("set-ephemeral k x") == ["permission denied\n", "error permission denied\n \n"]
    assert ana.ask("set-ephemeral mine-1 x") == OK


def test_a_session_has_a_bounded_number_of_bounded_size(client: Client) -> None:
    most = limits.EPHEMERAL_BYTES_MAX
    assert client.ask(f"set-ephemeral k {'x' * (most + 1)}") == [
        f"error value too long: an ephemeral key holds at most {most} bytes \n"
    ]
    for number in range(limits.EPHEMERAL_KEYS_MAX):
        assert client.ask(f"set-ephemeral k{number} x") == OK
    refusal = f"error too many ephemeral keys: a session may have {limits.EPHEMERAL_KEYS_MAX} \n"
    assert client.ask("set-ephemeral one-more x") == [refusal]
    assert client.ask("set-ephemeral k0 again") == OK
    client.ask("remove k0")
    assert client.ask("set-ephemeral one-more x") == OK


def test_no_other_command_makes_it_longer(client: Client) -> None:
    client.ask("set-ephemeral k x")
    most = limits.EPHEMERAL_BYTES_MAX
    too_long = [f"error value too long: an ephemeral key holds at most {most} bytes \n"]
    assert client.ask(f"set k {'x' * (most + 1)}") == too_long
    assert client.ask(f"set k {'é' * (most // 2 + 1)}") == too_long
    assert client.ask("get-safe k") == ["value-version 0 x\n", *OK]


def test_all_together_have_bounded_memory(world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 10_000
    monkeypatch.setattr(limits, "EPHEMERAL_BYTES_ALL", 2 * len(long))
    other = world.connect("use-db e pwd")
    most = limits.EPHEMERAL_BYTES_ALL
    refusal = [f"error too many long values of ephemeral keys: at most {most} bytes of them, try again later \n"]
    assert client.ask(f"set-ephemeral a {long}") == OK
    assert other.ask(f"set-ephemeral b {'é' * 4000}") == refusal, "its characters may take four bytes"
    assert other.ask(f"set-ephemeral b {long}") == OK
    assert other.ask(f"set-ephemeral c {long}") == refusal
    assert other.ask("set-ephemeral c here") == OK, "who is here is always told"
    assert other.ask(f"set c {long}") == refusal
    assert other.ask(f"set b {long}") == OK, "no longer than before"
    client.session.close()
    assert other.ask(f"set c {long}") == OK
    world.admin("drop-db e")
    again = world.connect("use-db d pwd")
    for key in ("a", "b"):
        assert again.ask(f"set-ephemeral {key} {long}") == OK


def test_no_arbiter_decides_about_it(world: World) -> None:
    arbiter = world.connect("use-db arb pwd", "arbiter")
    client = world.connect("use-db arb pwd", "set-ephemeral k 0", "set k 1")
    assert client.ask("set-safe k 0 old") == ["error Invalid version! \n"]
    assert arbiter.outbox.take() == []


def test_it_outlives_an_import_that_replaces_the_database(world: World, client: Client, watcher: Client) -> None:
    client.ask("set-ephemeral k here")
    admin = world.admin()
    number = report(admin, "import-db d none replace")["id"]
    assert report(admin, f"import-end {number}")["replaced"]
    watcher.outbox.take()
    assert watcher.ask("get k") == ["value here\n", *OK]
    client.session.close()
    assert watcher.outbox.take() == ["removed k\n"]


def test_a_dropped_database_forgets_it(world: World, client: Client) -> None:
    client.ask("set-ephemeral k here")
    world.admin("drop-db d", "create-db d pwd")
    again = world.connect("use-db d pwd")
    assert again.ask("get k") == ["value <Empty>\n", *OK]
    client.session.close()
    assert again.ask("set-ephemeral k here") == OK
