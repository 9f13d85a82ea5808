"""Follow the log in etcd: put its batches into this node's data, and report who owns the engine."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from pynun.cluster import records
from pynun.cluster.etcd.errors import CompactedError, EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Range, prefix_end, read, transaction
from pynun.cluster.joining import behind_log
from pynun.cluster.keys import decode_number, decode_owner
from pynun.cluster.records import RecordError
from pynun.commit.committer import IDLE_SECONDS, IDLE_SLICE_ENTRIES, MOVES_PER_CHANGE, SLICE_ENTRIES
from pynun.commit.writer_thread import WriterThread
from pynun.engine.overlay import Batch
from pynun.errors import MapFullError, ReopenError, StartError, StorageError, TakenAwayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.cluster.etcd.client import Client
    from pynun.cluster.etcd.gateway import Pair
    from pynun.cluster.keys import Keys, Owner
    from pynun.storage.store import LmdbStore

_ANSWER_SECONDS: Final = 5.0
"""How long one request to etcd is repeated, before it is made anew."""

_BATCHES_AT_ONCE: Final = 16
"""Batches of the log read by one request: each may have 1 MiB."""

_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Batches of the log are put into the data together, up to about so much."""

_TOLD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Batches that wait in memory for the disk; beyond, they are read again."""

_RETRY_SECONDS: Final = 0.5
"""After this node's disk had no room, or etcd refused."""

_log = logging.getLogger("nun_db")


class Observer(Protocol):
    """Who is told what the follower sees."""

    def owner_seen(self, owner: Owner | None, term: int, revision: int) -> None:
        """The owner's key; see `Election.owner_seen`."""

    def log_seen(self, applied: int, head: int) -> None:
        """This node's data has the batches up to `applied`, and the log at least those up to `head`."""

    def data_failed(self, reason: str | None) -> None:
        """This node's data can't take batches; None: it can."""


