"""How many bytes a database may hold (docs/protocol.md section 9): what is refused, what is allowed all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pynun.protocol import messages
from tests.engine.world import Client, World

if TYPE_CHECKING:
    from pynun.engine.database import Database

OK = ["ok \n"]
LIMIT = 1000
FULL = [messages.error(messages.database_full(LIMIT).error)]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.engine.context = replace(world.engine.context, database_bytes_max=LIMIT)
    world.admin("create-db d pwd", "create-db arb pwd arbiter")
    world.commit()
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    return world.connect("use-db d pwd")


def held(world: World, name: str = "d") -> int:
    limit = world.engine.database(name).size_limit
    assert limit is not None
    return limit.bytes


def left(world: World, name: str = "d") -> int:
    return LIMIT - held(world, name)


def stored(world: World, name: str = "d") -> int:
    """What is on disk."""
    return world.store.measure_database(world.engine.database(name).prefix, b"", 10_000)[1]


def test_what_fits_is_stored_and_what_does_not_is_refused(world: World, client: Client) -> None:
    rest = left(world)
    assert client.ask("set k " + "v" * (rest - 1)) == OK
    assert client.ask("set l v") == FULL
    assert client.ask("set k " + "v" * rest) == FULL
    assert client.ask(f"set-safe k 0 {'v' * rest}") == FULL
    assert client.ask("increment n") == FULL
    assert client.ask("set k " + "w" * (rest - 1)) == OK, "of the same size"


def test_the_count_is_what_is_stored(world: World, client: Client) -> None:
    commands = (
        "set k value",
        "set ü ööö",
        "set k longer-value",
        "increment n 99",
        "increment n",
        "remove k",
        "set l x",
    )
    for command in commands:
        assert client.ask(command) == OK
    world.admin(
        "use-db d pwd", "create-user ana pwd", "set-permissions ana r *", "grant d ana w x*", "remove-user d ana"
    )
    world.commit()
    assert held(world) == stored(world)


def test_shrinking_and_removing_stay_allowed(world: World, client: Client) -> None:
    client.ask("set k " + "v" * (left(world) - 1))
    limit = world.engine.database("d").size_limit
    assert limit is not None
    limit.bytes_max = 10  # a setting that was lowered
    assert client.ask("set k vv") == OK
    assert client.ask("remove k") == OK
    assert client.ask("remove k") == OK


def test_the_administrator_can_still_rule_a_full_database(world: World, client: Client) -> None:
    client.ask("set k " + "v" * (left(world) - 1))
    admin = world.admin("use-db d pwd")
    assert admin.ask("create-user ana pwd") == OK
    assert admin.ask("set-permissions ana r *") == OK
    assert admin.ask("set-token d all new-one") == OK
    assert admin.ask("set l v") == FULL, "no more than others on ordinary keys"
    assert admin.ask("create-db more pwd")[-1:] == OK


def test_presence_takes_no_room(world: World, client: Client) -> None:
    before = held(world)
    for _ in range(20):
        world.connect("use-db d pwd")
    assert held(world) == before
    assert client.ask("get $connections") == ["value 21\n", *OK]


def test_conflicts_count_and_are_resolved_whole_or_not_at_all(world: World) -> None:
    arbiter = world.connect("use-db arb pwd", "arbiter")
    client = world.connect("use-db arb pwd", "set k now", "set k newer")
    client.ask("set-safe k 0 late")
    identifier = arbiter.outbox.take()[0].split(" ")[1]
    record = arbiter.ask(f"get $conflicts_k_{identifier}")[0]
    value = "v" * left(world, "arb")
    assert arbiter.ask(f"resolve {identifier} arb k 1 {value}") == FULL
    assert arbiter.ask(f"get $conflicts_k_{identifier}")[0] == record
    assert arbiter.ask(f"resolve {identifier} arb k 1 short") == OK
    client.ask("set k other")
    client.ask("set l " + "v" * (left(world, "arb") - 1))
    assert client.ask("set-safe k 0 late") == FULL
    world.commit()
    assert held(world, "arb") == stored(world, "arb")


def test_without_the_setting_nothing_is_counted() -> None:
    world = World()
    world.admin("create-db d pwd")
    assert world.engine.database("d").size_limit is None


def test_after_a_restart_or_a_loss_it_asks_to_be_measured(world: World, client: Client) -> None:
    asked: list[Database] = []
    client.ask("set k " + "v" * (left(world) - 1))
    world.commit()
    world.context = world.engine.context
    world.restart()
    world.on_unmeasured = asked.append
    client = world.connect("use-db d pwd")
    database = world.engine.database("d")
    assert asked == [database]
    assert client.ask("set l v") == OK, "not known yet"
    world.commit()
    assert database.size_limit is not None
    database.size_limit.bytes, database.size_limit.is_known = stored(world), True
    assert client.ask("set m v") == FULL
    assert client.ask("set l ") == OK
    world.lose()
    assert asked == [database] * 2
    assert not database.size_limit.is_known
