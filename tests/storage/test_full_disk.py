"""A disk that is full: who starts a server there, or reads the data of a stopped one, is told so in a line."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun.engine.overlay import Batch, Entry
from pynun.errors import StorageError
from pynun.storage.store import LmdbStore
from tests.backup.data import make_folder
from tests.storage.steps import checkpoint
from tools.clients.server import ANY_ADDRESSES, nun_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(name="new_disk")
def _new_disk(disk_folder: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of some KiB."""
    disk = disk_folder / "full"
    disk.mkdir()

    def make(room_kib: int) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root can mount a small disk")
        mount = ["mount", "-t", "tmpfs", "-o", f"size={room_kib}k,mode=0700", "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
        return disk

    yield make
    if disk.is_mount():
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("room_kib", [4, 8, 16])
def test_no_room_for_the_first_files(new_disk: Callable[[int], Path], room_kib: int) -> None:
    disk = new_disk(room_kib)
    ended = nun_db("-u", "u", "-p", "p", "start", environment={"NUN_DBS_DIR": str(disk), **ANY_ADDRESSES})
    assert ended.returncode == 1, ended
    assert ended.stderr == (
        f"nun-db: the data folder {disk} can't be used: No space left on device; free up space there, or choose "
        "another folder with NUN_DBS_DIR\n"
    )


def test_no_room_for_the_table_of_readers_is_no_damage(new_disk: Callable[[int], Path], disk_folder: Path) -> None:
    disk = new_disk(20 * 1024)
    make_folder(disk)
    (disk / "lock.mdb").unlink()  # as after a restore
    (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bfree * os.statvfs(disk).f_frsize))
    file_of_backup = str(disk_folder / "a.backup")
    for command in (["backup", file_of_backup], ["export", "one", str(disk_folder / "one.jsonl")]):
        ended = nun_db(command[0], "--data-dir", str(disk), *command[1:])
        assert ended.returncode == 1, ended
        assert ended.stderr.endswith(
            f"nun-db: the data in {disk} can't be read: No space left on device for lock.mdb: make room there\n"
        )
        # A disk that can't be written has no room either, and is read all the same.
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert nun_db(command[0], "--data-dir", str(disk), *command[1:]).returncode == 0
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def _fill(disk: Path, room_bytes: int) -> None:
    """Leave so much room on a disk."""
    status = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, status.f_bfree * status.f_frsize - room_bytes)))


@pytest.mark.parametrize("batch_keys", [10, pytest.param(1000, marks=pytest.mark.system)])
def test_on_a_full_disk_what_is_there_can_be_changed_for_ever(new_disk: Callable[[int], Path], batch_keys: int) -> None:
    """The log has its files already, and moves into the data by as few pages at a time as there are."""
    disk = new_disk(40 * 1024)
    generator = random.Random(1)
    expected: dict[bytes, Entry | None] = {}
    with contextlib.closing(LmdbStore(disk / "data")) as store:

        def append(entries: dict[bytes, Entry | None]) -> None:
            batch = Batch(store.revision + 1)
            batch.entries.update(entries)
            batch.bytes_estimated = 130 * len(entries)
            store.append(batch, 0)
            expected.update(entries)

        for first in range(0, 30_000, 1000):
            append({b"\0\0\0\1%05d" % key: Entry(0, "x" * 60) for key in range(first, first + 1000)})
        while not store.is_drained:
            checkpoint(store, 1000)
        _fill(disk, 0)
        for number in range(150_000 // batch_keys):
            keys = generator.sample(range(30_000), batch_keys)
            append(
                {b"\0\0\0\1%05d" % key: Entry(1, f"{number:060}") if generator.random() < 0.9 else None for key in keys}
            )
            if store.is_checkpoint_due:
                checkpoint(store, 2 * batch_keys)  # the committer does it so often
    with contextlib.closing(LmdbStore(disk / "data")) as again:
        assert {key: again.get(key) for key in expected} == expected


def test_on_a_full_disk_changes_are_refused_when_the_log_is_full_too(new_disk: Callable[[int], Path]) -> None:
    disk = new_disk(24 * 1024)
    with contextlib.closing(LmdbStore(disk / "data")) as store:

        def append_next() -> None:
            batch = Batch(store.revision + 1)
            batch.entries[b"\0\0\0\1%05d" % batch.revision] = Entry(0, "x" * 50_000)
            store.append(batch, 1)

        append_next()
        _fill(disk, 0)
        with pytest.raises(StorageError, match="No space left on device"):
            collections.deque(iter(append_next, "without end"))
        assert 100 < store.revision < 1000
        (disk / "filler").unlink()
        append_next()
        last = store.revision
    with contextlib.closing(LmdbStore(disk / "data")) as again:
        found = [again.get(b"\0\0\0\1%05d" % number) for number in (1, last - 1, last, last + 1)]
        assert found == [*3 * [Entry(0, "x" * 50_000)], None]
