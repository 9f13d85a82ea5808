"""A store in front of another one that delays and fails as it is told.

The faults it may inject, and no others: a write waits until it is let go; a write fails before anything of it is
stored. What a failed write leaves behind is therefore exactly what was there before.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pynun.commit.store import CommittedStore
from pynun.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.overlay import Batch, Entry, LongName

NO_ROOM = "No space left on device"

_WAIT_SECONDS_MAX = 20.0


class WritableStore(CommittedStore, Protocol):
    """A store that the tests write to."""

    def write(self, batch: Batch, operations: int) -> None:
        """Make a batch durable, without the log, and have reads find it. Raises StorageError."""


class FaultyStore:
    """Passes everything on to `inner`, except for the faults it was told of."""

    def __init__(self, inner: WritableStore) -> None:
        self.inner = inner
        self.revision = inner.revision
        self.operations = inner.operations
        self.writes: list[dict[bytes, Entry | None]] = []
        """The entries of each batch that came, also of those that failed."""
        self._reasons: deque[str] = deque()
        self._let_go = threading.Event()
        self._let_go.set()
        self._came = threading.Semaphore(0)

    def fail_next(self, times: int = 1, reason: str = NO_ROOM) -> None:
        """Have the next writes fail."""
        self._reasons.extend([reason] * times)

    def hold(self) -> None:
        """Have writes wait from now on."""
        self._let_go.clear()

    def let_go(self) -> None:
        """Have the write that waits, and all after it, go on."""
        self._let_go.set()

    def wait_for_write(self) -> None:
        """Return when a write has come that was not waited for yet. Blocks its thread."""
        assert self._came.acquire(timeout=_WAIT_SECONDS_MAX), "no batch was written"

    def get(self, key: bytes) -> Entry | None:
        """The entry of a stored key."""
        return self.inner.get(key)

    def scan(
        self, start: bytes, position: bytes, count_max: int, long_names: list[LongName] | None = None, /
    ) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the stored keys that begin with `start`."""
        return self.inner.scan(start, position, count_max, long_names)

    def read_long(self, name: LongName, first: int, size: int, /) -> bytes | None:
        """A part of a key that a scan has not read."""
        return self.inner.read_long(name, first, size)

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How large a slice of the entries under `prefix` is."""
        return self.inner.measure_database(prefix, position, count_max)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether `move` should be called between batches."""
        return self.inner.is_checkpoint_due

    @property
    def is_drained(self) -> bool:
        """Whether nothing is left for `move` to do."""
        return self.inner.is_drained

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Put up to so many entries of the log into the data."""
        self.inner.move(count_max, is_rescue=is_rescue)

    def retire_log(self) -> None:
        """Note that the log is not needed."""
        self.inner.retire_log()

    def moved(self) -> None:
        """Have reads find them there."""
        self.inner.moved()

    def grow(self) -> None:
        """Make room after a MapFullError."""
        self.inner.grow()

    def reopen(self) -> None:
        """Go on after a ReopenError."""
        self.inner.reopen()

    def how_to_rescue(self, why: str) -> str:
        """What an administrator can do after a file was taken away."""
        return self.inner.how_to_rescue(why)

    def can_log_at_once(self, batch: Batch) -> bool:
        """Whether `log` takes no longer than a small commit."""
        return self.inner.can_log_at_once(batch)

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Make a batch durable, by the log if there is one, with the same delay and failure as `write`."""
        self._pass(partial(self.inner.log, is_rescue=is_rescue), batch, operations)

    def logged(self, batch: Batch) -> None:
        """Have reads find it."""
        self.inner.logged(batch)

    def append(self, batch: Batch, operations: int) -> None:
        """Both."""
        self.log(batch, operations)
        self.logged(batch)

    def write(self, batch: Batch, operations: int) -> None:
        """Make a batch durable, after the delay and unless the failure that it was told of."""
        self._pass(self.inner.write, batch, operations)

    def _pass(self, write: Callable[[Batch, int], None], batch: Batch, operations: int) -> None:
        self.writes.append(dict(batch.entries))
        self._came.release()
        assert self._let_go.wait(_WAIT_SECONDS_MAX), "the write was never let go"
        if self._reasons:
            raise StorageError(self._reasons.popleft())
        write(batch, operations)
        self.revision, self.operations = batch.revision, operations
