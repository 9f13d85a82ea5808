"""Restore a backup into the data folder of a stopped server.

The backup is copied into the folder under a temporary name and hashed, and every entry of the copy is read. Only then
is it renamed to the data file, in one step. If killed at any moment, the folder has either the old data or the new.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pynun.backup.file_format import (
    DIGEST_LINE_BYTES,
    TRAILER_BYTES,
    Verified,
    cannot_read,
    compare,
    hash_data,
    read_contents,
    read_trailer,
)
from pynun.errors import BackupError, StartError
from pynun.folders import sync_folder
from pynun.storage import schema
from pynun.storage.environment import KEPT_NAME, kept_log, reason, remove_second_names
from pynun.storage.files.atomic_file import AtomicFile
from pynun.storage.files.regular_file import open_regular
from pynun.storage.folder_lock import FolderLock
from pynun.storage.integrity.entry_check import check_entries
from pynun.storage.wal.segment import GLOB

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.backup.file_format import Progress


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    verified: Verified
    kept: Path | None
    """The file with the replaced data."""

    @property
    def way_back(self) -> list[str]:
        """The shell commands that put the replaced data back, while no server runs; empty if there is none."""
        if self.kept is None:
            return []
        names = [log.name for log in sorted(self.kept.parent.glob(kept_log(self.kept, GLOB).name))]
        moves = [(self.kept.name, schema.DATA_FILE), *((name, name.partition(".")[2]) for name in names)]
        return [
            f"cd {shlex.quote(str(self.kept.parent.absolute()))} && rm -f {schema.DATA_FILE} {GLOB}",
            *(f"mv {kept} {name}" for kept, name in moves),
        ]


def restore_backup(file: Path, folder: Path, progress: Progress, *, is_replacing: bool = False) -> Restored:
    """Restore a backup into a folder, which is made if missing. Replaced data is kept beside it.

    Raises BackupError if the backup is damaged, or the folder has data already, is in use or can't be written. The
    folder's data is then unchanged, unless the error says that the new data is in place.
    """
    data = folder / schema.DATA_FILE
    try:
        with open_regular(file) as source:
            read_trailer(file, source.fileno())  # before anything is made
            with _Folder(folder) as owner:
                has_data = _has_data(data)
                if has_data and not is_replacing:
                    raise BackupError(
                        f"{folder} already has data, which was left untouched: give another folder with --data-dir or "
                        "NUN_DBS_DIR, or use --replace, which keeps the old data beside the new"
                    )
                try:
                    remove_second_names(folder)
                    with AtomicFile(data) as partial:
                        verified = _copy(file, source.fileno(), partial, progress)
                        _give(partial.descriptor, owner)
                        _forget_readers(folder)
                        old = _keep(data, has_data=has_data)
                        kept = old.data if has_data else None
                        try:
                            partial.finish(is_replacing=True)
                            for log in old.logs:
                                log.unlink()
                            sync_folder(folder)
                        except OSError as error:
                            if partial.is_finished:
                                raise BackupError(_not_synced(folder, kept, error)) from None
                            remove_second_names(folder)
                            raise
                except OSError as error:
                    raise BackupError(_cannot_write(folder, error)) from None
    except OSError as error:
        raise BackupError(cannot_read(file, error)) from None
    return Restored(verified, kept)


class _Folder:
    """Lock the folder, made if missing, so that no server starts on it. Yields the owner for new files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_made = False
        self._lock: FolderLock | None = None

    def __enter__(self) -> tuple[int, int]:
        folder = self._folder
        self._is_made = not folder.exists()
        try:
            lock = self._lock = FolderLock(folder)
            # If root runs it for a server with its own user, that user must own the new files.
            status = folder.parent.stat() if self._is_made else folder.stat()
            owner = (status.st_uid, status.st_gid)
            if self._is_made:
                os.chown(folder, *owner, follow_symlinks=False)
            _give(lock.file, owner)
        except StartError as error:
            raise BackupError(str(error)) from None
        except OSError as error:
            self._close()
            raise BackupError(_cannot_write(folder, error)) from None
        return owner

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._is_made:
            with contextlib.suppress(OSError):
                (self._folder / schema.LOCK_FILE).unlink()
                self._folder.rmdir()
        self._close()

    def _close(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _give(file: int, owner: tuple[int, int]) -> None:
    """Have an open file belong to this user and group. One that does is left alone: a service may not even ask."""
    status = os.fstat(file)
    if (status.st_uid, status.st_gid) != owner:
        os.fchown(file, *owner)


def _has_data(data: Path) -> bool:
    try:
        return data.stat().st_size > 0
    except FileNotFoundError:
        return False


def _copy(file: Path, source: int, partial: AtomicFile, progress: Progress) -> Verified:
    """Copy and verify the data of a backup. Raises BackupError and OSError."""
    trailer = read_trailer(file, source)
    file_bytes = os.fstat(source).st_size
    data_bytes = file_bytes - TRAILER_BYTES
    hashed = hash_data(file, source, data_bytes, progress, "copying", partial.write)
    hashed.update(trailer[:-DIGEST_LINE_BYTES])
    digest = hashed.hexdigest()
    contents = read_contents(file, trailer, digest, file_bytes)
    os.fsync(partial.descriptor)
    progress("checking the entries", 0, 0)
    counts = check_entries(partial.path)
    compare(file, contents, counts)
    return Verified(contents, counts, file_bytes, digest)


class _Old(NamedTuple):
    """What the folder had before."""

    data: Path
    """The second name of the data."""
    logs: list[Path]
    """The files of its log, which have second names too."""


def _keep(data: Path, *, has_data: bool) -> _Old:
    """Give the existing data and its log second names, so that they exist at every moment. Raises BackupError."""
    kept = data.with_name(time.strftime(KEPT_NAME, time.gmtime()))
    logs = sorted(data.parent.glob(GLOB))
    try:
        if any(data.parent.glob(f"{kept.stem}.*")):  # twice within a second
            kept = kept.with_stem(f"{kept.stem}-{time.time_ns()}")
        if has_data:
            os.link(data, kept, follow_symlinks=False)
        for log in logs:
            os.link(log, kept_log(kept, log.name), follow_symlinks=False)
        sync_folder(data.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_second_names(data.parent)
        raise BackupError(f"the old data can't be kept as {kept} ({reason(error)}): nothing was changed") from None
    return _Old(kept, logs)


def _forget_readers(folder: Path) -> None:
    """Remove LMDB's reader table of the old data. Raises BackupError while another process reads that."""
    path = folder / schema.READERS_FILE
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as readers:
            try:
                fcntl.lockf(readers, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)  # as LMDB does it
            except OSError:
                raise BackupError(
                    f"another program is reading the data in {folder}, perhaps a backup: wait until it is done"
                ) from None
        path.unlink()


def _not_synced(folder: Path, kept: Path | None, error: OSError) -> str:
    before = "" if kept is None else f", the old data is kept as {kept}"
    return (
        f"the new data is in {folder}{before}, but the disk did not confirm it ({reason(error)}): check"
        " the disk, and restore again if the power fails"
    )


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"the data folder {folder} can't be written ({reason(error)}): free up space or get write access there"
