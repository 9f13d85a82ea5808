"""What one session may take up: watches, and keys in one answer (docs/protocol.md section 9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynun.language import messages
from tests.engine.world import Client, World

OK = ["ok \n"]


@pytest.fixture(name="world")
def _world() -> World:
    """A world in which five keys may be watched or listed, and a database with four."""
    world = World()
    world.engine.context = replace(world.context, watches_max=5, keys_max=5)
    world.admin("create-db d pwd", "create-db arb pwd arbiter")
    client = world.connect("use-db d pwd", *(f"set k{number} v" for number in range(4)))
    world.commit()
    client.close()
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    return world.connect("use-db d pwd")


def test_a_session_watches_so_many_keys_and_no_more(client: Client) -> None:
    for number in range(5):
        assert client.ask(f"watch k{number}") == OK
    assert client.ask("watch k5") == [messages.error(messages.too_many_watches(5).error)]
    assert "5" in messages.too_many_watches(5).error
    assert client.ask("set k5 v") == OK
    assert client.ask("set k4 v")[-1:] == OK
    assert client.outbox.events[-1].key == "k4"


def test_watching_one_of_them_again_is_no_more(client: Client) -> None:
    for number in range(5):
        client.ask(f"watch k{number}")
    assert client.ask("watch k0") == OK


def test_who_unwatches_may_watch_another(client: Client) -> None:
    for number in range(5):
        client.ask(f"watch k{number}")
    client.ask("unwatch k0")
    assert client.ask("watch k5") == OK
    client.ask("unwatch-all")
    assert client.ask("watch k6") == OK


def test_the_watches_of_others_do_not_count(world: World, client: Client) -> None:
    for number in range(5):
        client.ask(f"watch k{number}")
    assert world.connect("use-db d pwd").ask("watch k5") == OK


def test_so_many_keys_are_listed_and_no_more_whether_or_not_on_disk(client: Client) -> None:
    too_many = [messages.error(messages.too_many_keys(5).error)]
    assert client.ask("keys") == ["keys ,$connections,k0,k1,k2,k3\n", *OK]
    client.ask("set k4 v")
    assert client.ask("keys") == too_many
    assert client.ask("keys k*") == ["keys ,k0,k1,k2,k3,k4\n", *OK]
    client.world.commit()
    assert client.ask("keys") == too_many
    client.ask("set k5 v")
    client.world.commit()
    assert client.ask("keys k*") == too_many
    assert client.ask("keys k1") == ["keys ,k1\n", *OK]


def test_what_a_pattern_leaves_out_does_not_count(world: World) -> None:
    client = world.connect("use-db d pwd", *(f"set other{number} v" for number in range(50)))
    assert client.ask("keys k*") == ["keys ,k0,k1,k2,k3\n", *OK]
    world.commit()
    assert client.ask("keys k*") == ["keys ,k0,k1,k2,k3\n", *OK]


def test_a_list_that_is_too_long_is_refused_before_all_of_it_is_read(world: World) -> None:
    client = world.connect("use-db d pwd")
    for number in range(10_000):
        client.ask(f"set many{number} v")
    world.commit()
    suspension = client.session.execute("keys many*")
    assert suspension is None
    assert client.outbox.take() == [messages.error(messages.too_many_keys(5).error)]
