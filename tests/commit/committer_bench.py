"""A committer at work on an engine, with a store that waits and fails as each test tells it.

The committer and the engine are the real ones, threads included. Where time matters it is trio's virtual clock, which
stands while anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pynun.commit.bell import Bell
from pynun.commit.committer import Committer
from tests.engine.world import Client, World
from tests.storage.faulty_store import NO_ROOM, FaultyStore
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


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
        self.world = World(self.store, is_relaxed=is_relaxed, bell=Bell(trio.current_time))
        self.world.admin("create-db d pwd")
        self.world.commit()
        self.store.writes.clear()
        self.store.wait_for_write()
        self.committer = Committer(self.world.engine, self.store, self.world.bell, self._note_release)
        self.committer._speed.is_quick = lambda now: False  # type: ignore[method-assign]  # so the thread writes
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
    """The same in relaxed durability, with the virtual clock.

    It jumps when all tasks have waited for so long: for the thread that writes, too, if that takes as long.
    """
    return run(test, is_relaxed=True, clock=MockClock(autojump_threshold=0.1))
