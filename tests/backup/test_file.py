"""The file of a backup: what is in it, what damages are found, what is refused, and that nothing else is touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from pynun.backup.file_format import TRAILER_BYTES, verify_backup
from pynun.backup.restore import restore_backup
from pynun.errors import BackupError, NoBackupError, StartError, TransferError
from pynun.storage import schema
from pynun.storage.files import atomic_file
from pynun.storage.files.atomic_file import AtomicFile, partial_name
from pynun.storage.snapshot import snapshot
from pynun.storage.store import LmdbStore
from tests.backup.data import KEYS_EACH, LONG_KEY, NAMES, back_up, changed_batch, contents, make_folder, silent
from tests.cli.command import run
from tools.clients.server import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIPS = 300


@pytest.fixture(name="folder")
def _folder(disk_folder: Path) -> Path:
    return make_folder(disk_folder / "dbs")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A backup that is made once: each test gets a copy of it."""
    with new_folder() as folder:
        back_up(make_folder(folder / "dbs"), folder / "the.backup")
        yield folder / "the.backup"


@pytest.fixture(name="file")
def _file(disk_folder: Path, folder: Path, made: Path) -> Path:  # beside the folder
    return Path(shutil.copy2(made, disk_folder))


def refused(file: Path) -> str:
    """Why a backup is not whole; the file must not change."""
    before = file.read_bytes()
    with pytest.raises(BackupError) as caught:
        verify_backup(file, silent)
    assert file.read_bytes() == before
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


# --- what is in it ---------------------------------------------------------------------------------------------


def test_it_says_what_is_in_it(disk_folder: Path, folder: Path) -> None:
    file = disk_folder / "the.backup"
    made = back_up(folder, file)
    assert (made.databases, made.keys, made.revision) == (3, 3 * KEYS_EACH, 3)
    assert made.bytes == file.stat().st_size
    verified = verify_backup(file, silent)
    assert verified.counts.databases == dict.fromkeys(NAMES, KEYS_EACH)
    assert verified.counts.conflicts == 3
    assert verified.sha256 == made.sha256
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in disk_folder.iterdir()) == ["dbs", "the.backup"]


def test_a_person_can_read_the_trailer(file: Path) -> None:
    lines = file.read_bytes()[-TRAILER_BYTES:].decode("ascii").split("\n")
    assert lines[0] == "pynun backup 1"
    told = json.loads(lines[1])
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", told.pop("made"))
    assert told.pop("version")
    assert told == {
        "format": schema.FORMAT,
        "data_bytes": file.stat().st_size - TRAILER_BYTES,
        "revision": 3,
        "databases": 3,
        "keys": 3 * KEYS_EACH,
    }
    assert re.fullmatch(r"sha256 [0-9a-f]{64}", lines[2])
    assert lines[3] == ""


def test_lmdb_alone_can_read_it(file: Path) -> None:
    with lmdb.open(str(file), subdir=False, readonly=True, lock=False, max_dbs=2) as environment:
        data = environment.open_db(schema.DATA_DATABASE, create=False)
        with environment.begin(db=data) as transaction:
            assert transaction.stat(data)["entries"] == 3 * KEYS_EACH + 3 + 3 + 1


def test_removed_data_is_not_in_it(disk_folder: Path, folder: Path) -> None:
    store = LmdbStore(folder)
    batches = [(4, "secret-that-is-removed" * 500), (5, "short")]
    for revision, text in batches:
        store.write(changed_batch(revision, text), operations=revision)
    store.close()
    assert b"secret-that-is-removed" in (folder / schema.DATA_FILE).read_bytes()
    file = disk_folder / "the.backup"
    back_up(folder, file)
    assert b"secret-that-is-removed" not in file.read_bytes()


