"""The log on a real disk, and what it does with its files."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from pynun.storage.wal.disk import Disk
from pynun.storage.wal.recovery import DamagedLogError, ForeignLogError, LogError, MissingLogError
from pynun.storage.wal.segment import make_segment
from pynun.storage.wal.segment_format import RECORDS_AT, SEGMENT_BYTES, SLOTS
from pynun.storage.wal.write_ahead_log import FILES_MAX, FILES_MIN, WriteAheadLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Open = Callable[..., WriteAheadLog]

LOG_ID = b"the id of a log."
SIZE = RECORDS_AT + 4096
LARGE = b"x" * 3000
"""A segment takes one of these."""


@pytest.fixture(name="open_log")
def _open_log(disk_folder: Path) -> Iterator[Open]:
    folder = os.open(disk_folder, os.O_RDONLY)
    logs: list[WriteAheadLog] = []

    is_relied_on = False

    def open_log(checkpoint: int = 0, *, is_in_use: bool | None = None, log_id: bytes = LOG_ID) -> WriteAheadLog:
        """As data does that relies on the log from the first time on."""
        nonlocal is_relied_on
        while logs:
            logs.pop().close()
        is_used = is_relied_on if is_in_use is None else is_in_use
        log = WriteAheadLog(Disk(folder), log_id, checkpoint, is_in_use=is_used, size=SIZE)
        log.start()
        is_relied_on = True
        logs.append(log)
        return log

    yield open_log
    for log in logs:
        log.close()
    os.close(folder)


def store(log: WriteAheadLog, revision: int, changes: bytes = b"changes") -> None:
    """Store a batch."""
    assert log.make_room(len(changes))
    log.append(revision, 10 * revision, 0, changes)
    log.sync()


def revisions(log: WriteAheadLog) -> list[int]:
    """The revisions of the recovered records."""
    return [record.revision for record in log.recovered]


def files(folder: Path) -> list[str]:
    """The log's files."""
    return sorted(path.name for path in folder.glob("log-*"))


def test_files_are_made_in_full_for_the_owner_alone(disk_folder: Path) -> None:
    folder = os.open(disk_folder, os.O_RDONLY)
    log = WriteAheadLog(Disk(folder), LOG_ID, 0, is_in_use=False)
    log.start()
    log.close()
    os.close(folder)
    paths = sorted(disk_folder.iterdir())
    assert [path.name for path in paths] == [f"log-0{place}.wal" for place in range(1, FILES_MIN + 1)]
    for path in paths:
        about = path.stat()
        assert about.st_mode & 0o777 == 0o600
        assert about.st_size == SEGMENT_BYTES
        assert about.st_blocks * 512 >= SEGMENT_BYTES


def test_what_was_stored_is_recovered_after_the_checkpoint(open_log: Open) -> None:
    log = open_log()
    store(log, 1, b"first")
    store(log, 2, b"")
    store(log, 5, b"third")
    log = open_log()
    assert [(record.revision, record.operations, record.changes) for record in log.recovered] == [
        (1, 10, b"first"),
        (2, 20, b""),
        (5, 50, b"third"),
    ]
    assert log.revision == 5
    assert revisions(open_log(2)) == [5]
    assert revisions(open_log(5)) == []


def test_a_log_that_is_not_in_use_is_ignored(open_log: Open) -> None:
    store(open_log(), 1)
    log = open_log(7, is_in_use=False)
    assert log.recovered == []
    store(log, 8)
    assert revisions(open_log(7)) == [8]


