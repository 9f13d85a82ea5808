"""The file of a backup: LMDB's compacted copy of the data, and a trailer of text that says what it is.

The trailer is the last `TRAILER_BYTES` of the file, so that LMDB's own tools read the file too, and `tail -c 1024`
shows a person what it is: a line `pynun backup 1`, a line of JSON (`Contents`) filled up with spaces, and a line with
the SHA-256 of everything before that line. So no bit of the file can change unnoticed. The last line stays what it is
in every later version of the trailer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pynun.errors import BackupError
from pynun.storage import schema
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
"""Read, hashed and written at once."""

DIGEST_LINE_BYTES: Final = 72
_TEXT_BYTES: Final = TRAILER_BYTES - DIGEST_LINE_BYTES
_FIRST_LINE: Final = re.compile(rb"pynun backup ([0-9]{1,9})\n")
_LMDB_MAGIC: Final = bytes.fromhex("dec0efbe")
_LMDB_MAGIC_AT: Final = 16

if TYPE_CHECKING:
    Progress = Callable[[str, int, int], None]
    """Told what is being done, how many bytes of it are done, and of how many (0: not known)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the trailer says of the data before it."""

    format: int
    """The format number of the data (`pynun.storage.schema`)."""
    data_bytes: int
    made: str
    """When it was made, UTC: `2026-11-24T20:40:00Z`."""
    version: str
    """Of the program that made it."""
    revision: int
    """The last commit that is in it."""
    databases: int
    keys: int
    number: int = 0
    """The place in the order in which the backups of a folder were made; 0: not one of a schedule."""


_TYPES: Final = {field.name: {"int": int, "str": str}[str(field.type)] for field in dataclasses.fields(Contents)}


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that was found whole."""

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
    """Look at every byte and every entry of a backup, which is not touched.

    Raises BackupError: it is not one, it is damaged, or a newer version is needed to read it.
    """
    try:
        with open_regular(path) as file:
            file_bytes = os.fstat(file.fileno()).st_size
            trailer = read_trailer(path, file.fileno())
            digest = hash_data(path, file.fileno(), file_bytes - DIGEST_LINE_BYTES, progress).hexdigest()
    except OSError as error:
        raise BackupError(cannot_read(path, error)) from None
    contents = read_contents(path, trailer, digest, file_bytes)
    progress("checking the entries", 0, 0)
    counts = check_entries(path)
    compare(path, contents, counts)
    return Verified(contents, counts, file_bytes, digest)


def read_trailer(path: Path, descriptor: int) -> bytes:
    """The trailer of a file. Raises BackupError if it has none, and OSError."""
    file_bytes = os.fstat(descriptor).st_size
    trailer = os.pread(descriptor, TRAILER_BYTES, max(0, file_bytes - TRAILER_BYTES))
    if not _FIRST_LINE.match(trailer) or len(trailer) != TRAILER_BYTES:
        if os.pread(descriptor, len(_LMDB_MAGIC), _LMDB_MAGIC_AT) == _LMDB_MAGIC:
            raise BackupError(
                f"{path} is damaged: its end is missing, for instance because copying it was interrupted;"
                " copy it again, or take another backup"
            )
        raise BackupError(f"{path} is not a backup of nun-db: name a file that nun-db backup has made")
    return trailer


def read_number(path: Path) -> int:
    """The number that the trailer of a file says, whose checksum is not looked at; 0 if it says none."""
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
    """The SHA-256 of the first `count` bytes of a file; `take` gets them too. Raises BackupError."""
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
    """What the trailer says, once its checksum is known to be right. Raises BackupError."""
    if trailer[_TEXT_BYTES:] != digest_line(digest):
        raise BackupError(
            f"{path} is damaged: its checksum is not the one that was written with it; take another backup"
        )
    match = _FIRST_LINE.match(trailer)
    assert match is not None
    if int(match[1]) > TRAILER_FORMAT:
        raise BackupError(f"{path} was made by a newer version of this program: use that one, or a newer one")
    contents = _parse_contents(trailer[match.end() : _TEXT_BYTES])
    if contents is None:
        raise BackupError(f"{path} is damaged: its trailer makes no sense; take another backup")
    if contents.format > schema.FORMAT:
        raise BackupError(
            f"the data in {path} has format {contents.format}, newer than this program's {schema.FORMAT}:"
            f" use the version that made it ({contents.version}), or a newer one"
        )
    if contents.data_bytes != file_bytes - TRAILER_BYTES:
        raise BackupError(f"{path} is damaged: it has not the length that was written with it; take another backup")
    return contents


def _parse_contents(text: bytes) -> Contents | None:
    """None if it makes no sense: whoever wrote it may have made the checksum right."""
    try:
        contents = Contents(**json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return None
    is_sensible = all(type(getattr(contents, name)) is type_of for name, type_of in _TYPES.items())
    return contents if is_sensible else None


def compare(path: Path, contents: Contents, counts: Counts) -> None:
    """Raise BackupError if there is something else in a backup than when it was made."""
    found = (counts.format, counts.revision, len(counts.databases), counts.keys)
    if found != (contents.format, contents.revision, contents.databases, contents.keys):
        raise BackupError(f"{path} is damaged: it does not hold what was written with it; take another backup")


def cannot_read(path: Path, error: OSError) -> str:
    """A line for a file that the system does not let us read."""
    return f"{path} can't be read: {error.strerror or error}"
