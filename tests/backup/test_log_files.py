"""Backups, exports and restores of data whose newest changes are only in the log's files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pynun.backup.file_format import verify_backup
from pynun.backup.restore import restore_backup
from pynun.engine.overlay import Batch, Entry
from pynun.errors import BackupError, StartError, TransferError
from pynun.storage import schema
from pynun.storage.environment import KEPT_NAME, kept_log, open_to_read, remove_second_names
from pynun.storage.folder_view import view
from pynun.storage.store import LmdbStore
from pynun.storage.wal.segment import GLOB
from pynun.storage.wal.segment_format import SLOTS
from pynun.storage.wal.write_ahead_log import FILES_MAX
from tests.backup.data import LONG_KEY, back_up, make_folder, silent
from tests.storage.steps import checkpoint
from tests.support.traces import why_no_trace
from tests.support.watched import fill, small_disk, wait_until
from tests.transfer.folders import Content, content
from tools.clients.exact_clients import http_post
from tools.clients.server import ANY_ADDRESSES, REPOSITORY, Server, clean_environment, nun_db
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = (1).to_bytes(4, "big")
READINGS = 8


def change(store: LmdbStore, **values: str | None) -> None:
    """Change keys of the first database; the changes are on disk in the log then."""
    batch = Batch(store.revision + 1)
    for key, value in values.items():
        batch.entries[ONE + key.encode()] = None if value is None else Entry(1, value)
    store.append(batch, store.operations + 1)


@pytest.fixture(name="folder")
def _folder(disk_folder: Path) -> Path:
    """Data of a server that was killed, with changes in the log: a new key, a changed and a removed one."""
    folder = make_folder(disk_folder / "dbs")
    store = LmdbStore(folder)
    change(store, old="moved", removed="moved")
    checkpoint(store, 1000)
    change(store, old="logged", new="logged", removed=None)
    change(store, **{LONG_KEY: "logged"})
    store.close()
    assert b"logged" not in (folder / schema.DATA_FILE).read_bytes()
    return folder


def expected(folder: Path) -> Content:
    """What is in a folder, after a look that it is what was stored."""
    found = content(folder)
    assert found["one"]["new"] == found["one"]["old"] == found["one"][LONG_KEY] == (1, "logged")
    assert "removed" not in found["one"]
    return found


def log_id(folder: Path) -> schema.LogMark:
    with open_to_read(folder) as environment, view(environment, folder) as found:
        meta = environment.open_db(schema.META_DATABASE, txn=found.transaction, create=False)
        return schema.decode_log_mark(bytes(found.transaction.get(schema.LOG_KEY, b"", db=meta)))


def test_a_backup_has_what_only_the_log_had(disk_folder: Path, folder: Path) -> None:
    before = expected(folder)
    made = back_up(folder, disk_folder / "a.backup")
    assert made.revision == 6
    assert verify_backup(disk_folder / "a.backup", silent).counts.revision == 6
    restore_backup(disk_folder / "a.backup", disk_folder / "new", silent)
    assert not list((disk_folder / "new").glob(GLOB))
    mark = log_id(disk_folder / "new")
    assert not mark.is_in_use
    assert mark.log_id != log_id(folder).log_id
    assert content(disk_folder / "new") == before
    store = LmdbStore(disk_folder / "new")
    assert store.revision == 6
    change(store, after="restore")
    store.close()
    assert content(disk_folder / "new")["one"]["after"] == (1, "restore")


@pytest.mark.parametrize("reading", [1, 2])
def test_a_disk_that_returns_other_data_than_was_written_is_found(
    disk_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, reading: int
) -> None:
    """Also in what the log's changes wrote, which is all of this small file."""
    forget = os.posix_fadvise
    readings = 0

    def flip_a_bit(descriptor: int, offset: int, length: int, advice: int) -> None:
        nonlocal readings
        forget(descriptor, offset, length, advice)
        readings += 1
        if readings == reading:
            at = os.fstat(descriptor).st_size // 2
            os.pwrite(descriptor, bytes([os.pread(descriptor, 1, at)[0] ^ 1]), at)

    monkeypatch.setattr(os, "posix_fadvise", flip_a_bit)
    with pytest.raises(BackupError, match="returns other data than was written: check the disk"):
        back_up(folder, disk_folder / "a.backup")
    assert not list(disk_folder.glob("*.backup*"))


