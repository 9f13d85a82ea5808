"""Group commit: what is written together, when it is released, and what happens when it can't be written.

The committer and the engine are the real ones, threads included; the store waits and fails as each test tells it. Where
time matters it is trio's virtual clock, which stands while anything runs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pynun.engine.changes import Batch, Entry
from pynun.errors import DamageError, StorageError
from pynun.storage import committer as committer_module
from pynun.storage import lmdb_store
from pynun.storage.committer import Committer
from pynun.storage.lmdb_store import LmdbStore
from tests.engine.world import Client, World
from tests.storage.faulty_store import NO_ROOM, FaultyStore
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

OK = ["ok \n"]
REFUSED = [f"error not stored: {NO_ROOM} \n"]


class Waiter:
    """Waits for the batch that a client's last reply depends on, and keeps what it is told."""

    def __init__(self, log: list[str], name: str, client: Client) -> None:
        self._log = log
        self._name = name
        assert client.world.view.add_waiter(client.depends, self), "nothing to wait for"

    def released(self, revision: int) -> None:
        """Everything up to `revision` is on disk."""
        self._log.append(f"{self._name} released {revision}")

    def failed(self, revision: int, reason: str) -> None:
        """The batch `revision` is lost."""
        self._log.append(f"{self._name} failed {revision} {reason}")


class Bench:
    """An engine with a database `d` on disk (by batch 1), its committer running, and a client of that database."""

    def __init__(self, *, is_relaxed: bool) -> None:
        self.store = FaultyStore(MemoryStore())
        self.world = World(self.store, is_relaxed=is_relaxed)
        self.world.admin("create-db d pwd")
        self.world.commit()
        self.store.writes.clear()
        self.store.wait_for_write()
        self.committer = Committer(self.world.engine, cast("LmdbStore", self.store))
        self.committer.on_released = self._note_release
        self.client = self.world.connect("use-db d pwd")
        self.log: list[str] = []
        self.released = trio.Event()

    def _note_release(self) -> None:
        self.log.append("sent")
        self.released.set()
        self.released = trio.Event()

    def change(self, name: str) -> None:
        """Set a key and wait for it."""
        assert self.client.ask(f"set {name} v") == OK
        Waiter(self.log, name, self.client)

    def is_full(self) -> bool:
        """Whether the batch being filled is too large now."""
        return self.committer.is_full

    def names(self) -> list[list[str]]:
        """The keys of each batch that was written, without their database."""
        return [sorted(key[4:].decode() for key in entries) for entries in self.store.writes]

    def stored(self, name: str) -> bool:
        """Whether a key is on disk."""
        database = self.world.engine.database("d")
        return self.store.get(database.stored_key(name)) is not None

    async def write_begins(self) -> None:
        """Return when the store has been given another batch."""
        await trio.to_thread.run_sync(self.store.wait_for_write)


def run(test: Callable[[Bench], Awaitable[None]], *, is_relaxed: bool = False, clock: MockClock | None = None) -> Bench:
    """Run a test beside a committer, which is stopped behind it."""

    async def main() -> Bench:
        bench = Bench(is_relaxed=is_relaxed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.committer.run)
            await wait_all_tasks_blocked()
            await test(bench)
            bench.store.let_go()
            bench.committer.stop()
        return bench

    return trio.run(main, clock=clock)


def run_relaxed(test: Callable[[Bench], Awaitable[None]]) -> Bench:
    """The same in relaxed durability, with the virtual clock."""
    return run(test, is_relaxed=True, clock=MockClock(autojump_threshold=0.01))


# --- writing ---------------------------------------------------------------------------------------------------


def test_a_change_is_written_as_soon_as_it_is_made() -> None:
    async def test(bench: Bench) -> None:
        bench.change("a")
        await bench.released.wait()
        assert bench.stored("a")
        assert bench.log == ["a released 2", "sent"]
        assert bench.committer.durable_revision == 2

    run(test)


def test_what_changes_while_a_batch_is_written_goes_together_into_the_next() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        await bench.write_begins()
        for name in "bcdb":
            bench.change(name)
        bench.store.let_go()
        while len(bench.store.writes) < 2 or not bench.stored("d"):
            await bench.released.wait()

    assert run(test).names() == [["a"], ["b", "c", "d"]]


