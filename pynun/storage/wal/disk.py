"""The system calls of the write-ahead log, in one place, so that tests can simulate crashes and failing disks."""

from __future__ import annotations

import fcntl
import os


class Disk:
    """The files of one folder. Every method raises OSError."""

    def __init__(self, folder: int, *, is_read_only: bool = False) -> None:
        """`folder` is an open descriptor of the folder, which must stay open."""
        self._folder = folder
        self._flags = os.O_RDONLY if is_read_only else os.O_RDWR

    def names(self) -> list[str]:
        """The names in the folder."""
        return os.listdir(self._folder)

    def make(self, name: str) -> int:
        """Make an empty file, in place of an existing one, and return its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self._folder)

    def open(self, name: str) -> int:
        """Open an existing file."""
        return os.open(name, self._flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)

    def size(self, file: int) -> int:
        """The size of an open file in bytes."""
        return os.fstat(file).st_size

    def is_at(self, name: str, file: int) -> bool:
        """Whether a name in the folder is that of an open file."""
        try:
            return os.path.samestat(os.stat(name, dir_fd=self._folder, follow_symlinks=False), os.fstat(file))
        except FileNotFoundError:
            return False

    def has_name(self, file: int) -> bool:
        """Whether an open file was not removed."""
        return os.fstat(file).st_nlink > 0

    def read(self, file: int, size: int, at: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        parts: list[bytes] = []
        while size and (part := os.pread(file, size, at)):
            parts.append(part)
            at += len(part)
            size -= len(part)
        return b"".join(parts)

    def write(self, file: int, data: bytes | memoryview, at: int) -> int:
        """Write at an offset and return the number of bytes written, which may be too small."""
        return os.pwrite(file, data, at)

    def sync(self, file: int) -> None:
        """Return when the content of the file is on disk. After an error, never sync this file again: the kernel may
        have dropped what it could not write, and the next call would succeed (fsync(2), since Linux 4.13)."""
        os.fdatasync(file)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a file, over an existing one."""
        os.rename(name, new_name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def remove(self, name: str) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=self._folder)

    def sync_folder(self) -> None:
        """Return when all names are on disk."""
        os.fsync(self._folder)

    def lock(self, file: int) -> bool:
        """Lock a file against readers in other processes; False if one is reading it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self, file: int) -> None:
        """Lock a file against its reuse, as a reader; wait while the server begins a segment in it."""
        fcntl.flock(file, fcntl.LOCK_SH)

    def unlock(self, file: int) -> None:
        """Let readers lock the file again."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def close(self, file: int) -> None:
        """Close a file."""
        os.close(file)
