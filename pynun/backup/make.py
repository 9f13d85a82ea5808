"""Back up a data folder, with or without a running server.

A child copies one commit of the data (`pynun.backup.compact_copy`) through a pipe. This process hashes the copy, writes
it under a temporary name, syncs it and reads it back from disk. Another child then puts the newest changes into it,
which were in the log (`pynun.backup.logged_changes`), and the parts that this changed are read back too. Only a
verified file gets its final name.

The server runs it for scheduled backups: `python -m pynun.backup.make FOLDER FILE` prints one line of JSON, `Made` or
`{"failed": REASON}`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pwd
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from pynun import __version__
from pynun.backup.compact_copy import DAMAGED_EXIT_CODE
from pynun.backup.file_format import (
    PIECE_BYTES,
    TRAILER_BYTES,
    Contents,
    digest_line,
    hash_data,
    trailer_text,
)
from pynun.backup.folder import next_number
from pynun.backup.logged_changes import LENGTH
from pynun.errors import BackupError, StorageError
from pynun.storage import schema
from pynun.storage.environment import reason
from pynun.storage.files.atomic_file import AtomicFile
from pynun.storage.files.regular_file import has_content
from pynun.storage.integrity.child_process import is_crash, lower_priority, run_child
from pynun.storage.integrity.entry_check import check_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.backup.file_format import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new, verified backup."""

    file: str
    bytes: int
    databases: int
    keys: int
    revision: int
    sha256: str
    seconds: float


def make_backup(folder: Path, file: Path, progress: Progress, *, is_replacing: bool = False, number: int = 0) -> Made:
    """Back up a data folder into a new file, which gets its name only when complete and on disk.

    `folder` may also be a single data file that nobody writes, such as one a server still has open after its folder was
    removed. `number` is its position in a schedule, or 0. Raises BackupError, and leaves nothing behind, if the data is
    missing, unreadable or damaged, or the file exists already or can't be written.
    """
    began = time.monotonic()
    _check_data(folder)
    _check_free(file, is_replacing)
    try:
        with AtomicFile(file) as partial:
            copied = _copy(folder, partial, progress)
            read_back = _put_logged(partial, copied, progress)
            made = _complete(partial, progress, number, read_back)
            partial.finish(is_replacing=is_replacing)
    except OSError as error:
        if isinstance(error, FileExistsError | IsADirectoryError):
            _check_free(file, is_replacing)  # made by another process meanwhile
        raise BackupError(_cannot_write(file, error)) from None
    return dataclasses.replace(made, seconds=round(time.monotonic() - began, 3))


def _data_file(folder: Path) -> Path:
    return folder if folder.is_file() else folder / schema.DATA_FILE


def _check_data(folder: Path) -> None:
    path = _data_file(folder)
    try:
        if has_content(path):
            return
    except OSError as error:
        raise BackupError(_cannot_read(folder, error.strerror or str(error))) from None
    raise BackupError(
        f"there is no data in {folder} ({schema.DATA_FILE} is missing or empty): name the server's data folder with"
        " --data-dir, or with NUN_DBS_DIR"
    )


def _check_free(file: Path, is_replacing: bool) -> None:
    if file.is_dir():
        raise BackupError(f"{file} is a folder: give the name of a file in it")
    if not is_replacing and os.path.lexists(file):
        raise BackupError(
            f"{file} already exists: choose another name, or use --replace, which replaces it once the new backup is"
            " complete"
        )


class _Copied(NamedTuple):
    """A copy of the data, without the changes that were in the log."""

    data_bytes: int
    sha256: str
    logged: bytes
    """The encoded `LoggedChanges`; empty for formats whose log is in the copy."""


def _copy(folder: Path, partial: AtomicFile, progress: Progress) -> _Copied:
    expected = _data_file(folder).stat().st_size
    digest = hashlib.sha256()
    done = 0
    logged = b""

    def take(pipe: IO[bytes]) -> str:
        nonlocal done, logged
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE_BYTES)
        length = _read(pipe, LENGTH.size)
        if len(length) == LENGTH.size:
            logged = _read(pipe, LENGTH.unpack(length)[0])
        while piece := pipe.read(PIECE_BYTES):
            digest.update(piece)
            partial.write(piece)
            done += len(piece)
            progress("copying", done, expected)
        return ""

    child = run_child("pynun.backup.compact_copy", str(folder), take=take)
    if child.code == DAMAGED_EXIT_CODE or is_crash(child.code):
        why = "its pages make no sense" if is_crash(child.code) else child.last_error
        raise BackupError(f"the data in {folder} is damaged ({why}): it can't be backed up; restore a backup")
    if child.code != 0:
        raise BackupError(_cannot_read(folder, child.last_error))
    return _Copied(done, digest.hexdigest(), logged)


