"""Batches that the loop writes itself: where the disk is quick, and nowhere else."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun.commit.committer import SLICE_ENTRIES, Committer
from pynun.commit.disk_speed import MEAN_SECONDS_MAX, QUICK_SECONDS, RESTS, STALL_SECONDS, DiskSpeed
from pynun.storage import memtable
from pynun.storage.store import LmdbStore
from tests.commit import committer_bench
from tests.commit.committer_bench import OK, Bench, run, run_relaxed
from tests.commit.test_committer_log import until
from tests.engine.world import World
from tests.storage.faulty_store import NO_ROOM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pynun.engine.overlay import Batch
    from tests.engine.world import Client

QUICK = QUICK_SECONDS / 2


def make_quick(committer: Committer) -> None:
    """Have a commit on this disk count as quick, however busy this machine is."""
    committer._speed.is_quick = lambda now: True  # type: ignore[method-assign]


def change_in_round(bench: Bench, *names: str) -> None:
    """What the reactor does when commands arrive."""
    bench.committer.begin_round()
    for name in names:
        bench.change(name)
    bench.committer.commit_now()
    bench.committer.end_round()


def test_on_a_quick_disk_the_loop_writes_at_once() -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        change_in_round(bench, "a", "b")
        assert bench.log == ["a released 2", "b released 2", "sent"]
        assert bench.stored("b")
        assert bench.store.revision == 2
        assert sum(bench.committer.commit_entries.counts) == 1
        assert sum(bench.committer.durable_seconds.counts) == 1

    bench = run(test)
    assert bench.committer.loop_commits == 1
    assert bench.names() == [["a", "b"]]


def test_on_a_slow_disk_the_thread_writes() -> None:
    async def test(bench: Bench) -> None:
        for name in "abc":
            change_in_round(bench, name)
            assert not bench.stored(name)
            await bench.released.wait()
            assert bench.stored(name)

    bench = run(test)
    assert bench.names() == [["a"], ["b"], ["c"]]
    assert bench.committer.loop_commits == 0


def test_a_quick_thread_shows_that_the_disk_is_quick() -> None:
    async def test(bench: Bench) -> None:
        bench.committer._speed = DiskSpeed()
        with trio.fail_after(60):
            while not bench.committer.loop_commits:  # a store in memory takes microseconds
                change_in_round(bench, "a")
                await until(lambda: not bench.world.view.newest_unwritten)

    run(test)


def test_in_relaxed_durability_the_task_gathers() -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        assert bench.client.ask("set a v") == OK
        bench.committer.commit_now()
        assert not bench.stored("a")

    assert run_relaxed(test).committer.loop_commits == 0


def test_the_loop_writes_nothing_where_it_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        change_in_round(bench, "a")
        assert not bench.stored("a")
        await bench.released.wait()

    monkeypatch.setattr(committer_bench, "Committer", partial(Committer, may_use_loop=False))
    assert run(test).committer.loop_commits == 0


def test_while_a_batch_is_written_the_next_one_waits() -> None:
    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.change("a")
        await bench.write_begins()
        make_quick(bench.committer)
        change_in_round(bench, "b")
        assert not bench.stored("b")
        bench.store.let_go()
        await bench.released.wait()
        await until(lambda: bench.stored("b"))

    assert run(test).names() == [["a"], ["b"]]


def test_changes_in_a_round_wake_the_task_only_if_they_are_left() -> None:
    async def test(bench: Bench) -> None:
        bench.committer.begin_round()
        bench.change("a")
        await wait_all_tasks_blocked(0.05)
        assert bench.store.writes == []
        bench.committer.end_round()
        await bench.released.wait()
        assert bench.stored("a")

    run(test)


def test_a_round_that_goes_on_does_not_keep_a_change_waiting() -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        bench.committer.begin_round()
        bench.change("a")
        bench.committer.commit_waiting(bench.committer._bell.first_change_at + 0.0004)
        assert not bench.stored("a")
        bench.committer.commit_waiting(bench.committer._bell.first_change_at + 0.0006)
        assert bench.stored("a")
        bench.committer.end_round()

    run(test)


def test_a_write_that_fails_on_the_loop_is_told_and_probed() -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        bench.store.fail_next()
        change_in_round(bench, "a")
        assert bench.log == [f"a failed 2 {NO_ROOM}", "sent"]
        assert not bench.stored("a")
        assert bench.committer.failures == 1
        await until(lambda: bench.committer.failure is None)
        change_in_round(bench, "b")
        assert bench.stored("b")

    assert run(test).committer.loop_commits == 1


def test_while_writes_fail_the_thread_writes() -> None:
    async def test(bench: Bench) -> None:
        make_quick(bench.committer)
        bench.store.fail_next()
        change_in_round(bench, "a")
        change_in_round(bench, "b")
        assert not bench.stored("b")
        await bench.released.wait()
        assert bench.stored("b")

    assert run(test).committer.loop_commits == 0


@contextlib.asynccontextmanager
async def running(store: LmdbStore) -> AsyncIterator[tuple[World, Committer]]:
    """A committer on a disk that counts as quick, stopped at the end."""
    world = World(store)
    world.commit()
    committer = Committer(world.engine, store, world.bell)
    make_quick(committer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        yield world, committer
        committer.stop()
    store.close()


def ask_in_round(committer: Committer, client: Client, *commands: str) -> None:
    """What the reactor does when these commands arrive together."""
    committer.begin_round()
    for command in commands:
        assert client.ask(command) == OK
    committer.commit_now()
    committer.end_round()


def test_what_the_loop_logged_is_moved_when_nothing_comes(disk_folder: Path) -> None:
    async def main() -> None:
        store = LmdbStore(disk_folder / "data")
        async with running(store) as (world, committer):
            admin = world.admin("create-db d pwd", "use-db d pwd")
            await until(lambda: world.view.newest_unwritten == 0 and store.is_drained and committer._is_asleep)
            ask_in_round(committer, admin, "set k v")
            assert committer.loop_commits == 1
            assert store.logged_entries == 1
            await until(lambda: store.is_drained)
            assert admin.ask("get k") == ["value v\n", *OK]

    trio.run(main)


class _HeldStore(LmdbStore):
    """A store whose checkpoints wait until they are let go, after their commit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.has_put = threading.Event()
        self.let_go = threading.Event()
        self.counts: list[int] = []
        """How many entries each was to move."""

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Wait after it."""
        self.counts.append(count_max)
        super().move(count_max, is_rescue=is_rescue)
        self.has_put.set()
        assert self.let_go.wait(20)


def test_the_loop_writes_while_the_thread_moves_and_loses_nothing(disk_folder: Path) -> None:
    async def main() -> None:
        store = _HeldStore(disk_folder / "data")
        async with running(store) as (world, committer):
            admin = world.admin("create-db d pwd", "use-db d pwd", "set a old", "set b old")
            assert await trio.to_thread.run_sync(store.has_put.wait, 20)
            ask_in_round(committer, admin, "set a new", "remove b")
            assert committer.loop_commits
            assert world.view.newest_unwritten == 0, "on disk, though the thread is still busy"
            store.let_go.set()
            await until(lambda: store.is_drained)
            assert admin.ask("get a") == ["value new\n", *OK]

    trio.run(main)
    again = LmdbStore(disk_folder / "data")
    client = World(again).connect("use-db d pwd")
    assert client.ask("get a") == ["value new\n", *OK]
    assert client.ask("get b") == ["value <Empty>\n", *OK]
    again.close()


def test_all_that_was_logged_during_a_move_is_owed_to_the_next(
    disk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the entries in memory grow while the loop logs more than a slice of the smallest size."""
    monkeypatch.setattr(memtable, "ENTRIES_DUE", 10)

    async def main() -> None:
        store = _HeldStore(disk_folder / "data")
        async with running(store) as (world, committer):
            admin = world.admin("create-db d pwd", "use-db d pwd", *(f"set first{number} v" for number in range(100)))
            assert await trio.to_thread.run_sync(store.has_put.wait, 20)
            before = len(store.counts)
            for first in range(0, 1200, 20):
                ask_in_round(committer, admin, *(f"set k{first + number} v" for number in range(20)))
            assert store.logged_entries >= 1200
            store.let_go.set()
            await until(lambda: len(store.counts) > before)
            largest = SLICE_ENTRIES.stop - 1
            assert store.counts[before] == largest
            ask_in_round(committer, admin, "set last v")
            await until(lambda: len(store.counts) > before + 1)
            assert store.counts[before + 1] == largest, "and the rest to the one after it"
            await until(lambda: store.is_drained)

    trio.run(main)
    again = LmdbStore(disk_folder / "data")
    prefix = World(again).engine.database("d").stored_key("")
    names, _, _ = again.scan(prefix, b"", 10_000)
    assert sum(name.startswith(b"k") for name in names) == 1200
    again.close()