def test_a_restore_keeps_the_old_log_with_the_old_data(disk_folder: Path, folder: Path) -> None:
    old = expected(folder)
    logs = {path.name: path.read_bytes() for path in folder.glob(GLOB)}
    other = make_folder(disk_folder / "other")
    back_up(other, disk_folder / "other.backup")
    restored = restore_backup(disk_folder / "other.backup", folder, silent, is_replacing=True)
    kept = restored.kept
    assert kept is not None
    assert {name: kept_log(kept, name).read_bytes() for name in logs} == logs
    assert not list(folder.glob(GLOB))
    LmdbStore(folder).close()
    assert content(folder) == content(other)
    with pytest.raises(BackupError, match="is not a backup, but data that a restore replaced"):
        verify_backup(kept, silent)
    (folder / "log-98.wal").write_bytes(b"of the new data")
    subprocess.run(["sh", "-euc", "\n".join(restored.way_back)], check=True)
    assert not list(folder.glob("data-before-*"))
    assert {path.name: path.read_bytes() for path in folder.glob(GLOB)} == logs
    assert content(folder) == old
    LmdbStore(folder).close()


def test_a_restore_keeps_what_another_kept_in_the_same_second(disk_folder: Path, folder: Path) -> None:
    """Even if that kept only files of a log, because nothing else was there."""
    back_up(make_folder(disk_folder / "other"), disk_folder / "other.backup")
    log = next(folder.glob(GLOB)).name
    seconds = range(int(time.time()), int(time.time()) + 100)
    before = [kept_log(folder / time.strftime(KEPT_NAME, time.gmtime(second)), log) for second in seconds]
    for path in before:
        path.write_text("kept")
    restored = restore_backup(disk_folder / "other.backup", folder, silent, is_replacing=True)
    assert {path.read_text() for path in before} == {"kept"}
    assert restored.kept is not None
    assert kept_log(restored.kept, log).stat().st_size > len("kept")


def test_a_restore_killed_at_any_step_is_undone_or_finished(disk_folder: Path, folder: Path) -> None:
    old = expected(folder)
    new = make_folder(disk_folder / "new")
    kept = folder / "data-before-20260101T000000Z.mdb"
    names = sorted(path.name for path in folder.glob(GLOB))
    links = [(folder / schema.DATA_FILE, kept), *((folder / name, kept_log(kept, name)) for name in names)]
    for count in range(len(links) + 1):
        for source, second in links[:count]:
            os.link(source, second)
        assert content(folder) == old
        for _ in range(2):  # what undoes it may be killed too, before its last step
            remove_second_names(folder)
        assert content(folder) == old
        assert not list(folder.glob("data-before-*"))
    LmdbStore(folder).close()
    for source, second in links:
        os.link(source, second)
    shutil.copy(new / schema.DATA_FILE, folder / "new")
    (folder / "new").rename(folder / schema.DATA_FILE)
    (folder / names[0]).unlink()
    LmdbStore(folder).close()
    assert content(folder) == content(new)
    assert sorted(path.name for path in folder.glob("data-before-*")) == sorted(
        [kept.name, *(kept_log(kept, name).name for name in names)]
    )


@pytest.mark.system
def test_a_restore_where_only_a_log_is_left_killed_at_any_step_loses_nothing(disk_folder: Path) -> None:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    lost, other = make_folder(disk_folder / "lost"), make_folder(disk_folder / "other")
    for folder, newest in ((lost, "old"), (other, "new")):
        store = LmdbStore(folder)
        change(store, newest=newest)
        store.close()
    back_up(other, disk_folder / "backup")
    logs = sorted(path.name for path in lost.glob(GLOB))
    (lost / schema.DATA_FILE).rename(disk_folder / schema.DATA_FILE)
    (lost / schema.READERS_FILE).unlink()  # as the restore would
    command = [sys.executable, "-m", "tests.backup.killed_restores", str(disk_folder)]
    environment = clean_environment({"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'scripts'}"})
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True)
    kills = [json.loads(line) for line in result.stdout.splitlines()]
    assert [kill["call"] for kill in kills] == [*(["linkat"] * len(logs)), "rename", *(["unlink"] * len(logs))]
    for kill in kills:
        if kill["call"] == "unlink":
            assert (kill["started"], kill["kept"], kill["back"]) == ("new", logs, "")
            assert "already has data, which was left untouched" in kill["restored"]
        else:
            assert kill["started"].startswith("data.mdb is missing in FOLDER, but its log is there")
            assert (kill["kept"], kill["restored"], kill["back"]) == ([], "new", "old")


