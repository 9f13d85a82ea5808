"""Group commit: the batch being filled becomes durable as soon as the one before it is.

One task. It takes the view's batch, writes it in a worker thread (one LMDB transaction with a sync) while the loop
goes on filling the next, then releases whoever waits for it. In relaxed durability nobody waits, and a batch gathers
for up to `RELAXED_DELAY_SECONDS` first.

Batches go into the store's log. Between them, and when nothing comes, the same thread moves what the log has gathered
into the data (`pynun.storage.memtable`), in slices, so that whoever comes meanwhile waits for one slice at most.

When a batch can't be written (no room), `always` drops it and the one filled meanwhile, which may have read it, and
tells exactly those who waited for them; `relaxed` has acknowledged it already, so it keeps it, refuses further changes
and tries again until it is on disk.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun.commit.writer_thread import WriterThread
from pynun.errors import MapFullError, StorageError, TakenAwayError
from pynun.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.engine import Engine
    from pynun.engine.overlay import Batch
    from pynun.errors import DamageError
    from pynun.storage.store import LmdbStore

RELAXED_DELAY_SECONDS: Final = 0.05
"""At most 100 ms of changes may be lost by a crash in relaxed durability: half of it for gathering, half to write."""

RETRY_SECONDS: Final = 0.5

PROBE_SECONDS: Final = 2.0
"""After a batch was lost, and while nothing comes to be written, an empty one is tried so often: is there room now?"""

BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
BATCH_ENTRIES_MAX: Final = 2048
"""A batch beyond either bound makes those who fill it wait for the disk (`Committer.wait_for_room`). The entries
bound the memory that LMDB takes for changed pages, and keeps: 4 KiB for each, if they are far apart."""

MOVES_PER_CHANGE: Final = 2
"""While a checkpoint is due: so many entries are moved for each that is written. More than one, or it never ends."""

SLICE_BATCHES: Final = 16
SLICE_ENTRIES: Final = range(128, 1025)
"""How many batches' worth of entries are moved at once, and at least and at most how many entries. The more at once,
the less each costs, but the longer the next batch waits, and the more memory LMDB takes for pages, and keeps: with many
connections the batches are large, and so may slices be (measured: 25 µs of waiting an entry at 256 a slice, 15 at
2048)."""

IDLE_SECONDS: Final = 1.0
"""After so long without a change the log is moved into the data, whether that is due or not."""

IDLE_SLICE_ENTRIES: Final = 256
"""About five milliseconds."""

DRAIN_SECONDS: Final = 1.0
DRAIN_SLICE_ENTRIES: Final = 512
"""A stop moves the log into the data for so long, in slices of so many: on a slow disk all of it could take longer than
whoever stops the server waits before it is killed."""

ENTRIES_BOUNDS: Final = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)

_log = logging.getLogger("nun_db")


class Committer:
    """The writer of one engine's batches to one store."""

    def __init__(self, engine: Engine, store: LmdbStore) -> None:
        self._engine = engine
        self._view = engine.view
        self._store = store
        self._writer = WriterThread()
        self._owed_moves = 0
        self._bell = trio.Event()
        self._hurry = trio.Event()
        self._room = trio.Event()
        self._is_stopping = False
        self.durable_revision = store.revision
        self.commit_seconds = Histogram()
        """How long writing a batch to the disk took."""
        self.commit_entries = Histogram(ENTRIES_BOUNDS)
        """How many changed keys a batch that was written had."""
        self.durable_seconds = Histogram()
        """From a batch's first change to its being on disk."""
        self.checkpoint_seconds = Histogram()
        """How long moving a slice of the log into the data took."""
        self.failures = 0
        """Batches that could not be written."""
        self._first_change_at = 0.0  # of the batch being filled
        self._changed_at = 0.0  # the same of the batch being written
        self._write_began_at = 0.0
        self._damage: DamageError | None = None
        self.failure: str | None = None
        """Why the last commit failed; None when it did not."""
        self.is_over = False
        """Whether the data was taken away: changes are refused, and only what was answered is still written."""
        self.on_released: Callable[[], None] = lambda: None
        """Called after the waiters of a batch were told: what they held back may leave now."""
        self._view.on_first_change = self._ring

    def _ring(self) -> None:
        self._first_change_at = time.perf_counter()
        self._bell.set()

    @property
    def is_full(self) -> bool:
        """Whether the batch being filled is so large that its writers should wait."""
        batch = self._view.batch
        return batch.bytes_estimated > BATCH_BYTES_MAX or len(batch.entries) > BATCH_ENTRIES_MAX

    @property
    def writing_seconds(self) -> float:
        """How long the batch being written has been with the disk; 0 when none is."""
        return 0.0 if self._view.writing is None else time.perf_counter() - self._write_began_at

    async def wait_for_room(self) -> None:
        """Return when the batch being filled is not too large any more, or refuses changes, which it may for long."""
        while self.is_full and self._engine.keyspace.refused_changes is None:
            self._hurry.set()
            await self._room.wait()

    async def run(self) -> None:
        """Write batches until `stop`, and then what is left.

        Raises StorageError if the last batch of relaxed durability can't be written, TakenAwayError if the data was
        taken away meanwhile, and DamageError.
        """
        with self._writer:
            await self._run()
        if self.is_over:
            raise TakenAwayError(self.failure)

    async def _run(self) -> None:
        view = self._view
        while True:
            await self._wait_for_changes()
            if self._damage is not None:
                raise self._damage
            self._bell = trio.Event()
            if view.is_relaxed and not self._is_stopping:
                with trio.move_on_after(self._gathering_seconds()):
                    await self._hurry.wait()
            self._hurry = trio.Event()
            if view.batch.entries:
                batch = self.begin()
                await self._write(batch)
                await self._keep_up(len(batch.entries))
            elif self.failure is not None and not self._is_stopping and not self.is_over:
                await self._probe()
            if self._is_stopping and not view.batch.entries:
                await self._drain()
                return

    async def _wait_for_changes(self) -> None:
        """Return when there are some, or when it is time for a probe; the log is drained meanwhile."""
        if self.failure is not None and not self.is_over:
            with trio.move_on_after(PROBE_SECONDS):
                await self._bell.wait()
            return
        if not self.is_over and not self._store.is_drained:
            with trio.move_on_after(IDLE_SECONDS):
                await self._bell.wait()
            while not self._bell.is_set() and not self._store.is_drained:
                if not await self._checkpoint(IDLE_SLICE_ENTRIES):
                    break
        await self._bell.wait()

    def _gathering_seconds(self) -> float:
        """How long a batch of relaxed durability may still gather: a checkpoint may have taken a part of the time."""
        return max(0.0, RELAXED_DELAY_SECONDS - (time.perf_counter() - self._first_change_at))

    async def _keep_up(self, entries: int) -> None:
        """Move as much of the log as the batch just written asks for."""
        if not self._store.is_checkpoint_due:
            self._owed_moves = 0
            return
        self._owed_moves += MOVES_PER_CHANGE * entries
        count = min(max(SLICE_BATCHES * entries, SLICE_ENTRIES.start), SLICE_ENTRIES.stop - 1)
        if self._owed_moves >= count:
            self._owed_moves = 0
            await self._checkpoint(count)

    async def _drain(self) -> None:
        """Before the end, as far as time allows: the next start then has little to read."""
        deadline = time.perf_counter() + DRAIN_SECONDS
        while not self._store.is_drained and time.perf_counter() < deadline:
            if not await self._checkpoint(DRAIN_SLICE_ENTRIES):
                break

    async def _checkpoint(self, count: int) -> bool:
        """Move a slice of the log into the data; False if there is no room for it, and then nothing is lost either."""
        if self.is_over:
            return False
        began = time.perf_counter()
        try:
            await self._growing(partial(self._store.checkpoint, count))
        except StorageError as error:
            _log.debug("the log can't be moved into the data now: %s", error)
            return False
        self.checkpoint_seconds.observe(time.perf_counter() - began)
        return True

    def stop(self) -> None:
        """Let `run` return once everything is on disk."""
        self._is_stopping = True
        self._bell.set()
        self._hurry.set()

    def fail(self, damage: DamageError) -> None:
        """Let `run` raise this: somebody has found that the file can't be relied on."""
        self._damage = damage
        self._bell.set()

    def give_up(self, why: str) -> None:
        """The data was taken away: refuse changes until the end, and say so, once."""
        if not self.is_over:
            self.is_over = True
            self.failure = self._engine.keyspace.refused_changes = why
            _log.error("%s", self._store.files.how_to_rescue(why))
            self._make_room()

    def begin(self) -> Batch:
        """Take the batch being filled, to be written; the one before it must be on disk or lost."""
        self._changed_at = self._first_change_at
        batch = self._view.take_batch()
        self._make_room()
        return batch

    async def _probe(self) -> None:
        """Find out whether commits work again, by one without changes."""
        batch = self._view.take_batch()
        try:
            await self._growing(partial(self._store.append, batch, self._view.operations - self._view.batch.operations))
        except StorageError as error:
            self.failure = str(error)
        else:
            self._succeeded()
        self._view.written()
        for waiter in batch.waiters:
            waiter.released(batch.revision)

    def _succeeded(self) -> None:
        if self.failure is not None and not self.is_over:
            self.failure = None
            self._engine.keyspace.refused_changes = None
            _log.warning("changes can be stored again")

    async def _write(self, batch: Batch) -> None:
        operations = self._view.operations - self._view.batch.operations
        append = partial(self._store.append, batch, operations)
        while True:
            began = self._write_began_at = time.perf_counter()
            try:
                await self._growing(append)
            except StorageError as error:
                self.failures += 1
                if not self._view.is_relaxed:
                    self.lose(str(error))
                    return
                self._refuse_changes(batch, str(error))
                if isinstance(error, TakenAwayError):
                    # It was answered, and can still be saved from the open file.
                    append = partial(self._store.append, batch, operations, is_rescue=True)
                    continue
                if self._is_stopping:
                    raise
                await trio.sleep(RETRY_SECONDS)
            else:
                break
        now = time.perf_counter()
        self.commit_seconds.observe(now - began)
        self.commit_entries.observe(len(batch.entries))
        self.durable_seconds.observe(now - self._changed_at)
        self._succeeded()
        self.finish(batch)

    def finish(self, batch: Batch) -> None:
        """The batch is on disk: whoever waits for it is released."""
        self._view.written()
        self.durable_revision = batch.revision
        self._make_room()
        for waiter in batch.waiters:
            waiter.released(batch.revision)
        self.on_released()

    async def _growing(self, write: Callable[[], None]) -> None:
        """Have something written. A memory map that is full grows first, here on the loop, where nothing reads then."""
        while True:
            try:
                await self._writer.run(write)
            except MapFullError:
                self._store.grow()
            except TakenAwayError as error:
                self.give_up(str(error))
                raise
            else:
                return

    def _refuse_changes(self, batch: Batch, reason: str) -> None:
        if self._engine.keyspace.refused_changes is None:
            _log.error("changes can't be stored (%s): new ones are refused until they can", reason)
        self._engine.keyspace.refused_changes = self.failure = reason
        for waiter in batch.waiters:
            waiter.failed(batch.revision, reason)
        batch.waiters.clear()
        self._make_room()
        self.on_released()

    def lose(self, reason: str) -> None:
        """The batch can't be written: it and the one filled meanwhile are forgotten, and whoever waits is told."""
        _log.error("changes can't be stored (%s): they were refused", reason)
        self.failure = reason
        lost = self._view.drop()
        self._engine.reload_after_loss()
        self._make_room()
        for batch in lost:
            for waiter in batch.waiters:
                waiter.failed(batch.revision, reason)
        self.on_released()

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()
