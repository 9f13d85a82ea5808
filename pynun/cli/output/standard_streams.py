"""Reliable standard input, output and error, whatever they are connected to.

Invariant: descriptors 0 to 2 are open, so no socket or data file ever gets one of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

from pynun.cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

STANDARD_OUTPUT = 1


class OutputError(CommandError, OSError):
    """Standard output can't be written: a full disk, or it was closed.

    Also an OSError, for callers that tolerate it: the server continues without its log.
    """

    exit_code = ExitCode.OUTPUT


class _StandardOutput(io.FileIO):
    """Descriptor 1, whose failures can be distinguished from those of other files and sockets."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what fits. Raises OutputError, or BrokenPipeError when nobody reads."""
        try:
            return super().write(data)
        except BrokenPipeError as error:
            # Without the number, by which the command line's library would end the process with a code of its own.
            raise BrokenPipeError(error.strerror) from None
        except OSError as error:
            raise OutputError(f"standard output can't be written: {error.strerror}") from None


def prepare() -> None:
    """Open descriptors that were closed at the start, and turn output failures into OutputError."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing. Read-only: to write to it fails, as it did before.
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(STANDARD_OUTPUT, "wb", closefd=False)),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "replace",
        line_buffering=bool(before and before.isatty()),
        write_through=isinstance(before, io.TextIOWrapper) and before.write_through,
    )


def finish() -> None:
    """Write the rest. Raises like a write; afterwards nothing is left for Python to write at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
        raise


class Unwritten:
    """Output that failed while a server ran commands, which must not depend on it."""

    def __init__(self) -> None:
        self._failure: OutputError | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """A block that prints: a failure is kept for later; a closed pipe is ignored."""
        try:
            yield
        except BrokenPipeError:
            pass
        except OutputError as error:
            self._failure = self._failure or error

    def tell(self) -> None:
        """Raise OutputError if something could not be printed."""
        if self._failure:
            raise OutputError(f"{self._failure}; the commands ran anyway")
