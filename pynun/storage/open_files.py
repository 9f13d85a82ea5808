"""Check that the files of a data folder are still those that the server has open.

A file that was removed or replaced stays usable for the process that has it open: the server would go on and lose
everything at its end. So the open files are compared with their paths every few seconds (`why_elsewhere`), and the data
file before each write (`check`).
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Final

from pynun.errors import DamageError, TakenAwayError
from pynun.storage import schema
from pynun.storage.integrity.page_check import TRANSACTION_AT

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.storage.folder_lock import FolderLock

REMOVED: Final = f"{schema.DATA_FILE} was removed from the data folder"
WRITTEN: Final = f"{schema.DATA_FILE} was written by another program"


class OpenFiles:
    """The open files of one server."""

    def __init__(self, folder: Path, lock: FolderLock, page_bytes: int) -> None:
        """Record the files that LMDB just opened. Raises OSError."""
        self._folder = folder
        self._data = os.open(schema.DATA_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=lock.folder)
        self._opened = {
            folder: os.fstat(lock.folder),
            folder / schema.DATA_FILE: os.fstat(self._data),
            folder / schema.LOCK_FILE: os.fstat(lock.file),
            # Not opened: closing it would drop this process's LMDB locks (fcntl(2)).
            folder / schema.READERS_FILE: (folder / schema.READERS_FILE).stat(),
        }
        self._heads = mmap.mmap(self._data, 2 * page_bytes, prot=mmap.PROT_READ)
        self._numbers = memoryview(self._heads).cast("Q")  # in native byte order, as LMDB writes them
        self._first = TRANSACTION_AT // 8
        self._second = (page_bytes + TRANSACTION_AT) // 8
        self._bytes = 0
        self._newest = 0
        self._is_in_doubt = True

    def wrote(self) -> None:
        """Record that this process made the newest commit."""
        self._newest = self._newest_transaction()
        self._bytes = os.lseek(self._data, 0, os.SEEK_END)
        self._is_in_doubt = False

    def failed(self) -> None:
        """Record that a commit failed, so it may or may not be in the file."""
        self._is_in_doubt = True

    def settle(self) -> None:
        """Have the disk hold the first pages that this process sees: after a failed write of one it may hold either
        version, and later writes would make the newer one wrong. Only while no thread writes. Raises OSError.
        """
        os.pwrite(self._data, os.pread(self._data, len(self._heads), 0), 0)
        os.fdatasync(self._data)

    @property
    def data_path(self) -> str:
        """A path to the open data file while this process lives, even if the file was removed."""
        return f"/proc/{os.getpid()}/fd/{self._data}"

    @property
    def is_data_in_place(self) -> bool:
        """Whether the path of the data file still names the one that is open."""
        try:
            return os.path.samestat((self._folder / schema.DATA_FILE).stat(), os.fstat(self._data))
        except OSError:
            return False

    @property
    def is_data_removed(self) -> bool:
        """Whether the open data file was removed, so that it disappears with this process."""
        return not os.fstat(self._data).st_nlink

    def how_to_rescue(self, why: str) -> str:
        """Tell the administrator what to do after a file was taken away."""
        folder = self._folder.absolute()
        told = f"{why} under the running server (its folder: {folder}): changes are refused from now on"
        if self.is_data_in_place:
            return f"{told}. No data is lost: start the server again"
        return (
            f"{told}. The data is still open. Save it before you stop the server, with:"
            f" nun-db backup --data-dir {self.data_path} FILE; then stop it, restore FILE with:"
            f" nun-db restore FILE --data-dir {folder} (add --replace if data is there), and start it again"
        )

    def after_loss(self, why: str) -> str:
        """Tell the administrator what to do when the server stops after that."""
        told = f"{why} while the server ran, and changes were refused from then on"
        if self.is_data_in_place:
            return f"{told}. No data is lost: start the server again"
        if self.is_data_removed:
            return f"{told}. The data ended with the server: restore what was saved from the open file, or a backup"
        return f"{told}. The data is where it was moved to: put it back, and start the server again"

    def close(self) -> None:
        """Close what was opened here."""
        self._numbers.release()
        self._heads.close()
        os.close(self._data)

    def check(self, *, is_rescue: bool = False) -> None:
        """Check, before a write, that the data file may be written; with `is_rescue`, even if it was removed.
        Raises TakenAwayError, and DamageError if another process wrote it: LMDB would mix both, or crash on a missing
        page.
        """
        about = self._check_size()
        if not self._is_in_doubt and self._newest_transaction() != self._newest:
            raise DamageError(WRITTEN)
        if not about.st_nlink and not is_rescue:
            raise TakenAwayError(REMOVED)

    def check_beside(self) -> None:
        """As `check`, while another thread may write."""
        before = self._newest
        about = self._check_size()
        found = self._newest_transaction()
        # The writing thread may just have committed without recording it yet.
        if not self._is_in_doubt and not before <= found <= self._newest + 1:
            raise DamageError(WRITTEN)
        if not about.st_nlink:
            raise TakenAwayError(REMOVED)

    def look(self) -> str | None:
        """Which file was taken away, in words without a path. May be called in a thread.

        A file that can't be checked counts as present. Raises DamageError as `check` does.
        """
        with contextlib.suppress(TakenAwayError):  # told below, if the folder is still there
            self.check_beside()
        for path, opened in self._opened.items():
            name = "the data folder" if path == self._folder else path.name
            try:
                if not os.path.samestat(path.stat(), opened):
                    return f"{name} was replaced by another one"
            except (FileNotFoundError, NotADirectoryError):
                if path == self._folder:
                    return f"{name} was removed or moved"
                return REMOVED if name == schema.DATA_FILE else f"{name} was removed from the data folder"
            except OSError:
                continue
        return None

    def _newest_transaction(self) -> int:
        """The number of the newest commit in the file."""
        first, second = self._numbers[self._first], self._numbers[self._second]
        return first if first > second else second

    def _check_size(self) -> os.stat_result:
        """The data file only ever grows."""
        known = self._bytes  # before the size is read: the writing thread may extend the file meanwhile
        about = os.fstat(self._data)
        if about.st_size < known:
            raise DamageError(f"{schema.DATA_FILE} was cut by another program")
        return about
