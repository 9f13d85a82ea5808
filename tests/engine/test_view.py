"""The view: the newest state over batch, batch being written and store, and what a reply depends on."""

from __future__ import annotations

import pytest

from pynun.engine.overlay import Entry, View
from tests.engine.world import Client, World
from tests.storage.memory_store import MemoryStore

OK = ["ok \n"]
KEY, OTHER = b"\0\0\0\1k", b"\0\0\0\1other"
ONE, TWO, THREE = Entry(1, "one"), Entry(2, "two"), Entry(3, "three")


class RecordingWaiter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def released(self, revision: int) -> None:
        """Everything up to `revision` is on disk."""
        self.told.append(f"released {revision}")

    def failed(self, revision: int, reason: str) -> None:
        """The batch `revision` is lost."""
        self.told.append(f"failed {revision} {reason}")


def new_view(*, is_relaxed: bool = False) -> View:
    """A view over a store that has KEY as ONE and has seen 7 batches with 9 operations."""
    store = MemoryStore()
    store.entries[KEY] = ONE
    return View(store, revision=7, operations=9, is_relaxed=is_relaxed)


def read(view: View, key: bytes = KEY) -> tuple[Entry | None, int]:
    """The entry, and the revision that showing it depends on."""
    view.depends = 0
    return view.read(key), view.depends


def test_what_is_on_disk_is_read_without_waiting() -> None:
    assert read(new_view()) == (ONE, 0)


def test_the_batch_being_filled_comes_first() -> None:
    view = new_view()
    view.write(KEY, TWO)
    assert read(view) == (TWO, 8)


def test_the_batch_being_written_comes_next() -> None:
    view = new_view()
    view.write(KEY, TWO)
    view.take_batch()
    assert read(view) == (TWO, 8)
    view.write(KEY, THREE)
    assert read(view) == (THREE, 9)


def test_a_removal_hides_what_is_below() -> None:
    view = new_view()
    view.write(KEY, None)
    assert read(view) == (None, 8)
    view.take_batch()
    assert read(view) == (None, 8)


def test_a_volatile_entry_hides_the_store_and_waits_for_nothing() -> None:
    view = new_view()
    view.keep(KEY, TWO)
    assert read(view) == (TWO, 0)


def test_a_key_of_which_the_batches_say_nothing_waits_for_nothing() -> None:
    view = new_view()
    view.write(OTHER, TWO)
    view.take_batch()
    view.write(OTHER, THREE)
    assert read(view) == (ONE, 0)


def test_what_depends_on_both_batches_waits_for_the_newer() -> None:
    view = new_view()
    view.write(KEY, TWO)
    view.take_batch()
    view.write(OTHER, TWO)
    view.depends = 0
    view.read(OTHER)
    view.read(KEY)
    assert view.depends == 9


def test_a_change_waits_for_its_batch() -> None:
    view = new_view()
    view.depends = 0
    view.write(KEY, TWO)
    assert view.depends == 8


def test_in_relaxed_durability_nothing_waits() -> None:
    view = new_view(is_relaxed=True)
    view.write(KEY, TWO)
    view.unwritten(b"\0\0\0\1")
    view.take_batch()
    assert view.read(KEY) == TWO
    view.write(OTHER, TWO)
    view.unwritten(b"\0\0\0\1")
    assert view.depends == 0


def test_the_newest_value_is_written_once_however_often_it_changed() -> None:
    view = new_view()
    for number in range(5):
        view.write(KEY, Entry(number, str(number)))
    assert view.take_batch().entries == {KEY: Entry(4, "4")}


def test_the_first_change_of_each_batch_is_announced() -> None:
    rung: list[int] = []
    view = View(
        MemoryStore(),
        revision=7,
        operations=0,
        is_relaxed=False,
        on_first_change=lambda: rung.append(view.batch.revision),
    )
    for _ in range(3):
        view.write(KEY, TWO)
    view.take_batch()
    view.write(KEY, None)
    assert rung == [8, 9]


def test_the_newest_unwritten_revision() -> None:
    view = new_view()
    assert view.newest_unwritten == 0
    view.write(KEY, TWO)
    assert view.newest_unwritten == 8
    view.take_batch()
    assert view.newest_unwritten == 8
    view.write(KEY, TWO)
    assert view.newest_unwritten == 9
    view.drop()
    assert view.newest_unwritten == 0


