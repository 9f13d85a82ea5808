"""A new data file has its name only when it is whole and on disk: so one that is empty or cut is damage."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun.errors import StartError
from pynun.storage import schema
from pynun.storage.files.atomic_file import partial_name
from pynun.storage.store import LmdbStore
from pynun.storage.wal.segment import NEW_SUFFIX, name_of
from pynun.storage.wal.write_ahead_log import FILES_MIN
from tests.support.traces import read_calls, unsynced, why_no_trace
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path


def test_a_first_start_that_is_killed_anywhere_is_none(disk_folder: Path) -> None:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    starts = disk_folder / "starts"
    starts.mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "tests.storage.first_start", str(starts)],
        cwd=REPOSITORY,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    kills = [line.split("|") for line in result.stdout.splitlines()]
    assert len(kills) > 15, result.stdout
    assert {outcome for _, _, _, outcome in kills} == {"started"}, result.stdout
    assert {look for _, _, look, _ in kills} == {"absent", "whole"}, result.stdout
    assert any(partial_name(schema.DATA_FILE) in left.split() for _, left, _, _ in kills)
    assert any(name_of(2) + NEW_SUFFIX in left.split() for _, left, _, _ in kills)
    folder = starts / "whole" / "dbs"
    assert {path.name for path in folder.iterdir()} == {*schema.FILES, *map(name_of, range(1, FILES_MIN + 1))}
    calls = read_calls((folder.parent / "trace").read_text(encoding="utf-8", errors="replace"))
    assert unsynced(calls, starts, (), (schema.LOCK_FILE, schema.READERS_FILE)) == []


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 8192, 12288, 100_000])
def test_an_empty_or_half_made_file_is_refused_with_the_way_out(disk_folder: Path, size: int) -> None:
    folder = disk_folder / "dbs"
    folder.mkdir()
    data_file = folder / schema.DATA_FILE
    data_file.write_bytes(bytes(size))
    with pytest.raises(StartError) as caught:
        LmdbStore(folder)
    assert str(data_file) in str(caught.value)
    assert "restore a backup, or, if nothing was ever stored in it, remove it and start again" in str(caught.value)
    assert data_file.read_bytes() == bytes(size)
    data_file.unlink()
    LmdbStore(folder).close()


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_a_file_that_was_cut_to_its_head_is_refused(disk_folder: Path, pages: int) -> None:
    folder = disk_folder / "dbs"
    LmdbStore(folder).close()
    data_file = folder / schema.DATA_FILE
    data_file.write_bytes(data_file.read_bytes()[: pages * 4096])
    with pytest.raises(StartError, match="restore a backup"):
        LmdbStore(folder)
    assert data_file.stat().st_size == pages * 4096


@pytest.mark.parametrize(
    "sign", [schema.LOCK_FILE, schema.READERS_FILE, "audit.jsonl", "audit.jsonl.1", "data-before-20260101T000000Z.mdb"]
)
def test_each_sign_of_missing_data_is_told(disk_folder: Path, sign: str, caplog: pytest.LogCaptureFixture) -> None:
    """After a restore into a new folder, for one, there is no lock.mdb."""
    folder = disk_folder / "dbs"
    LmdbStore(folder).close()
    assert not caplog.records
    (folder / schema.DATA_FILE).unlink()
    for name in {schema.READERS_FILE, schema.LOCK_FILE} - {sign}:
        (folder / name).unlink()
    if sign not in schema.FILES:
        (folder / sign).write_text("{}", encoding="utf-8")
    LmdbStore(folder).close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"data.mdb is missing in {folder}, but earlier runs left {sign} there: ")


def test_a_first_start_that_failed_is_no_sign(disk_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = disk_folder / "dbs"
    in_the_way = folder / partial_name(schema.DATA_FILE)
    in_the_way.mkdir(parents=True)
    with pytest.raises(StartError):
        LmdbStore(folder)
    in_the_way.rmdir()
    LmdbStore(folder).close()
    assert not caplog.records


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
@pytest.mark.parametrize("name", schema.FILES)
def test_what_is_no_file_is_named_and_left_alone(disk_folder: Path, name: str, kind: str) -> None:
    path = disk_folder / name
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
                listener.bind(str(path))
    with pytest.raises(StartError) as caught:
        LmdbStore(disk_folder)
    assert str(caught.value) == (
        f"the data folder {disk_folder} can't be used: {name} is not an ordinary file: move it away, or choose another"
        " folder with NUN_DBS_DIR"
    )
    assert [path.name for path in disk_folder.iterdir()] == [name]
