"""Open and lock regular files only: opening a pipe would block until somebody writes to it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path


class NotRegularError(OSError):
    """The file is a pipe, a device or a socket."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "not an ordinary file")


def open_descriptor(path: str | Path) -> int:
    """Open a regular file for reading; returns its descriptor. Raises OSError or its subclass NotRegularError, without
    a file name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there (open(2))
            raise NotRegularError from None
        raise
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise NotRegularError


def open_regular(path: Path) -> FileIO:
    """Open a regular file for unbuffered reading. Raises as `open_descriptor` does."""
    return os.fdopen(open_descriptor(path), "rb", buffering=0)


def has_content(path: Path) -> bool:
    """Whether there is a regular file that is not empty. Raises OSError if it can't be read."""
    try:
        with open_regular(path) as data:
            return bool(data.read(1))
    except (FileNotFoundError, NotADirectoryError):
        return False


def try_lock(descriptor: int) -> bool:
    """Lock a file against other processes (flock(2)) without waiting; returns whether it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
