"""A disk that is full: who starts a server there, or reads the data of a stopped one, is told so in a line."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.backup.data import make_folder
from tests.support.server import nun_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ADDRESSES = [part for option in ("-w", "-h", "-t") for part in (option, "127.0.0.1:0")]


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
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("room_kib", [4, 8, 16])
def test_no_room_for_the_first_files(new_disk: Callable[[int], Path], room_kib: int) -> None:
    disk = new_disk(room_kib)
    ended = nun_db("-u", "u", "-p", "p", "start", *ADDRESSES, environment={"NUN_DBS_DIR": str(disk)})
    assert ended.returncode == 1, ended
    assert ended.stderr == (
        f"nun-db: the data folder {disk} can't be used: No space left on device; make room there, or choose another"
        " folder with NUN_DBS_DIR\n"
    )


def test_no_room_for_the_table_of_readers_is_no_damage(new_disk: Callable[[int], Path], disk_folder: Path) -> None:
    disk = new_disk(1024)
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
