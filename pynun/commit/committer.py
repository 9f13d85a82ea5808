"""Group commit: each batch is written as soon as the one before it is on disk.

One task takes the view's batch and writes it in a worker thread (a write to the log's file, and a sync) while the loop
fills the next. Then it releases the replies that wait for the batch. In relaxed durability none wait, and a batch first
gathers changes for up to `RELAXED_DELAY_SECONDS`. Where the disk is quick, `commit_now` writes a batch on the loop
itself: the way to the thread and back takes longer than the sync.

The same thread moves the log into the data (`pynun.storage.memtable`), in slices: between its batches, when idle, and
beside the batches that the loop writes. So a new batch waits for one slice at most.

If a batch can't be written (a full disk), `always` drops it and the one filled meanwhile, which may depend on it, and
tells exactly the clients that wait for them. `relaxed` has acknowledged it already: it keeps the batch, refuses further
changes and retries until the batch is on disk.
"""

from __future__ import annotations

import contextlib
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun.commit.disk_speed import DiskSpeed
from pynun.commit.remedy import with_remedy
from pynun.commit.writer_thread import WriterThread
from pynun.errors import DamageError, MapFullError, ReopenError, StorageError, TakenAwayError
from pynun.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.commit.bell import Bell
    from pynun.commit.store import CommittedStore
    from pynun.engine.engine import Engine
    from pynun.engine.overlay import Batch

RELAXED_DELAY_SECONDS: Final = 0.05
"""A crash in relaxed durability may lose at most 100 ms of changes: half for gathering, half for writing."""

RETRY_SECONDS: Final = 0.5

PROBE_SECONDS: Final = 2.0
"""After a lost batch and without new changes, write an empty batch at this interval to test for free space."""

BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
BATCH_ENTRIES_MAX: Final = 2048
"""Beyond either, clients that fill the batch wait for the disk (`Committer.wait_for_room`). That on entries limits what
LMDB takes for changed pages and keeps: 4 KiB for each, if they are far apart."""

MOVES_PER_CHANGE: Final = 2
"""Entries moved for each entry written, while a checkpoint is due. Must exceed one, or it never ends."""

SLICE_BATCHES: Final = 16
SLICE_ENTRIES: Final = range(128, 1025)
"""Size of a slice in batches, and its bounds in entries. A larger slice costs less per entry, but the next batch waits
longer, and LMDB takes and keeps more memory for pages. With many connections batches are large, so slices may be too
(measured: 25 µs per entry in slices of 256, 15 µs in slices of 2048)."""

IDLE_SECONDS: Final = 1.0
"""After this long without a change, the log is moved into the data even if no checkpoint is due."""

ROUND_SECONDS: Final = 0.5e-3
"""The reactor writes the batch when its first change is this old, even if more has arrived to be read."""

IDLE_SLICE_ENTRIES: Final = 256
"""About five milliseconds."""

DRAIN_SECONDS: Final = 1.0
DRAIN_SLICE_ENTRIES: Final = 512
"""A stop moves the log into the data for so long, in such slices: a supervisor may kill a server that takes longer."""

ENTRIES_BOUNDS: Final = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)

_log = logging.getLogger("nun_db")


