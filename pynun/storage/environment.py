"""Open the files of a data folder safely, and explain failures to the administrator.

LMDB always runs with full sync: a commit is on disk when it returns, and a power loss can't corrupt the file (LMDB
manual, MDB_NOSYNC).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Final

import lmdb

from pynun.errors import BackupError, StartError, StorageError
from pynun.storage import schema
from pynun.storage.files.atomic_file import partial_name, remove_leftover
from pynun.storage.wal.recovery import DamagedLogError, ForeignLogError, LogError
from pynun.storage.wal.segment import GLOB
from pynun.storage.wal.segment_format import SLOTS, decode_header

MAP_BYTES: Final = (1 << 40, 1 << 36, 1 << 32, 1 << 30)
"""Sizes of the memory map to try, largest first. It is address space, not memory or disk. Where a limit refuses the
first, the map doubles when full."""

KEPT_NAME: Final = "data-before-%Y%m%dT%H%M%SZ.mdb"
"""Name for data that a restore replaced, with the time of the restore (UTC)."""
KEPT_GLOB: Final = "data-before-*.mdb"

READERS_MAX: Final = 16
"""Simultaneous readers in all processes. The first process makes the table, so all ask for the same size."""

NO_ROOM: Final = os.strerror(errno.ENOSPC)

_FULL_BYTES: Final = 1 << 20
"""A disk with less free space than this counts as full when a write failed."""

_READERS_BYTES_MAX: Final = 4096
"""Disk space that the table of readers may take."""

DAMAGE: Final = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError)
"""LMDB's errors for an invalid page."""

FATAL: Final = (*DAMAGE, lmdb.PanicError, lmdb.BadTxnError)
"""LMDB's error when it can't continue. After a failed write of its first pages it must be opened again. The file is
then not damaged and has all earlier commits."""


def kept_log(kept: Path, name: str) -> Path:
    """Where a restore that keeps data as `kept` keeps a file of its log: `data-before-TIME.log-01.wal`."""
    return kept.with_name(f"{kept.stem}.{name}")


def remove_second_names(folder: Path) -> None:
    """Undo a killed restore that put no new data in place yet: remove the second names that it gave to the data and its
    log, because writes would change both. Finish one that did: remove the old log. The folder must be locked. Raises
    OSError.
    """
    path = folder / schema.DATA_FILE
    data = path.lstat() if os.path.lexists(path) else None
    for log, second in _second_names_of_logs(folder):
        kept = second.with_name(second.name.removesuffix(f".{log.name}") + Path(KEPT_GLOB).suffix)
        if data is None or (kept.exists() and os.path.samestat(kept.lstat(), data)):
            second.unlink()
        elif kept.exists():
            log.unlink(missing_ok=True)
    if data is not None and data.st_nlink > 1:
        for kept in folder.glob(KEPT_GLOB):  # last: it decides above
            if os.path.samestat(kept.lstat(), data):
                kept.unlink()


def end_killed_restore_of_lost_data(folder: Path, log_id: bytes) -> None:
    """As `remove_second_names`, for a restore into a folder that had a log but no data, so that only the log's id tells
    whether the data now there is new. Raises OSError.
    """
    for log, second in _second_names_of_logs(folder):
        content = second.read_bytes()
        ids = {header.log_id for slot in SLOTS if (header := decode_header(content, slot)) is not None}
        if log_id in ids:
            second.unlink()
        elif ids:
            log.unlink(missing_ok=True)


def _second_names_of_logs(folder: Path) -> list[tuple[Path, Path]]:
    """The log's files that a restore gave second names, with each of them."""
    return [
        (log, second)
        for log in folder.glob(GLOB)
        if log.lstat().st_nlink > 1
        for second in folder.glob(str(kept_log(Path(KEPT_GLOB), log.name)))
        if os.path.samestat(second.lstat(), log.lstat())
    ]


def end_killed_restore(folder: Path) -> None:
    """Raises StartError."""
    try:
        remove_second_names(folder)
    except OSError as error:
        raise StartError(unusable(folder, error)) from None
    with contextlib.suppress(OSError, BackupError):  # it only takes space
        remove_leftover(folder / partial_name(schema.DATA_FILE))


def odd_file(folder: Path) -> str | None:
    """What is wrong if a store file is a link, which could lead root to any file, or not a regular file."""
    for name in (*schema.FILES, *(path.name for path in folder.glob(GLOB))):
        with contextlib.suppress(FileNotFoundError):
            kind = (folder / name).lstat().st_mode
            if stat.S_ISLNK(kind):
                return f"{name} is a symbolic link, which is not followed: put the file itself there"
            if not stat.S_ISREG(kind):
                return f"{name} is not an ordinary file: move it away"
    return None


def refuse_odd_files(folder: Path) -> None:
    """Raises StartError, and OSError."""
    if odd := odd_file(folder):
        raise StartError(f"the data folder {folder} can't be used: {odd}, or choose another folder with NUN_DBS_DIR")