def test_files_are_reused_and_no_more_are_made(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    for revision in range(1, 50):
        store(log, revision, LARGE)
        log.release(revision)
    assert len(files(disk_folder)) == FILES_MIN
    assert revisions(open_log(48)) == [49]


def test_a_log_that_is_not_released_grows_and_then_is_full(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    revision = 0
    while log.make_room(len(LARGE)):
        revision += 1
        store(log, revision, LARGE)
    # One file is left for the next start.
    assert (revision, len(files(disk_folder))) == (FILES_MAX - 1, FILES_MAX)
    assert log.is_release_due
    log = open_log()
    assert revisions(log) == list(range(1, FILES_MAX))
    # The start took it: nothing fits until some records are released.
    assert not log.has_room(0)
    assert not log.make_room(0)
    log.release(1)
    store(log, FILES_MAX, LARGE)
    assert revisions(open_log(1)) == list(range(2, FILES_MAX + 1))


def test_each_start_begins_a_segment_and_takes_an_empty_one_again(open_log: Open, disk_folder: Path) -> None:
    store(open_log(), 1)
    for _ in range(20):
        open_log()
    assert len(files(disk_folder)) == FILES_MIN
    for revision in range(2, 4):
        store(open_log(), revision)
    assert revisions(open_log()) == [1, 2, 3]


def test_a_segment_with_one_record_that_the_data_lacks_is_kept(open_log: Open) -> None:
    store(open_log(), 1, LARGE)
    log = open_log(0)
    store(log, 2, LARGE)
    log = open_log(1)
    for revision in range(3, 5):
        store(log, revision, LARGE)
    assert revisions(open_log(1)) == [2, 3, 4]


def test_a_batch_stored_in_the_data_alone_is_named_by_the_next_record(open_log: Open) -> None:
    """A reader whose data does not have it yet must notice."""
    log = open_log()
    store(log, 1)
    log.release(2)
    store(log, 3)
    assert revisions(open_log(2)) == [3]
    with pytest.raises(DamagedLogError, match=r"a change is missing before revision 3 in log-01\.wal"):
        open_log(0)


def test_a_file_that_a_reader_has_locked_is_left_to_it(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    store(log, 1, LARGE)
    held = os.open(disk_folder / "log-02.wal", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    before = os.pread(held, SIZE, 0)
    store(log, 2, LARGE)
    assert os.pread(held, SIZE, 0) == before
    assert os.fstat(held).st_nlink == 0
    os.close(held)
    assert files(disk_folder) == [f"log-0{place}.wal" for place in range(1, FILES_MIN + 1)]
    assert revisions(open_log()) == [1, 2]


def test_a_file_in_use_can_be_locked_by_a_reader(open_log: Open, disk_folder: Path) -> None:
    store(open_log(), 1)
    with (disk_folder / "log-01.wal").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_damaged_header_is_mended_from_the_other(open_log: Open, disk_folder: Path, slot: int) -> None:
    store(open_log(), 1)
    path = disk_folder / "log-01.wal"
    before = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(slot)
        file.write(b"damage")
    assert revisions(open_log()) == [1]
    assert path.read_bytes() == before


def test_a_file_that_was_being_made_is_removed(open_log: Open, disk_folder: Path) -> None:
    (disk_folder / "log-05.wal.new").write_bytes(b"half of it")
    (disk_folder / "other.new").write_bytes(b"not ours")
    open_log()
    assert not (disk_folder / "log-05.wal.new").exists()
    assert (disk_folder / "other.new").exists()


def test_files_removed_while_the_log_is_not_needed_are_not_missed(open_log: Open, disk_folder: Path) -> None:
    """There are more than a start makes, so it does not make these again."""
    log = open_log()
    revision = 0
    while log.make_room(len(LARGE)):
        revision += 1
        store(log, revision, LARGE)
    for name in ("log-02.wal", "log-08.wal"):
        (disk_folder / name).unlink()
    store(open_log(revision, is_in_use=False), revision + 1)
    assert files(disk_folder) == [f"log-0{place}.wal" for place in range(1, FILES_MAX - 1)]
    assert revisions(open_log(revision)) == [revision + 1]


# --- refused ---------------------------------------------------------------------------------------------------


def refused(open_log: Open, folder: Path, kind: type[LogError], **how: object) -> str:
    """Why a log is not opened; nothing must change."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(kind) as caught:
        open_log(**how)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return str(caught.value)


def test_missing_files_are_refused(open_log: Open, disk_folder: Path) -> None:
    assert refused(open_log, disk_folder, MissingLogError, is_in_use=True) == "the files log-*.wal are missing"
    store(open_log(), 1)
    (disk_folder / "log-02.wal").rename(disk_folder / "elsewhere")
    assert refused(open_log, disk_folder, MissingLogError) == "log-02.wal is missing"
    (disk_folder / "elsewhere").rename(disk_folder / "log-02.wal")
    (disk_folder / "log-04.wal").unlink()
    assert refused(open_log, disk_folder, MissingLogError) == "log-04.wal is missing"


def test_files_that_were_made_last_are_missed_too(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    for revision in range(1, FILES_MIN):
        store(log, revision, LARGE)
    log = open_log()  # it begins a segment in the only spare file
    for revision in range(FILES_MIN, FILES_MIN + 2):
        store(log, revision, LARGE)
    for name in ("log-05.wal", "log-06.wal"):
        (disk_folder / name).unlink()
    assert refused(open_log, disk_folder, MissingLogError) == "log-05.wal is missing"


def test_files_of_other_data_are_refused(open_log: Open, disk_folder: Path) -> None:
    store(open_log(), 1)
    other = {"is_in_use": False, "log_id": b"another such id."}
    assert refused(open_log, disk_folder, ForeignLogError, **other) == "log-01.wal belongs to other data"


def test_unused_files_of_other_data_are_taken_over(open_log: Open, disk_folder: Path) -> None:
    open_log()
    log = open_log(is_in_use=False, log_id=b"another such id.")
    store(log, 1)
    assert revisions(open_log(log_id=b"another such id.")) == [1]
    assert len(files(disk_folder)) == FILES_MIN


def test_damaged_files_are_refused(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    store(log, 1)
    store(log, 2)
    path = disk_folder / "log-01.wal"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert refused(open_log, disk_folder, DamagedLogError) == "log-01.wal is too short"
    path.write_bytes(b"damage" + whole[6:4096] + b"damage" + whole[4102:])
    assert refused(open_log, disk_folder, DamagedLogError) == "log-01.wal has no header that can be read"
    path.write_bytes(whole[:RECORDS_AT] + b"damage" + whole[RECORDS_AT + 6 :])
    assert refused(open_log, disk_folder, DamagedLogError) == "log-01.wal is damaged at offset 8192"
    path.write_bytes(whole)
    (disk_folder / "log-05.wal").write_bytes(whole)
    assert refused(open_log, disk_folder, DamagedLogError) == "log-05.wal is a copy of log-01.wal"


def test_a_segment_that_was_overwritten_leaves_a_gap(open_log: Open, disk_folder: Path) -> None:
    log = open_log()
    for revision in range(1, 4):
        store(log, revision, LARGE)
    folder = os.open(disk_folder, os.O_RDONLY)
    make_segment(Disk(folder), "log-02.wal", SIZE, LOG_ID).close()
    os.close(folder)
    assert refused(open_log, disk_folder, DamagedLogError) == "the part of the log before log-03.wal is missing"