def test_what_the_store_lacks_of_a_prefix() -> None:
    view = new_view()
    view.keep(b"\0\0\0\1v", ONE)
    view.write(b"\0\0\0\1a", TWO)
    view.write(b"\0\0\0\2a", TWO)
    view.take_batch()
    view.write(b"\0\0\0\1a", None)
    view.write(b"\0\0\0\1b", THREE)
    assert view.unwritten(b"\0\0\0\1") == {b"\0\0\0\1v": ONE, b"\0\0\0\1a": None, b"\0\0\0\1b": THREE}
    assert view.unwritten(b"\0\0\0\3") == {}
    view.keep(b"\0\0\0\3v", ONE)
    view.keep(b"\0\0\0\3v", TWO)
    assert view.unwritten(b"\0\0\0\3") == {b"\0\0\0\3v": TWO}
    assert view.unwritten(b"\0\0\0\3w") == {}
    assert view.forget(b"\0\0\0\3v") == TWO
    assert view.unwritten(b"\0\0\0\3") == {}
    assert view.forget(b"\0\0\0\3v") is None


def test_looking_through_a_prefix_never_makes_a_reply_wait_for_less() -> None:
    view = new_view()
    view.write(KEY, TWO)
    view.take_batch()
    view.depends = 0
    view.write(b"\0\0\0\2k", TWO)
    view.unwritten(b"\0\0\0\1")
    assert view.depends == 9
    view.depends = 0
    view.unwritten(b"\0\0\0\1")
    assert view.depends == 8


def test_waiters_wait_for_batches_that_are_not_on_disk() -> None:
    view, waiter = new_view(), RecordingWaiter()
    assert not view.add_waiter(7, waiter)
    assert view.add_waiter(8, waiter)
    view.write(KEY, TWO)
    batch = view.take_batch()
    assert view.add_waiter(8, waiter)
    assert view.add_waiter(9, waiter)
    assert not view.add_waiter(10, waiter)
    view.written()
    assert not view.add_waiter(8, waiter)
    assert batch.waiters == [waiter, waiter]
    assert waiter.told == []


def test_a_lost_batch_takes_the_next_along_and_neither_number_comes_again() -> None:
    view = new_view()
    view.write(KEY, TWO)
    view.count_operation()
    view.take_batch()
    view.write(OTHER, TWO)
    view.count_operation()
    assert view.operations == 11
    assert [batch.revision for batch in view.drop()] == [8, 9]
    assert view.operations == 9
    assert read(view) == (ONE, 0)
    assert view.batch.revision == 10


def test_only_one_batch_is_written_at_a_time() -> None:
    view = new_view()
    view.write(KEY, TWO)
    view.take_batch()
    with pytest.raises(AssertionError):
        view.take_batch()


# --- what replies depend on ------------------------------------------------------------------------------------


@pytest.fixture(name="client")
def _client() -> Client:
    """A client of a database that is on disk, with `k` on disk and `new` not yet."""
    world = World()
    world.admin("create-db d pwd", "create-db arb pwd arbiter")
    client = world.connect("use-db d pwd", "set k v")
    world.commit()
    client.ask("set new v")
    return client


@pytest.mark.parametrize(
    "text",
    [
        "get new",
        "get-safe new",
        "keys",
        "keys new",
        "set k w",
        "set-safe k 9 w",
        "set-safe new -2 w",
        "remove k",
        "remove new",
        "increment n",
        "increment new",
    ],
)
def test_a_reply_that_shows_what_is_not_on_disk_waits(client: Client, text: str) -> None:
    client.ask(text)
    assert client.depends == client.world.view.batch.revision


@pytest.mark.parametrize(
    "text",
    [
        "get k",
        "get absent",
        "get-safe k",
        "keys k*",
        "get $connections",
        "remove absent",
        "set-safe k -2 w",
        "watch new",
        "unwatch new",
        "nonsense",
        "get",
        "use-db d wrong",
        "use-db d pwd",
    ],
)
def test_any_other_reply_leaves_at_once(client: Client, text: str) -> None:
    client.ask(text)
    assert client.depends == 0


def test_a_selection_waits_for_the_database_it_selects(client: Client) -> None:
    client.world.admin("create-db late pwd")
    assert client.ask("use-db late pwd") == OK
    assert client.depends == client.world.view.batch.revision


