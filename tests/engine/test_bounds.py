"""What one session may take up: watches, and keys in one answer (docs/protocol.md section 9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynun import limits
from pynun.engine import scans
from pynun.engine.effects import Pause, Turn
from pynun.engine.overlay import Entry, LongName
from pynun.engine.patterns import Pattern
from pynun.engine.scans import is_matched, read_whole
from pynun.protocol import messages
from tests.engine.world import Client, World
from tests.storage.memory_store import MemoryStore

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


# --- keys ------------------------------------------------------------------------------------------------------

LONG = "ü" * 4097  # 8194 bytes
TOO_LONG = [messages.error(messages.key_too_long(8192).error)]


@pytest.mark.parametrize(
    "command",
    [
        *("set {} v", "set-safe {} -1 v", "set-safe {} 3 v", "set-ephemeral {} v"),
        *("increment {}", "increment {} 4", "watch {}"),
    ],
)
def test_a_new_key_over_the_limit_is_refused(client: Client, command: str) -> None:
    assert client.ask(command.format(LONG)) == TOO_LONG
    assert client.ask(f"get {LONG}") == ["value <Empty>\n", *OK]
    client.world.engine.context = replace(client.world.engine.context, watches_max=100)
    assert client.ask(command.format("k" * 8192))[-1:] == OK, "in bytes, and up to the limit"


@pytest.mark.parametrize(
    "command", ["create-user {} pwd", "set-permissions {} r *", "create-db {} pwd", "add-user d {} pwd"]
)
@pytest.mark.parametrize("through", ["", "rp 5 "])
def test_names_make_keys_too(world: World, command: str, through: str) -> None:
    world.engine.context = replace(world.engine.context, watches_max=10_000, keys_max=10_000)
    admin = world.admin("use-db d pwd")
    assert admin.ask(through + command.format(LONG))[-1:] == TOO_LONG


@pytest.mark.parametrize("command", ["replicate d {} -1 v", "replicate-increment d {}", "resolve 1 d {} 0 v"])
def test_other_ways_to_a_new_key_are_refused_too(world: World, command: str) -> None:
    assert world.admin().ask(command.format(LONG)) == TOO_LONG


def test_a_longer_key_that_exists_goes_on(world: World, client: Client) -> None:
    database = world.engine.database("d")
    world.engine.keyspace.put(database, LONG, Entry(0, "1"))
    assert client.ask(f"watch {LONG}") == OK
    assert client.ask(f"set {LONG} 2")[-1:] == OK
    assert client.ask(f"increment {LONG}")[-1:] == OK
    assert client.ask(f"get-safe {LONG}") == ["value-version 2 3\n", *OK]
    assert client.ask("keys ü*") == [f"keys ,{LONG}\n", *OK]
    assert client.ask(f"remove {LONG}") == [f"removed {LONG}\n", *OK]
    assert client.ask(f"set {LONG} 2") == TOO_LONG


def test_records_of_conflicts_may_be_longer(world: World) -> None:
    key = "k" * 8192
    arbiter = world.connect("use-db arb pwd", "arbiter")
    client = world.connect("use-db arb pwd", f"set {key} now", f"set {key} newer")
    told = client.ask(f"set-safe {key} 0 late")
    assert told[0].startswith(f"error $$conflitct unresolved $conflicts_{key}_")
    assert arbiter.outbox.take()[0].endswith(f"{key} newer late")


def test_conflicts_of_a_long_key_are_bounded_in_bytes(world: World) -> None:
    key = "k" * 8192
    world.connect("use-db arb pwd", "arbiter")
    client = world.connect("use-db arb pwd", f"set {key} now", f"set {key} newer")
    told = [client.ask(f"set-safe {key} 0 late")[0] for _ in range(140)]
    assert told[-1] == messages.error(messages.too_many_conflicts(1000).error)
    assert sum("unresolved $conflicts" in text for text in told) == 128


# --- listings --------------------------------------------------------------------------------------------------


def test_an_answer_that_lists_is_bounded_in_bytes(world: World) -> None:
    world.engine.listing_budget.bytes_max = 1000
    world.engine.context = replace(world.engine.context, keys_max=100)
    client = world.connect("use-db d pwd", *(f"set {number:03}{'k' * 97} v" for number in range(9)))
    too_much = [messages.error(messages.too_much_listed(1000).error)]
    assert client.ask("keys *kk")[-1:] == OK
    client.ask(f"set 009{'k' * 97} v")
    assert client.ask("keys *kk") == too_much
    world.commit()
    assert client.ask("keys *kk") == too_much
    assert client.ask("keys 00*") == too_much
    assert client.ask("keys 001*")[-1:] == OK


def test_a_pattern_is_bounded(client: Client) -> None:
    assert client.ask("keys " + "x" * 65_537) == [messages.error(messages.pattern_too_long(65_536).error)]
    assert client.ask("keys " + "x" * 65_536) == ["keys \n", *OK]


def test_listings_wait_for_their_turn_and_get_it(world: World) -> None:
    world.engine.context = replace(world.engine.context, keys_max=10_000)
    world.connect("use-db d pwd", *(f"set {number:04}{'k' * 97} v" for number in range(2000)))
    world.commit()
    clients = [world.connect("use-db d pwd") for _ in range(4)]
    suspensions = [client.start("keys *kk") for client in clients]
    turns: list[str] = []
    needs = [next(suspension) for suspension in suspensions]
    for number, need in enumerate(needs):
        assert isinstance(need, Turn)
        need.ask(lambda number=number: turns.append(str(number)))  # type: ignore[misc]
    assert turns == ["0", "1"], "no more at once"
    suspensions[2].close()
    world.settle(suspensions[0])
    assert turns == ["0", "1", "3"], "the one that was given up has no turn"
    assert clients[0].outbox.take()[-1:] == OK
    for place in (1, 3):
        world.settle(suspensions[place])
        assert clients[place].outbox.take()[-1:] == OK
    assert world.engine.listing_budget.small_bytes == 0


def test_small_listings_are_bounded_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LISTINGS_SMALL_BYTES", 100_000)
    monkeypatch.setattr(scans, "_SLICE_KEYS", 50)
    world.engine.context = replace(world.engine.context, keys_max=10_000)
    world.connect("use-db d pwd", *(f"set {number:03}{'k' * 97} v" for number in range(300)))
    world.commit()
    clients = [world.connect("use-db d pwd") for _ in range(3)]
    listings = [(client, client.start("keys *kk")) for client in clients]
    waiting = []
    while listings:  # a slice of each in turn; one takes about 50,000 bytes
        client, suspension = listings.pop(0)
        need = next(suspension, None)
        if isinstance(need, Turn):
            waiting.append(suspension)
        elif need is not None:
            listings.append((client, suspension))
    assert waiting
    for suspension in waiting:
        suspension.send(None)
        world.settle(suspension)
    assert [client.outbox.take()[-1:] for client in clients] == [OK] * 3
    assert world.engine.listing_budget.small_bytes == 0


class LongNameStore(MemoryStore):
    """Has one long name, and remembers how much of it is read at once."""

    text = b"k" * (8 << 20)

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    def read_long(self, name: LongName, first: int, count: int) -> bytes:
        """A piece of the name."""
        self.reads.append(count)
        return self.text[first : first + count]


def test_a_long_key_is_looked_at_in_pieces_with_time_for_others_between() -> None:
    store = LongNameStore()
    name = LongName(b"", len(store.text))
    for steps in (is_matched(store, name, Pattern("substring", "none")), read_whole(store, name)):
        store.reads.clear()
        pauses = sum(isinstance(need, Pause) for need in steps)
        assert pauses == len(store.reads) == 8
        assert max(store.reads) <= (1 << 20) + len("none")


def test_a_scan_of_more_than_a_little_lets_others_work(world: World) -> None:
    """A message may hold thousands of them."""
    client = world.connect("use-db d pwd", *(f"set {number:04}{'k' * 97} v" for number in range(50)))
    world.commit()
    suspension = client.session.execute("keys none")
    assert suspension is not None
    assert isinstance(next(suspension), Pause)


# --- watches of all --------------------------------------------------------------------------------------------


def test_watches_of_all_sessions_are_bounded_together(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHES_BYTES_MAX", 3 * 8000)
    monkeypatch.setattr(limits, "WATCHES_BYTES_OWN", 8000)
    world.engine.context = replace(world.engine.context, watches_max=10_000)
    too_many = [messages.error(messages.too_many_watches_of_all().error)]
    keys = [f"{number}{'k' * 3000}" for number in range(9)]
    assert [client.ask(f"watch {key}") for key in keys] == [OK] * 6 + [too_many] * 3
    other = world.connect("use-db d pwd")
    assert [other.ask(f"watch {key}") for key in keys[:3]] == [OK, OK, too_many], "each has a little of its own"
    client.close()
    assert other.ask(f"watch {keys[2]}") == OK
    world.admin("drop-db d")
    assert world.engine.watches_bytes == 0
