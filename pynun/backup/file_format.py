"""The backup file: LMDB's compacted copy of the data, and a text trailer that describes it.

The trailer is the last `TRAILER_BYTES` of the file, so LMDB's tools can read the file too, and `tail -c 1024` shows
what it is. It has a line `pynun backup 1`, a line of JSON (`Contents`) padded with spaces, and a line with the SHA-256
of everything before that line, so any change is detected. The last line keeps its form in later versions of the
trailer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pynun.errors import BackupError, NoBackupError
from pynun.storage import schema
from pynun.storage.environment import KEPT_GLOB
from pynun.storage.files.regular_file import open_regular
from pynun.storage.integrity.entry_check import check_entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from pathlib import Path

    from pynun.storage.integrity.entry_check import Counts

TRAILER_BYTES: Final = 1024
TRAILER_FORMAT: Final = 1
PIECE_BYTES: Final = 1 << 20
"""Size of one read, hash and write step."""

DIGEST_LINE_BYTES: Final = 72
_TEXT_BYTES: Final = TRAILER_BYTES - DIGEST_LINE_BYTES
_FIRST_LINE: Final = re.compile(rb"pynun backup ([0-9]{1,9})\n")
_LMDB_MAGIC: Final = bytes.fromhex("dec0efbe")
_LMDB_MAGIC_AT: Final = 16

if TYPE_CHECKING:
    Progress = Callable[[str, int, int], None]
    """Called with the current step, the bytes done, and the total (0 if unknown)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The trailer's description of the data."""

    format: int
    """The format number of the data (`pynun.storage.schema`)."""
    data_bytes: int
    made: str
    """Time of the backup, UTC: `2026-11-24T20:40:00Z`."""
    version: str
    """Version of the program that made it."""
    revision: int
    """The last commit in the backup."""
    databases: int
    keys: int
    number: int = 0
    """The backup's position in the order of its schedule; 0 without a schedule."""


_TYPES: Final = {field.name: {"int": int, "str": str}[str(field.type)] for field in dataclasses.fields(Contents)}


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified backup."""

    contents: Contents
    counts: Counts
    file_bytes: int
    sha256: str


def trailer_text(contents: Contents) -> bytes:
    """The trailer up to its last line."""
    said = dataclasses.asdict(contents)
    if not contents.number:
        del said["number"]
    text = json.dumps(said).encode()
    head = b"pynun backup %d\n" % TRAILER_FORMAT
    padded = head + text.ljust(_TEXT_BYTES - len(head) - 1) + b"\n"
    assert len(padded) == _TEXT_BYTES
    return padded


def digest_line(digest_hex: str) -> bytes:
    """The last line of the file."""
    return f"sha256 {digest_hex}\n".encode()


def verify_backup(path: Path, progress: Progress) -> Verified:
    """Verify every byte and entry of a backup without changing it.

    Raises BackupError if it is not a backup, is damaged, or needs a newer version, and NoBackupError.
    """
    try:
        with open_regular(path) as file:
            file_bytes = os.fstat(file.fileno()).st_size
            trailer = read_trailer(path, file.fileno())
            digest = hash_data(path, file.fileno(), file_bytes - DIGEST_LINE_BYTES, progress).hexdigest()
    except FileNotFoundError as error:
        raise NoBackupError(cannot_read(path, error)) from None
    except OSError as error:
        raise BackupError(cannot_read(path, error)) from None
    contents = read_contents(path, trailer, digest, file_bytes)
    progress("checking the entries", 0, 0)
    try:
        counts = check_entries(path)
    except BackupError:
        if path.exists():
            raise
        raise NoBackupError(f"{path} was removed while it was checked") from None
    compare(path, contents, counts)
    return Verified(contents, counts, file_bytes, digest)


def read_trailer(path: Path, descriptor: int) -> bytes:
    """The trailer of a file. Raises BackupError if it has none, and OSError."""
    file_bytes = os.fstat(descriptor).st_size
    trailer = os.pread(descriptor, TRAILER_BYTES, max(0, file_bytes - TRAILER_BYTES))
    if not _FIRST_LINE.match(trailer) or len(trailer) != TRAILER_BYTES:
        if os.pread(descriptor, len(_LMDB_MAGIC), _LMDB_MAGIC_AT) == _LMDB_MAGIC:
            if path.match(KEPT_GLOB):
                raise BackupError(
                    f"{path} is not a backup, but data that a restore replaced, and has no checksum. To go back to it,"
                    f" stop the server, remove data.mdb and log-*.wal, rename {path.name} to data.mdb and each"
                    f" {path.stem}.log-NN.wal to log-NN.wal"
                )
            if path.name == schema.DATA_FILE:
                raise BackupError(
                    f"{path} is not a backup, but a server's data, and has no checksum: back it up with nun-db backup"
                )
            raise BackupError(
                f"{path} is damaged: its end is missing, perhaps because copying was interrupted; copy it again, or "
                "use another backup"
            )
        raise BackupError(f"{path} is not a nun-db backup: give a file made by nun-db backup")
    return trailer


def read_number(path: Path) -> int:
    """The schedule number in a file's trailer, without checking the checksum; 0 if it has none."""
    try:
        with open_regular(path) as file:
            trailer = read_trailer(path, file.fileno())
    except (OSError, BackupError):
        return 0
    contents = _parse_contents(trailer.partition(b"\n")[2][:-DIGEST_LINE_BYTES])
    return contents.number if contents is not None else 0


