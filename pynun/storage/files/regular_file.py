"""Open regular files only: opening a pipe would block until somebody writes to it."""

from __future__ import annotations

import errno
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