# --- damage ----------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(file: Path) -> None:
    size = file.stat().st_size
    drawn = random.Random(0)
    bits = [drawn.randrange(8 * size) for _ in range(FLIPS)]
    bits += range(8 * (size - TRAILER_BYTES), 8 * size, 17)  # the trailer; 17: each bit of a byte has its turn
    bits += range(8 * (size - 74), 8 * size, 3)  # its checksum
    with file.open("r+b", buffering=0) as opened:
        for bit in bits:
            byte = os.pread(opened.fileno(), 1, bit // 8)[0]
            os.pwrite(opened.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)
            with pytest.raises(BackupError):
                verify_backup(file, silent)
            os.pwrite(opened.fileno(), bytes([byte]), bit // 8)
    verify_backup(file, silent)


def test_a_bit_of_a_value_is_called_damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    place = data.find(b"value of zwei")
    assert place > 0
    data[place] ^= 1
    file.write_bytes(data)
    assert "is damaged: its checksum does not match" in refused(file)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_called_so(file: Path, share: float) -> None:
    os.truncate(file, int(file.stat().st_size * share))
    told = refused(file)
    assert "its end is missing" in told or ("is not a nun-db backup" in told and file.stat().st_size < 500)


def test_a_byte_too_many_or_too_few_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"\n", whole[1:], b"x" + whole, whole[:5000] + whole[5001:]):
        file.write_bytes(damaged)
        refused(file)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000), b"PK\x03\x04" * 5000])
def test_another_program_s_file_is_called_so(disk_folder: Path, content: bytes) -> None:
    file = disk_folder / "other.zip"
    file.write_bytes(content)
    assert "is not a nun-db backup: give a file made by nun-db backup" in refused(file)


def test_a_missing_file_and_a_folder(disk_folder: Path) -> None:
    for path, reason in ((disk_folder / "no", errno.ENOENT), (disk_folder, errno.EISDIR)):
        with pytest.raises(BackupError, match=re.escape(f"{path} can't be read: {os.strerror(reason)}")):
            verify_backup(path, silent)


@pytest.mark.parametrize("step", ["reading", "checking the entries"])
def test_a_file_removed_while_it_is_checked_is_not_called_damaged(file: Path, step: str) -> None:
    told = set()

    def remove_at(what: str, *_: int) -> None:
        told.add(what)
        if what == step:
            file.unlink(missing_ok=True)

    with pytest.raises(NoBackupError, match="was removed while it was checked"):
        verify_backup(file, remove_at)
    assert step in told


def test_damage_from_before_the_backup_is_found_though_its_checksum_is_right(disk_folder: Path, folder: Path) -> None:
    """What can't be decoded: somebody's own program wrote to the folder."""
    with lmdb.open(str(folder), max_dbs=2) as environment:
        data = environment.open_db(schema.DATA_DATABASE)
        with environment.begin(write=True, db=data) as transaction:
            transaction.put(b"\0\0\0\1broken", b"\0\0\0\0\0\0\0\0\xff\xfe")
    with pytest.raises(BackupError, match="an entry can't be read"):
        back_up(folder, disk_folder / "the.backup")
    assert [path.name for path in disk_folder.iterdir()] == ["dbs"]


def test_a_cut_data_file_kills_nobody_and_makes_no_backup(disk_folder: Path, folder: Path) -> None:
    data = folder / schema.DATA_FILE
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(BackupError, match=f"the data in {folder} is damaged"):
        back_up(folder, disk_folder / "the.backup")
    assert [path.name for path in disk_folder.iterdir()] == ["dbs"]


# --- newer -----------------------------------------------------------------------------------------------------


