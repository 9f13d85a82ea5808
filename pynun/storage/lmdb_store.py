"""The LMDB environment: opening it safely, reading it, and writing one batch.

Always opened with LMDB's full sync, in which a commit is on disk when it returns and no power loss can corrupt the
file (LMDB manual, MDB_NOSYNC). Reads come from the loop's thread, each in a transaction of its own that ends before
anything else runs, so that none pins old pages; the one writer is whatever thread calls `write`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import threading
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import lmdb

from pynun.errors import BackupError, DamageError, MapFullError, StartError, StorageError
from pynun.storage import schema
from pynun.storage.partial_file import partial_name, remove_leftover
from pynun.storage.walk import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pynun.engine.changes import Batch, Entry

MAP_BYTES: Final = (1 << 40, 1 << 36, 1 << 32, 1 << 30)
"""Sizes of the memory map to try, largest first: it is address space, not memory or disk. Where a limit on address
space refuses the first, the map grows by doubling when it is full."""

KEPT_NAME: Final = "data-before-%Y%m%dT%H%M%SZ.mdb"
"""What a restore makes of the data that it replaces; the time is that of the restore, UTC."""
KEPT_GLOB: Final = "data-before-*.mdb"

READERS_MAX: Final = 16
"""Readers at once, in all processes. Whoever comes first makes the table: so everybody asks for as many."""

_FULL_BYTES: Final = 1 << 20
"""A disk with less room than this counts as full when a write failed."""

_NO_ROOM: Final = os.strerror(errno.ENOSPC)

_READERS_BYTES_MAX: Final = 4096
"""What the table of readers may take on the disk."""

DAMAGE: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.InvalidError, lmdb.BadTxnError)
"""What LMDB says when the file, and not the room for it, is the trouble."""


class Slice(NamedTuple):
    """What was found in a part of the data."""

    totals: dict[int, tuple[int, int]]
    """Keys and bytes by the identifier of a database; the bytes with those of its index of conflicts."""
    names: dict[int, str]
    """Names of databases by their identifier, as far as they were in this part."""
    following: bytes | None
    """Where the next part begins; None at the end."""


class Copy(NamedTuple):
    """All entries under one prefix, to be put under another."""

    source: bytes
    target: bytes
    is_over: bool
    """Whether they win over entries that are there."""


class LmdbStore:
    """The data folder, opened. Only one process at a time has it."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, or make it. Raises StartError with what is wrong and what to do."""
        self.folder = folder
        self._reading_in_thread = threading.Lock()  # the map must not move meanwhile (LMDB, mdb_env_set_mapsize)
        self._lock = lock_folder(folder)
        try:
            _end_killed_restore(folder)
            self._environment = _open_environment(folder)
            try:
                self._open_databases()
            except BaseException:
                self._environment.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _open_databases(self) -> None:
        environment = self._environment
        try:
            if self._looks_cut() and not is_whole(self.folder):
                raise StartError(_damaged(self.folder, StorageError("its end is missing")))
            if environment.stat()["entries"] == 0:
                with environment.begin(write=True) as transaction:
                    meta = environment.open_db(schema.META_DATABASE, txn=transaction)
                    environment.open_db(schema.DATA_DATABASE, txn=transaction)
                    transaction.put(schema.FORMAT_KEY, schema.encode_format(schema.FORMAT), db=meta)
                    transaction.put(schema.STATE_KEY, schema.encode_state(0, 0), db=meta)
            self._meta = environment.open_db(schema.META_DATABASE, create=False)
            with environment.begin(db=self._meta) as transaction:
                format_value = transaction.get(schema.FORMAT_KEY)
                state_value = transaction.get(schema.STATE_KEY)
            if format_value is None or state_value is None:
                raise StartError(_not_ours(self.folder))
            number = schema.decode_format(format_value)
            if number > schema.FORMAT:
                raise StartError(
                    f"the data in {self.folder} has format {number}, newer than this program's {schema.FORMAT}: "
                    "start the version that wrote it, or a newer one (nothing was changed)"
                )
            self._data = environment.open_db(schema.DATA_DATABASE, create=False)
            self.revision, self.operations = schema.decode_state(state_value)
        except (lmdb.NotFoundError, lmdb.IncompatibleError, struct.error):
            raise StartError(_not_ours(self.folder)) from None
        except lmdb.Error as error:
            told = _unusable if reason(error) == _NO_ROOM else _damaged
            raise StartError(told(self.folder, error)) from error

    def _looks_cut(self) -> bool:
        """Whether the file ends before the last page LMDB ever used; that page may be free, and never written."""
        pages = self._environment.info()["last_pgno"] + 1
        return (self.folder / schema.DATA_FILE).stat().st_size < pages * self._environment.stat()["psize"]

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Entry | None:
        """The entry of four bytes and text."""
        with self._environment.begin(db=self._data) as transaction:
            value = transaction.get(schema.stored_key(key))
        return None if value is None else schema.decode_value(key, value)

    def scan(self, start: bytes, position: bytes, count_max: int) -> tuple[list[bytes], bytes | None, bool]:
        """A slice of the keys that begin with `start`: see `pynun.engine.changes.Store.scan`."""
        stored_start = start[: schema.PREFIX_BYTES]
        with self._environment.begin(db=self._data) as transaction, transaction.cursor() as cursor:
            if not cursor.set_range(position[: schema.KEY_BYTES_MAX] or stored_start):
                return [], None, True
            stored = list(islice(cursor.iternext(keys=True, values=False), count_max + 1))
            following = stored.pop() if len(stored) > count_max else None
            if not stored[-1].startswith(stored_start):
                # Stored keys are in order: those of the prefix come first, then the rest is cut at once.
                stored = stored[: _count_with_prefix(stored, stored_start)]
                following = None
            elif following is not None and not following.startswith(stored_start):
                following = None
            long_ones = [name for name in stored if len(name) == schema.KEY_BYTES_MAX and schema.is_long(name)]
            if not long_ones and len(start) <= schema.PREFIX_BYTES:
                return [name[4:] for name in stored], following, True
            full = {name: schema.long_key(transaction.get(name, b"")) for name in long_ones}
        names = [full.get(name, name) for name in stored]
        return [name[4:] for name in names if name.startswith(start)], following, False

    def measure(self, position: bytes, count_max: int) -> Slice:
        """A slice of all that is stored, from `position` on (first b""), by databases. May be called in a thread.

        Raises StorageError.
        """
        totals: dict[int, tuple[int, int]] = {}
        names: dict[int, str] = {}
        following: bytes | None = None
        try:
            with (
                self._reading_in_thread,
                self._environment.begin(db=self._data, buffers=True) as transaction,
                transaction.cursor() as cursor,
            ):
                cursor.set_range(position)
                for count, (key, value) in enumerate(cursor.iternext()):
                    if count == count_max:
                        following = bytes(key)
                        break
                    prefix = int.from_bytes(key[:4], "big")
                    identifier = prefix & ~schema.CONFLICT_BIT
                    keys, stored_bytes = totals.get(identifier, (0, 0))
                    totals[identifier] = keys + (prefix == identifier), stored_bytes + len(key) + len(value)
                    if not prefix and len(key) > 4:
                        whole = schema.long_key(bytes(value)) if schema.is_long(key) else bytes(key)
                        names[schema.decode_value(whole, bytes(value)).version] = whole[4:].decode()
        except lmdb.Error as error:
            raise StorageError(reason(error)) from error
        return Slice(totals, names, following)

    @property
    def entries(self) -> int:
        """How many keys are stored, of all databases and our own."""
        with self._environment.begin() as transaction:
            return int(transaction.stat(self._data)["entries"])

    @property
    def used_bytes(self) -> int:
        """How far the data file has been used so far; pages in it that are free again count too."""
        return int((self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"])

    def measure_database(self, prefix: bytes, position: bytes, count_max: int) -> tuple[int, int, bytes | None]:
        """How large a slice of the entries under `prefix` is: see `pynun.engine.changes.Store.measure_database`."""
        count = size = 0
        with (
            self._environment.begin(db=self._data, buffers=True) as transaction,
            transaction.cursor() as cursor,
        ):
            if not cursor.set_range(position or prefix):
                return 0, 0, None
            for key, value in cursor.iternext():
                if key[: len(prefix)] != prefix:
                    break
                if count == count_max:
                    return count, size, bytes(key)
                count += 1
                size += schema.text_bytes(key, value)
        return count, size, None

    def read_all(self, prefix: bytes) -> Iterator[tuple[bytes, Entry]]:
        """All entries under a prefix, keys without their first four bytes, as they are now.

        Pages that are replaced meanwhile stay in use: not for a server that goes on serving.
        """
        with self._environment.begin(db=self._data) as transaction:
            yield from entries_under(transaction, prefix)

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, batch: Batch, operations: int, copies: Sequence[Copy] = ()) -> None:
        """Make a batch durable, and copies before it; on disk when it returns. Called in a thread.

        Raises StorageError: nothing of it is on disk, and it may be tried again (after `grow`, if it is a
        MapFullError). Raises DamageError: the file can't be relied on.
        """
        try:
            self._write(batch, operations, copies)
        except lmdb.MapFullError:
            raise MapFullError("the memory map of the data is full") from None
        except DAMAGE as error:
            raise DamageError(_damaged(self.folder, error)) from error
        except (lmdb.Error, OSError) as error:
            raise StorageError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        """Why a write failed. LMDB calls one that was cut short by a full disk an input/output error."""
        if shutil.disk_usage(self.folder).free < _FULL_BYTES:
            return os.strerror(errno.ENOSPC)
        return reason(error)

    def grow(self) -> None:
        """Double the memory map. Only while no thread writes. Raises StorageError."""
        try:
            with self._reading_in_thread:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
        except (lmdb.Error, OSError) as error:
            raise StorageError(reason(error)) from error

    def _write(self, batch: Batch, operations: int, copies: Sequence[Copy]) -> None:
        puts: list[tuple[bytes, bytes]] = []
        removals: list[bytes] = []
        for key, entry in sorted(batch.entries.items()):
            if entry is None:
                removals.append(schema.stored_key(key))
            else:
                puts.append((schema.stored_key(key), schema.encode_value(key, entry)))
        with self._environment.begin(write=True, db=self._data) as transaction:
            for copy in copies:
                for key, entry in entries_under(transaction, copy.source):
                    target = copy.target + key
                    stored = schema.stored_key(target)
                    transaction.put(stored, schema.encode_value(target, entry), overwrite=copy.is_over)
            with transaction.cursor() as cursor:
                cursor.putmulti(puts)
            for key in removals:
                transaction.delete(key)
            transaction.put(schema.STATE_KEY, schema.encode_state(batch.revision, operations), db=self._meta)

    def clear_dead_readers(self) -> None:
        """Forget readers in other processes (backups) that were killed: they would keep the file growing."""
        self._environment.reader_check()

    def close(self) -> None:
        """Give the folder back. Everything written is on disk already."""
        self._environment.close()
        os.close(self._lock)


def entries_under(transaction: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, Entry]]:
    """All entries under a prefix of a transaction's database, keys without their first four bytes."""
    with transaction.cursor() as cursor:
        if not cursor.set_range(prefix):
            return
        for stored, value in cast("Iterator[tuple[bytes, bytes]]", cursor.iternext()):
            if not stored.startswith(prefix):
                return
            key = schema.long_key(value) if schema.is_long(stored) else stored
            yield key[4:], schema.decode_value(key, value)


