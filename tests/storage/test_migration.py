"""Data of formats 1 and 2, written by the versions that had them, is read, kept and converted, whatever happens.

`old_formats/` has the data files of two servers that were killed, and what was in them. Commit d808c3b, the last with
format 1, and release 0.2.0 made them, with the same commands: databases with each strategy, users, conflicts, long
keys, removed keys, a dropped database; format 2 has changes that are only in its log.
"""

from __future__ import annotations

import gzip
import json
import logging
import random
import re
from pathlib import Path

import lmdb
import pytest

from pynun.backup.file_format import verify_backup
from pynun.backup.old_format import KEPT_NAME, keep_old_format
from pynun.backup.restore import restore_backup
from pynun.engine.overlay import Batch, Entry
from pynun.errors import StartError
from pynun.storage import schema
from pynun.storage.environment import kept_log
from pynun.storage.files.atomic_file import partial_name
from pynun.storage.format_2 import LOG_DATABASE, read_rows
from pynun.storage.store import LmdbStore
from pynun.storage.wal.segment import GLOB
from tests.backup.data import back_up, silent
from tests.support.watched import small_disk
from tests.transfer.folders import Content, content
from tools.clients.exact_clients import http_post
from tools.clients.server import Server, nun_db

OLD = Path(__file__).parent / "old_formats"
SECTOR_BYTES = 512
POWER_CUTS = 40


def made_by(number: int, folder: Path) -> Content:
    """Make the folder that a server of an old format left; returns what is in it."""
    folder.mkdir()
    (folder / schema.DATA_FILE).write_bytes(gzip.decompress((OLD / f"format-{number}.mdb.gz").read_bytes()))
    found = json.loads((OLD / f"format-{number}.json").read_text(encoding="utf-8"))
    return {name: {key: (entry[0], entry[1]) for key, entry in keys.items()} for name, keys in found.items()}


def format_of(folder: Path) -> int:
    with lmdb.open(str(folder), readonly=True, lock=False, max_dbs=schema.DATABASES_MAX) as environment:
        meta = environment.open_db(schema.META_DATABASE, create=False)
        with environment.begin(db=meta) as transaction:
            return schema.decode_format(transaction.get(schema.FORMAT_KEY, b""))


@pytest.mark.parametrize("number", [1, 2])
def test_old_data_is_read_kept_and_converted(disk_folder: Path, number: int, caplog: pytest.LogCaptureFixture) -> None:
    folder = disk_folder / "dbs"
    expected = made_by(number, folder)
    assert content(folder) == expected
    back_up(folder, disk_folder / "old.backup")
    assert format_of(folder) == number
    with caplog.at_level(logging.WARNING, "nun_db"):
        LmdbStore(folder, keep_old=keep_old_format).close()
    kept = folder / KEPT_NAME
    (told,) = [record.getMessage() for record in caplog.records if "converted" in record.getMessage()]
    assert f"was converted from format {number} to {schema.FORMAT}" in told
    assert f"nun-db restore {kept} --data-dir {folder} --replace" in told
    assert format_of(folder) == schema.FORMAT
    assert content(folder) == expected
    for restored, file in (("old", disk_folder / "old.backup"), ("kept", kept)):
        assert verify_backup(file, silent).contents.format == number
        restore_backup(file, disk_folder / restored, silent)
        assert format_of(disk_folder / restored) == number, "an older version must be able to read it"
        assert content(disk_folder / restored) == expected
        LmdbStore(disk_folder / restored).close()
        assert content(disk_folder / restored) == expected


def test_the_old_log_holds_what_the_data_lacks(disk_folder: Path) -> None:
    """Else the other tests would show nothing of it; and a conversion drops it."""
    made_by(2, disk_folder / "dbs")
    with lmdb.open(str(disk_folder / "dbs"), max_dbs=3, lock=False) as environment:
        meta = environment.open_db(schema.META_DATABASE, create=False)
        with environment.begin() as transaction:
            batches = list(read_rows(environment, transaction, meta))
    assert sum(map(len, batches)) > 60
    LmdbStore(disk_folder / "dbs").close()
    with lmdb.open(str(disk_folder / "dbs"), max_dbs=3, lock=False) as environment, pytest.raises(lmdb.NotFoundError):
        environment.open_db(LOG_DATABASE, create=False)


@pytest.mark.parametrize("number", [1, 2])
def test_killed_while_it_converts_a_start_goes_on(disk_folder: Path, number: int) -> None:
    server = Server(disk_folder / "dbs")
    expected = made_by(number, server.data_dir)
    with server:
        whole = server.start_seconds
        assert "was converted from format" in server.log_text()
        assert (server.data_dir / KEPT_NAME).exists()
    generator = random.Random(number)
    formats = set()
    for attempt in range(6):
        server.data_dir = disk_folder / f"dbs-{attempt}"
        made_by(number, server.data_dir)
        server.kill_while_starting(generator.uniform(0.1, 1.0) * whole)
        formats.add(format_of(server.data_dir))
        found = content(server.data_dir)
        assert {name: keys for name, keys in found.items() if name != "$admin"} == {
            name: keys for name, keys in expected.items() if name != "$admin"
        }
    with server:
        answer = http_post(server.http, "use-db plain pwd; get name; get-safe key-003; get key-007")
        assert answer == "empty;value newest\n;value-version 1 second-3\n;value <Empty>\n"
    assert not (server.data_dir / partial_name(KEPT_NAME)).exists()
    verify_backup(server.data_dir / KEPT_NAME, silent)


