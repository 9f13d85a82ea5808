"""The lock on a data folder: one server, restore or import at a time.

The folder itself is locked (flock(2)): that lock stays when files in it are removed, and systemd-tmpfiles, which
cleans /tmp, leaves a locked folder alone. `server.lock` is locked as well: it holds the process id, versions before
this one know no other lock, and some file systems over the network lock files only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from pynun.errors import FolderInUseError, StartError
from pynun.folders import make_folder
from pynun.storage import schema
from pynun.storage.environment import refuse_odd_files, unusable
from pynun.storage.files.regular_file import try_lock

if TYPE_CHECKING:
    from pathlib import Path

_FOREIGN_SECONDS: Final = 2.0
"""How long to wait for a folder lock that no server seems to hold: a cleaner of /tmp takes it briefly."""

_RETRY_SECONDS: Final = 0.05

_CANNOT_LOCK: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""NFS, for one, emulates it by a byte-range lock, which needs a file opened for writing (flock(2))."""


class FolderLock:
    """The lock, held until `close` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is missing, and lock it. Raises StartError."""
        self._folder_path = folder
        self.file = -1
        """The descriptor of `server.lock`."""
        self.was_locked = False
        """Whether `server.lock` says that the folder was locked before."""
        try:
            make_folder(folder)
            self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(unusable(folder, error)) from None
        try:
            refuse_odd_files(folder)
            self._lock_folder()
            self._lock_file()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise StartError(unusable(folder, error)) from None
            raise

    def close(self) -> None:
        """Release the lock."""
        for descriptor in (self.file, self.folder):
            if descriptor >= 0:
                os.close(descriptor)

    def forget(self) -> None:
        """Mark the folder as never locked, because nothing was put into it. Raises OSError."""
        os.ftruncate(self.file, 0)

    def _lock_folder(self) -> None:
        deadline = time.monotonic() + _FOREIGN_SECONDS
        while not _locks_folder(self.folder):
            if self._is_file_locked() or time.monotonic() > deadline:
                raise FolderInUseError(self._in_use(_owner_of_folder(self.folder)))
            time.sleep(_RETRY_SECONDS)

    def _lock_file(self) -> None:
        # Following a link in a restore would let another user make root overwrite any file.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.file = os.open(schema.LOCK_FILE, flags, 0o600, dir_fd=self.folder)
        if not try_lock(self.file):
            raise FolderInUseError(self._in_use(os.read(self.file, 32).decode("ascii", "replace").strip()))
        self.was_locked = os.fstat(self.file).st_size > 0
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"{os.getpid()}\n".encode(), 0)

    def _is_file_locked(self) -> bool:
        """Whether a server has the folder: it then holds the file's lock too."""
        with contextlib.suppress(OSError):
            descriptor = os.open(schema.LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.folder)
            try:
                return not try_lock(descriptor)
            finally:
                os.close(descriptor)
        return False

    def _in_use(self, owner: str) -> str:
        return (
            f"the data folder {self._folder_path} is in use by another nun-db server (process {owner or 'unknown'}): "
            "stop that one first (nun-db stop says how), or choose another folder with NUN_DBS_DIR"
        )


def _locks_folder(descriptor: int) -> bool:
    """As `try_lock`. Where folders can't be locked, the lock on `server.lock` must suffice."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
    return True


def _owner_of_folder(descriptor: int) -> str:
    """The process that locked the folder, from /proc/locks; empty if unknown."""
    about = os.fstat(descriptor)
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == place:
                return words[4]
    return ""
