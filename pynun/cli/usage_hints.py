"""What to do, behind the library's words for the two mistakes that this command line invites.

Options that say who and where stand before the command, and `-h` is not help (docs/protocol.md section 6).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer.core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer._click.core import Context

BEFORE_THE_COMMAND = frozenset({"-u", "--user", "-p", "--pwd", "--pwd-file", "-h", "--host", "--ca"})


class HintingGroup(typer.core.TyperGroup):
    """The command line as a whole, its commands included."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with _hints_added():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> object:
        """Read the command's own options and run it."""
        with _hints_added():
            return super().invoke(ctx)


@contextlib.contextmanager
def _hints_added() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the class of the library's errors has no public name
        option = getattr(error, "option_name", None)
        message = getattr(error, "message", None)
        if isinstance(message, str) and message.startswith("No such option") and option in BEFORE_THE_COMMAND:
            vars(error)["message"] = f"{message} ({option} stands before the command)"
        elif isinstance(message, str) and option == "-h":
            vars(error)["message"] = f"{message} (-h names a host or address: help is --help)"
        raise
