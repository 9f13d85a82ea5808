"""A file that appears under its name only when it is complete and on disk.

It is written in the same folder under a temporary name (`partial_name`), with mode 0600, and locked meanwhile. The lock
distinguishes files in progress from leftovers of killed processes, which are removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Self

from pynun.errors import BackupError
from pynun.folders import sync_folder
from pynun.storage.files.regular_file import try_lock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

SUFFIX: Final = ".partial"

SYNC_BYTES: Final = 8 << 20
"""Sync after this many bytes: a server's commits on the same disk would have to wait for a larger sync."""


def partial_name(name: str) -> str:
    """The name that a file has until it is complete."""
    return f".{name}{SUFFIX}"


class AtomicFile:
    """A context manager for a new file, removed unless `finish` was called."""

    def __init__(self, final: Path) -> None:
        """Make the file. Raises BackupError if another process is writing it, and OSError."""
        self.final = final
        self.path = final.with_name(partial_name(final.name))
        self.is_finished = False
        """Whether it has its final name; the folder may not be synced yet."""
        self._unsynced_bytes = 0
        self.descriptor = self._make()

    def _make(self) -> int:
        while True:
            remove_leftover(self.path)
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                # Between these two lines another process may have taken it for a leftover.
                if try_lock(descriptor) and _is_at(descriptor, self.path):
                    return descriptor
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_finished:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self.descriptor)

    def write(self, data: bytes) -> None:
        """Append, in pieces small enough not to delay other processes' syncs. Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]
        self._unsynced_bytes += len(data)
        if self._unsynced_bytes >= SYNC_BYTES:
            os.fdatasync(self.descriptor)
            self._unsynced_bytes = 0

    def finish(self, *, is_replacing: bool) -> None:
        """Sync the file, rename it (over an existing file if `is_replacing`) and sync the folder.

        Raises FileExistsError and other OSErrors; `is_finished` then says whether it was renamed.
        """
        os.fsync(self.descriptor)
        if is_replacing or not self._link():
            self.path.rename(self.final)
        self.is_finished = True
        sync_folder(self.final.parent)

    def _link(self) -> bool:
        """Give it its unused name in one step. False if the file system has no hard links."""
        try:
            os.link(self.path, self.final, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as error:
            if os.path.lexists(self.final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            return False
        self.is_finished = True
        self.path.unlink()
        return True


def remove_leftover(path: Path) -> bool:
    """Remove an incomplete file; returns whether one existed. Raises BackupError if a process is writing it, and
    OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(descriptor):
            raise BackupError(f"another process is writing {path}: wait until it is done")
        if _is_at(descriptor, path):
            path.unlink()
    finally:
        os.close(descriptor)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