def _count_with_prefix(ordered: list[bytes], prefix: bytes) -> int:
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if ordered[middle].startswith(prefix):
            low = middle + 1
        else:
            high = middle
    return low


def lock_folder(folder: Path) -> int:
    """Make the folder if it is missing and lock it for this process, as long as the returned descriptor is open.

    Raises StartError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Followed, a link would have root, in a restore, overwrite what another user points at.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(folder / schema.LOCK_FILE, flags, 0o600)
    except OSError as error:
        raise StartError(_unusable(folder, error)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StartError(
            f"the data folder {folder} is in use by another nun-db server (process {owner or 'unknown'}): "
            "stop that one first, or choose another folder with NUN_DBS_DIR"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise StartError(_unusable(folder, error)) from None
    return descriptor


def remove_second_names(folder: Path) -> None:
    """Remove what a restore that was killed has left: a second name of the data, beside which it put no new data yet.

    What is written to the data would be in both. The folder must be locked. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        data = (folder / schema.DATA_FILE).lstat()
        for path in folder.glob(KEPT_GLOB) if data.st_nlink > 1 else ():
            if os.path.samestat(path.lstat(), data):
                path.unlink()


def _end_killed_restore(folder: Path) -> None:
    """Raises StartError."""
    try:
        remove_second_names(folder)
    except OSError as error:
        raise StartError(_unusable(folder, error)) from None
    with contextlib.suppress(OSError, BackupError):  # it takes room, and harms nothing
        remove_leftover(folder / partial_name(schema.DATA_FILE))


