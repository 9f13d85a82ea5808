"""What the engine hands to the store: batches of entries, and how it reads through the ones not yet on disk.

A batch is everything that changed since the one before it was taken away to be written; it becomes durable as a
whole or not at all. The engine reads the batch being filled, then the one being written, then the store: so every
command sees every change made before it, and a key's newest value is written once however often it changed.

A reply that shows something of a batch must not leave before that batch is on disk. `View.depends` gathers, while one
command runs, the revision that its reply depends on; in relaxed durability it stays 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from pynun.engine.key_layout import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class Entry(NamedTuple):
    """A key's version and text."""

    version: int
    text: str


class Waiter(Protocol):
    """Holds output back until a batch is on disk."""

    def released(self, revision: int) -> None:
        """Everything up to `revision` is on disk."""

    def failed(self, revision: int, reason: str) -> None:
        """The batch `revision` and everything after it is lost; `reason` is for the client."""


class Batch:
    """Changes that become durable together. `entries` maps stored keys to their new entry, None meaning removed."""

    __slots__ = ("bytes_estimated", "entries", "operations", "revision", "waiters")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.entries: dict[bytes, Entry | None] = {}
        self.operations = 0
        """Changes as clients count them: `metrics-state` reports their sum."""
        self.bytes_estimated = 0
        self.waiters: list[Waiter] = []


LONG_NAME_BYTES: Final = 64 * 1024
"""Keys longer than this, which older servers accepted, are not read whole in a scan."""


class LongName(NamedTuple):
    """A stored key that is longer than `LONG_NAME_BYTES`, as a scan finds it."""

    stored: bytes
    """What the store finds it by."""
    length: int
    """Its bytes, without the first four."""


class Store(Protocol):
    """What the engine may read: the entries that are on disk."""

    def get(self, key: bytes) -> Entry | None:
        """The entry of a stored key."""

    def scan(
        self, start: bytes, position: bytes, count_max: int, long_names: list[LongName] | None = None, /
    ) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the stored keys that begin with `start` (four bytes of a database, then text), in order.

        Begins at `position`: first b"" or a stored key, whether it is there or not; then what the call before returned.
        Keys before a stored key that is long may be among the first ones. Returns the keys without their first
        four bytes, where to go on or None at the end, and whether the slice is in order: keys longer than the store's
        own limit may not be. A slice ends early when it has read many bytes. Those that are longer than
        `LONG_NAME_BYTES` are added to `long_names`, if that is given, and not read.
        """

    def read_long(self, name: LongName, first: int, size: int, /) -> bytes | None:
        """A part of a long name, without its first four bytes; None if the key is gone."""

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How many entries a slice of those under `prefix` (four bytes of a database) holds, and bytes of key and text.

        Begins at `position`, and says where to go on or None, as `scan` does; a slice of long values ends early.
        """


_NOT_CHANGED: Final = Entry(0, "")  # compared by identity: "this batch says nothing of the key"


