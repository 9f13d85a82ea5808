"""The committer and the log: when it is moved into the data, and what becomes of it when there is no room."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio

from pynun.commit import committer
from pynun.commit.committer import Committer
from pynun.errors import StorageError
from pynun.storage import memtable
from pynun.storage.store import LmdbStore
from tests.engine.world import World
from tests.storage.faulty_store import NO_ROOM
from tests.storage.test_memtable import DATABASE, on_disk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.engine.world import Client

OK = ["ok \n"]


class NoRoomToMove(LmdbStore):
    """A store whose checkpoints fail as long as it is told so."""

    is_failing = True
    tries = 0

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Raises StorageError while it is told so."""
        self.tries += 1
        if self.is_failing:
            raise StorageError(NO_ROOM)
        super().move(count_max, is_rescue=is_rescue)


@pytest.fixture(name="store")
def _store(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "data")) as store:
        yield store


def run(store: LmdbStore, test: Callable[[Client], Awaitable[None]], *, is_relaxed: bool = False) -> Committer:
    """Run a test beside a committer, which is stopped behind it; the client has a database selected."""

    async def main() -> Committer:
        world = World(store, is_relaxed=is_relaxed)
        world.commit()
        one = Committer(world.engine, store, world.bell)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            await test(world.admin("create-db d pwd", "use-db d pwd"))
            one.stop()
        return one

    return trio.run(main)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    with trio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for is in another thread
            await trio.sleep(0.001)


async def change_all(client: Client, count: int) -> None:
    """Set so many keys, a few in each batch."""
    for number in range(count):
        assert client.ask(f"set k{number} v{number}") == OK
        if number % 8 == 0:
            await trio.lowlevel.checkpoint()


def test_a_moment_without_changes_moves_the_log(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(committer, "IDLE_SLICE_ENTRIES", 3)

    async def test(client: Client) -> None:
        await change_all(client, 20)
        await until(lambda: client.world.view.newest_unwritten == 0 and store.is_drained)
        log, data = on_disk(store.folder)
        assert log == []
        assert len([key for key in data if key[4:5] == b"k"]) == 20
        assert client.ask("get k7") == ["value v7\n", *OK]

    assert sum(run(store, test).checkpoint_seconds.counts) >= 7, "three at a time"


@pytest.mark.parametrize("is_relaxed", [False, True])
def test_with_much_in_the_log_it_is_moved_between_batches(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch, is_relaxed: bool
) -> None:
    monkeypatch.setattr(committer, "IDLE_SECONDS", 1000)
    monkeypatch.setattr(committer, "SLICE_ENTRIES", range(16, 33))
    monkeypatch.setattr(committer, "RELAXED_DELAY_SECONDS", 0.001)
    monkeypatch.setattr(memtable, "ENTRIES_DUE", 100)

    async def test(client: Client) -> None:
        for number in range(2000):
            assert client.ask(f"set k{number} v") == OK
            if number % 8 == 0:
                await until(lambda: client.world.view.newest_unwritten == 0)
            assert store.logged_entries < 200
        assert len(on_disk(store.folder)[1]) > 1500

    run(store, test, is_relaxed=is_relaxed)
    assert len([key for key in on_disk(store.folder)[1] if key.startswith(DATABASE[:3] + b"\2k")]) == 2000


def test_a_stop_moves_everything(store: LmdbStore) -> None:
    async def test(client: Client) -> None:
        await change_all(client, 500)

    run(store, test)
    log, data = on_disk(store.folder)
    assert log == []
    assert len([key for key in data if key[4:5] == b"k"]) == 500


def test_no_room_for_moving_costs_nobody_anything(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(memtable, "ENTRIES_DUE", 10)
    store = NoRoomToMove(disk_folder / "data")

    async def test(client: Client) -> None:
        await change_all(client, 300)
        await until(lambda: store.tries > 0 and client.world.view.newest_unwritten == 0)
        assert client.ask("get k299") == ["value v299\n", *OK]
        store.is_failing = False
        assert client.ask("set k0 again") == OK
        await until(lambda: store.is_drained)
        store.is_failing = True
        assert client.ask("set k0 last") == OK

    run(store, test)
    store.close()
    with contextlib.closing(LmdbStore(disk_folder / "data")) as again:
        assert again.logged_entries == 1
        entry = again.get(DATABASE[:3] + b"\2k0")
        assert entry is not None
        assert (entry.version, entry.text) == (2, "last")