def test_a_server_s_data_file_copied_alone_is_refused_with_what_to_use(disk_folder: Path, server: Server) -> None:
    create_database(server, "d", then="set k v")
    alone = disk_folder / "alone"
    alone.mkdir()
    shutil.copy(server.data_dir / schema.DATA_FILE, alone)
    before = (alone / schema.DATA_FILE).read_bytes()
    way_out = (
        "the files log-*.wal are missing: without all files log-*.wal, data.mdb is not the whole data; put them back"
        " beside it, or, if you copied it from a running server, use nun-db backup and nun-db restore instead"
    )
    refusals = {
        "start": nun_db("-u", "u", "-p", "p", "start", environment={"NUN_DBS_DIR": str(alone), **ANY_ADDRESSES}),
        "export": nun_db("export", "d", "-", "--data-dir", str(alone)),
        "backup": nun_db("backup", "--data-dir", str(alone), str(disk_folder / "a.backup")),
    }
    for command, ended in refusals.items():
        assert ended.returncode == 1, (command, ended)
        assert way_out in ended.stderr, (command, ended)
    with pytest.raises(BackupError, match="name its data folder"):
        back_up(alone / schema.DATA_FILE, disk_folder / "a.backup")
    assert (alone / schema.DATA_FILE).read_bytes() == before
    server.stop()  # then the data has everything
    shutil.copy(server.data_dir / schema.DATA_FILE, alone)
    assert content(alone)["d"]["k"] == (0, "v")
    LmdbStore(alone).close()


