"""The owner's store: a batch is durable when etcd has accepted it, then it goes into the owner's own data."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Final

import trio

from pynun.cluster import records
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.transactions import Verdict, append, judge_append, put_part
from pynun.errors import MapFullError, PynunError, ReopenError, StorageError
from pynun.histogram import Histogram
from pynun.timestamps import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynun.cluster.caller import Caller
    from pynun.cluster.keys import Keys
    from pynun.engine.overlay import Batch
    from pynun.storage.store import LmdbStore

_LOOK_SECONDS: Final = 0.5


class OwnershipLostError(PynunError):
    """The term is over: this node can't say whether a batch is in the log, or can't go on from it."""


class ReplicatedStore:
    """The store of one term (`pynun.commit.store.CommittedStore`). The data folder is never ahead of etcd's log."""

    can_log_at_once = staticmethod(lambda _batch: False)

    def __init__(
        self,
        data: LmdbStore,
        client: Caller,
        keys: Keys,
        term: int,
        deadline: Callable[[], float],
        accept_seconds: Histogram | None = None,
    ) -> None:
        """`deadline` tells until when this node may try, in `steady_seconds`; it moves. Called in the thread that
        writes. `accept_seconds` counts how long etcd took.
        """
        self._data = data
        self._client = client
        self._keys = keys
        self._term = term
        self._deadline = deadline
        self._accept_seconds = accept_seconds or Histogram()
        self._accepted = data.revision
        self._writing_since = math.inf  # to the own disk
        self.get = data.get
        self.scan = data.scan
        self.read_long = data.read_long
        self.measure_database = data.measure_database
        self.logged = data.logged
        self.moved = data.moved
        self.retire_log = data.retire_log
        self.grow = data.grow
        self.reopen = data.reopen
        self.how_to_rescue = data.how_to_rescue

    @property
    def revision(self) -> int:
        return self._data.revision

    @property
    def operations(self) -> int:
        return self._data.operations

    @property
    def is_checkpoint_due(self) -> bool:
        return self._data.is_checkpoint_due

    @property
    def is_drained(self) -> bool:
        return self._data.is_drained

    def append(self, batch: Batch, operations: int) -> None:
        self.log(batch, operations)
        self.logged(batch)

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Have etcd accept a batch, then write it to the own data. Retry after a MapFullError or ReopenError.

        Raises OwnershipLostError: the batch may be in the log or not, the next owner knows. Never a StorageError, after
        which the batch would count as not stored.
        """
        if self._accepted != batch.revision:
            began = steady_seconds()
            self._have_accepted(batch, operations)
            self._accept_seconds.observe(steady_seconds() - began)
            self._accepted = batch.revision
        try:
            with self._timed():
                self._data.log(batch, operations, is_rescue=is_rescue)
        except (MapFullError, ReopenError):
            raise
        except StorageError as error:
            raise OwnershipLostError(f"its own data can't take a batch that is in the log: {error}") from error

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        with self._timed():
            self._data.move(count_max, is_rescue=is_rescue)

    async def wait_until_hanging(self, lease_seconds: float) -> None:
        """Return when a write to the own disk has taken twice the lease, and goes on. A busy disk answers sooner."""
        while True:
            await trio.sleep(_LOOK_SECONDS)
            if steady_seconds() - self._writing_since > 2 * lease_seconds:
                return

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        self._writing_since = steady_seconds()
        try:
            yield
        finally:
            self._writing_since = math.inf

    def _have_accepted(self, batch: Batch, operations: int) -> None:
        encoded = records.encode(self._term, operations, batch.entries)  # once: a repeated try is known by its bytes
        number = batch.revision
        try:
            for place, part in enumerate(encoded.parts):
                put = put_part(self._keys, self._term, number, place, part)
                if not self._client.call(put, self._deadline).succeeded:
                    raise OwnershipLostError("another node is the owner")
            answer = self._client.call(append(self._keys, self._term, number, encoded.value), self._deadline)
            verdict = judge_append(self._term, encoded.value, answer)
        except (EtcdError, UnreachableError) as error:
            raise OwnershipLostError(str(error)) from error
        if verdict is Verdict.DEPOSED:
            raise OwnershipLostError("another node is the owner, or the lease is gone")
        if verdict is Verdict.OUT_OF_STEP:
            raise OwnershipLostError(f"the log in etcd does not end at batch {number - 1}: etcd lost data")
