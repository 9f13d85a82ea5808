"""How many changes a second a session may make (docs/protocol.md section 9), by a clock that a test sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from pynun.protocol import messages
from tests.engine.world import Client, Visitor, World

if TYPE_CHECKING:
    from pynun.engine.engine import Engine

OK = ["ok \n"]
PER_SECOND = 5
TOO_MANY = [messages.error(messages.too_many_changes(PER_SECOND).error)]


class Paced(World):
    """A world in which a session may make five changes a second."""

    seconds = 0.0

    def _new_engine(self) -> Engine:
        self.context = replace(
            self.context,
            changes_per_second_max=PER_SECOND,
            clock=lambda: self.seconds,
            group_of=lambda address: address.rpartition(".")[0],
        )
        return super()._new_engine()

    def visit(self, address: str = "192.0.2.7", user: str = "") -> Client:
        """A new client from an address."""
        visitor = Visitor()
        visitor.address = address
        client = Client(self, visitor)
        assert client.ask(f"use-db d {user} pwd" if user else "use-db d pwd") == OK
        return client


@pytest.fixture(name="world")
def _world() -> Paced:
    world = Paced()
    world.admin("create-db d pwd", "use-db d pwd", "create-user ana pwd", "set-permissions ana rwix *")
    return world


def made(client: Client, count: int = 50) -> int:
    """How many of so many changes are allowed now."""
    return sum(client.ask(f"set k{number} v")[-1:] == OK for number in range(count))


def test_a_session_makes_so_many_a_second_on_average(world: Paced) -> None:
    client = world.visit()
    total = 0
    for _ in range(100):
        world.seconds += 0.1
        total += made(client, 3)
    assert 10 * PER_SECOND < total <= 10 * PER_SECOND + PER_SECOND, "and those of one second at once"


@pytest.mark.parametrize(
    "command",
    ["set k v", "set-safe k -1 v", "set-ephemeral new v", "increment n", "remove k{}", "resolve 1 d k 0 v"],
)
def test_every_change_counts_and_is_refused_in_its_place(world: Paced, command: str) -> None:
    world.admin("use-db d pwd", *(f"set k{number} v" for number in range(20)))
    client = world.visit()
    told = [client.ask(command.format(number)) for number in range(PER_SECOND + 2)]
    assert told == [OK] * PER_SECOND + [TOO_MANY] * 2
    assert client.ask("get k19") == ["value v\n", *OK]
    assert client.ask("watch k19") == OK
    assert world.admin("use-db d pwd").ask("set k19 w") == OK
    assert client.outbox.take() == ["changed k19 w\n", "changed-version k19 1 w\n"], "events are not limited"


def test_connecting_again_and_again_is_no_way_round(world: Paced) -> None:
    total = 0
    for _ in range(100):
        client = world.visit()
        total += made(client, 3)
        world.seconds += 0.1
        client.close()
    assert total <= 10 * PER_SECOND + PER_SECOND


def test_each_network_and_user_counts_for_itself(world: Paced) -> None:
    assert made(world.visit()) == PER_SECOND
    assert made(world.visit("192.0.2.8")) == 0, "the same network"
    assert made(world.visit("198.51.100.1")) == PER_SECOND
    assert made(world.visit(user="ana")) == PER_SECOND


def test_sessions_that_last_do_not_share(world: Paced) -> None:
    clients = [world.visit() for _ in range(4)]
    world.seconds += 1.0
    assert made(clients[0]) == 2 * PER_SECOND
    assert [made(client) for client in clients[1:]] == [PER_SECOND] * 3


def test_the_administrator_is_exempt(world: Paced) -> None:
    assert made(world.admin("use-db d pwd")) == 50


def test_what_is_remembered_is_bounded(world: Paced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGE_RATES_MAX", 3)
    for number in range(10):
        made(world.visit(f"10.0.{number}.1"))
    assert world.engine.change_rates is not None
    assert len(world.engine.change_rates) == 3


def test_without_the_setting_nothing_is_counted() -> None:
    world = World()
    assert world.engine.change_rates is None
    assert world.admin().session.change_bucket is None