# --- the disk's speed ------------------------------------------------------------------------------------------


def test_a_quick_disk_is_waited_for_each_time() -> None:
    speed = DiskSpeed()
    assert not speed.is_quick(0)
    speed.observe(QUICK, 0, was_on_loop=False)
    for _ in range(20):
        assert speed.is_quick(0)
        speed.observe(QUICK, 0, was_on_loop=True)
    speed.observe(STALL_SECONDS, 0, was_on_loop=True)  # once
    assert speed.is_quick(0)


def test_a_disk_that_is_not_quick_is_waited_for_after_a_pause() -> None:
    speed = DiskSpeed()
    took = MEAN_SECONDS_MAX / 2
    for _ in range(20):
        speed.observe(took, 0, was_on_loop=True)
    assert not speed.is_quick(0.99 * RESTS * took)
    assert speed.is_quick(RESTS * took)
    speed.observe(took, 0, was_on_loop=False)  # which may have been the GIL
    assert speed.is_quick(RESTS * took)


def test_a_slow_disk_is_never_waited_for() -> None:
    speed = DiskSpeed()
    for _ in range(40):
        speed.observe(2 * MEAN_SECONDS_MAX, 0, was_on_loop=False)
    assert not speed.is_quick(1000)
    for _ in range(40):
        speed.observe(QUICK, 1000, was_on_loop=False)
    assert speed.is_quick(1000)


