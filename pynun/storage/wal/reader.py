"""Read a log beside a running server, or without one. Writes nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from pynun.storage.wal.disk import Disk
from pynun.storage.wal.recovery import DamagedLogError, open_segments, recover
from pynun.storage.wal.segment import HeaderError
from pynun.storage.wal.segment_format import SEGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pynun.storage.wal.segment import Segment
    from pynun.storage.wal.segment_format import Record


class LogReader:
    """A context manager that keeps a server from reusing the log's files meanwhile.

    Enter it before the LMDB transaction begins, and call `read` in the transaction. So all records after the
    transaction's checkpoint are there: those from before are in files that are kept, and no later ones were released.
    """

    def __init__(self, folder: int, size: int = SEGMENT_BYTES) -> None:
        """`folder` is an open descriptor of the folder, which must stay open."""
        self._disk = Disk(folder, is_read_only=True)
        self._size = size
        self._kept: list[Segment] = []

    def __enter__(self) -> Self:
        """Raises LogError and OSError."""
        self._kept = open_segments(self._disk, self._size)
        try:
            _share(self._kept)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for segment in self._kept:
            segment.close()

    def read(self, log_id: bytes, checkpoint: int, *, is_in_use: bool) -> list[Record]:
        """The records after a checkpoint, as `recover` finds them.

        Raises OSError, and LogError: also if a file was reused before it was locked, or a record was written while it
        was read. Then begin again with a new LogReader and a new transaction.
        """
        with contextlib.ExitStack() as stack:
            # Once more, for the server may have taken other files: those that are kept have lost their names then.
            found = open_segments(self._disk, self._size)
            for segment in found:
                stack.callback(segment.close)
            _share(found)
            numbers = {segment.header.number for segment in found}
            kept = [segment for segment in self._kept if segment.header.number not in numbers]
            return recover([*found, *kept], log_id, checkpoint, is_in_use=is_in_use).records


def _share(segments: Sequence[Segment]) -> None:
    """Lock segments against their reuse. Raises DamagedLogError and OSError."""
    try:
        for segment in segments:
            segment.share()
    except HeaderError as error:
        raise DamagedLogError(str(error)) from None
