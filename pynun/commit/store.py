"""What the committer, and the code that makes one, need of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pynun.engine.overlay import Store

if TYPE_CHECKING:
    from pynun.engine.overlay import Batch


class CommittedStore(Store, Protocol):
    """A store that takes batches one after another; `pynun.storage.store` says who may call what in which thread."""

    @property
    def revision(self) -> int:
        """The newest batch that reads find."""

    @property
    def operations(self) -> int:
        """Changes as clients count them, up to that batch."""

    def append(self, batch: Batch, operations: int) -> None:
        """Make a batch durable and have reads find it. Raises as `log` does."""

    def can_log_at_once(self, batch: Batch) -> bool:
        """Whether `log` takes no longer than a small write and a sync."""

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Make a batch durable. Raises StorageError if it is not, and DamageError."""

    def logged(self, batch: Batch) -> None:
        """Have reads find it."""

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether `move` should be called between batches."""

    @property
    def is_drained(self) -> bool:
        """Whether nothing is left for `move` to do."""

    def move(self, count_max: int, *, is_rescue: bool = False) -> None:
        """Put up to so many entries of the log into the data. Raises StorageError and DamageError."""

    def moved(self) -> None:
        """Have reads find them there."""

    def retire_log(self) -> None:
        """Note that the log is not needed. Raises StorageError."""

    def grow(self) -> None:
        """Make room after a MapFullError. Raises StorageError."""

    def reopen(self) -> None:
        """Go on after a ReopenError. Raises DamageError."""

    def how_to_rescue(self, why: str) -> str:
        """What an administrator can do after a file was taken away."""