def test_batches_are_released_in_their_order_and_their_waiters_in_theirs() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        bench.change("b")
        await bench.write_begins()
        bench.change("c")
        bench.change("d")
        bench.store.let_go()
        await bench.released.wait()
        await bench.released.wait()

    assert run(test).log == ["a released 2", "b released 2", "sent", "c released 3", "d released 3", "sent"]


def test_nobody_is_told_before_the_batch_is_on_disk() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        await bench.write_begins()
        await wait_all_tasks_blocked()
        assert bench.log == []
        assert bench.committer.durable_revision == 1

    assert run(test).log == ["a released 2", "sent"]


def test_a_reply_that_shows_a_batch_being_written_waits_for_that_one_only() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        await bench.write_begins()
        bench.change("b")
        assert bench.client.ask("get a") == ["value v\n", *OK]
        Waiter(bench.log, "reader", bench.client)

    assert run(test).log == ["a released 2", "reader released 2", "sent", "b released 3", "sent"]


def test_without_changes_nothing_is_written() -> None:
    async def test(bench: Bench) -> None:
        for command in ("get a", "watch a", "remove a", "keys", "set-safe", "nonsense"):
            bench.client.ask(command)
        bench.world.connect("use-db d pwd")
        await wait_all_tasks_blocked()

    assert run(test).names() == []


def test_the_store_is_told_the_operations_of_its_batch_only() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        bench.change("a")
        await bench.write_begins()
        bench.change("b")
        bench.store.let_go()
        await bench.released.wait()
        assert bench.store.operations == 3  # and one for the database
        await bench.released.wait()
        assert bench.store.operations == 4

    run(test)


