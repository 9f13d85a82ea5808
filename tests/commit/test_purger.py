"""The keys of a dropped database leave the disk in small batches, whatever fails meanwhile, and nobody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from pynun.commit.purger import SLICE_KEYS, Purger
from pynun.engine import tombstones
from tests.commit.committer_bench import OK, Bench, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEYS = 3 * SLICE_KEYS + 10


def keys_left(bench: Bench) -> int:
    """How many keys of the first database that was made are on disk."""
    return bench.store.inner.measure_database(b"\0\0\0\2", b"", 1_000_000)[0]


def run_with_purger(test: Callable[[Bench], Awaitable[None]], *, is_relaxed: bool = False) -> Bench:
    """Run a test beside a committer and a purger, with the virtual clock."""

    async def main(bench: Bench) -> None:
        for number in range(KEYS):
            assert bench.client.ask(f"set key-{number} v") == OK
        await bench.released.wait()
        async with trio.open_nursery() as nursery:
            purger = Purger()
            bench.world.on_drop = purger.ring
            nursery.start_soon(purger.run, bench.world.engine)
            await test(bench)
            nursery.cancel_scope.cancel()

    return run(main, is_relaxed=is_relaxed, clock=MockClock(autojump_threshold=0.01))


async def wait_swept(bench: Bench) -> None:
    """Return when nothing is left to be removed."""
    with trio.fail_after(600):
        while tombstones.count_unfinished(bench.world.view):  # noqa: ASYNC110 - on the virtual clock
            await trio.sleep(0.05)


@pytest.mark.parametrize("is_relaxed", [False, True])
def test_all_keys_leave_the_disk_and_no_batch_is_large(is_relaxed: bool) -> None:
    async def test(bench: Bench) -> None:
        bench.store.writes.clear()
        bench.world.admin("drop-db d")
        await wait_swept(bench)
        assert keys_left(bench) == 0

    bench = run_with_purger(test, is_relaxed=is_relaxed)
    assert max(map(len, bench.store.writes)) <= SLICE_KEYS
    assert len(bench.store.writes) >= KEYS / SLICE_KEYS


def test_others_change_and_read_meanwhile() -> None:
    async def test(bench: Bench) -> None:
        admin = bench.world.admin("create-db e pwd", "drop-db d")
        other = bench.world.connect("use-db e pwd")
        changes = 0
        while tombstones.count_unfinished(bench.world.view):
            assert other.ask(f"set k {changes}") == OK
            changes += 1
            await bench.released.wait()
            assert len(bench.store.writes[-1]) <= SLICE_KEYS + 5
        assert changes >= KEYS // SLICE_KEYS
        assert admin.ask("db-size e")[0].startswith('database-size {"name":"e","keys":2,')

    run_with_purger(test)


def test_what_cant_be_removed_now_is_removed_later() -> None:
    async def test(bench: Bench) -> None:
        bench.world.admin("drop-db d")
        await bench.released.wait()
        bench.store.fail_next(4)
        await wait_swept(bench)
        assert keys_left(bench) == 0

    bench = run_with_purger(test)
    # The full disk is tried with less each time, so that what clients change has room.
    sizes = [len(entries) for entries in bench.store.writes]
    tried = [SLICE_KEYS, SLICE_KEYS // 8, SLICE_KEYS // 64, 1]
    assert any(sizes[place : place + 4] == tried for place in range(len(sizes))), sizes


def test_while_changes_are_refused_nothing_is_removed() -> None:
    async def test(bench: Bench) -> None:
        bench.world.admin("drop-db d")
        await bench.released.wait()
        bench.store.fail_next(20)
        while bench.world.engine.keyspace.refused_changes is None:
            await bench.released.wait()
        refused = len(bench.world.view.batch.entries)
        left = keys_left(bench)
        await trio.sleep(5)
        assert bench.world.engine.keyspace.refused_changes is not None
        assert keys_left(bench) == left > 0
        assert len(bench.world.view.batch.entries) == refused == 0
        await wait_swept(bench)
        assert keys_left(bench) == 0

    run_with_purger(test, is_relaxed=True)


def test_what_an_earlier_process_left_is_removed_and_later_drops_too() -> None:
    async def test(bench: Bench) -> None:
        bench.world.admin("drop-db d")
        await wait_swept(bench)
        admin = bench.world.admin("create-db e pwd", "use-db e pwd", "set k v")
        await bench.released.wait()
        await trio.sleep(5)
        admin.ask("drop-db e")
        await wait_swept(bench)
        assert bench.store.inner.measure_database(b"\0\0\0\3", b"", 10)[0] == 0

    run_with_purger(test)
