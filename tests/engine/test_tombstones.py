"""Dropping a database: gone at once and as a whole, its keys behind it, none of it in the next one of that name."""

from __future__ import annotations

import pytest

from pynun.engine import tombstones
from tests.engine.world import Client, World

OK = ["ok \n"]
DROPPED = ["drop-db success\n", *OK]
NOT_A_DATABASE = ["error Not a valid database name \n"]
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]


@pytest.fixture(name="world")
def _world() -> World:
    """A world with a database `d` of twenty keys and a user, on disk, and a conflict that nobody has resolved."""
    world = World()
    admin = world.admin("create-db d pwd arbiter", "use-db d pwd", "create-user ana ana-pwd", "arbiter")
    for number in range(20):
        admin.ask(f"set key-{number} v")
    admin.ask("set-safe key-0 -2 late")
    admin.close()
    world.commit()
    return world


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin()


def purge(world: World, count: int) -> int:
    """Remove what is left, so many keys at a time; how many batches that took."""
    slices = 0
    while tombstones.remove_slice(world.view, count):
        assert len(world.view.batch.entries) <= count
        world.commit()
        slices += 1
        assert slices < 100, "it does not come to an end"
    return slices


def test_a_slice_reads_one_note_however_many_there_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands may be dropped at once; to read all their notes for each slice would keep the loop for minutes."""
    world.admin(*(f"create-db e{number} pwd" for number in range(30)), *(f"drop-db e{number}" for number in range(30)))
    world.commit()
    read = 0
    scan = world.store.scan

    def counted(start: bytes, position: bytes, count_max: int) -> tuple[list[bytes], bytes | None, bool]:
        nonlocal read
        found = scan(start, position, count_max)
        read += len(found[0])
        return found

    monkeypatch.setattr(world.store, "scan", counted)
    assert purge(world, 100) == 60
    assert read == 60 + 30, "a note for each slice, and the token of each database"


def stored_of(world: World, identifier: int) -> list[bytes]:
    """Everything on disk that begins with an identifier, also that of its conflicts, and all notes of drops."""
    found: list[bytes] = []
    for prefix in (identifier.to_bytes(4, "big"), (identifier | 0x8000_0000).to_bytes(4, "big"), tombstones.NOTES):
        found += world.store.scan(prefix, b"", 1000)[0]
    return found


def test_it_is_gone_at_once_whatever_it_holds(world: World, admin: Client) -> None:
    assert admin.ask("drop-db d") == DROPPED
    # The name, the note, and the key of `$admin`: however many keys there are.
    assert len(world.view.batch.entries) == 3
    assert admin.ask("use-db d pwd") == NOT_A_DATABASE
    assert world.connect().ask("use-db d ana ana-pwd") == NOT_A_DATABASE
    assert admin.ask("debug list-dbs") == ["dbs-list \n$admin : newer\n", *OK]
    assert admin.ask("debug pending-conflicts") == OK
    assert admin.ask("drop-db d") == NOT_A_DATABASE
    assert admin.depends == world.view.batch.revision


def test_its_sessions_are_told_nothing_and_have_no_database(world: World, admin: Client) -> None:
    visitor, ana = (
        world.connect("use-db d pwd", "watch key-1", "watch $connections"),
        world.connect("use-db d ana ana-pwd"),
    )
    visitor.outbox.take()
    assert admin.ask("drop-db d") == DROPPED
    for client in (visitor, ana):
        assert client.outbox.take() == []
        assert client.ask("get key-1") == NO_DATABASE
        assert client.ask("keys") == NO_DATABASE
        assert client.ask("unwatch key-1") == NO_DATABASE
        assert client.session.watches == {}
        assert client.session.watches_weight == 0
    assert admin.ask("create-db d other") == ["create-db success\n", *OK]
    visitor.ask("use-db d other")
    admin.ask("use-db d other")
    visitor.outbox.take()
    admin.ask("set key-1 new")
    assert visitor.outbox.take() == []


def test_who_watches_the_list_of_databases_is_told(world: World, admin: Client) -> None:
    watcher = world.admin("use-db $admin user-pwd", "watch d")
    admin.ask("drop-db d")
    assert watcher.outbox.take() == ["removed d\n"]
    assert watcher.ask("get d") == ["value <Empty>\n", *OK]


def test_the_next_one_of_that_name_has_nothing_of_it(world: World, admin: Client) -> None:
    admin.ask("drop-db d")
    assert admin.ask("create-db d other") == ["create-db success\n", *OK]
    admin.ask("use-db d other")
    admin.ask("set key-1 new")
    for _ in range(2):
        assert admin.ask("keys") == ["keys ,$$token,$connections,key-1\n", *OK]
        assert admin.ask("get-safe key-1") == ["value-version 0 new\n", *OK]
        assert admin.ask("get-safe $connections") == ["value-version 0 1\n", *OK]
        assert world.connect().ask("use-db d ana ana-pwd") == ["error Invalid token \n"]
        world.commit()
        purge(world, 3)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_its_keys_are_removed_slice_by_slice_and_then_the_note(world: World, admin: Client, count: int) -> None:
    admin.ask("create-db e pwd")
    world.commit()
    admin.ask("drop-db d")
    world.commit()
    assert len(stored_of(world, 2)) > 20
    assert purge(world, count) >= 24 // count
    assert stored_of(world, 2) == []
    assert world.connect().ask("use-db e pwd") == OK


def test_what_is_not_on_disk_yet_is_not_forgotten(world: World, admin: Client) -> None:
    """Keys that are written in the batch before the drop, or with it, are found when they are there."""
    writer = world.connect("use-db d pwd", "set early v")
    world.begin_commit()
    writer.ask("set late v")
    admin.ask("drop-db d")
    assert not tombstones.remove_slice(world.view, 10)
    world.finish_commit()
    assert not tombstones.remove_slice(world.view, 10)
    world.commit()
    purge(world, 10)
    assert stored_of(world, 2) == []


def test_a_start_goes_on_where_the_last_process_ended(world: World, admin: Client) -> None:
    admin.ask("drop-db d")
    world.commit()
    assert tombstones.remove_slice(world.view, 5)
    world.commit()
    assert tombstones.remove_slice(world.view, 5)  # not written: the process ends before
    world.restart()
    assert world.connect().ask("use-db d pwd") == NOT_A_DATABASE
    assert tombstones.count_unfinished(world.view) == 1
    purge(world, 5)
    assert tombstones.count_unfinished(world.view) == 0
    assert stored_of(world, 2) == []


def test_how_many_are_being_removed(world: World, admin: Client) -> None:
    admin.ask("create-db e pwd")
    admin.ask("drop-db d")
    admin.ask("drop-db e")
    assert tombstones.count_unfinished(world.view) == 2
    world.commit()
    assert tombstones.count_unfinished(world.view) == 2
    purge(world, 100)
    assert tombstones.count_unfinished(world.view) == 0


def test_a_drop_that_is_lost_was_none(world: World, admin: Client) -> None:
    visitor = world.connect("use-db d pwd", "watch key-1")
    admin.ask("drop-db d")
    world.lose()
    assert visitor.ask("get key-1") == NO_DATABASE
    assert visitor.ask("use-db d pwd") == OK
    assert visitor.ask("get key-1") == ["value v\n", *OK]
    assert visitor.ask("get $connections") == ["value 1\n", *OK]
    world.commit()
    assert not tombstones.remove_slice(world.view, 10)


def test_one_that_was_made_in_its_place_is_lost_with_the_drop(world: World, admin: Client) -> None:
    admin.ask("drop-db d")
    admin.ask("create-db d other")
    visitor = world.connect("use-db d other", "set key-1 new")
    world.lose()
    assert visitor.ask("get key-1") == NO_DATABASE
    assert visitor.ask("use-db d other") == ["error Invalid token \n"]
    assert visitor.ask("use-db d pwd") == OK
    assert visitor.ask("get key-1") == ["value v\n", *OK]


@pytest.mark.parametrize(
    "command",
    [
        "use-db d ana ana-pwd",
        "replicate d $$user_eve 0 pwd",
        "add-user d eve pwd",
        "set-token d ana pwd",
        "set-token d all x",
    ],
)
def test_a_command_that_waits_meanwhile_is_refused(world: World, admin: Client, command: str) -> None:
    world.credentials.verified.clear()
    client = world.connect() if command.startswith("use") else world.admin()
    suspension = client.start(command)
    need = next(suspension)
    admin.ask("drop-db d")
    admin.ask("create-db d other")
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    assert client.outbox.take() == NOT_A_DATABASE
    users = admin.ask("list-users d")
    assert users == ['users {"database":"d","users":[],"next":null}\n', *OK]


@pytest.mark.parametrize("command", ["keys", "db-size d", "list-users d"])
def test_a_listing_that_is_under_way_is_refused(world: World, admin: Client, command: str) -> None:
    chief = world.admin("use-db d pwd")
    for number in range(5000):
        chief.ask(f"set more-{number} v")
        if number < 3000:
            chief.ask(f"set $$user_{number} {world.admin_hash}")
    world.commit()
    suspension = chief.start(command)
    next(suspension)
    chief.outbox.take()
    admin.ask("drop-db d")
    for _ in suspension:
        pass
    assert chief.outbox.take() == (NO_DATABASE if command == "keys" else NOT_A_DATABASE)


def test_nothing_is_dropped_while_nothing_can_be_stored(world: World, admin: Client) -> None:
    visitor = world.connect("use-db d pwd")
    world.engine.keyspace.refused_changes = "No space left on device"
    assert admin.ask("drop-db d") == ["error not stored: No space left on device \n"]
    assert visitor.ask("get key-1") == ["value v\n", *OK]


def test_the_administrators_database_stays(world: World, admin: Client) -> None:
    assert admin.ask("drop-db $admin") == ["error $admin can't be dropped \n"]
    assert world.admin().ask("use-db $admin user-pwd") == OK