class Follower:
    """Follows until cancelled. Meanwhile it is the only writer of the data.

    One task watches the log, another writes it: who owns the engine is seen also while the disk is full or hangs.
    """

    def __init__(self, client: Client, keys: Keys, data: LmdbStore, observer: Observer) -> None:
        self._client = client
        self._keys = keys
        self._data = data
        self._observer = observer
        self._head = 0
        self._told: deque[tuple[int, bytes]] = deque()  # batches that are not in the data yet, as read from the log
        self._told_bytes = 0
        self._has_more = trio.Event()
        self._is_failing = False
        self._writer = WriterThread()
        self._writing = trio.Lock()
        self._applied_at = 0.0
        self._trouble = ""

    async def run(self) -> None:
        """Follow. Raises StartError if this node's data can't go on from the log; TakenAwayError and DamageError."""
        self._forget_told()
        with self._writer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._repeat, self._write_log)
                nursery.start_soon(self._move_when_idle)
                await self._repeat(self._watch_log)

    async def _repeat(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except (UnreachableError, CompactedError) as error:
                _log.debug("the log is read again: %s", error)
            except EtcdError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    _log.error("the log can't be read: %s", error)
            await trio.sleep(_RETRY_SECONDS)

    # --- what etcd tells ---------------------------------------------------------------------------------------

    async def _watch_log(self) -> None:
        """Watch who is owner and what comes into the log. Raises CompactedError."""
        revision = await self._read_owner()
        self._trouble = ""
        await self._watch(revision + 1)

    async def _read_owner(self) -> int:
        """Read who is owner, and then where the log ends. Returns etcd's revision of both."""
        keys = self._keys
        applied = self._data.revision
        answer = await self._client.call(transaction((), (Range(keys.owner), Range(keys.head))), _ANSWER_SECONDS)
        owner, head = answer.answers
        assert owner is not None
        assert head is not None
        if head.first is None:
            raise StartError("etcd lost the data of this cluster: docs/cluster-operation.md says what to do")
        newest = decode_number(head.first.value)
        if applied > newest:
            raise StartError(
                f"this node's data has batch {applied}, and the log in etcd ends at {newest}: etcd lost"
                " data, or was set back; docs/cluster-operation.md says what to do"
            )
        self._note_owner(owner.first, answer.revision)
        self._note_head(newest)
        return answer.revision

    async def _watch(self, revision: int) -> None:
        keys = self._keys
        async with contextlib.aclosing(self._client.watch(keys.prefix, keys.end, revision)) as answers:
            async for answer in answers:
                newest = self._head
                for event in answer.events:
                    pair = event.pair
                    if pair.key == keys.owner:
                        self._note_owner(None if event.is_removed else pair, pair.modified)
                    elif event.is_removed:
                        continue
                    elif pair.key == keys.head:
                        newest = max(newest, decode_number(pair.value))
                    elif (number := keys.number_of(pair.key)) is not None:
                        self._tell(number, pair.value)
                if answer.events:
                    self._note_head(newest)

    def _note_owner(self, pair: Pair | None, revision: int) -> None:
        if pair is None:
            self._observer.owner_seen(None, 0, revision)
        else:
            self._observer.owner_seen(decode_owner(pair.value), pair.created, revision)

    def _note_head(self, newest: int) -> None:
        """The log reaches so far, at least."""
        self._head = max(self._head, newest)
        if self._data.revision < self._head:
            self._has_more.set()
        self._observer.log_seen(self._data.revision, self._head)

    def _tell(self, number: int, value: bytes) -> None:
        """Keep a batch that was told. If it is too much, the log is read again from where the data ends."""
        if self._told_bytes > _TOLD_BYTES_MAX:
            self._forget_told()
        self._told.append((number, value))
        self._told_bytes += len(value)

    def _forget_told(self) -> None:
        self._told.clear()
        self._told_bytes = 0

    # --- into the data -----------------------------------------------------------------------------------------

    async def _write_log(self) -> None:
        """Put the log into the data, as it grows."""
        while True:
            if self._data.revision >= self._head:
                self._has_more = trio.Event()
                await self._has_more.wait()
            await self._apply(*await self._gather())
            self._observer.log_seen(self._data.revision, self._head)

    async def _gather(self) -> tuple[Batch, int]:
        """The next batches of the log as one, of about `_BATCH_BYTES_MAX` at most; and the operations after it."""
        applied = self._data.revision
        if self._next_told(applied) is None:
            await self._read_page(applied)
        gathered, operations = Batch(applied), 0
        while (
            gathered.bytes_estimated <= _BATCH_BYTES_MAX and (value := self._next_told(gathered.revision)) is not None
        ):
            gathered.revision += 1
            record = await self._decode(gathered.revision, value)
            gathered.entries.update(record.entries)
            gathered.bytes_estimated += sum(
                len(key) + 64 + (0 if entry is None else len(entry.text)) for key, entry in record.entries.items()
            )
            operations = record.operations
        return gathered, operations

    def _next_told(self, newest: int) -> bytes | None:
        """The batch after that one, if it was told; what was told before it is forgotten."""
        while self._told and self._told[0][0] <= newest:
            self._told_bytes -= len(self._told.popleft()[1])
        return self._told[0][1] if self._told and self._told[0][0] == newest + 1 else None

    async def _read_page(self, applied: int) -> None:
        """Read batches from the log that were not told. Raises StartError if it begins later."""
        keys = self._keys
        found = await self._client.call(
            read(keys.log(applied + 1), keys.log_end, count_max=_BATCHES_AT_ONCE), _ANSWER_SECONDS
        )
        if not found.pairs or found.pairs[0].key != keys.log(applied + 1):
            raise StartError(behind_log(applied))
        page = [(keys.number_of(pair.key) or 0, pair.value) for pair in found.pairs]
        newest = page[-1][0]
        self._next_told(newest)  # not twice
        self._told.extendleft(reversed(page))
        self._told_bytes += sum(len(value) for _, value in page)
        self._head = max(self._head, newest)

    async def _decode(self, number: int, value: bytes) -> records.Record:
        try:
            parts: list[bytes] = []
            count = records.decode_head(value).parts
            if count:
                start = self._keys.parts(number)
                for first in range(0, count, _BATCHES_AT_ONCE):
                    most = min(_BATCHES_AT_ONCE, count - first)
                    found = await self._client.call(
                        read(self._keys.part(number, first), prefix_end(start), count_max=most), _ANSWER_SECONDS
                    )
                    if len(found.pairs) < most:
                        raise StartError(behind_log(number - 1))  # trimmed since it was told
                    parts += [pair.value for pair in found.pairs]
            return await trio.to_thread.run_sync(records.decode, value, parts) if parts else records.decode(value)
        except RecordError as error:
            raise StartError(f"batch {number} of the log in etcd can't be used: {error}") from error

    async def _apply(self, batch: Batch, operations: int) -> None:
        """Put what was gathered into the data; retried while there is no room."""
        while True:
            try:
                async with self._writing:
                    await self._growing(partial(self._data.log, batch, operations))
                    self._data.logged(batch)
            except TakenAwayError:
                raise
            except StorageError as error:
                self._fail(str(error))
                await trio.sleep(_RETRY_SECONDS)
            else:
                break
        self._applied_at = trio.current_time()
        self._fail(None)
        if self._data.is_checkpoint_due:
            owed = MOVES_PER_CHANGE * len(batch.entries)
            await self._move(min(max(owed, SLICE_ENTRIES.start), SLICE_ENTRIES.stop - 1))

    async def _move_when_idle(self) -> None:
        while True:
            rest = self._applied_at + IDLE_SECONDS - trio.current_time()
            if rest > 0 or self._data.is_drained or not await self._move(IDLE_SLICE_ENTRIES):
                await trio.sleep(max(rest, _RETRY_SECONDS))

    async def _move(self, count: int) -> bool:
        """Move a slice of the write-ahead log into the data; False if that needs room that is not there."""
        try:
            async with self._writing:
                await self._growing(partial(self._data.move, count))
                self._data.moved()
        except TakenAwayError:
            raise
        except StorageError as error:
            _log.debug("the log can't be moved into the data now: %s", error)
            return False
        return True

    async def _growing(self, write: Callable[[], None]) -> None:
        while True:
            try:
                await self._writer.run(write)
            except MapFullError:
                self._data.grow()
            except ReopenError:
                self._data.reopen()
            else:
                return

    def _fail(self, reason: str | None) -> None:
        if self._is_failing != (reason is not None):
            self._is_failing = reason is not None
            self._observer.data_failed(reason)