def test_a_full_map_grows_and_nobody_notices(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_store, "_MAP_BYTES", (128 * 1024,))

    async def main() -> None:
        store = LmdbStore(disk_folder / "dbs")
        world = World(store)
        committer = Committer(world.engine, store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            admin = world.admin("create-db d pwd", "use-db d pwd")
            for number in range(5):
                assert admin.ask(f"set k{number} {'x' * 200_000}") == OK
                await wait_all_tasks_blocked(0.01)
            committer.stop()
        store.close()

    trio.run(main)
    again = LmdbStore(disk_folder / "dbs")
    assert again.operations == 6
    assert World(again).connect("use-db d pwd").ask("keys k*") == ["keys ,k0,k1,k2,k3,k4\n", *OK]
    again.close()


# --- relaxed durability ----------------------------------------------------------------------------------------


def test_relaxed_a_change_waits_for_nothing_and_is_on_disk_within_100_ms() -> None:
    async def test(bench: Bench) -> None:
        began = trio.current_time()
        assert bench.client.ask("set a v") == OK
        assert bench.client.depends == 0
        assert not bench.stored("a")
        await bench.released.wait()
        assert bench.stored("a")
        assert 0 < trio.current_time() - began <= 0.1

    run_relaxed(test)


def test_relaxed_what_changes_within_the_delay_goes_together() -> None:
    async def test(bench: Bench) -> None:
        for name in "abc":
            bench.client.ask(f"set {name} v")
            await trio.sleep(0.01)
        await bench.released.wait()

    assert run_relaxed(test).names() == [["a", "b", "c"]]


def test_relaxed_the_delay_begins_with_the_first_change_also_under_load() -> None:
    async def test(bench: Bench) -> None:
        began = trio.current_time()
        released = bench.released
        number = 0
        while not released.is_set():
            bench.client.ask(f"set k{number} v")
            number += 1
            await trio.sleep(0.001)
        assert trio.current_time() - began <= 0.1

    run_relaxed(test)


# --- failing, always ------------------------------------------------------------------------------------------


def test_a_failure_is_told_to_exactly_those_who_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        bench.change("a")
        await bench.released.wait()
        bench.store.hold()
        bench.store.fail_next()
        bench.change("b")
        await bench.write_begins()
        await bench.write_begins()
        bench.change("c")
        assert bench.client.ask("get a") == ["value v\n", *OK]
        assert bench.client.depends == 0
        bench.store.let_go()
        await bench.released.wait()
        bench.change("d")
        await bench.released.wait()

    with caplog.at_level(logging.ERROR, "nun_db"):
        bench = run(test)
    assert bench.log == [
        *("a released 2", "sent"),
        *(f"b failed 3 {NO_ROOM}", f"c failed 4 {NO_ROOM}", "sent"),
        *("d released 5", "sent"),
    ]
    assert bench.names() == [["a"], ["b"], ["d"]]
    assert bench.committer.durable_revision == 5
    assert [record.getMessage() for record in caplog.records] == [
        f"changes can't be stored ({NO_ROOM}): they were refused"
    ]


def test_after_a_failure_nothing_of_it_is_seen_and_later_changes_work() -> None:
    async def test(bench: Bench) -> None:
        bench.store.fail_next()
        bench.change("a")
        await bench.released.wait()
        assert bench.client.ask("get a") == ["value <Empty>\n", *OK]
        assert bench.client.depends == 0
        assert bench.client.ask("set a w") == OK
        await bench.released.wait()
        assert bench.client.ask("get-safe a") == ["value-version 0 w\n", *OK]

    run(test)


def test_after_a_failure_rules_that_were_remembered_are_read_again() -> None:
    async def test(bench: Bench) -> None:
        admin = bench.world.admin("use-db d pwd", "create-user ana ana-pwd", "set-permissions ana r a")
        await bench.released.wait()
        ana = bench.world.connect("use-db d ana ana-pwd")
        bench.store.fail_next()
        admin.ask("set-permissions ana rw *")
        assert ana.ask("set a v") == OK
        await bench.released.wait()
        assert ana.ask("set a v")[0] == "permission denied\n"
        assert ana.ask("get a") == ["value <Empty>\n", *OK]

    run(test)


def test_many_failures_in_a_row_lose_nothing_that_was_released() -> None:
    async def test(bench: Bench) -> None:
        for number in range(9):
            if number % 3:
                bench.store.fail_next()
            bench.change(f"k{number}")
            await bench.released.wait()
        assert bench.client.ask("keys k*") == ["keys ,k0,k3,k6\n", *OK]

    bench = run(test)
    assert [line.split(" ")[0] for line in bench.log if "released" in line] == ["k0", "k3", "k6"]
    assert [bench.stored(f"k{number}") for number in range(9)] == [True, False, False] * 3


def test_damage_stops_the_server() -> None:
    async def main() -> None:
        bench = Bench(is_relaxed=False)
        bench.store.inner = _DamagedStore()
        bench.change("a")
        await bench.committer.run()

    with pytest.raises(DamageError, match="damaged"):
        trio.run(main)


class _DamagedStore(MemoryStore):
    """A store whose file is damaged: what the committer can't go on with."""

    def write(self, batch: Batch, operations: int) -> None:
        """Never."""
        raise DamageError("the data is damaged")


# --- failing, relaxed ------------------------------------------------------------------------------------------


def test_relaxed_nothing_acknowledged_is_dropped_and_new_changes_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.store.fail_next(3)
        assert bench.client.ask("set a acknowledged") == OK
        await bench.write_begins()
        assert bench.client.ask("set b acknowledged-meanwhile") == OK
        bench.store.let_go()
        await bench.released.wait()
        assert bench.client.ask("set c refused") == REFUSED
        assert bench.client.ask("get a") == ["value acknowledged\n", *OK]
        assert bench.client.ask("get b") == ["value acknowledged-meanwhile\n", *OK]
        while not bench.stored("a"):
            await bench.released.wait()
        assert bench.client.ask("set c accepted") == OK
        while not bench.stored("c"):
            await bench.released.wait()

    with caplog.at_level(logging.WARNING, "nun_db"):
        bench = run_relaxed(test)
    assert bench.names() == [["a"], ["a"], ["a"], ["a"], ["b", "c"]]
    assert [record.getMessage() for record in caplog.records] == [
        f"changes can't be stored ({NO_ROOM}): new ones are refused until they can",
        "changes can be stored again",
    ]


def test_relaxed_who_waits_for_a_snapshot_is_told_that_it_failed() -> None:
    async def test(bench: Bench) -> None:
        admin = bench.world.admin("use-db d pwd")
        bench.store.fail_next(2)
        bench.client.ask("set a v")
        admin.ask("snapshot")
        Waiter(bench.log, "first", admin)
        await bench.released.wait()
        admin.ask("snapshot")
        Waiter(bench.log, "second", admin)
        await bench.released.wait()
        admin.ask("snapshot")
        Waiter(bench.log, "third", admin)
        await bench.released.wait()
        assert bench.stored("a")

    assert run_relaxed(test).log == [
        *(f"first failed 2 {NO_ROOM}", "sent"),
        *(f"second failed 2 {NO_ROOM}", "sent"),
        *("third released 2", "sent"),
    ]


# --- room ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_relaxed", [False, True])
def test_who_fills_too_large_a_batch_waits_until_it_is_taken(monkeypatch: pytest.MonkeyPatch, is_relaxed: bool) -> None:
    monkeypatch.setattr(committer_module, "BATCH_ENTRIES_MAX", 3)

    async def test(bench: Bench) -> None:
        for name in "abc":
            bench.client.ask(f"set {name} v")
        assert not bench.is_full()
        await bench.committer.wait_for_room()  # there is room: returns at once
        bench.client.ask("set d v")
        assert bench.is_full()
        began = trio.current_time()
        await bench.committer.wait_for_room()
        assert not bench.is_full()
        assert bench.stored("d")
        assert trio.current_time() == began or not is_relaxed

    (run_relaxed if is_relaxed else run)(test)


def test_a_batch_is_too_large_by_its_bytes_too() -> None:
    async def test(bench: Bench) -> None:
        bench.client.ask("set a " + "x" * (committer_module.BATCH_BYTES_MAX - 1000))
        assert not bench.is_full()
        bench.client.ask("set b " + "x" * 1000)
        assert bench.is_full()
        await bench.committer.wait_for_room()

    run(test)


def test_all_who_wait_for_room_go_on_also_when_the_batch_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "BATCH_ENTRIES_MAX", 1)

    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.store.fail_next()
        bench.client.ask("set a v")
        await bench.write_begins()
        bench.client.ask("set b v")
        bench.client.ask("set c v")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(bench.committer.wait_for_room)
            await wait_all_tasks_blocked()
            bench.store.let_go()
        assert not bench.is_full()

    run(test)