def open_to_write(folder: Path) -> lmdb.Environment:
    if not _has_room_for_readers(folder):
        raise StartError(unusable(folder, OSError(errno.ENOSPC, NO_ROOM)))
    if not (folder / schema.DATA_FILE).stat().st_size:  # LMDB would treat it as new
        raise StartError(empty(folder))
    for size in MAP_BYTES:
        try:
            return lmdb.open(
                str(folder),
                map_size=size,
                max_dbs=schema.DATABASES_MAX,
                create=False,
                mode=0o600,
                max_readers=READERS_MAX,
                max_spare_txns=2,
            )
        except lmdb.MemoryError:
            continue
        except (lmdb.InvalidError, lmdb.VersionMismatchError):
            raise StartError(not_ours(folder)) from None
        except (lmdb.Error, OSError) as error:
            raise StartError(unusable(folder, error)) from error
    raise StartError(
        f"no address space for a memory map of the data in {folder}: "
        "raise the limit (ulimit -v) or the memory of the container"
    )


def open_to_read(folder: Path) -> lmdb.Environment:
    """Open data to read it, beside a server or without one. Raises lmdb.Error and StorageError."""
    if odd := odd_file(folder):
        raise StorageError(odd)
    if not _has_room_for_readers(folder):
        raise StorageError(f"{NO_ROOM} for {schema.READERS_FILE}: make room there")
    for size in MAP_BYTES:
        with contextlib.suppress(lmdb.MemoryError):
            return lmdb.open(
                str(folder),
                map_size=size,
                max_dbs=schema.DATABASES_MAX,
                readonly=True,
                create=False,
                max_readers=READERS_MAX,
            )
    raise StorageError("no address space for a memory map: raise the limit (ulimit -v)")


def _has_room_for_readers(folder: Path) -> bool:
    """Reserve space: LMDB writes its reader table through a memory map, so a full disk would kill the process
    (SIGBUS)."""
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


def not_ours(folder: Path) -> str:
    return (
        f"{folder / schema.DATA_FILE} is not a pynun data file, or is damaged: it was left untouched; choose another"
        " folder with NUN_DBS_DIR, or restore a backup, or, if nothing was ever stored in it, remove it and start again"
    )


def empty(folder: Path) -> str:
    return (
        f"{folder / schema.DATA_FILE} is empty, so it is damaged: it was left untouched; restore a backup, or, if"
        " nothing was ever stored in it, remove it and start again"
    )


def damaged(folder: Path, error: Exception) -> str:
    return f"the data in {folder} can't be read ({reason(error)}): it was left untouched; restore a backup"


def what_to_do(error: LogError, *, is_in_use: bool) -> str:
    """A log's error, and what the administrator can do. `is_in_use` says whether the data relies on the log."""
    if not is_in_use:
        return f"{error}: {schema.DATA_FILE} has everything without it; move the named files away"
    if isinstance(error, DamagedLogError):
        return f"{error}: it was left untouched; restore a backup"
    if isinstance(error, ForeignLogError):
        return f"{error}: move it away, and put the log files that belong to {schema.DATA_FILE} in its place"
    return (
        f"{error}: without all files {GLOB}, {schema.DATA_FILE} is not the whole data; put them back beside it, or, if"
        " you copied it from a running server, use nun-db backup and nun-db restore instead"
    )


def unusable(folder: Path, error: Exception) -> str:
    why = reason(error)
    if why == os.strerror(errno.EIO):
        return f"the data folder {folder} can't be used: {why}; check the disk, and start again"
    if why == NO_ROOM:
        return (
            f"the data folder {folder} can't be used: {why}; free up space there, or choose another folder with "
            "NUN_DBS_DIR"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"the data folder {folder} can't be used: a file is in its place; name a folder with NUN_DBS_DIR"
    return (
        f"the data folder {folder} can't be used: {why}; "
        "give the user of the server write access, or choose another folder with NUN_DBS_DIR"
    )


def why_not_written(folder: Path, error: Exception) -> Exception:
    """Why a write failed. LMDB calls one that was cut short by a full disk an input/output error."""
    with contextlib.suppress(OSError):  # the folder may be gone
        if shutil.disk_usage(folder).free < _FULL_BYTES:
            return OSError(errno.ENOSPC, NO_ROOM)
    return error


def fatal_reason(error: Exception, refused: str) -> str:
    """Why LMDB can't continue. After a failed write it gives no cause; `refused` is the cause of that failure."""
    return f"{reason(error)}; before it: {refused}" if refused and isinstance(error, lmdb.PanicError) else reason(error)


def reason(error: Exception) -> str:
    """The OS's reason, such as `No space left on device`, without LMDB's prefixes and paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rpartition(": ")[2] or type(error).__name__
