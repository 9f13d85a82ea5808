"""The limit on the size of a database (NUN_MAX_DATABASE_SIZE): the bytes of its keys and values.

Bytes are counted with every change, and measured once after a start, in the background. Until then nothing is
refused. Changes during the measurement may count twice or not at all; otherwise the count is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.overlay import Entry


class SizeLimit:
    """The size and limit of one database."""

    __slots__ = ("bytes", "bytes_max", "changes", "is_known")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """Its size, or, until it is measured, its growth since the start."""
        self.is_known = False
        self.changes = 0
        """How many changes were counted."""

    def take(self, growth: int) -> None:
        """Add to the size, or subtract from it."""
        self.bytes += growth
        self.changes += 1

    def check(self, growth: int) -> None:
        """Raises Refusal if the database can't grow by so many bytes. It can always shrink."""
        if growth > 0 and self.is_known and self.bytes + growth > self.bytes_max:
            raise messages.database_full(self.bytes_max)


def growth(key: str, old: Entry | None, text: str | None) -> int:
    """Bytes that a database grows when a key gets this text; None: when the key is removed."""
    if old is None:
        return 0 if text is None else len(key.encode()) + len(text.encode())
    if text is None:
        return -len(key.encode()) - len(old.text.encode())
    return len(text.encode()) - len(old.text.encode())
