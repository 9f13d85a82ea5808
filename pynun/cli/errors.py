"""How a command ends when it fails: one line on standard error, one exit code."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from pynun.errors import PynunError

if TYPE_CHECKING:
    from collections.abc import Iterator


class ExitCode(enum.IntEnum):
    """The exit codes of nun-db; scripts rely on them (docs/cli.md)."""

    REFUSED = 1
    """The server refused a command, or could not start."""
    USAGE = 2
    """The command line is invalid; nothing was sent."""
    NOT_AUTHENTICATED = 3
    """User or password is wrong."""
    NO_CONNECTION = 4
    """No server there, no answer in time, or not a Nun-db server."""
    OUTPUT = 5
    """Standard output can't be written."""
    INCOMPLETE = 6
    """Done, except what could not be read, which was listed."""
    MISSING = 7
    """A key that was asked for does not exist."""


class CommandError(PynunError):
    """A command failed; the text is one line saying what happened and what to do."""

    exit_code = ExitCode.REFUSED


class RefusedError(CommandError):
    """The server refused a command; `reply` is its error as it was sent."""

    def __init__(self, text: str, reply: str) -> None:
        super().__init__(text)
        self.reply = reply


class UsageError(CommandError):
    """The command line or its input is invalid; nothing was sent."""

    exit_code = ExitCode.USAGE


class NotAuthenticatedError(CommandError):
    """The server did not accept user and password."""

    exit_code = ExitCode.NOT_AUTHENTICATED


class NoConnectionError(CommandError):
    """There was no answer, or not one of a Nun-db server."""

    exit_code = ExitCode.NO_CONNECTION


@contextlib.contextmanager
def failures_shown() -> Iterator[None]:
    """Turn an error into one line on standard error and its exit code."""
    try:
        yield
    except PynunError as error:
        import typer  # takes time, and the standard streams are prepared before that

        typer.echo(f"nun-db: {error}", err=True)
        raise typer.Exit(error.exit_code if isinstance(error, CommandError) else ExitCode.REFUSED) from None