@pytest.mark.parametrize("was_on_loop", [True, False])
def test_a_stall_is_remembered_for_ten_times_as_long(was_on_loop: bool) -> None:
    speed = DiskSpeed()
    speed.observe(2 * STALL_SECONDS, 10, was_on_loop=was_on_loop)
    for _ in range(100):
        speed.observe(QUICK, 10, was_on_loop=False)
    assert not speed.is_quick(10 + 1.99 * RESTS * STALL_SECONDS)
    assert speed.is_quick(10 + 2 * RESTS * STALL_SECONDS)


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_stall_counts_from_its_end(is_quick: bool) -> None:
    """Otherwise a long one would be over when it ends."""
    ends: list[float] = []
    observed: list[float] = []

    async def test(bench: Bench) -> None:
        log = bench.store.log

        def note_end(batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
            log(batch, operations, is_rescue=is_rescue)
            ends.append(time.perf_counter())

        bench.store.log = note_end  # type: ignore[method-assign]
        bench.committer._speed.is_quick = lambda now: is_quick  # type: ignore[method-assign]

        def observe(seconds: float, now: float, *, was_on_loop: bool) -> None:
            assert seconds > 0
            assert was_on_loop == is_quick
            observed.append(now)

        bench.committer._speed.observe = observe  # type: ignore[method-assign]
        change_in_round(bench, "a")
        await until(lambda: bool(observed))

    run(test)
    assert observed > ends
