"""A store that can't take changes: who is told, what is forgotten, and what never is (docs/protocol.md section 9)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from pynun.commit.committer import BATCH_ENTRIES_MAX, RETRY_SECONDS
from pynun.errors import DamageError, StorageError
from tests.commit.committer_bench import OK, REFUSED, Bench, Waiter, run, run_relaxed
from tests.storage.faulty_store import NO_ROOM
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from pynun.engine.overlay import Batch


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
        *(f"d released {bench.store.revision}", "sent"),
    ]
    # Between them it may have tried whether the disk has room again, with a batch of nothing.
    assert [names for names in bench.names() if names] == [["a"], ["b"], ["d"]]
    assert bench.store.revision in (5, 6)
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


# --- stopping --------------------------------------------------------------------------------------------------


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


def test_relaxed_who_waits_for_room_in_the_batch_goes_on_when_changes_are_refused() -> None:
    """To be told so: until there is room on the disk could be days."""

    async def test(bench: Bench) -> None:
        bench.store.hold()
        bench.store.fail_next(3)
        bench.client.ask("set a v")
        await bench.write_begins()
        for number in range(BATCH_ENTRIES_MAX + 1):
            bench.client.ask(f"set k{number} v")
        assert bench.is_full()
        bench.store.let_go()
        with trio.fail_after(RETRY_SECONDS):
            await bench.committer.wait_for_room()
        assert bench.is_full()
        assert bench.client.ask("set b v") == REFUSED
        await trio.sleep(10 * RETRY_SECONDS)
        assert bench.stored(f"k{BATCH_ENTRIES_MAX}")

    run_relaxed(test)
