"""Who reads the log beside a server that reuses its files all the time finds everything up to one moment."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from pynun.storage.wal.disk import Disk
from pynun.storage.wal.reader import LogReader
from pynun.storage.wal.recovery import LogError
from pynun.storage.wal.segment_format import RECORDS_AT
from pynun.storage.wal.write_ahead_log import WriteAheadLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_ID = b"the id of a log."
SIZE = RECORDS_AT + 4096
READINGS = 200
STORED_MIN = 200
TRIES_MAX = 10


@pytest.fixture(name="folder")
def _folder(disk_folder: Path) -> Iterator[int]:
    folder = os.open(disk_folder, os.O_RDONLY)
    yield folder
    os.close(folder)


class Server:
    """Stores and releases batches in a thread, as quickly as it can."""

    def __init__(self, folder: int) -> None:
        self.log = WriteAheadLog(Disk(folder), LOG_ID, 0, is_in_use=False, size=SIZE)
        self.log.start()
        self.checkpoint = 0
        self.stored = 0
        self.is_stopping = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Server:
        self.store()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_stopping = True
        self._thread.join()
        self.log.close()

    def store(self) -> None:
        """Store a batch, of any size."""
        revision = self.stored + 1
        changes = b"%d " % revision * (revision * 7919 % 200)
        if not self.log.make_room(len(changes)):
            self.move()
            assert self.log.make_room(len(changes))
        self.log.append(revision, revision, 0, changes)
        self.log.sync()
        self.stored = revision

    def move(self) -> None:
        """Have the data take over what is stored."""
        self.checkpoint = self.stored  # LMDB's commit
        self.log.release(self.checkpoint)

    def _run(self) -> None:
        while not self.is_stopping:
            for _ in range(5):
                self.store()
            self.move()


def read(folder: int, server: Server) -> None:
    """Read the log once, as a backup does; raises LogError if that has to be done again."""
    with LogReader(folder, SIZE) as reader:
        stored, checkpoint = server.stored, server.checkpoint  # LMDB's transaction begins
        records = reader.read(LOG_ID, checkpoint, is_in_use=True)
    revisions = [record.revision for record in records]
    assert revisions == list(range(checkpoint + 1, checkpoint + 1 + len(revisions)))
    assert checkpoint + len(revisions) >= stored
    for record in records:
        assert record.changes == b"%d " % record.revision * (record.revision * 7919 % 200)


def test_a_reader_finds_all_that_was_stored_when_it_began(folder: int) -> None:
    readings = failures = 0
    with Server(folder) as server:
        while readings < READINGS or server.stored < STORED_MIN:
            for attempt in range(TRIES_MAX):
                try:
                    read(folder, server)
                except LogError:
                    failures += 1
                    assert attempt + 1 < TRIES_MAX
                else:
                    break
            readings += 1
    assert failures < readings


def test_what_a_reader_has_locked_stays_until_it_has_read(folder: int) -> None:
    server = Server(folder)
    server.store()
    with LogReader(folder, SIZE) as reader:
        for _ in range(100):
            server.store()
            server.move()
        server.store()
        # The reader's transaction began before all that.
        assert [record.revision for record in reader.read(LOG_ID, 101, is_in_use=True)] == [102]
    server.log.close()


def test_a_file_that_is_newer_than_the_reader_is_not_reused_while_it_is_read(folder: int) -> None:
    server = Server(folder)
    server.store()
    with LogReader(folder, SIZE) as reader:
        for _ in range(100):  # until all files are others than those that were locked first
            server.store()
            server.move()
        server.store()
        read_file = reader._disk.read
        late = iter((True,))

        def read_late(file: int, size: int, at: int) -> bytes:
            if size == SIZE and next(late, False):  # the first content, after all headers
                for _ in range(100):
                    server.store()
                    server.move()
            return read_file(file, size, at)

        reader._disk.read = read_late  # type: ignore[method-assign]
        found = [record.revision for record in reader.read(LOG_ID, 101, is_in_use=True)]
        assert found == list(range(102, 102 + len(found)))
        assert found
    server.log.close()


def test_a_reader_writes_nothing(folder: int, disk_folder: Path) -> None:
    server = Server(folder)
    server.store()
    server.log.close()
    path = disk_folder / "log-01.wal"
    path.write_bytes(b"damage" + path.read_bytes()[6:])
    before = {path.name: path.read_bytes() for path in disk_folder.iterdir()}
    with LogReader(folder, SIZE) as reader:
        assert [record.revision for record in reader.read(LOG_ID, 0, is_in_use=True)] == [1]
    assert {path.name: path.read_bytes() for path in disk_folder.iterdir()} == before
