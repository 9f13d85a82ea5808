"""Read what a log holds: after a crash, or beside a running server. Changes nothing.

The segment with the highest number is the newest. Its header names the segment before it and where the records of that
one end, and so on, back to a segment that begins at or before the checkpoint: what is older is in the data already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pynun.errors import PynunError
from pynun.storage.wal.segment import GLOB, NAME, HeaderError, Segment, name_of
from pynun.storage.wal.segment_format import RECORDS_AT, has_record_after, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynun.storage.wal.disk import Disk
    from pynun.storage.wal.segment_format import Record


class LogError(PynunError):
    """The log's files can't be used with this data. The text says why."""


class MissingLogError(LogError):
    """Files of the log are missing."""


class ForeignLogError(LogError):
    """Files of the log belong to other data."""


class DamagedLogError(LogError):
    """A file of the log is damaged, or a part of the log is missing."""


class Recovered(NamedTuple):
    """What a log holds."""

    records: list[Record]
    """Those after the checkpoint, in order."""
    revision: int
    """The revision of the newest record; the checkpoint, if the log has nothing newer."""
    segment: int
    """The number of the newest segment with records; 0 if there is none."""
    end: int
    """Where its records end."""


def open_segments(disk: Disk, size: int) -> list[Segment]:
    """Open all segment files, in the order of their names. Raises LogError and OSError."""
    names = sorted(name for name in disk.names() if NAME.fullmatch(name))
    segments: list[Segment] = []
    try:
        for name in names:
            segments.append(_open(disk, name, size))  # noqa: PERF401 - closes those before an error
    except BaseException:
        for segment in segments:
            segment.close()
        raise
    return segments


def _open(disk: Disk, name: str, size: int) -> Segment:
    file = disk.open(name)
    try:
        segment = Segment(disk, name, file)
        if segment.size < size:
            raise DamagedLogError(f"{name} is too short")
    except HeaderError as error:
        disk.close(file)
        raise DamagedLogError(str(error)) from None
    except BaseException:
        disk.close(file)
        raise
    return segment


def recover(segments: Sequence[Segment], log_id: bytes, checkpoint: int, *, is_in_use: bool) -> Recovered:
    """Find the records after a checkpoint, and tell each segment where its valid records end.

    `is_in_use` says whether the data relies on the log; otherwise what the log holds is ignored. Raises LogError if
    anything is missing, damaged or from elsewhere, and OSError.
    """
    _refuse_foreign(segments, log_id)
    own: dict[int, Segment] = {}
    for segment in segments:
        if segment.header.number and segment.header.log_id == log_id:
            other = own.setdefault(segment.header.number, segment)
            if other is not segment:
                raise DamagedLogError(f"{segment.name} is a copy of {other.name}")
    if not is_in_use:
        return Recovered([], checkpoint, 0, 0)
    if all(segment.header.log_id != log_id for segment in segments):
        raise MissingLogError(f"the files {GLOB} are missing")
    if not own:  # all were replaced after failed syncs, when the data had everything
        return Recovered([], checkpoint, 0, 0)
    _refuse_gaps(segments, own[max(own)].header.files)  # others may be from before files were removed rightly
    found: list[Record] = []
    chain = _chain(own, checkpoint)
    revision = chain[0][0].header.revision
    for segment, end in chain:
        for record in _read(segment, end):
            if record.revision > checkpoint:
                if record.revision <= revision or (record.previous != revision and record.previous > checkpoint):
                    raise DamagedLogError(f"a change is missing before revision {record.revision} in {segment.name}")
                found.append(record)
            revision = record.revision
    newest = chain[-1][0]
    tail = newest.header.previous, newest.header.previous_end
    if not newest.is_empty:
        tail = newest.header.number, newest.end
    return Recovered(found, max(revision, checkpoint), *tail)


def _refuse_foreign(segments: Sequence[Segment], log_id: bytes) -> None:
    foreign = [
        segment.name
        for segment in segments
        if segment.header.number and segment.header.log_id != log_id and _has_records(segment)
    ]
    if foreign:
        belong = "belongs" if len(foreign) == 1 else "belong"
        raise ForeignLogError(f"{' and '.join(foreign)} {belong} to other data")


def _refuse_gaps(segments: Sequence[Segment], files: int) -> None:
    """Raises MissingLogError unless there are files at all places up to the last, and at least so many."""
    names = {segment.name for segment in segments}
    for place in range(1, max(files, len(names)) + 1):
        if name_of(place) not in names:
            raise MissingLogError(f"{name_of(place)} is missing")


def names_with_records(disk: Disk, size: int) -> list[str]:
    """The files that hold records. Raises LogError and OSError."""
    segments = open_segments(disk, size)
    try:
        return [segment.name for segment in segments if segment.header.number and _has_records(segment)]
    finally:
        for segment in segments:
            segment.close()


def _has_records(segment: Segment) -> bool:
    return has_record_after(segment.content(), segment.header, RECORDS_AT - 1)


def _chain(own: dict[int, Segment], checkpoint: int) -> list[tuple[Segment, int | None]]:
    """The segments to read, oldest first, and where the records of each end: None, the newest, is open-ended."""
    segment, end = own[max(own)], None
    chain: list[tuple[Segment, int | None]] = [(segment, end)]
    while segment.header.revision > checkpoint and segment.header.previous:
        before = own.get(segment.header.previous)
        if before is None or before.header.number >= segment.header.number:
            raise DamagedLogError(f"the part of the log before {segment.name} is missing")
        chain.append((before, segment.header.previous_end))
        segment = before
    return chain[::-1]


def _read(segment: Segment, end: int | None) -> list[Record]:
    content = segment.content()
    found: list[Record] = []
    at = RECORDS_AT
    for record, following in records(content, segment.header):
        if at == end:
            break
        found.append(record)
        at = following
        segment.accept(record.revision, at)
    # The last record may be torn by a crash, because the next is written only after it was synced.
    if at != end if end is not None else has_record_after(content, segment.header, at):
        raise DamagedLogError(f"{segment.name} is damaged at offset {at}")
    return found