def test_newer_data_is_refused(disk_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = disk_folder / "the.backup"
    back_up(folder, file)
    monkeypatch.setattr(schema, "FORMAT", 0)
    told = refused(file)
    assert "has format 3, newer than this program's 0" in told
    with pytest.raises(BackupError, match="newer than"):
        restore_backup(file, disk_folder / "new", silent)
    assert not (disk_folder / "new").exists()


def test_a_newer_trailer_is_refused(file: Path) -> None:
    data = file.read_bytes()[:-72].replace(b"pynun backup 1\n", b"pynun backup 2\n")
    file.write_bytes(data + f"sha256 {hashlib.sha256(data).hexdigest()}\n".encode())
    assert "was made by a newer version of this program" in refused(file)


@pytest.mark.parametrize(
    ("before", "after"), [(b'"format": 3,', b'"format":"3",'), (b'"version": "', b'"version": ["'), (b"{", b"[" * 900)]
)
def test_a_trailer_that_makes_no_sense_is_called_so(file: Path, before: bytes, after: bytes) -> None:
    """Also by somebody who made its checksum right."""
    data = file.read_bytes()[:-72]
    head, text = data[: -TRAILER_BYTES + 72], data[-TRAILER_BYTES + 72 :].rstrip()
    text = text.replace(before, after, 1)
    if b'["' in text:
        text = text.replace(b'",', b'"],', 2).replace(b'"],', b'",', 1)
    data = head + text[: TRAILER_BYTES - 73].ljust(TRAILER_BYTES - 73) + b"\n"
    file.write_bytes(data + f"sha256 {hashlib.sha256(data).hexdigest()}\n".encode())
    assert "its trailer is invalid" in refused(file)


@pytest.mark.parametrize("count", ["revision", "databases", "keys"])
def test_less_than_was_written_is_called_damage(disk_folder: Path, file: Path, count: str) -> None:
    """Although the checksum is right: the writer counted what the file ought to hold."""
    data = re.sub(rb'("%b": )[0-9]' % count.encode(), rb"\g<1>9", file.read_bytes()[:-72])
    file.write_bytes(data + f"sha256 {hashlib.sha256(data).hexdigest()}\n".encode())
    assert "its contents do not match its trailer" in refused(file)
    with pytest.raises(BackupError, match="its contents do not match its trailer"):
        restore_backup(file, disk_folder / "new", silent)
    assert not (disk_folder / "new").exists()


# --- the name and what is left behind --------------------------------------------------------------------------


def test_a_file_that_is_there_stays(folder: Path, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(BackupError, match="already exists: choose another name, or use --replace"):
        back_up(folder, file)
    assert file.read_bytes() == before
    with pytest.raises(BackupError, match="is a folder: give the name"):
        back_up(folder, folder)


def test_no_data_is_told(disk_folder: Path) -> None:
    (disk_folder / "empty").mkdir()
    for folder in (disk_folder / "empty", disk_folder / "missing", disk_folder / "a file"):
        with pytest.raises(BackupError, match=rf"there is no data in {folder} \(data.mdb is missing or empty\)"):
            back_up(folder, disk_folder / "the.backup")
        (disk_folder / "a file").touch()
    assert not (disk_folder / "the.backup").exists()


def test_a_place_that_can_t_be_written_is_told(disk_folder: Path, folder: Path) -> None:
    with pytest.raises(BackupError, match=r"can't be written \(No such file or directory\)"):
        back_up(folder, disk_folder / "missing" / "the.backup")


def test_what_a_killed_process_left_is_removed(disk_folder: Path, folder: Path) -> None:
    left = disk_folder / partial_name("the.backup")
    left.write_bytes(b"half of a backup")
    back_up(folder, disk_folder / "the.backup")
    assert not left.exists()
    verify_backup(disk_folder / "the.backup", silent)


def test_what_another_process_writes_is_left_alone(disk_folder: Path, folder: Path) -> None:
    file = disk_folder / "the.backup"
    with AtomicFile(file) as other:
        with pytest.raises(BackupError, match="another process is writing"):
            back_up(folder, file)
        other.write(b"complete")
        other.finish(is_replacing=False)
    assert file.read_bytes() == b"complete"
    assert not other.path.exists()


@pytest.mark.parametrize("has_links", [True, False])
def test_what_was_made_meanwhile_is_not_overwritten(
    disk_folder: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:  # as on a disk with FAT
        monkeypatch.setattr(os, "link", no_links)
    file = disk_folder / "x"
    with AtomicFile(file) as partial:
        file.write_text("precious")
        with pytest.raises(FileExistsError):
            partial.finish(is_replacing=False)
        assert (file.read_text(), partial.is_finished) == ("precious", False)
    assert [path.name for path in disk_folder.iterdir()] == ["x"]
    for is_replacing in (True, False):
        with AtomicFile(file) as partial:
            partial.write(b"new")
            partial.finish(is_replacing=is_replacing)
        assert file.read_text() == "new"
        assert [path.name for path in disk_folder.iterdir()] == ["x"]
        file.unlink()


def no_links(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("name", schema.FILES)
def test_a_link_in_place_of_data_is_not_followed(disk_folder: Path, folder: Path, name: str) -> None:
    """Root may open a folder that belongs to another user."""
    target = disk_folder / "target"
    if (folder / name).exists():
        (folder / name).rename(target)
    else:
        target.touch()
    before = target.read_bytes()
    (folder / name).symlink_to(target)
    with pytest.raises(StartError, match=f"can't be used: {name} is a symbolic link, which is not followed"):
        LmdbStore(folder)
    with pytest.raises(TransferError, match=f"can't be read: {name} is a symbolic link"), snapshot(folder):
        pass
    with pytest.raises(BackupError, match=f"{name} is a symbolic link"):
        back_up(folder, disk_folder / "the.backup")
    assert target.read_bytes() == before


def test_a_partial_file_is_private_from_its_first_moment(disk_folder: Path) -> None:
    before = os.umask(0)
    try:
        with AtomicFile(disk_folder / "x") as partial:
            assert os.fstat(partial.descriptor).st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert list(disk_folder.iterdir()) == []
    assert atomic_file.partial_name("x") == ".x.partial"


# --- restored --------------------------------------------------------------------------------------------------


def test_a_restored_folder_has_everything(disk_folder: Path, folder: Path, file: Path) -> None:
    new = disk_folder / "elsewhere" / "dbs"
    new.parent.mkdir()
    restored = restore_backup(file, new, silent)
    assert restored.kept is None
    assert restored.verified.counts.keys == 3 * KEYS_EACH
    assert contents(new) == contents(folder)
    assert {name: entry.text for name, entry in contents(new).items()} == {name: name for name in NAMES}
    assert new.stat().st_mode & 0o777 == 0o700
    assert (new / schema.DATA_FILE).stat().st_mode & 0o777 == 0o600
    assert (new / schema.DATA_FILE).stat().st_size == file.stat().st_size - TRAILER_BYTES
    store = LmdbStore(new)
    assert (store.revision, store.operations) == (3, 3)
    assert store.get(b"\0\0\0\1" + LONG_KEY.encode()) is not None
    store.write(changed_batch(4, "goes on"), operations=4)
    store.close()


def test_data_that_is_there_stays_unless_told(disk_folder: Path, folder: Path, file: Path) -> None:
    store = LmdbStore(folder)
    store.write(changed_batch(4, "newer than the backup"), operations=4)
    store.close()
    before = (folder / schema.DATA_FILE).read_bytes()
    with pytest.raises(BackupError, match="already has data, which was left untouched"):
        restore_backup(file, folder, silent)
    assert (folder / schema.DATA_FILE).read_bytes() == before
    restored = restore_backup(file, folder, silent, is_replacing=True)
    assert restored.kept is not None
    assert restored.kept.read_bytes() == before
    assert re.fullmatch(r"data-before-[0-9]{8}T[0-9]{6}Z\.mdb", restored.kept.name)
    store = LmdbStore(folder)
    assert store.get(b"\0\0\0\1changed") is None
    store.close()


@pytest.mark.parametrize("is_replacing", [False, True])
def test_a_damaged_backup_changes_nothing(disk_folder: Path, folder: Path, file: Path, is_replacing: bool) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    target = folder if is_replacing else disk_folder / "new"
    with pytest.raises(BackupError, match="is damaged: its checksum"):
        restore_backup(file, target, silent, is_replacing=is_replacing)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {**after, schema.LOCK_FILE: b""} == {**before, schema.LOCK_FILE: b""}
    assert not (disk_folder / "new").exists()


def test_a_folder_in_use_is_refused(folder: Path, file: Path) -> None:
    store = LmdbStore(folder)
    try:
        with pytest.raises(BackupError, match=rf"in use by another nun-db server \(process {os.getpid()}\)"):
            restore_backup(file, folder, silent, is_replacing=True)
    finally:
        store.close()


def test_a_folder_that_is_being_read_is_refused(folder: Path, file: Path) -> None:
    with lmdb.open(str(folder), readonly=True) as environment:
        # POSIX locks are those of a process: the refusal must come to another one.
        result = run("restore", "--replace", "--data-dir", str(folder), str(file))
        assert result.code == 1
        assert "another program is reading the data" in result.errors
        assert environment.stat()["entries"] == 2
    restore_backup(file, folder, silent, is_replacing=True)


def test_a_link_in_the_folder_does_not_lead_elsewhere(disk_folder: Path, folder: Path, file: Path) -> None:
    """The restoring user may be root, and the folder another's."""
    victim = disk_folder / "victim"
    for name in (schema.LOCK_FILE, partial_name(schema.DATA_FILE)):
        victim.write_text("precious", encoding="utf-8")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
        with pytest.raises(BackupError, match="symbolic link"):
            restore_backup(file, folder, silent, is_replacing=True)
        assert victim.read_text(encoding="utf-8") == "precious"
        (folder / name).unlink()


def test_a_second_name_of_a_killed_restore_is_removed(folder: Path, file: Path) -> None:
    left = folder / "data-before-20200101T000000Z.mdb"
    os.link(folder / schema.DATA_FILE, left)
    restored = restore_backup(file, folder, silent, is_replacing=True)
    assert not left.exists()
    assert restored.kept is not None
    assert restored.kept.exists()


def test_the_next_to_open_the_data_removes_what_a_killed_restore_left(folder: Path, file: Path) -> None:
    """Else what is written then would also be in what is said to be the data from before."""
    restored = restore_backup(file, folder, silent, is_replacing=True)
    left = folder / "data-before-20200101T000000Z.mdb"
    os.link(folder / schema.DATA_FILE, left)
    copy = folder / partial_name(schema.DATA_FILE)
    copy.write_bytes(b"half")
    LmdbStore(folder).close()
    assert not left.exists()
    assert not copy.exists()
    assert restored.kept is not None
    assert restored.kept.exists()
    assert (folder / schema.DATA_FILE).stat().st_nlink == 1


@pytest.mark.parametrize("is_replacing", [False, True])
def test_data_that_is_in_place_is_said_to_be(
    disk_folder: Path, folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch, is_replacing: bool
) -> None:
    target = folder if is_replacing else disk_folder / "new"
    synced = os.fsync
    before = (folder / schema.DATA_FILE).stat().st_ino if is_replacing else None

    def fail_at_the_end(descriptor: int) -> None:
        data = target / schema.DATA_FILE
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and data.exists() and data.stat().st_ino != before:
            raise OSError(errno.EIO, "Input/output error")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", fail_at_the_end)
    with pytest.raises(BackupError, match=re.escape(f"the new data is in {target}")) as caught:
        restore_backup(file, target, silent, is_replacing=is_replacing)
    assert ("the old data is kept as" in str(caught.value)) == is_replacing
    monkeypatch.undo()
    assert contents(target).keys() == set(NAMES)