def _link_in(folder: Path) -> str | None:
    """What is wrong if a file that LMDB would open is a link: root would be led to what another user points at."""
    for name in (schema.DATA_FILE, schema.READERS_FILE):
        if (folder / name).is_symlink():
            return f"{name} is a symbolic link, which is not followed: put the file itself there"
    return None


def _open_environment(folder: Path) -> lmdb.Environment:
    if link := _link_in(folder):
        raise StartError(f"the data folder {folder} can't be used: {link}, or choose another folder with NUN_DBS_DIR")
    if not _has_room_for_readers(folder):
        raise StartError(_unusable(folder, OSError(errno.ENOSPC, _NO_ROOM)))
    for size in MAP_BYTES:
        try:
            return lmdb.open(
                str(folder), map_size=size, max_dbs=2, mode=0o600, max_readers=READERS_MAX, max_spare_txns=2
            )
        except lmdb.MemoryError:
            continue
        except (lmdb.InvalidError, lmdb.VersionMismatchError):
            raise StartError(_not_ours(folder)) from None
        except (lmdb.Error, OSError) as error:
            raise StartError(_unusable(folder, error)) from error
    raise StartError(
        f"no address space for a memory map of the data in {folder}: "
        "raise the limit (ulimit -v) or the memory of the container"
    )


