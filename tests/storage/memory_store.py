"""The simplest store there can be: a dict. What the other stores are held against, and the engine is tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynun.engine.overlay import Batch, Entry, LongName


class MemoryStore:
    """Entries of stored keys, as durable as this object."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.revision = 0
        self.operations = 0

    def get(self, key: bytes) -> Entry | None:
        """The entry of a stored key."""
        return self.entries.get(key)

    def scan(
        self, start: bytes, position: bytes, count_max: int, _long_names: list[LongName] | None = None
    ) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the stored keys that begin with `start`: see `pynun.engine.overlay.Store.scan`."""
        names = sorted(name for name in self.entries if name.startswith(start) and name >= position)
        following = names[count_max] if len(names) > count_max else None
        return [name[4:] for name in names[:count_max]], following, True

    def read_long(self, name: LongName, first: int, size: int, /) -> bytes | None:
        """There are none: all names are read whole."""

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How large a slice of the entries under `prefix` is: see `pynun.engine.overlay.Store.measure_database`."""
        names = sorted(name for name in self.entries if name.startswith(prefix) and name >= position)
        following = names[count_max] if len(names) > count_max else None
        size = sum(len(name) - 4 + len(self.entries[name].text.encode()) for name in names[:count_max])
        return len(names[:count_max]), size, following

    is_checkpoint_due = False
    is_drained = True
    """There is no log."""

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Nothing to do."""

    def retire_log(self) -> None:
        """Nothing to do."""

    def moved(self) -> None:
        """Nothing to do."""

    def grow(self) -> None:
        """Nothing to do."""

    def reopen(self) -> None:
        """Nothing to do."""

    def how_to_rescue(self, why: str) -> str:
        """There are no files."""
        return why

    def can_log_at_once(self, batch: Batch) -> bool:
        """Always."""
        return True

    def append(self, batch: Batch, operations: int) -> None:
        """Take over a batch as a whole."""
        self.write(batch, operations)

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Take over a batch as a whole."""
        self.write(batch, operations)

    def logged(self, batch: Batch) -> None:
        """Nothing to do."""

    def write(self, batch: Batch, operations: int) -> None:
        """Take over a batch as a whole."""
        for key, entry in batch.entries.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry
        self.revision, self.operations = batch.revision, operations