class Committer:
    """The writer of one engine's batches to one store."""

    def __init__(
        self,
        engine: Engine,
        store: CommittedStore,
        bell: Bell,
        on_released: Callable[[], None] = lambda: None,
        *,
        may_use_loop: bool = True,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        """The engine and the store must ring `bell`. `on_released` is called after the waiters of a batch were told, to
        send the replies they held. `may_use_loop` allows `commit_now` to write; `drain_seconds` bounds `_drain`."""
        self._engine = engine
        self._view = engine.view
        self._store = store
        self._writer = WriterThread()
        self._speed = DiskSpeed()
        self._may_use_loop = may_use_loop and not engine.view.is_relaxed
        self._drain_seconds = drain_seconds
        self._is_running = False
        self._is_asleep = False  # until the bell rings
        self._logged_at = 0.0  # the newest batch, in trio's time
        self._owed_moves = 0
        self._bell = bell
        self._on_released = on_released
        self._hurry = trio.Event()
        self._room = trio.Event()
        self._is_stopping = False
        self.commit_seconds = Histogram()
        """Duration of writing a batch to disk."""
        self.commit_entries = Histogram(ENTRIES_BOUNDS)
        """Changed keys in each written batch."""
        self.durable_seconds = Histogram()
        """From a batch's first change until it is on disk."""
        self.checkpoint_seconds = Histogram()
        """Duration of moving a slice of the log into the data."""
        self.loop_commits = 0
        """Batches written by `commit_now`."""
        self.failures = 0
        """Batches that could not be written."""
        self._changed_at = 0.0  # the same of the batch being written
        self._write_began_at = 0.0
        self.failure: str | None = None
        """Why the last commit failed, for administrators; None if it succeeded."""
        self._how_to_rescue: str | None = None  # until it is said
        self.is_over = False
        """Whether the data was taken away. Then changes are refused, and only acknowledged ones are still written."""

    # --- on the loop -------------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """The reactor begins to run commands and will call `commit_now`: changes do not wake the task meanwhile."""
        self._bell.is_muted = True

    def end_round(self) -> None:
        """The reactor lets other tasks run: the task writes what is left."""
        self._bell.is_muted = False
        if self._view.batch.entries:
            self._bell.wake()

    def commit_waiting(self, now: float) -> None:
        """Call `commit_now` if a change waits for long, because the round goes on."""
        if self._view.batch.entries and now - self._bell.first_change_at > ROUND_SECONDS:
            self.commit_now()

    def commit_now(self) -> None:
        """Write the batch being filled here and release its waiters, if the disk is quick; otherwise wake the task."""
        if self._view.batch.entries and not self._commit_here():
            self._bell.wake()

    def _commit_here(self) -> bool:
        """Write the batch being filled on the loop; False if the task should, in the thread."""
        batch = self._view.batch
        if not (
            self._may_use_loop
            and self._is_running
            and self._view.writing is None
            and not self._is_stopping
            and self.failure is None
            and self._speed.is_quick(time.perf_counter())
            and self._store.can_log_at_once(batch)
        ):
            return False
        self.begin()
        try:
            self._log_here(batch)
        except DamageError as damage:
            self.fail(damage)
        except StorageError as error:
            if isinstance(error, TakenAwayError):
                self.give_up(str(error))
            self.failures += 1
            self.lose(str(error))
            self._bell.wake()  # the task probes from now on
        else:
            self.loop_commits += 1
            self._owed_moves += MOVES_PER_CHANGE * len(batch.entries)
            if self._is_asleep or (self._store.is_checkpoint_due and self._owed_moves >= SLICE_ENTRIES.start):
                self._bell.wake()
        return True

    def _log_here(self, batch: Batch) -> None:
        began = self._write_began_at = time.perf_counter()
        operations = self._view.operations - self._view.batch.operations
        self._store.log(batch, operations)
        ended = time.perf_counter()
        self._speed.observe(ended - began, ended, was_on_loop=True)
        self._stored(batch, began)

    # --- in the task -------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the batch being filled is so large that its writers should wait."""
        batch = self._view.batch
        return batch.bytes_estimated > BATCH_BYTES_MAX or len(batch.entries) > BATCH_ENTRIES_MAX

    @property
    def writing_seconds(self) -> float:
        """How long the current write has lasted; 0 without one."""
        return 0.0 if self._view.writing is None else time.perf_counter() - self._write_began_at

    async def wait_for_room(self) -> None:
        """Return when the batch being filled has room again, or refuses changes, possibly for long."""
        while self.is_full and self._engine.keyspace.refused_changes is None:
            self._hurry.set()
            await self._room.wait()

    async def run(self) -> None:
        """Write batches until `stop`, then the last one.

        Raises StorageError if the last batch of relaxed durability can't be written, TakenAwayError if the data was
        taken away, and DamageError.
        """
        with self._writer:
            self._logged_at = trio.current_time()
            self._is_running = True
            try:
                await self._run()
            finally:
                self._is_running = False
        if self.is_over:
            raise TakenAwayError(self.failure)

    async def _run(self) -> None:
        view = self._view
        while True:
            await self._wait_for_changes()
            if self._bell.damage is not None:
                raise self._bell.damage
            self._bell.reset()
            if view.is_relaxed and not self._is_stopping:
                with trio.move_on_after(self._gathering_seconds()):
                    await self._hurry.wait()
            self._hurry = trio.Event()
            if view.batch.entries and self._commit_here():
                await self._keep_up(0)
            elif view.batch.entries:
                batch = self.begin()
                await self._write(batch)
                self._owed_moves += MOVES_PER_CHANGE * len(batch.entries)
                await self._keep_up(len(batch.entries))
            elif self.failure is not None and not self._is_stopping and not self.is_over:
                await self._probe()
            else:
                await self._keep_up(0)
            if self._is_stopping and not view.batch.entries:
                await (self._save_all() if self.is_over else self._drain())
                return

    async def _wait_for_changes(self) -> None:
        """Return when there are changes or a probe is due; drain the log meanwhile."""
        if self.is_over:
            await self._save_all()
        if self.failure is not None and not (self.is_over and self._store.is_drained):
            with trio.move_on_after(PROBE_SECONDS):
                await self._bell.wait()
            return
        while not self._bell.has_rung and not self._store.is_drained:
            rest = self._logged_at + IDLE_SECONDS - trio.current_time()
            if rest > 0:
                with trio.move_on_after(rest):
                    await self._bell.wait()
            elif not await self._checkpoint(IDLE_SLICE_ENTRIES):
                break
        self._is_asleep = True
        await self._bell.wait()
        self._is_asleep = False

    def _gathering_seconds(self) -> float:
        """How long a relaxed batch may still gather changes, minus the time a checkpoint took."""
        return max(0.0, RELAXED_DELAY_SECONDS - (self._bell.now() - self._bell.first_change_at))

    async def _keep_up(self, entries: int) -> None:
        """Move as much of the log as the batches written ask for; the last one had so many entries."""
        if not self._store.is_checkpoint_due:
            self._owed_moves = 0
            return
        most = SLICE_ENTRIES.stop - 1
        if self._owed_moves >= min(max(SLICE_BATCHES * entries, SLICE_ENTRIES.start), most):
            count = min(self._owed_moves, most)
            self._owed_moves -= count
            await self._checkpoint(count)

    async def _drain(self) -> None:
        """Drain the log before the end, as far as time allows, so that the next start reads little."""
        deadline = time.perf_counter() + self._drain_seconds
        while not self._store.is_drained and (self.is_over or time.perf_counter() < deadline):
            if not await self._checkpoint(DRAIN_SLICE_ENTRIES):
                break
        with contextlib.suppress(StorageError):  # then the next start reads the log
            await self._growing(self._store.retire_log)

    async def _save_all(self) -> None:
        """After something was taken away, which may be the log: have the data file hold everything, and say once how to
        save it.
        """
        await self._drain()
        if self._how_to_rescue is not None:
            _log.error("%s", self._how_to_rescue)
            self._how_to_rescue = None

    async def _checkpoint(self, count: int) -> bool:
        """Move a slice of the log into the data; False, without loss, if the disk is full."""
        began = time.perf_counter()
        try:
            await self._growing(partial(self._store.move, count, is_rescue=self.is_over))
        except StorageError as error:
            _log.debug("the log can't be moved into the data now: %s", error)
            return False
        self._store.moved()
        self.checkpoint_seconds.observe(time.perf_counter() - began)
        return True

    def stop(self) -> None:
        """Let `run` return once everything is on disk."""
        self._is_stopping = True
        self._bell.wake()
        self._hurry.set()

    def fail(self, damage: DamageError) -> None:
        """Make `run` raise this error: the file was found unreliable."""
        self._bell.fail(damage)

    def give_up(self, why: str) -> None:
        """Refuse changes for good because the data was taken away, and log it once."""
        if not self.is_over:
            self.is_over = True
            self.failure = self._engine.keyspace.refused_changes = why
            self._how_to_rescue = self._store.how_to_rescue(why)
            self._make_room()
            self._bell.wake()

    def begin(self) -> Batch:
        """Take the batch being filled, to be written; the one before it must be on disk or lost."""
        self._changed_at = self._bell.first_change_at
        batch = self._view.take_batch()
        self._make_room()
        return batch

    async def _probe(self) -> None:
        """Test with an empty commit whether commits work again."""
        batch = self._view.take_batch()
        try:
            await self._growing(partial(self._store.log, batch, self._view.operations - self._view.batch.operations))
        except StorageError as error:
            self.failure = with_remedy(str(error))
        else:
            self._store.logged(batch)
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
        log = partial(self._store.log, batch, operations)
        while True:
            began = self._write_began_at = time.perf_counter()
            try:
                await self._growing(log)
            except StorageError as error:
                self.failures += 1
                if not self._view.is_relaxed:
                    self.lose(str(error))
                    return
                self._refuse_changes(batch, str(error))
                if isinstance(error, TakenAwayError):
                    # It was acknowledged, and can still be saved from the open file.
                    log = partial(self._store.log, batch, operations, is_rescue=True)
                    continue
                if self._is_stopping:
                    raise
                await trio.sleep(RETRY_SECONDS)
            else:
                break
        self._speed.observe(self._writer.took, time.perf_counter(), was_on_loop=False)
        self._stored(batch, began)

    def _stored(self, batch: Batch, began: float) -> None:
        """The batch is on disk; writing it began then."""
        self._store.logged(batch)
        self._logged_at = trio.current_time()
        now = time.perf_counter()
        self.commit_seconds.observe(now - began)
        self.commit_entries.observe(len(batch.entries))
        self.durable_seconds.observe(self._bell.now() - self._changed_at)
        self._succeeded()
        self.finish(batch)

    def finish(self, batch: Batch) -> None:
        """The batch is on disk: release its waiters."""
        self._view.written()
        self._make_room()
        for waiter in batch.waiters:
            waiter.released(batch.revision)
        self._on_released()

    async def _growing(self, write: Callable[[], None]) -> None:
        """Write in the thread. If the memory map must grow or the file be opened again, do that on the loop, where
        nothing reads meanwhile, and try again.
        """
        while True:
            try:
                await self._writer.run(write)
            except MapFullError:
                self._store.grow()
            except ReopenError:
                self._store.reopen()
            except TakenAwayError as error:
                self.give_up(str(error))
                raise
            else:
                return

    def _refuse_changes(self, batch: Batch, reason: str) -> None:
        failure = with_remedy(reason)
        if self._engine.keyspace.refused_changes is None:
            _log.error("changes can't be stored (%s): new ones are refused until they can", failure)
        self._engine.keyspace.refused_changes = reason
        self.failure = failure
        for waiter in batch.waiters:
            waiter.failed(batch.revision, reason)
        batch.waiters.clear()
        self._make_room()
        self._on_released()

    def lose(self, reason: str) -> None:
        """Drop a batch that can't be written and the one filled meanwhile, and tell the waiters."""
        self.failure = with_remedy(reason)
        _log.error("changes can't be stored (%s): they were refused", self.failure)
        lost = self._view.drop()
        self._engine.reload_after_loss()
        self._make_room()
        for batch in lost:
            for waiter in batch.waiters:
                waiter.failed(batch.revision, reason)
        self._on_released()

    def _make_room(self) -> None:
        self._room.set()
        self._room = trio.Event()