@pytest.mark.parametrize("name", ["log-01.wal", "log-02.wal"])
def test_a_log_file_that_is_missing_or_damaged_is_named(folder: Path, disk_folder: Path, name: str) -> None:
    expected(folder)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    refusals = [_refusals(folder, disk_folder)]
    assert all(f"{name} is missing: without all files log-*.wal" in text for text in refusals[0]), refusals
    (folder / name).write_bytes(whole[: len(whole) // 2])
    refusals = [_refusals(folder, disk_folder)]
    assert all(f"{name} is too short: it was left untouched; restore a backup" in text for text in refusals[0])
    (folder / name).write_bytes(whole)
    expected(folder)


def test_log_files_of_other_data_are_refused_and_named(folder: Path, disk_folder: Path) -> None:
    other = disk_folder / "other"
    store = LmdbStore(make_folder(other))
    change(store, a="b")
    store.close()
    shutil.copy(folder / schema.DATA_FILE, other)
    for text in _refusals(other, disk_folder):
        assert re.search(r"log-0\d.wal belongs to other data: move it away, and put the log files that", text), text


def test_of_a_log_that_is_not_needed_nothing_is_to_be_restored(folder: Path, disk_folder: Path) -> None:
    old = expected(folder)
    store = LmdbStore(folder)
    checkpoint(store, 1000)
    store.retire_log()
    store.close()
    os.truncate(folder / "log-01.wal", 1000)
    for text in _refusals(folder, disk_folder):
        assert text.endswith("log-01.wal is too short: data.mdb has everything without it; move the named files away")
    (folder / "log-01.wal").rename(disk_folder / "log-01.wal")
    assert content(folder) == old
    LmdbStore(folder).close()


def _refusals(folder: Path, disk_folder: Path) -> list[str]:
    told = []
    for do in (
        lambda: LmdbStore(folder),
        lambda: content(folder),
        lambda: back_up(folder, disk_folder / "refused.backup"),
    ):
        with pytest.raises((StartError, TransferError, BackupError)) as caught:
            do()
        told.append(str(caught.value))
    return told


def test_a_read_only_disk_is_read_and_a_backup_goes_to_another(disk_folder: Path, folder: Path) -> None:
    old = expected(folder)
    with small_disk(disk_folder / "disk", "40m") as disk:
        shutil.copytree(folder, disk / "dbs")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert content(disk / "dbs") == old
        back_up(disk / "dbs", disk_folder / "a.backup")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        back_up(folder, disk / "a.backup")  # to another file system than that of the data
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        counts = verify_backup(disk / "a.backup", silent).counts
        assert counts == verify_backup(disk_folder / "a.backup", silent).counts
        assert counts.databases["one"] == len(old["one"])


def test_a_clock_that_is_set_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's records have the time, for people only."""
    store = LmdbStore(folder)
    for number, now in enumerate((10**18, 0, 2**62, 1)):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        change(store, newest=f"{number}", **{f"k{number}": "v"})
    store.close()
    found = content(folder)["one"]
    assert [found.get(key) for key in ("newest", "k0", "k3")] == [(1, "3"), (1, "v"), (1, "v")]
    LmdbStore(folder).close()
    assert content(folder)["one"] == found


# --- beside a server ---------------------------------------------------------------------------------------------


_WRITER = """
import itertools, pathlib, sys
from pynun.engine.overlay import Batch, Entry
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint
store = LmdbStore(pathlib.Path(sys.argv[1]))
for number in itertools.count(1):
    batch = Batch(store.revision + 1)
    for key, text in (("a", 1), ("b", 1), ("filler", 30_000)):
        batch.entries[b"\\0\\0\\0\\1" + key.encode()] = Entry(number, f"{number} " * text)
    store.append(batch, number)
    if store.is_checkpoint_due:
        checkpoint(store, 1000)
    if number == 1:
        print("begun", flush=True)
"""


def test_readers_in_a_loop_find_one_moment_while_files_are_reused(disk_folder: Path) -> None:
    """Keys that change together are read together, and what is read later is newer."""
    folder = make_folder(disk_folder / "dbs")
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, env=clean_environment({})
    )
    with writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begun\n"
            newest = 0
            segments = set()
            for reading in range(READINGS):
                segments |= {path.read_bytes()[: SLOTS[1]] for path in folder.glob(GLOB)}
                if reading % 3:
                    found = content(folder)["one"]
                else:
                    back_up(folder, disk_folder / f"{reading}.backup")
                    restore_backup(disk_folder / f"{reading}.backup", disk_folder / f"restored-{reading}", silent)
                    found = content(disk_folder / f"restored-{reading}")["one"]
                number = found["a"][0]
                assert found["a"] == found["b"] == (number, f"{number} ")
                assert found["filler"] == (number, f"{number} " * 30_000)
                assert number >= newest
                newest = number
        finally:
            writer.kill()
    assert len(segments) > FILES_MAX, "the log's files were reused all the time"


_HOLDS_LOCKS = """
import os, signal, sys
from pynun.storage.wal.reader import LogReader
folder = os.open(sys.argv[1], os.O_RDONLY)
with LogReader(folder):
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_reader_that_is_stopped_does_not_stop_the_server(server: Server) -> None:
    """With SIGSTOP it keeps its locks: the server makes other files in place of those that it reads."""
    create_database(server, "d")
    with _stopped_reader(server.data_dir):
        before = {path.name: path.stat().st_ino for path in server.data_dir.glob(GLOB)}
        value = "x" * 500_000
        for number in range(60):
            assert http_post(server.http, f"use-db d pwd; set k{number % 3} {number}{value}") == "empty;empty"
        after = {path.name: path.stat().st_ino for path in server.data_dir.glob(GLOB)}
        assert any(after[name] != inode for name, inode in before.items())
        assert content(server.data_dir)["d"]["k2"] == (19, f"59{value}")
    server.kill()
    server.start()
    assert content(server.data_dir)["d"]["k2"] == (19, f"59{value}")


def test_on_a_full_disk_a_reader_that_is_stopped_has_changes_refused_and_loses_none(disk_folder: Path) -> None:
    """No file is there for the log, and none can be made, until the reader goes on."""
    with small_disk(disk_folder / "disk", "64m") as disk, Server(disk / "dbs") as server:
        create_database(server, "d", then="set k0 first")
        with tcp_session(server, "d") as client:
            with _stopped_reader(server.data_dir):
                fill(disk / "filler")
                stored = 0
                while (answer := client.ask(f"set k0 {stored + 1}{'x' * 300_000}")) == [OK]:
                    stored += 1
                    assert stored < 200, "the disk is not full"
                assert answer == ["error not stored: No space left on device \n"]
                assert stored > 5
                assert client.ask("get k0") == [f"value {stored}{'x' * 300_000}\n", OK]
            wait_until(lambda: client.ask("set k0 last") == [OK])
        server.kill()
        server.start()
        assert http_post(server.http, "use-db d pwd; get k0; set k0 x") == "empty;value last\n;empty"


@contextlib.contextmanager
def _stopped_reader(folder: Path) -> Iterator[None]:
    reader = subprocess.Popen(
        [sys.executable, "-c", _HOLDS_LOCKS, str(folder)], stdout=subprocess.PIPE, env=clean_environment({})
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            reader.send_signal(signal.SIGKILL)


def test_a_server_that_was_stopped_for_a_while_goes_on(server: Server, disk_folder: Path) -> None:
    """Also while it was stopped, its data can be read; and no other server gets it."""
    create_database(server, "d", then="set k before")
    server.send_signal(signal.SIGSTOP)
    assert content(server.data_dir)["d"]["k"] == (0, "before")
    back_up(server.data_dir, disk_folder / "a.backup")
    with pytest.raises(StartError, match="is in use by another nun-db server"):
        LmdbStore(server.data_dir)
    server.send_signal(signal.SIGCONT)
    assert http_post(server.http, "use-db d pwd; set k after; get k") == "empty;empty;value after\n"
    assert content(server.data_dir)["d"]["k"] == (1, "after")


def test_a_removed_log_file_is_told_and_nothing_is_lost(server: Server) -> None:
    create_database(server, "d", then="set k v")
    (server.data_dir / "log-02.wal").unlink()
    line = server.wait_output("under the running server")
    assert "log-02.wal was removed from the data folder under the running server" in line
    assert "No data is lost: start the server again" in line
    assert "not stored: log-02.wal was removed" in http_post(server.http, "use-db d pwd; set k x")
    assert server.stop() == 1
    server.start()
    assert http_post(server.http, "use-db d pwd; get k; set k x") == "empty;value v\n;empty"