class View:
    """The newest state: volatile entries, batch being filled, batch being written, store."""

    __slots__ = (
        "_on_first_change",
        "_volatile_keys",
        "batch",
        "depends",
        "is_relaxed",
        "losses",
        "on_ephemeral",
        "on_taken",
        "operations",
        "store",
        "volatile",
        "writing",
    )

    def __init__(
        self,
        store: Store,
        *,
        revision: int,
        operations: int,
        is_relaxed: bool,
        on_first_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_first_change` is called when the batch being filled gets its first change."""
        self.store = store
        self.is_relaxed = is_relaxed
        self.batch = Batch(revision + 1)
        self.writing: Batch | None = None
        self.operations = operations
        self.volatile: dict[bytes, Entry] = {}
        """Entries that are never written (`$connections`, ephemeral keys): where there is one, it is the newest. They
        are changed by `keep` and `forget`."""
        self._volatile_keys: dict[bytes, set[bytes]] = {}
        """Their keys, by the database's four bytes: a listing must not look at those of all databases."""
        self.depends = 0
        self.losses = 0
        """How often batches were lost or a database replaced: what was read over a longer time must not span it."""
        self.on_taken: list[Callable[[Batch], None]] = []
        """Told of each batch before it is written."""
        self.on_ephemeral: list[Callable[[bytes, Entry | None], None]] = []
        """Told of each change of an ephemeral key, which is in no batch; None: it has ended."""
        self._on_first_change = on_first_change

    def read(self, key: bytes) -> Entry | None:
        """The newest entry of a stored key; notes what the reply then depends on."""
        if key in self.volatile:
            return self.volatile[key]
        entry = self.batch.entries.get(key, _NOT_CHANGED)
        if entry is not _NOT_CHANGED:
            if not self.is_relaxed:
                self.depends = self.batch.revision
            return entry
        if self.writing is not None:
            entry = self.writing.entries.get(key, _NOT_CHANGED)
            if entry is not _NOT_CHANGED:
                if self.depends < self.writing.revision and not self.is_relaxed:
                    self.depends = self.writing.revision
                return entry
        return self.store.get(key)

    def write(self, key: bytes, entry: Entry | None) -> None:
        """Put a change into the batch being filled."""
        batch = self.batch
        if not batch.entries:
            self._on_first_change()
        batch.entries[key] = entry
        batch.bytes_estimated += len(key) + 64 + (0 if entry is None else len(entry[1]))
        if not self.is_relaxed:
            self.depends = batch.revision

    def keep(self, key: bytes, entry: Entry) -> None:
        """Set a volatile entry."""
        if key not in self.volatile:
            self._volatile_keys.setdefault(key[:ID_BYTES], set()).add(key)
        self.volatile[key] = entry

    def forget(self, key: bytes) -> Entry | None:
        """Remove a volatile entry; returns it."""
        entry = self.volatile.pop(key, None)
        if entry is not None:
            keys = self._volatile_keys[key[:ID_BYTES]]
            keys.discard(key)
            if not keys:
                del self._volatile_keys[key[:ID_BYTES]]
        return entry

    def write_ephemeral(self, key: bytes, entry: Entry | None) -> None:
        """Change an ephemeral key, or end it."""
        if entry is None:
            self.forget(key)
        else:
            self.keep(key, entry)
        for on_ephemeral in self.on_ephemeral:
            on_ephemeral(key, entry)

    def count_operation(self) -> None:
        """One change as clients count them."""
        self.batch.operations += 1
        self.operations += 1

    def unwritten(self, prefix: bytes) -> dict[bytes, Entry | None]:
        """The entries under `prefix` that the store does not have yet or never gets, the newest of each key.

        `prefix` is four bytes of a database, then text.
        """
        found: dict[bytes, Entry | None] = {}
        for batch in (self.writing, self.batch):
            if batch is not None:
                hits = {k: e for k, e in batch.entries.items() if k.startswith(prefix)}
                if hits and not self.is_relaxed:
                    self.depends = max(self.depends, batch.revision)
                found.update(hits)
        keys = self._volatile_keys.get(prefix[:ID_BYTES], ())
        found.update((key, self.volatile[key]) for key in keys if key.startswith(prefix))
        return found

    def add_waiter(self, revision: int, waiter: Waiter) -> bool:
        """Have `waiter` told when the batch is on disk or lost; False if it is on disk (or lost) already."""
        for batch in (self.batch, self.writing):
            if batch is not None and batch.revision == revision:
                batch.waiters.append(waiter)
                return True
        return False

    @property
    def newest_unwritten(self) -> int:
        """The revision of the newest change that is not on disk yet, 0 if everything is."""
        if self.batch.entries:
            return self.batch.revision
        return 0 if self.writing is None else self.writing.revision

    def take_batch(self) -> Batch:
        """Close the batch being filled, to be written; the one before it must be on disk."""
        assert self.writing is None
        self.writing, self.batch = self.batch, Batch(self.batch.revision + 1)
        for on_taken in self.on_taken:
            on_taken(self.writing)
        return self.writing

    def written(self) -> None:
        """The batch that was taken is on disk: from now on the store answers for it."""
        assert self.writing is not None
        self.writing = None

    def drop(self) -> tuple[Batch, ...]:
        """The batch being written is lost, and the one being filled may have read it: forget both, and return them."""
        lost = tuple(batch for batch in (self.writing, self.batch) if batch is not None)
        self.operations -= sum(batch.operations for batch in lost)
        self.losses += 1
        self.writing, self.batch = None, Batch(self.batch.revision + 1)
        return lost
