"""What is open is compared with what the paths name, and with what this process wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pynun.engine.overlay import Batch, Entry
from pynun.errors import DamageError, TakenAwayError
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = b"\0\0\0\1key"


@pytest.fixture(name="store")
def _store(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "dbs")) as store:
        _append(store, "before")
        yield store


def _append(store: LmdbStore, text: str, *, is_rescue: bool = False) -> None:
    batch = Batch(store.revision + 1)
    batch.entries[KEY] = Entry(0, text)
    store.log(batch, 1, is_rescue=is_rescue)
    store.logged(batch)


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").rename(path)


def _replace_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    shutil.copytree(folder.with_name("moved"), folder)


def _link_elsewhere(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.with_name("other").mkdir()
    folder.symlink_to(folder.with_name("other"))


def test_a_file_that_grows_during_a_look_was_not_cut(store: LmdbStore) -> None:
    """Another thread writes while the server looks."""
    path = store.folder / schema.DATA_FILE
    failures: list[BaseException] = []
    is_over = threading.Event()

    def look() -> None:
        try:
            while not is_over.is_set():
                store.files.look()
        except DamageError as error:
            failures.append(error)

    looking = threading.Thread(target=look)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        looking.start()
        with path.open("r+b") as file:
            size = path.stat().st_size
            for number in range(1, 10_001):
                os.ftruncate(file.fileno(), size + number)  # as a commit extends it
                store.files.wrote()
    finally:
        is_over.set()
        looking.join()
        sys.setswitchinterval(usual)
    assert not failures


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (lambda folder: (folder / "data.mdb").unlink(), "data.mdb was removed from the data folder"),
        (lambda folder: _replace(folder / "data.mdb"), "data.mdb was replaced by another one"),
        (lambda folder: (folder / "lock.mdb").unlink(), "lock.mdb was removed from the data folder"),
        (lambda folder: _replace(folder / "lock.mdb"), "lock.mdb was replaced by another one"),
        (lambda folder: (folder / "server.lock").unlink(), "server.lock was removed from the data folder"),
        (lambda folder: _replace(folder / "server.lock"), "server.lock was replaced by another one"),
        (shutil.rmtree, "the data folder was removed or moved"),
        (lambda folder: folder.rename(folder.with_name("moved")), "the data folder was removed or moved"),
        (lambda folder: folder.parent.rename(folder.parent.with_name("moved")), "the data folder was removed or moved"),
        (lambda folder: (folder / "log-01.wal").unlink(), "log-01.wal was removed from the data folder"),
        (lambda folder: _replace(folder / "log-04.wal"), "log-04.wal was removed from the data folder"),
        (lambda folder: os.truncate(folder / "log-01.wal", 0), "log-01.wal was cut by another program"),
        (_replace_folder, "the data folder was replaced by another one"),
        (_link_elsewhere, "the data folder was replaced by another one"),
    ],
)
def test_what_is_not_in_its_place_is_named(store: LmdbStore, take: Callable[[Path], object], reason: str) -> None:
    assert store.why_elsewhere() is None
    take(store.folder)
    try:
        assert store.why_elsewhere() == reason
    finally:
        with contextlib.suppress(FileNotFoundError):  # so that it is removed
            store.folder.parent.with_name("moved").rename(store.folder.parent)


def test_nothing_is_noticed_while_it_is_written(store: LmdbStore) -> None:
    for number in range(50):
        _append(store, "x" * number * 1000)
        assert store.files.look() is None
        checkpoint(store, 100)
        assert store.files.look() is None
    store.write(Batch(store.revision + 1), 1)
    assert store.files.look() is None
    store.grow()
    assert store.files.look() is None


def test_without_its_log_s_file_everything_is_saved_in_the_data(store: LmdbStore) -> None:
    (store.folder / "log-01.wal").unlink()
    with pytest.raises(TakenAwayError, match=r"log-01\.wal was removed from the data folder"):
        _append(store, "after")
    store.move(1, is_rescue=True)
    store.moved()
    store.retire_log()
    store.close()
    with contextlib.closing(LmdbStore(store.folder)) as again:
        assert again.get(KEY) == Entry(0, "before")
    assert (store.folder / "log-01.wal").exists()


def test_a_file_without_a_name_is_written_only_to_be_saved(store: LmdbStore) -> None:
    (store.folder / schema.DATA_FILE).unlink()
    with pytest.raises(TakenAwayError, match=r"data\.mdb was removed from the data folder"):
        _append(store, "after")
    with pytest.raises(TakenAwayError):
        checkpoint(store, 1)
    assert store.get(KEY) == Entry(0, "before")
    _append(store, "after", is_rescue=True)
    assert store.get(KEY) == Entry(0, "after")


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_file_that_somebody_else_wrote_is_not_written(store: LmdbStore, disk_folder: Path, is_cut: bool) -> None:
    data_file = store.folder / schema.DATA_FILE
    for _ in range(5):  # as large as it gets
        _append(store, "again")
        checkpoint(store, 1)
    shutil.copy(data_file, disk_folder / "copy")
    _append(store, "after")
    checkpoint(store, 1)
    if is_cut:
        os.truncate(data_file, data_file.stat().st_size - 4096)
    else:
        shutil.copy(disk_folder / "copy", data_file)
    found = data_file.read_bytes()
    told = pytest.raises(DamageError, match="cut by another" if is_cut else "written by another")
    with told:
        store.files.look()
    with told:
        _append(store, "more")
    with told:
        checkpoint(store, 1)
    assert data_file.read_bytes() == found


def test_a_second_store_is_refused_without_the_lock_files(store: LmdbStore) -> None:
    for name in (schema.LOCK_FILE, schema.READERS_FILE):
        (store.folder / name).unlink()
    with pytest.raises(Exception, match=rf"in use by another nun-db server \(process {os.getpid()}\)"):
        LmdbStore(store.folder)