@pytest.mark.parametrize("command", ["snapshot", "snapshot false d", "replicate-snapshot d"])
def test_a_snapshot_waits_for_everything(client: Client, command: str) -> None:
    admin = client.world.admin("use-db d pwd")
    admin.ask(command)
    assert admin.depends == client.world.view.batch.revision
    batch = client.world.begin_commit()
    admin.ask(command)
    assert admin.depends == batch.revision
    client.world.finish_commit()
    admin.ask(command)
    assert admin.depends == 0


def test_a_snapshot_waits_also_in_relaxed_durability() -> None:
    world = World(is_relaxed=True)
    admin = world.admin("create-db d pwd", "use-db d pwd", "set k v")
    assert admin.depends == 0
    admin.ask("snapshot")
    assert admin.depends == world.view.batch.revision


def test_a_conflict_that_is_handed_on_waits_with_its_event(client: Client) -> None:
    arbiter = client.world.connect("use-db arb pwd", "arbiter", "set-safe k 4 now")
    client.world.commit()
    arbiter.ask("set-safe k 0 late")
    assert arbiter.depends == arbiter.outbox.events[-1].revision == client.world.view.batch.revision
    assert arbiter.outbox.events[-1].key is None


# --- scanning --------------------------------------------------------------------------------------------------


def test_a_long_scan_lets_others_work_and_lists_each_key_once(client: Client) -> None:
    world = client.world
    for number in range(5000):
        client.ask(f"set many-{number:04} v")
    world.commit()
    suspension = client.start("keys many-*")
    other = world.connect("use-db d pwd")
    pauses = 0
    for _ in suspension:
        pauses += 1
        other.ask(f"set many-{pauses:04} changed")
        other.ask(f"remove many-{4000 + pauses:04}")
        other.ask(f"set many-x{pauses} new")
        if pauses == 1:
            world.commit()
    names = client.outbox.take()[0].removeprefix("keys ,").removesuffix("\n").split(",")
    assert pauses > 1
    assert names == sorted(names)
    assert len(names) == len(set(names))
    untouched = {f"many-{number:04}" for number in range(100, 4000)}
    assert untouched <= set(names)
    assert {f"many-{number:04}" for number in range(1, pauses + 1)} <= set(names)


def test_a_scan_while_its_keys_become_durable_lists_each_once(client: Client) -> None:
    world = client.world
    for number in range(2500):
        client.ask(f"set many-{number:04} v")
    world.begin_commit()
    for number in range(2500, 5000):
        client.ask(f"set many-{number:04} v")
    world.finish_commit()
    suspension = client.start("keys many-*")
    next(suspension)
    world.commit()
    assert list(suspension)
    expected = "".join(f",many-{number:04}" for number in range(5000))
    assert client.outbox.take() == [f"keys {expected}\n", *OK]


def test_a_list_waits_for_what_its_first_slice_showed(client: Client) -> None:
    world = client.world
    for number in range(5000):
        client.ask(f"set many-{number:04} v")
    world.commit()
    client.ask("set many-0000x v")
    assert list(client.start("keys many-*"))
    assert client.depends == world.view.batch.revision


@pytest.mark.parametrize("at", [1, 3, -1])
def test_a_scan_during_which_changes_were_lost_does_not_list_them(client: Client, at: int) -> None:
    world = client.world
    for number in range(20_000):
        client.ask(f"set many-{number:05} v")
    world.commit()
    client.ask("remove many-00001")
    client.ask("set many-lost v")
    pauses = len(list(client.start("keys many-*")))
    client.outbox.take()
    for number, _ in enumerate(client.start("keys many-*")):
        if number == at % pauses:
            world.lose()
    expected = "".join(f",many-{number:05}" for number in range(20_000))
    assert client.outbox.take() == [f"keys {expected}\n", *OK]


def test_the_time_of_a_read_is_measured_by_the_engine_s_clock() -> None:
    world = World()
    admin = world.admin()

    def clock() -> int:
        world.time_ns += 50_000_000  # each call: 50 ms
        return world.time_ns

    object.__setattr__(world.context, "time_ns", clock)
    told = admin.ask("metrics-state")[0]
    assert told.endswith("get_query_time_moving_avg: 0.5\n\n")  # one hundred reads between two calls