def open_to_read(folder: Path) -> lmdb.Environment:
    """Open data to read it, beside a server or without one. Raises lmdb.Error and StorageError."""
    if link := _link_in(folder):
        raise StorageError(link)
    if not _has_room_for_readers(folder):
        raise StorageError(f"{_NO_ROOM} for {schema.READERS_FILE}: make room there")
    for size in MAP_BYTES:
        with contextlib.suppress(lmdb.MemoryError):
            return lmdb.open(
                str(folder), map_size=size, max_dbs=2, readonly=True, create=False, max_readers=READERS_MAX
            )
    raise StorageError("no address space for a memory map: raise the limit (ulimit -v)")


def _has_room_for_readers(folder: Path) -> bool:
    """LMDB writes its table of readers through a memory map: on a full disk that kills the process (SIGBUS)."""
    try:
        table = (folder / schema.READERS_FILE).stat()
        if 0 < table.st_size <= table.st_blocks * 512:
            return True
    except FileNotFoundError:
        pass
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:  # LMDB reads there without a table
        return True
    return (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize >= _READERS_BYTES_MAX


def _not_ours(folder: Path) -> str:
    return (
        f"{folder / schema.DATA_FILE} is not a pynun data file, or is damaged: it was left untouched; "
        "choose another folder with NUN_DBS_DIR, or restore a backup"
    )


def _damaged(folder: Path, error: Exception) -> str:
    return f"the data in {folder} can't be read ({reason(error)}): it was left untouched; restore a backup"


def _unusable(folder: Path, error: Exception) -> str:
    why = reason(error)
    if why == _NO_ROOM:
        return (
            f"the data folder {folder} can't be used: {why}; make room there, or choose another folder with NUN_DBS_DIR"
        )
    return (
        f"the data folder {folder} can't be used: {why}; "
        "give the user of the server write access, or choose another folder with NUN_DBS_DIR"
    )


def reason(error: Exception) -> str:
    """Why, in the system's words: `No space left on device`, without LMDB's prefixes and paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rpartition(": ")[2] or type(error).__name__
