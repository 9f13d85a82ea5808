"""Follow the log in etcd: put its batches into this node's data, and report who owns the engine."""

from __future__ import annotations

import contextlib
import logging
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
    from collections.abc import Callable

    from pynun.cluster.etcd.client import Client
    from pynun.cluster.etcd.gateway import Event, Pair
    from pynun.cluster.keys import Keys, Owner
    from pynun.storage.store import LmdbStore

_ANSWER_SECONDS: Final = 5.0
"""How long one request to etcd is repeated, before it is made anew."""

_BATCHES_AT_ONCE: Final = 16
"""Batches of the log read by one request: each may have 1 MiB."""

_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Batches of the log are put into the data together, up to about so much."""

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
    """Follows until cancelled. Meanwhile it is the only writer of the data."""

    def __init__(self, client: Client, keys: Keys, data: LmdbStore, observer: Observer) -> None:
        self._client = client
        self._keys = keys
        self._data = data
        self._observer = observer
        self._head = 0
        self._gathered: Batch | None = None
        self._operations = 0
        self._is_failing = False
        self._writer = WriterThread()
        self._writing = trio.Lock()
        self._applied_at = 0.0
        self._trouble = ""

    async def run(self) -> None:
        """Follow. Raises StartError if this node's data can't go on from the log; TakenAwayError and DamageError."""
        self._gathered = None
        with self._writer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._move_when_idle)
                while True:
                    try:
                        revision = await self._catch_up()
                        self._trouble = ""
                        await self._watch(revision + 1)
                    except (UnreachableError, CompactedError) as error:
                        _log.debug("the log is read again: %s", error)
                    except EtcdError as error:
                        if str(error) != self._trouble:
                            self._trouble = str(error)
                            _log.error("the log can't be read: %s", error)
                    await trio.sleep(_RETRY_SECONDS)

    async def _catch_up(self) -> int:
        """Read who is owner, and then the log. Returns etcd's revision of the first."""
        keys, client = self._keys, self._client
        both = transaction((), (Range(keys.owner), Range(keys.head)))
        answer = await client.call(both, _ANSWER_SECONDS)
        owner, head = answer.answers
        assert owner is not None
        assert head is not None
        if head.first is None:
            raise StartError("etcd lost the data of this cluster: docs/cluster.md says what to do")
        self._head = decode_number(head.first.value)
        self._check_head()
        self._note_owner(owner.first, answer.revision)
        is_more = True
        while is_more:
            first = self._data.revision + 1
            found = await client.call(read(keys.log(first), keys.log_end, count_max=_BATCHES_AT_ONCE), _ANSWER_SECONDS)
            for pair in found.pairs:
                await self._take(pair)
            await self._apply()
            is_more = found.has_more
        if self._data.revision < self._head:
            raise StartError(behind_log(self._data.revision))
        self._observer.log_seen(self._data.revision, self._head)
        return answer.revision

    def _check_head(self) -> None:
        if self._data.revision > self._head:
            raise StartError(
                f"this node's data has batch {self._data.revision}, and the log in etcd ends at {self._head}: etcd lost"
                " data, or was set back; docs/cluster.md says what to do"
            )

    async def _watch(self, revision: int) -> None:
        """Take what comes. Raises CompactedError."""
        keys = self._keys
        async with contextlib.aclosing(self._client.watch(keys.prefix, keys.end, revision)) as answers:
            async for answer in answers:
                for event in answer.events:
                    await self._see(event)
                await self._apply()
                if answer.events:
                    self._observer.log_seen(self._data.revision, self._head)

    async def _see(self, event: Event) -> None:
        pair = event.pair
        if pair.key == self._keys.owner:
            self._note_owner(None if event.is_removed else pair, pair.modified)
        elif event.is_removed:
            return
        elif pair.key == self._keys.head:
            self._head = max(self._head, decode_number(pair.value))
        elif self._keys.number_of(pair.key) is not None:
            await self._take(pair)

    def _note_owner(self, pair: Pair | None, revision: int) -> None:
        if pair is None:
            self._observer.owner_seen(None, 0, revision)
        else:
            self._observer.owner_seen(decode_owner(pair.value), pair.created, revision)

    # --- into the data -----------------------------------------------------------------------------------------

    async def _take(self, pair: Pair) -> None:
        """Gather a batch, if it is not in the data yet."""
        number = self._keys.number_of(pair.key)
        assert number is not None
        newest = self._data.revision if self._gathered is None else self._gathered.revision
        if number <= newest:
            return
        if number > newest + 1:
            raise StartError(behind_log(newest))
        record = await self._decode(number, pair.value)
        if self._gathered is None:
            self._gathered = Batch(number)
        batch = self._gathered
        batch.revision = number
        batch.entries.update(record.entries)
        batch.bytes_estimated += sum(
            len(key) + 64 + (0 if entry is None else len(entry.text)) for key, entry in record.entries.items()
        )
        self._operations = record.operations
        self._head = max(self._head, number)
        if batch.bytes_estimated > _BATCH_BYTES_MAX:
            await self._apply()

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
                    parts += [pair.value for pair in found.pairs]
            return await trio.to_thread.run_sync(records.decode, value, parts) if parts else records.decode(value)
        except RecordError as error:
            raise StartError(f"batch {number} of the log in etcd can't be used: {error}") from error

    async def _apply(self) -> None:
        """Put what was gathered into the data; retried while there is no room."""
        batch = self._gathered
        if batch is None:
            return
        while self._gathered is not None:
            try:
                async with self._writing:
                    await self._growing(partial(self._data.log, batch, self._operations))
                    self._data.logged(batch)
            except TakenAwayError:
                raise
            except StorageError as error:
                self._fail(str(error))
                await trio.sleep(_RETRY_SECONDS)
            else:
                self._gathered = None
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