@pytest.mark.parametrize("number", [1, 2])
def test_a_power_cut_while_it_converts_loses_nothing(disk_folder: Path, number: int) -> None:
    """LMDB syncs all pages before it writes the one that makes them valid, so until then any of them may be lost."""
    expected = made_by(number, disk_folder / "dbs")
    data_file = disk_folder / "dbs" / schema.DATA_FILE
    before = data_file.read_bytes()
    LmdbStore(disk_folder / "dbs").close()
    after = data_file.read_bytes()
    before = before.ljust(len(after), b"\0")
    changed = [at for at in range(0, len(after), SECTOR_BYTES) if _sector(before, at) != _sector(after, at)]
    pages, heads = [at for at in changed if at >= 2 * 4096], [at for at in changed if at < 2 * 4096]
    assert len(heads) == 1, "a conversion is one commit"
    generator = random.Random(number)
    for cut in range(POWER_CUTS):
        kept = generator.sample(pages, generator.randint(0, len(pages)))
        _cut(data_file, before, after, kept)
        assert format_of(disk_folder / "dbs") == number
        assert content(disk_folder / "dbs") == expected
        if cut < 3:
            LmdbStore(disk_folder / "dbs").close()
            assert content(disk_folder / "dbs") == expected
    _cut(data_file, before, after, changed)
    assert format_of(disk_folder / "dbs") == schema.FORMAT


def _sector(content: bytes, at: int) -> bytes:
    return content[at : at + SECTOR_BYTES]


def _cut(data_file: Path, before: bytes, after: bytes, kept: list[int]) -> None:
    for path in data_file.parent.iterdir():
        path.unlink()
    found = bytearray(before)
    for at in kept:
        found[at : at + SECTOR_BYTES] = _sector(after, at)
    data_file.write_bytes(found)


def test_going_back_with_an_older_version_and_upgrading_again(disk_folder: Path) -> None:
    """Its restore leaves the log of the newer data, which it does not know."""
    folder = disk_folder / "dbs"
    expected = made_by(2, folder)
    old = (folder / schema.DATA_FILE).read_bytes()
    for kept in (folder / "data-before-20260101T000000Z.mdb", folder / "data-before-20270101T000000Z.mdb"):
        store = LmdbStore(folder)
        batch = Batch(store.revision + 1)
        batch.entries[b"\0\0\0\1new"] = Entry(0, "new")
        store.append(batch, 0)
        store.close()
        logs = {path.name: path.read_bytes() for path in folder.glob(GLOB)}
        (folder / schema.DATA_FILE).rename(kept)
        (folder / schema.DATA_FILE).write_bytes(old)
        assert content(folder) == expected
        LmdbStore(folder).close()
        assert content(folder) == expected
        assert {name: kept_log(kept, name).read_bytes() for name in logs} == logs


def test_without_room_nothing_is_converted(disk_folder: Path) -> None:
    with small_disk(disk_folder / "disk", "20m") as disk:
        folder = disk / "dbs"
        expected = made_by(2, folder)
        before = (folder / schema.DATA_FILE).read_bytes()
        with pytest.raises(StartError) as caught:
            LmdbStore(folder, keep_old=keep_old_format)
        assert re.fullmatch(
            rf"the data in {folder} has format 2, and needs 21 MiB of free space to be converted to format 3: free up"
            r" space there; or make a backup elsewhere with the older version, and set NUN_MIGRATION_BACKUP=off: then"
            r" 20 MiB are enough \(nothing was changed\)",
            str(caught.value),
        )
        with pytest.raises(StartError, match=r"needs 20 MiB of free space.*free up space there \(nothing was changed"):
            LmdbStore(folder)
        assert (folder / schema.DATA_FILE).read_bytes() == before
        assert not list(folder.glob(GLOB))
        assert content(folder) == expected


def test_a_backup_that_fails_keeps_the_old_format(disk_folder: Path) -> None:
    folder = disk_folder / "dbs"
    made_by(2, folder)
    (folder / KEPT_NAME).mkdir()
    with pytest.raises(StartError, match=r"is converted only after a backup of it was made: .* is a folder: .*=off"):
        LmdbStore(folder, keep_old=keep_old_format)
    assert format_of(folder) == 2


def test_the_backup_can_be_waived(disk_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the setting, by the server and by the commands that open a data folder."""
    folder = disk_folder / "dbs"
    expected = made_by(2, folder)
    with Server(folder, environment={"NUN_MIGRATION_BACKUP": "off"}) as server:
        assert "; no backup of the old format was kept" in server.log_text()
    assert not (folder / KEPT_NAME).exists()
    imported = disk_folder / "imported"
    made_by(2, imported)
    lines = disk_folder / "lines"
    assert nun_db("export", "newer-db", str(lines), "--data-dir", str(imported)).returncode == 0
    done = nun_db("import", "newer-db", str(lines), "--data-dir", str(imported), "--replace")
    assert done.returncode == 0, done
    assert (imported / KEPT_NAME).exists()
    assert content(imported)["plain"] == expected["plain"]
