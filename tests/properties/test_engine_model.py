"""The engine and the model of its contract get the same commands: they must say and keep the same.

Several clients with their databases, users, permissions, watches and conflicts; batches that are written while others
are filled, written late, or lost; restarts; passwords that have to be checked again.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pynun.engine import tombstones
from pynun.protocol.messages import OK
from tests.engine.kept import CONNECTIONS, Kept, State, kept_by_engine, kept_by_model, restore
from tests.engine.model_sessions import NOT_HERE, NOT_RUN, Model
from tests.engine.model_sessions import Client as ModelClient
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, World
from tests.properties.command_texts import STRATEGIES, commands, databases, keys, token, unknown_words, values
from tests.properties.effort import effort

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.engine.model import Base

CLIENTS_MAX = 6

WRITES = (
    "set {1} x",
    "set-safe {1} 5 x",
    "increment {1}",
    "remove {1}",
    "replicate-remove {0} {1}",
    "resolve 1 {0} {1} 1 x",
)

numbers = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4, 5))
"""Which client; the first is the admin."""


class EngineAndModel(RuleBasedStateMachine):
    """Both worlds side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.model = Model(ADMIN_PASSWORD)
        self.clients: list[tuple[Client, ModelClient]] = []
        self.last_told: dict[Client, list[str]] = {}
        self.durable: State = {}
        self.being_written: State | None = None

    # --- what both do ------------------------------------------------------------------------------------------

    @initialize(strategies=st.tuples(st.sampled_from(STRATEGIES), st.just("arbiter")))
    def prepare(self, strategies: tuple[str, str]) -> None:
        """Two databases with a user each, an admin and three more clients, one of them an arbiter."""
        self._connect_all()
        for name, strategy in zip(("one", "two"), strategies, strict=True):
            self._execute(0, f"create-db {name} {token(name)} {strategy}")
            self._execute(0, f"use-db {name} {token(name)}")
            self._execute(0, f"create-user ana {token('ana')}")
            self._execute(0, "set-permissions ana rw a*|rix n")
        self._select_all()

    def _connect_all(self) -> None:
        for _ in range(4):
            self._connect()
        self._execute(0, f"auth {ADMIN_USER} {ADMIN_PASSWORD}")

    def _select_all(self) -> None:
        for number, user in enumerate(("", "", f"ana {token('ana')}", "")):
            self._execute(number, f"use-db two {user or token('two')}")
        self._execute(3, "watch a")
        self._execute(3, "arbiter")

    def _connect(self) -> None:
        self.clients.append((self.world.connect(), ModelClient()))

    @precondition(lambda self: len(self.clients) < CLIENTS_MAX)
    @rule(name=databases)
    def connect(self, name: str) -> None:
        """A client comes and selects a database."""
        self._connect()
        self._execute(len(self.clients) - 1, f"use-db {name} {token(name)}")

    @precondition(lambda self: self.clients)
    @rule(texts=st.lists(st.tuples(numbers, commands), min_size=8, max_size=24))
    def execute(self, texts: list[tuple[int, str]]) -> None:
        """Clients send commands."""
        for number, text in texts:
            self._execute(number % len(self.clients), text)

    @precondition(lambda self: self.clients)
    @rule(number=numbers, key=keys, text=values)
    def change_again(self, number: int, key: str, text: str) -> None:
        """A client that has read an old version changes a key: a conflict, if the key is there."""
        self._execute(number % len(self.clients), f"set-safe {key} -2 {text}")

    @precondition(lambda self: self.clients and self._pending())
    @rule(number=numbers, choice=st.integers(0, 100), version=st.integers(-2, 6), text=values)
    def resolve(self, number: int, choice: int, version: int, text: str) -> None:
        """Somebody resolves a conflict that is pending."""
        name, key, identifier = self._pending()[choice % len(self._pending())]
        self._execute(number % len(self.clients), f"resolve {identifier} {name} {key} {version} {text}")

    @precondition(lambda self: self.clients and self._pending())
    @rule(number=numbers, choice=st.integers(0, 100), command=st.sampled_from(WRITES))
    def write_record(self, number: int, choice: int, command: str) -> None:
        """Somebody tries to change the record of a conflict that is pending."""
        name, key, identifier = self._pending()[choice % len(self._pending())]
        self._execute(number % len(self.clients), command.format(name, f"$conflicts_{key}_{identifier}"))

    @precondition(lambda self: len(self.clients) > 3)
    @rule(number=numbers)
    def close(self, number: int) -> None:
        """A client goes."""
        client, model_client = self.clients.pop(number % len(self.clients))
        client.close()
        self.model.leave(model_client)

    @rule()
    def forget_credentials(self) -> None:
        """The memory of verified secrets is full: the next ones are checked again."""
        self.world.credentials.verified.clear()

    # --- the disk ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.being_written is None)
    @rule()
    def begin_commit(self) -> None:
        """The batch is taken away to be written."""
        self.world.begin_commit()
        self.being_written = kept_by_model(self.model)

    @precondition(lambda self: self.being_written is not None)
    @rule()
    def finish_commit(self) -> None:
        """It is on disk."""
        assert self.being_written is not None
        self.world.finish_commit()
        self.durable, self.being_written = self.being_written, None
        assert _stored(self.world) == self.durable

    @rule(count=st.integers(1, 4))
    def purge(self, count: int) -> None:
        """Some keys of dropped databases are removed, of which nobody hears or reads anything."""
        tombstones.remove_slice(self.world.view, count)

    @rule(is_chosen=st.integers(0, 3))
    def lose(self, is_chosen: int) -> None:
        """Changes can't be written: everything is as it was on disk, and sessions have left lost databases."""
        if is_chosen or not self.durable:
            return
        self.world.lose()
        self.being_written = None
        restore(self.model, self.durable)

    @rule(is_chosen=st.integers(0, 3))
    def restart(self, is_chosen: int) -> None:
        """Everything is written, the clients are gone, another process comes up on the same store."""
        if is_chosen:
            return
        if self.being_written is not None:
            self.finish_commit()
        self.begin_commit()
        self.finish_commit()
        self.world.restart()
        self.clients.clear()
        self.model.admins.clear()
        for base in self.model.bases.values():
            base.keys.pop(CONNECTIONS, None)
            base.watchers.clear()
        admin = self.model.bases["$admin"]
        if admin.keys["$$token"][1] != self.world.admin_hash:
            admin.change("$$token", -1, self.world.admin_hash, 0)
            admin.changed.clear()
        self._connect_all()
        self._select_all()

    # --- the comparison ----------------------------------------------------------------------------------------

    @invariant()
    def keep_the_same(self) -> None:
        """What commands read is what the model has."""
        assert kept_by_engine(self.world.engine) == kept_by_model(self.model)
        for name, base in self.model.bases.items():
            database = self.world.engine.database(name)
            count = self.world.engine.keyspace.read(database, CONNECTIONS)
            assert (count and tuple(count)) == base.keys.get(CONNECTIONS)

    @invariant()
    def tell_the_same(self, after: str = "") -> None:
        """Replies and events, in their order, of every client."""
        for number, (client, model_client) in enumerate(self.clients):
            self.last_told[client] = client.outbox.take()
            assert self.last_told[client] == model_client.told, f"client {number} after {after!r}"
            model_client.told.clear()

    def _execute(self, number: int, text: str) -> None:
        if NOT_RUN in text.split(" "):
            return
        client, model_client = self.clients[number]
        self.world.time_ns += 1
        self.model.now = self.world.time_ns
        before = kept_by_model(self.model)
        client.outbox.depends.clear()
        self.world.settle(client.session.execute(text))
        if any(name in text.split(" ") for name in NOT_HERE):
            client.outbox.take()
            return
        self.model.execute(model_client, text)
        self.tell_the_same(text)
        self._check_dependence(client, model_client, text, before)

    def _check_dependence(self, client: Client, model_client: ModelClient, text: str, before: State) -> None:
        """A reply that shows what is not on disk waits for it."""
        view = self.world.view
        if kept_by_model(self.model) != before:
            assert client.depends == view.batch.revision, text
        base = model_client.base
        if (
            base is not None
            and self.last_told[client][-1] == OK
            and _reads_unwritten(text, base, self.durable.get(base.name))
        ):
            assert client.depends, text
        if not view.newest_unwritten:
            assert not client.depends, text

    def _pending(self) -> list[tuple[str, str, int]]:
        return [
            (base.name, key, identifier)
            for base in self.model.bases.values()
            for key, pending in base.pending.items()
            for identifier in pending
        ]


def _reads_unwritten(text: str, base: Base, durable: Kept | None) -> bool:
    """Whether a command that reads shows something that is not on disk."""
    old = {} if durable is None or durable.base is not base else durable.keys
    match text.split(" "):
        case [("get" | "get-safe"), key, *_]:
            return key != CONNECTIONS and base.keys.get(key) != old.get(key)
        case ["keys"]:
            return _listed(base.keys) != _listed(old)
        case _:
            return False


def _listed(keys_kept: Iterable[str]) -> set[str]:
    return {key for key in keys_kept if key != CONNECTIONS and not key.startswith("$$")}


def _stored(world: World) -> State:
    """What a process that starts now would find."""
    return kept_by_engine(World(deepcopy(world.store), is_prepared=False).engine)


TestEngineAndModel = EngineAndModel.TestCase
TestEngineAndModel.settings = effort(300, steps=30)
TestEngineAndModel = pytest.mark.timeout(600)(TestEngineAndModel)


def test_every_word_of_every_usage_is_drawn() -> None:
    assert unknown_words() == set()