def _read(pipe: IO[bytes], count: int) -> bytes:
    """So many bytes; fewer only at the end."""
    parts: list[bytes] = []
    while count and (part := pipe.read(min(count, PIECE_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _put_logged(partial: AtomicFile, copied: _Copied, progress: Progress) -> list[int]:
    """Verify the copy by reading it back from disk, and put the log's changes into it. Returns the CRCs of the pieces
    that were read."""
    descriptor = partial.descriptor
    _sync_and_forget(descriptor)
    read_back: list[int] = []
    digest = hash_data(partial.path, descriptor, copied.data_bytes, progress, take=_crcs_into(read_back))
    if digest.hexdigest() != copied.sha256:
        raise BackupError(_returns_other_data(partial.final))
    if copied.logged:
        child = run_child("pynun.backup.logged_changes", str(partial.path), given=copied.logged)
        if child.code != 0:
            raise BackupError(_cannot_write(partial.final, StorageError(child.last_error)))
    return read_back


def _sync_and_forget(descriptor: int) -> None:
    """So the next read comes from disk, and the copy does not evict the server's pages from memory."""
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _crcs_into(crcs: list[int]) -> Callable[[bytes], None]:
    return lambda piece: crcs.append(zlib.crc32(piece))


def _read_changed_back(partial: AtomicFile, crcs: list[int], read_back: list[int]) -> None:
    """Read back from disk the pieces that are others than those read back before."""
    _sync_and_forget(partial.descriptor)
    for number, crc in enumerate(crcs):
        if read_back[number : number + 1] == [crc]:
            continue
        if zlib.crc32(os.pread(partial.descriptor, PIECE_BYTES, number * PIECE_BYTES)) != crc:
            raise BackupError(_returns_other_data(partial.final))


def _complete(partial: AtomicFile, progress: Progress, number: int, read_back: list[int]) -> Made:
    """Check the entries, add the trailer, and read back what is not yet among the pieces read."""
    descriptor = partial.descriptor
    data_bytes = os.lseek(descriptor, 0, os.SEEK_END)
    progress("checking the entries", 0, 0)
    counts = check_entries(partial.path)
    contents = Contents(
        format=counts.format,
        data_bytes=data_bytes,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        version=__version__,
        revision=counts.revision,
        databases=len(counts.databases),
        keys=counts.keys,
        number=number,
    )
    text = trailer_text(contents)
    partial.write(text)
    crcs: list[int] = []
    whole = hash_data(partial.path, descriptor, data_bytes + len(text), progress, take=_crcs_into(crcs)).hexdigest()
    _read_changed_back(partial, crcs, read_back)
    partial.write(digest_line(whole))
    return Made(
        file=str(partial.final),
        bytes=data_bytes + TRAILER_BYTES,
        databases=contents.databases,
        keys=contents.keys,
        revision=contents.revision,
        sha256=whole,
        seconds=0.0,
    )


def _returns_other_data(file: Path) -> str:
    return f"the disk of {file} returns other data than was written: check the disk"


def _cannot_read(folder: Path, why: str) -> str:
    line = f"the data in {folder} can't be read: {why}"
    try:
        owner = pwd.getpwuid(folder.stat().st_uid).pw_name
    except (OSError, KeyError):
        owner = "its owner"
    return f"{line}; run this as the user of the server ({owner}) or as root" if os.geteuid() else line


def _cannot_write(file: Path, error: Exception) -> str:
    why = reason(error)
    return f"{file} can't be written ({why}): free up space or get write access there, or name another place"


def _main(folder: str, file: str) -> None:
    lower_priority()
    path = Path(file)
    try:
        number = next_number(path.parent)
        told: dict[str, object] = dataclasses.asdict(make_backup(Path(folder), path, lambda *_: None, number=number))
    except BackupError as error:
        told = {"failed": str(error)}
    except OSError as error:
        told = {"failed": _cannot_write(path, error)}
    print(json.dumps(told))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
