"""Watches: what watchers are told, and when not (docs/protocol.md sections 2 and 4)."""

from __future__ import annotations

import pytest

from tests.engine.world import Client, World

OK = ["ok \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "create-db e pwd", "use-db d pwd", "create-user ana ana-pwd")
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    return world.connect("use-db d pwd")


@pytest.fixture(name="watcher")
def _watcher(world: World) -> Client:
    return world.connect("use-db d pwd", "watch k")


def changed(version: int, text: str, key: str = "k") -> list[str]:
    """The two messages of a change."""
    return [f"changed {key} {text}\n", f"changed-version {key} {version} {text}\n"]


def test_a_change_is_told_twice_without_and_with_its_version(client: Client, watcher: Client) -> None:
    client.ask("set k two words")
    assert watcher.outbox.take() == changed(0, "two words")


def test_a_key_may_be_watched_before_it_is_there(client: Client, watcher: Client) -> None:
    client.ask("set k new")
    assert watcher.outbox.take() == changed(0, "new")


def test_watching_does_not_tell_what_is_there(world: World, client: Client) -> None:
    client.ask("set k old")
    assert world.connect("use-db d pwd").ask("watch k") == OK


def test_every_way_to_change_a_key_is_told(world: World, watcher: Client) -> None:
    admin = world.admin("use-db d pwd")
    for command, told in (
        ("set k 1", changed(0, "1")),
        ("set-safe k 0 2", changed(1, "2")),
        ("increment k 3", changed(2, "5")),
        ("replicate d k 2 6", changed(3, "6")),
        ("replicate-increment d k", changed(4, "7")),
        ("resolve 1 d k 4 8", changed(5, "8")),
        ("rp 1 set k 9", changed(6, "9")),
        ("remove k", ["removed k\n"]),
        ("set k 1", changed(0, "1")),
        ("replicate-remove d k", ["removed k\n"]),
    ):
        admin.ask(command)
        assert watcher.outbox.take() == told, command


def test_removing_an_absent_key_is_told_to_nobody(client: Client, watcher: Client) -> None:
    assert client.ask("remove k") == OK
    assert watcher.outbox.take() == []


def test_a_refused_change_is_told_to_nobody(client: Client, watcher: Client) -> None:
    client.ask("set-safe k 5 v")
    watcher.outbox.take()
    assert client.ask("set-safe k 1 w") == ["error Invalid version! \n"]
    assert watcher.outbox.take() == []


def test_the_changer_hears_of_it_before_its_ok(watcher: Client) -> None:
    assert watcher.ask("set k v") == [*changed(0, "v"), *OK]
    assert watcher.ask("remove k") == ["removed k\n", *OK]


def test_only_the_exact_key_is_watched(client: Client, watcher: Client) -> None:
    for key in ("k1", "K", "kk", "$k"):
        client.ask(f"set {key} v")
    assert watcher.outbox.take() == []


def test_only_the_watched_database_is_heard_of(world: World, watcher: Client) -> None:
    world.connect("use-db e pwd", "set k v")
    assert watcher.outbox.take() == []


def test_watching_twice_is_one_watch(client: Client, watcher: Client) -> None:
    assert watcher.ask("watch k") == OK
    client.ask("set k v")
    assert watcher.outbox.take() == changed(0, "v")
    assert watcher.ask("unwatch k") == OK
    client.ask("set k w")
    assert watcher.outbox.take() == []


@pytest.mark.parametrize("command", ["unwatch k", "unwatch-all", "use-db e pwd"])
def test_after_unwatching_nothing_is_told(client: Client, watcher: Client, command: str) -> None:
    watcher.ask("watch j")
    assert watcher.ask(command) == OK
    client.ask("set k v")
    if command != "unwatch k":
        client.ask("set j v")
    assert watcher.outbox.take() == []


def test_unwatching_what_is_not_watched_is_a_success(watcher: Client) -> None:
    assert watcher.ask("unwatch never-watched") == OK


def test_one_unwatches_and_the_other_still_hears(world: World, client: Client, watcher: Client) -> None:
    other = world.connect("use-db d pwd", "watch k", "unwatch k")
    client.ask("set k v")
    assert other.outbox.take() == []
    assert watcher.outbox.take() == changed(0, "v")


def test_who_is_gone_is_told_nothing(client: Client, watcher: Client) -> None:
    watcher.close()
    watcher.close()  # twice is fine
    client.ask("set k v")
    assert watcher.outbox.take() == []


def test_selecting_the_same_database_again_keeps_the_watches(client: Client, watcher: Client) -> None:
    assert watcher.ask("use-db d pwd") == OK
    client.ask("set k v")
    assert watcher.outbox.take() == changed(0, "v")


def test_all_who_watch_are_told_by_one_event(world: World, client: Client, watcher: Client) -> None:
    other = world.connect("use-db d pwd", "watch k")
    client.ask("set k v")
    assert other.outbox.events[-1] is watcher.outbox.events[-1]


def test_an_event_waits_for_the_batch_of_its_change(world: World, client: Client, watcher: Client) -> None:
    client.ask("set k v")
    assert watcher.outbox.events[-1].revision == world.view.batch.revision
    assert watcher.outbox.events[-1].key == "k"


# --- permissions -----------------------------------------------------------------------------------------------


def test_a_watcher_that_loses_its_permission_stops_hearing(world: World, client: Client) -> None:
    admin = world.admin("use-db d pwd", "set-permissions ana r *")
    ana = world.connect("use-db d ana ana-pwd", "watch k", "watch j")
    admin.ask("set-permissions ana r j")
    client.ask("set k v")
    client.ask("set j v")
    assert ana.outbox.take() == changed(0, "v", "j")


def test_who_selects_as_another_user_keeps_only_what_that_one_may(world: World, client: Client) -> None:
    world.admin("use-db d pwd", "set-permissions ana r j")
    other = world.connect("use-db d pwd", "watch k", "watch j", "use-db d ana ana-pwd")
    client.ask("set k v")
    client.ask("set j v")
    assert other.outbox.take() == changed(0, "v", "j")


def test_who_is_admin_no_more_hears_no_more_of_security_keys(world: World) -> None:
    admin = world.admin("use-db d pwd")
    other = world.admin("use-db d pwd", "watch $$anything", "watch k")
    assert other.ask("auth x y") == ["invalid auth\n", *OK]
    admin.ask("set $$anything v")
    admin.ask("set k v")
    assert other.outbox.take() == changed(0, "v")


# --- the count of connections ----------------------------------------------------------------------------------


@pytest.fixture(name="counted")
def _counted(world: World) -> Client:
    """The only client of a database, and the first."""
    world.admin("create-db c pwd")
    return world.connect("use-db c pwd")


def test_the_count_is_an_ordinary_key_to_read_and_watch(world: World, counted: Client) -> None:
    assert counted.ask("get $connections") == ["value 1\n", *OK]
    assert counted.ask("watch $connections") == OK
    other = world.connect("use-db c pwd")
    assert counted.outbox.take() == changed(1, "2", "$connections")
    other.close()
    assert counted.outbox.take() == changed(2, "1", "$connections")


def test_the_count_moves_with_a_session_to_another_database(world: World, counted: Client) -> None:
    counted.ask("watch $connections")
    other = world.connect("use-db c pwd")
    counted.outbox.take()
    assert other.ask("use-db e pwd") == OK
    assert counted.outbox.take() == changed(2, "1", "$connections")
    assert other.ask("get $connections") == ["value 1\n", *OK]


@pytest.mark.parametrize("command", ["use-db c wrong", "use-db c ana wrong", "use-db nowhere pwd", "use-db c pwd"])
def test_the_count_stays_when_the_session_stays(counted: Client, command: str) -> None:
    counted.ask(command)
    assert counted.ask("get-safe $connections") == ["value-version 0 1\n", *OK]


def test_the_count_begins_anew_after_a_restart(world: World, counted: Client) -> None:
    world.connect("use-db c pwd")
    counted.ask("set k v")
    world.commit()
    world.restart()
    counted = world.connect("use-db c pwd")
    assert counted.ask("get-safe $connections") == ["value-version 0 1\n", *OK]


def test_the_count_needs_no_disk(world: World, counted: Client) -> None:
    world.commit()
    counted.ask("watch $connections")
    world.connect("use-db c pwd")
    assert world.view.newest_unwritten == 0
    assert counted.outbox.events[-1].revision == 0
    assert counted.ask("get $connections")[-1:] == OK
    assert counted.depends == 0
