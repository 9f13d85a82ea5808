"""Turns what a command raises into one line on standard error and the exit code that fits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer

from pynun.cli.errors import CommandError, ExitCode
from pynun.errors import PynunError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def failures_shown() -> Iterator[None]:
    """Trouble that a person has to read becomes one line on standard error and the exit code that fits."""
    try:
        yield
    except PynunError as error:
        typer.echo(f"nun-db: {error}", err=True)
        raise typer.Exit(error.exit_code if isinstance(error, CommandError) else ExitCode.REFUSED) from None
