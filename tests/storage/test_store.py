"""The data folder: what is opened, what is refused and then left as it was, growing, and coming back."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import lmdb
import pytest

from pynun.engine.overlay import Batch, Entry
from pynun.errors import DamageError, MapFullError, StartError, StorageError
from pynun.storage import environment, schema
from pynun.storage.store import LmdbStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = b"\0\0\0\1k"


@pytest.fixture(name="folder")
def _folder(disk_folder: Path) -> Path:
    return disk_folder / "dbs"


@pytest.fixture(name="store")
def _store(folder: Path) -> Iterator[LmdbStore]:
    store = LmdbStore(folder)
    yield store
    store.close()


def batch_of(revision: int, **entries: str) -> Batch:
    """A batch of keys of one database, all with version 0."""
    batch = Batch(revision)
    batch.entries.update({b"\0\0\0\1" + name.encode(): Entry(0, text) for name, text in entries.items()})
    return batch


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the locks, byte by byte."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("lock.mdb", schema.LOCK_FILE)
    }


def refused(folder: Path) -> str:
    """Why the folder is not opened; nothing in it must change."""
    before = contents(folder)
    with pytest.raises(StartError) as caught:
        LmdbStore(folder)
    assert contents(folder) == before
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


# --- new and again ---------------------------------------------------------------------------------------------


def test_a_missing_folder_is_made_for_its_owner_alone(disk_folder: Path) -> None:
    folder = disk_folder / "some" / "where" / "dbs"
    LmdbStore(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_new_folder_begins_at_zero(store: LmdbStore) -> None:
    assert (store.revision, store.operations) == (0, 0)
    assert store.scan(b"", b"", 10) == ([], None, True)


def test_opened_again_it_has_everything(folder: Path) -> None:
    store = LmdbStore(folder)
    store.write(batch_of(1, a="one"), operations=5)
    store.write(batch_of(2, b="two"), operations=7)
    store.close()
    again = LmdbStore(folder)
    assert (again.revision, again.operations) == (2, 7)
    assert again.get(b"\0\0\0\1a") == Entry(0, "one")
    assert again.get(b"\0\0\0\1b") == Entry(0, "two")
    again.close()


def test_the_whole_engine_comes_back_from_the_file(folder: Path) -> None:
    # The format itself: a change of it that forgets its number fails here.
    store = LmdbStore(folder)
    store.write(batch_of(3, k="value"), operations=4)
    long_key = b"\0\0\0\1" + b"k" * 600
    batch = Batch(4)
    batch.entries[long_key] = Entry(-2, "v")
    store.write(batch, operations=4)
    store.close()
    with lmdb.open(str(folder), max_dbs=2, readonly=True, lock=False) as environment:
        meta, data = (environment.open_db(name, create=False) for name in (b"meta", b"data"))
        with environment.begin() as transaction:
            notes = dict(transaction.cursor(meta))
            stored = dict(transaction.cursor(data))
    log_id, is_in_use = struct.unpack(">16sB", notes.pop(b"log"))
    assert any(log_id)
    assert is_in_use == 0
    assert notes == {
        b"format": b"\0\0\0\3",
        b"state": struct.pack(">QQ", 4, 4),
        b"checkpoint": struct.pack(">Q", 4),
    }
    assert stored.pop(KEY) == struct.pack(">q", 0) + b"value"
    ((key, value),) = stored.items()
    assert key[:479] == long_key[:478] + b"\xff"
    assert len(key) == 511
    assert value == struct.pack(">qI", -2, 604) + long_key + b"v"


# --- refused ---------------------------------------------------------------------------------------------------


def _set_format(folder: Path, value: bytes) -> None:
    LmdbStore(folder).close()
    with lmdb.open(str(folder), max_dbs=2) as environment:
        meta = environment.open_db(schema.META_DATABASE)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.put(schema.FORMAT_KEY, value)


@pytest.mark.parametrize("number", [schema.FORMAT + 1, schema.FORMAT + 1000, 2**32 - 1])
def test_a_newer_format_is_refused(folder: Path, number: int) -> None:
    _set_format(folder, schema.encode_format(number))
    message = refused(folder)
    assert f"format {number}, newer than this program's {schema.FORMAT}" in message
    assert "nothing was changed" in message


def test_a_format_that_is_no_number_is_refused(folder: Path) -> None:
    _set_format(folder, b"what")
    assert "newer" in refused(folder)
    _set_format_raw(folder, b"longer than four bytes")
    assert "is not a pynun data file" in refused(folder)


def _set_format_raw(folder: Path, value: bytes) -> None:
    with lmdb.open(str(folder), max_dbs=2) as environment:
        meta = environment.open_db(schema.META_DATABASE)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.put(schema.FORMAT_KEY, value)


@pytest.mark.parametrize("name", [schema.FORMAT_KEY, schema.STATE_KEY])
def test_a_file_without_format_or_state_is_refused(folder: Path, name: bytes) -> None:
    LmdbStore(folder).close()
    with lmdb.open(str(folder), max_dbs=2) as environment:
        meta = environment.open_db(schema.META_DATABASE)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.delete(name)
    assert "is not a pynun data file" in refused(folder)


@pytest.mark.parametrize(
    "data",
    [b"hello", b"hello" * 1000, bytes(100), bytes(65536), os.urandom(65536)],
    ids=["a word", "text", "few zeros", "zeros", "noise"],
)
def test_a_file_of_something_else_is_refused(folder: Path, data: bytes) -> None:
    folder.mkdir()
    (folder / schema.DATA_FILE).write_bytes(data)
    message = refused(folder)
    assert schema.DATA_FILE in message
    assert "left untouched" in message


def test_an_lmdb_file_of_another_program_is_refused(folder: Path) -> None:
    folder.mkdir()
    with lmdb.open(str(folder), max_dbs=2) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"their key", b"their value")
    assert "is not a pynun data file" in refused(folder)


@pytest.mark.parametrize("names", [(b"theirs",), (b"meta",), (b"data",), (b"meta", b"data"), (b"a", b"b", b"c")])
def test_an_lmdb_file_with_databases_of_another_program_is_refused(folder: Path, names: tuple[bytes, ...]) -> None:
    folder.mkdir()
    with lmdb.open(str(folder), max_dbs=3) as environment:
        for name in names:
            database = environment.open_db(name)
            with environment.begin(write=True, db=database) as transaction:
                transaction.put(b"their key", b"their value")
    assert "is not a pynun data file" in refused(folder)


def test_an_lmdb_file_with_a_plain_key_of_our_database_s_name_is_refused(folder: Path) -> None:
    folder.mkdir()
    with lmdb.open(str(folder), max_dbs=2) as environment, environment.begin(write=True) as transaction:
        transaction.put(schema.META_DATABASE, b"plain")
    assert "is not a pynun data file" in refused(folder)


def test_a_folder_that_is_open_is_refused_to_the_next(folder: Path, store: LmdbStore) -> None:
    store.write(batch_of(1, k="v"), operations=1)
    message = refused(folder)
    assert f"in use by another nun-db server (process {os.getpid()})" in message
    assert "NUN_DBS_DIR" in message
    assert store.get(KEY) == Entry(0, "v")
    store.write(batch_of(2, k="w"), operations=2)


def test_another_process_is_refused_too(folder: Path, store: LmdbStore) -> None:
    program = (
        "import sys, pathlib; from pynun.errors import StartError; from pynun.storage.store import LmdbStore\n"
        "try: LmdbStore(pathlib.Path(sys.argv[1]))\n"
        "except StartError as error: print(error)"
    )
    child = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert f"(process {os.getpid()})" in child.stdout
    assert store.revision == 0


def test_a_folder_that_was_given_back_is_opened(folder: Path) -> None:
    for _ in range(3):
        LmdbStore(folder).close()


def test_a_refused_folder_is_given_back(folder: Path) -> None:
    _set_format(folder, schema.encode_format(schema.FORMAT + 1))
    refused(folder)
    _set_format_raw(folder, schema.encode_format(schema.FORMAT))
    LmdbStore(folder).close()


def test_a_file_in_the_folder_s_place_is_refused(disk_folder: Path) -> None:
    (disk_folder / "dbs").write_text("mine", encoding="utf-8")
    for folder in (disk_folder / "dbs", disk_folder / "dbs" / "below"):
        with pytest.raises(StartError, match="a file is in its place; name a folder"):
            LmdbStore(folder)
    assert (disk_folder / "dbs").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(disk_folder: Path) -> None:
    folder = disk_folder / "dbs"
    folder.mkdir(mode=0o500)
    with pytest.raises(StartError, match="Permission denied"):
        LmdbStore(folder)


# --- room ------------------------------------------------------------------------------------------------------


def test_a_full_map_says_so_keeps_what_it_has_and_takes_more_after_growing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES", (256 * 1024,))
    store = LmdbStore(folder)
    store.write(batch_of(1, k="kept"), operations=1)
    big = batch_of(2, k="new", **{f"k{number}": "x" * 50_000 for number in range(20)})
    grown = 0
    while True:
        try:
            store.write(big, operations=2)
        except MapFullError:
            assert store.get(KEY) == Entry(0, "kept")
            assert store.scan(b"\0\0\0\1", b"", 100)[0] == [b"k"]
            store.grow()
            grown += 1
        else:
            break
    assert grown > 1
    assert store.get(KEY) == Entry(0, "new")
    store.close()
    again = LmdbStore(folder)  # a map smaller than the file is made as large as the file
    assert len(again.scan(b"\0\0\0\1", b"", 100)[0]) == 21
    assert (again.revision, again.operations) == (2, 2)
    again.close()


def test_the_map_is_as_large_as_the_address_space_allows(folder: Path) -> None:
    program = (
        "import resource, sys, pathlib; from pynun.storage.store import LmdbStore\n"
        "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)\n"
        "try: LmdbStore(pathlib.Path(sys.argv[1])).close()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    for limit, answer in ((1 << 33, ""), (1 << 29, "StartError no address space for a memory map")):
        child = subprocess.run(
            [sys.executable, "-c", program, str(folder), str(limit)], capture_output=True, text=True, check=True
        )
        assert child.stdout.startswith(answer)
        assert bool(child.stdout) == bool(answer)


def test_a_write_that_lmdb_refuses_is_trouble_of_the_surroundings(store: LmdbStore) -> None:
    batch = Batch(1)
    batch.entries[b"\0\0\0\1k"] = Entry(0, "v")
    batch.entries[b""] = Entry(0, "LMDB has no empty keys")
    with pytest.raises(StorageError):
        store.write(batch, operations=1)
    assert store.get(KEY) is None
    store.write(batch_of(1, k="v"), operations=1)
    assert store.get(KEY) == Entry(0, "v")


def test_the_three_errors_are_told_apart() -> None:
    assert issubclass(MapFullError, StorageError)
    assert not issubclass(DamageError, StorageError)