# --- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_relaxed", [False, True])
def test_stopping_without_changes_is_quick(is_relaxed: bool) -> None:
    async def test(_bench: Bench) -> None:
        pass

    assert (run_relaxed if is_relaxed else run)(test).names() == []


def test_stopping_writes_what_is_left() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        await bench.write_begins()
        bench.change("b")
        bench.committer.stop()
        bench.change("c")

    bench = run(test)
    assert bench.names() == [["a"], ["b", "c"]]
    assert bench.log[-1] == "sent"
    assert bench.stored("c")


def test_relaxed_stopping_waits_for_no_delay() -> None:
    async def main() -> float:
        bench = Bench(is_relaxed=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.committer.run)
            bench.client.ask("set a v")
            await wait_all_tasks_blocked()
            bench.committer.stop()
        assert bench.stored("a")
        return trio.current_time()

    clock = MockClock(autojump_threshold=0.01)
    began = clock.current_time()
    assert trio.run(main, clock=clock) == began


def test_relaxed_stopping_with_what_cannot_be_written_says_so() -> None:
    async def main() -> None:
        bench = Bench(is_relaxed=True)
        bench.store.fail_next(1000)
        bench.client.ask("set a v")
        bench.committer.stop()
        await bench.committer.run()

    with pytest.raises(StorageError, match=NO_ROOM):
        trio.run(main, clock=MockClock(autojump_threshold=0.01))


def test_stopping_with_what_cannot_be_written_tells_who_waits() -> None:
    async def test(bench: Bench) -> None:
        bench.store.fail_next()
        bench.change("a")
        bench.committer.stop()

    bench = run(test)
    assert bench.log == [f"a failed 2 {NO_ROOM}", "sent"]


def test_after_a_stop_another_process_finds_everything(disk_folder: Path) -> None:
    async def main() -> None:
        store = LmdbStore(disk_folder / "dbs")
        world = World(store)
        committer = Committer(world.engine, store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            admin = world.admin("create-db d pwd", "use-db d pwd")
            for number in range(200):
                admin.ask(f"set k {number}")
                if number % 10 == 0:
                    await trio.lowlevel.checkpoint()
            committer.stop()
        store.close()

    trio.run(main)
    again = LmdbStore(disk_folder / "dbs")
    assert World(again).connect("use-db d pwd").ask("get-safe k") == ["value-version 199 199\n", *OK]
    assert again.get(b"\0\0\0\0") == Entry(2, "")  # the highest identifier: the admin's database, and this one
    again.close()
