"""What the committer does with a store in two steps, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynun.storage.store import LmdbStore


def checkpoint(store: LmdbStore, count_max: int) -> None:
    """Move up to this many entries from the log into the data. Raises as `LmdbStore.move` does."""
    store.move(count_max)
    store.moved()
