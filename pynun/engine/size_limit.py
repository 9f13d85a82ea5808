"""The limit on the size of a database (NUN_MAX_DATABASE_SIZE): the bytes of its keys and values.

The bytes are counted with every change, and measured once after a start, in the background. Until then nothing is
refused. What changes while they are measured may be counted twice or not at all; apart from that the count is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.overlay import Entry


class SizeLimit:
    """What one database holds, and may hold."""

    __slots__ = ("bytes", "bytes_max", "changes", "is_known")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        """Until it is known: by how much it has grown since the start."""
        self.is_known = False
        self.changes = 0
        """How many changes were counted."""

    def take(self, growth: int) -> None:
        """The database grows by so many bytes, or shrinks."""
        self.bytes += growth
        self.changes += 1

    def check(self, growth: int) -> None:
        """Raises Refusal if the database can't grow by so many bytes. It can always shrink."""
        if growth > 0 and self.is_known and self.bytes + growth > self.bytes_max:
            raise messages.database_full(self.bytes_max)


def growth(key: str, old: Entry | None, text: str | None) -> int:
    """By how many bytes a database grows when a key gets this text; None: when it is removed."""
    if old is None:
        return 0 if text is None else len(key.encode()) + len(text.encode())
    if text is None:
        return -len(key.encode()) - len(old.text.encode())
    return len(text.encode()) - len(old.text.encode())
