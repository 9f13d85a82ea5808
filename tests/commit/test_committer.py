"""Group commit: what is written together, when it is released, making room, and stopping."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pynun.commit import committer as committer_module
from pynun.commit.committer import RELAXED_DELAY_SECONDS, Committer
from pynun.engine.overlay import Entry
from pynun.storage import environment
from pynun.storage.store import LmdbStore
from tests.commit.committer_bench import OK, Bench, Waiter, run, run_relaxed
from tests.engine.world import World

if TYPE_CHECKING:
    from pathlib import Path


# --- writing ---------------------------------------------------------------------------------------------------


def test_a_change_is_written_as_soon_as_it_is_made() -> None:
    async def test(bench: Bench) -> None:
        bench.change("a")
        await bench.released.wait()
        assert bench.stored("a")
        assert bench.log == ["a released 2", "sent"]
        assert bench.store.revision == 2

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
        assert bench.store.revision == 1

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
    monkeypatch.setattr(environment, "MAP_BYTES", (128 * 1024,))

    async def main() -> None:
        store = LmdbStore(disk_folder / "dbs")
        world = World(store)
        committer = Committer(world.engine, store, world.bell)
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
            assert trio.current_time() - began < 2 * RELAXED_DELAY_SECONDS  # some of it while the thread writes
            bench.client.ask(f"set k{number} v")
            number += 1
            await trio.sleep(RELAXED_DELAY_SECONDS / 5)
        assert number > 1

    run_relaxed(test)


def test_relaxed_time_that_the_disk_took_is_not_waited_again() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.client.ask("set a v")
        await bench.write_begins()
        bench.client.ask("set b v")
        await trio.sleep(RELAXED_DELAY_SECONDS)
        began = trio.current_time()
        bench.store.let_go()
        await bench.released.wait()
        await bench.released.wait()
        assert bench.stored("b")
        assert trio.current_time() == began

    run_relaxed(test)


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


def test_after_a_stop_another_process_finds_everything(disk_folder: Path) -> None:
    async def main() -> None:
        store = LmdbStore(disk_folder / "dbs")
        world = World(store)
        committer = Committer(world.engine, store, world.bell)
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


class _SlowStore(LmdbStore):
    """A store on a disk that needs a quarter of a second for whatever a checkpoint moves."""

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """One entry instead of many."""
        time.sleep(0.25)
        super().move(min(count_max, 1), is_rescue=is_rescue)


def test_a_stop_on_a_slow_disk_leaves_the_rest_of_the_log_to_the_next_start(disk_folder: Path) -> None:
    async def main() -> float:
        store = _SlowStore(disk_folder / "dbs")
        world = World(store)
        committer = Committer(world.engine, store, world.bell)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            admin = world.admin("create-db d pwd", "use-db d pwd")
            for number in range(40):
                admin.ask(f"set k{number} v")
            committer.stop()
            began = trio.current_time()
        assert not store.is_drained
        store.close()
        return trio.current_time() - began

    assert trio.run(main) < 8.0, "all of it takes ten seconds"
    again = LmdbStore(disk_folder / "dbs")
    keys = World(again).connect("use-db d pwd").ask("keys k*")[0]
    assert len(keys.split(",")) == 41
    again.close()