def hash_data(
    path: Path,
    descriptor: int,
    count: int,
    progress: Progress,
    step: str = "reading",
    take: Callable[[bytes], None] | None = None,
) -> _Hash:
    """The SHA-256 of a file's first `count` bytes, which `take` also gets. Raises BackupError."""
    digest = hashlib.sha256()
    done = 0
    while True:
        try:
            piece = os.pread(descriptor, min(PIECE_BYTES, count - done), done)
        except OSError as error:
            raise BackupError(cannot_read(path, error)) from None
        if not piece:
            return digest
        digest.update(piece)
        if take is not None:
            take(piece)
        done += len(piece)
        progress(step, done, count)


def read_contents(path: Path, trailer: bytes, digest: str, file_bytes: int) -> Contents:
    """Read the trailer after checking its checksum. Raises BackupError."""
    if trailer[_TEXT_BYTES:] != digest_line(digest):
        raise BackupError(f"{path} is damaged: its checksum does not match; use another backup")
    match = _FIRST_LINE.match(trailer)
    assert match is not None
    if int(match[1]) > TRAILER_FORMAT:
        raise BackupError(f"{path} was made by a newer version of this program: use that version, or a newer one")
    contents = _parse_contents(trailer[match.end() : _TEXT_BYTES])
    if contents is None:
        raise BackupError(f"{path} is damaged: its trailer is invalid; use another backup")
    if contents.format > schema.FORMAT:
        raise BackupError(
            f"the data in {path} has format {contents.format}, newer than this program's {schema.FORMAT}:"
            f" use the version that made it ({contents.version}), or a newer one"
        )
    if contents.data_bytes != file_bytes - TRAILER_BYTES:
        raise BackupError(f"{path} is damaged: its length does not match; use another backup")
    return contents


def _parse_contents(text: bytes) -> Contents | None:
    """None if it is invalid: a correct checksum does not prove valid content."""
    try:
        contents = Contents(**json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return None
    is_sensible = all(type(getattr(contents, name)) is type_of for name, type_of in _TYPES.items())
    return contents if is_sensible else None


def compare(path: Path, contents: Contents, counts: Counts) -> None:
    """Raise BackupError if a backup's content differs from its description."""
    found = (counts.format, counts.revision, len(counts.databases), counts.keys)
    if found != (contents.format, contents.revision, contents.databases, contents.keys):
        raise BackupError(f"{path} is damaged: its contents do not match its trailer; use another backup")


def cannot_read(path: Path, error: OSError) -> str:
    """The error for an unreadable file."""
    return f"{path} can't be read: {error.strerror or error}"
