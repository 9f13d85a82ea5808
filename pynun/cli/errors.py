"""How a command that talks to a server ends when it fails: one line on standard error, one exit code."""

from __future__ import annotations

import enum

from pynun.errors import PynunError


class ExitCode(enum.IntEnum):
    """The exit codes of nun-db; scripts rely on them (docs/cli.md)."""

    REFUSED = 1
    """The server refused a command, or could not start."""
    USAGE = 2
    """The command line makes no sense; nothing was sent."""
    NOT_AUTHENTICATED = 3
    """User or password is wrong."""
    NO_CONNECTION = 4
    """No server there, no answer in time, or not a Nun-db server."""
    OUTPUT = 5
    """Standard output can't be written."""
    INCOMPLETE = 6
    """Done, but not everything could be read: what is missing was listed."""


class CommandError(PynunError):
    """A command failed; the text is one line saying what happened and what to do."""

    exit_code = ExitCode.REFUSED


class UsageError(CommandError):
    """The command line or its input makes no sense; nothing was sent."""

    exit_code = ExitCode.USAGE


class NotAuthenticatedError(CommandError):
    """The server did not accept user and password."""

    exit_code = ExitCode.NOT_AUTHENTICATED


class NoConnectionError(CommandError):
    """There was no answer, or not one of a Nun-db server."""

    exit_code = ExitCode.NO_CONNECTION
